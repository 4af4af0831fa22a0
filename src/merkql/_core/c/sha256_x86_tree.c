/* Leaf and node hashes with the SHA extensions of x86; empty on other targets.
 *
 * An input has one size, so prefix, padding and length are constants, and the words of a block go
 * from the input straight into registers: byte i of the input is byte i + 1 of the message.
 */
#include "sha256_engine.h"

#if defined(__GNUC__) && defined(__x86_64__)

#include "sha256.h"
#include "sha256_x86.h"

SHA256_X86_INLINE void start(struct lane *lane)
{
    const uint32_t *state = sha256_initial_state;
    lane->abef = _mm_set_epi32((int)state[0], (int)state[1], (int)state[4], (int)state[5]);
    lane->cdgh = _mm_set_epi32((int)state[2], (int)state[3], (int)state[6], (int)state[7]);
}

/* A last group of words: its first word, and the length of the message in bits. */
SHA256_X86_INLINE __m128i last_words(uint32_t first, int bits)
{
    return _mm_set_epi32(bits, 0, 0, (int)first);
}

SHA256_X86_INLINE void load_prefixed(struct lane *lane, const unsigned char *input, char prefix)
{
    __m128i first = _mm_slli_si128(load(input), 1);
    lane->words[0] = swap_bytes(_mm_or_si128(first, _mm_cvtsi32_si128(prefix)));
    lane->words[1] = swap_bytes(load(input + 15));
    lane->words[2] = swap_bytes(load(input + 31));
}

SHA256_X86_INLINE void load_leaf(struct lane *lane, const unsigned char *entry)
{
    uint32_t word = (uint32_t)entry[47] << 24 | (uint32_t)entry[48] << 16 | 0x8000;
    load_prefixed(lane, entry, 0x00);
    lane->words[3] = last_words(word, 8 * (1 + SHA256_LEAF_ENTRY_SIZE));
    lane->latest = lane->words[3];
}

SHA256_X86_INLINE void load_node(struct lane *lane, const unsigned char *pair)
{
    load_prefixed(lane, pair, 0x01);
    lane->words[3] = swap_bytes(load(pair + 47));
    lane->latest = lane->words[3];
}

/* The block that holds the last byte of a pair, and nothing else of it. */
SHA256_X86_INLINE void load_node_rest(struct lane *lane, const unsigned char *pair)
{
    lane->words[0] = _mm_cvtsi32_si128((int)((uint32_t)pair[63] << 24 | 0x800000));
    lane->words[1] = _mm_setzero_si128();
    lane->words[2] = _mm_setzero_si128();
    lane->words[3] = last_words(0, 8 * (1 + SHA256_NODE_PAIR_SIZE));
    lane->latest = lane->words[3];
}

SHA256_X86_INLINE void store_hash(const struct lane *lane, unsigned char *hash)
{
    store(hash, swap_bytes(state_abcd(lane)));
    store(hash + 16, swap_bytes(state_efgh(lane)));
}

/* One to three leaves, or nodes. Everything is read before anything is written. */
SHA256_X86_INLINE void hash_group(const unsigned char *inputs, unsigned char *hashes, int lanes,
                                  int leaf)
{
    size_t size = leaf ? SHA256_LEAF_ENTRY_SIZE : SHA256_NODE_PAIR_SIZE;
    struct lane group[3];
    struct lane *a = group, *b = lanes > 1 ? group + 1 : a, *c = lanes > 2 ? group + 2 : a;
    for (int lane = 0; lane < lanes; lane++) {
        start(group + lane);
        if (leaf) {
            load_leaf(group + lane, inputs + size * (size_t)lane);
        } else {
            load_node(group + lane, inputs + size * (size_t)lane);
        }
    }
    compress_block(a, b, c, lanes);
    if (!leaf) {
        for (int lane = 0; lane < lanes; lane++) {
            load_node_rest(group + lane, inputs + size * (size_t)lane);
        }
        compress_block(a, b, c, lanes);
    }
    for (int lane = 0; lane < lanes; lane++) {
        store_hash(group + lane, hashes + SHA256_DIGEST_SIZE * lane);
    }
}

SHA256_X86_INLINE void hash_all(const unsigned char *inputs, size_t count, unsigned char *hashes,
                                int leaf)
{
    size_t size = leaf ? SHA256_LEAF_ENTRY_SIZE : SHA256_NODE_PAIR_SIZE;
    for (; count >= 3; count -= 3) {
        hash_group(inputs, hashes, 3, leaf);
        inputs += 3 * size;
        hashes += 3 * SHA256_DIGEST_SIZE;
    }
    if (count == 2) {
        hash_group(inputs, hashes, 2, leaf);
    } else if (count == 1) {
        hash_group(inputs, hashes, 1, leaf);
    }
}

SHA256_X86_TARGET void sha256_x86_leaves(const unsigned char *entries, size_t count,
                                         unsigned char *hashes)
{
    hash_all(entries, count, hashes, 1);
}

SHA256_X86_TARGET void sha256_x86_nodes(const unsigned char *pairs, size_t count,
                                        unsigned char *hashes)
{
    hash_all(pairs, count, hashes, 0);
}

#endif
