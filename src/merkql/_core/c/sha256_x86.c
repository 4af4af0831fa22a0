/* SHA-256 of messages with the SHA extensions of x86; empty on other targets. */
#include "sha256_engine.h"

#if defined(__GNUC__) && defined(__x86_64__)

#include <cpuid.h>

#include "sha256_x86.h"

SHA256_X86_INLINE void load_block(struct lane *lane, const unsigned char *block)
{
    lane->words[0] = swap_bytes(load(block));
    lane->words[1] = swap_bytes(load(block + 16));
    lane->words[2] = swap_bytes(load(block + 32));
    lane->words[3] = swap_bytes(load(block + 48));
    lane->latest = lane->words[3];
}

SHA256_X86_INLINE void store_state(const struct lane *lane, uint32_t *state)
{
    store(state, state_abcd(lane));
    store(state + 4, state_efgh(lane));
}

SHA256_X86_TARGET static void compress_1(uint32_t (*states)[8], const unsigned char *const *data,
                                         size_t blocks)
{
    struct lane a;
    load_state(&a, states[0]);
    for (size_t block = 0; block < blocks; block++) {
        load_block(&a, data[0] + SHA256_BLOCK_SIZE * block);
        compress_block(&a, &a, &a, 1);
    }
    store_state(&a, states[0]);
}

SHA256_X86_TARGET static void compress_2(uint32_t (*states)[8], const unsigned char *const *data,
                                         size_t blocks)
{
    const unsigned char *data_a = data[0], *data_b = data[1];
    struct lane a, b;
    load_state(&a, states[0]);
    load_state(&b, states[1]);
    for (size_t block = 0; block < blocks; block++) {
        load_block(&a, data_a + SHA256_BLOCK_SIZE * block);
        load_block(&b, data_b + SHA256_BLOCK_SIZE * block);
        compress_block(&a, &b, &b, 2);
    }
    store_state(&a, states[0]);
    store_state(&b, states[1]);
}

SHA256_X86_TARGET static void compress_3(uint32_t (*states)[8], const unsigned char *const *data,
                                         size_t blocks)
{
    const unsigned char *data_a = data[0], *data_b = data[1], *data_c = data[2];
    struct lane a, b, c;
    load_state(&a, states[0]);
    load_state(&b, states[1]);
    load_state(&c, states[2]);
    for (size_t block = 0; block < blocks; block++) {
        load_block(&a, data_a + SHA256_BLOCK_SIZE * block);
        load_block(&b, data_b + SHA256_BLOCK_SIZE * block);
        load_block(&c, data_c + SHA256_BLOCK_SIZE * block);
        compress_block(&a, &b, &c, 3);
    }
    store_state(&a, states[0]);
    store_state(&b, states[1]);
    store_state(&c, states[2]);
}

static void compress(uint32_t (*states)[8], const unsigned char *const *data, size_t lanes,
                     size_t blocks)
{
    if (lanes == 3) {
        compress_3(states, data, blocks);
    } else if (lanes == 2) {
        compress_2(states, data, blocks);
    } else {
        compress_1(states, data, blocks);
    }
}

const struct sha256_engine *sha256_x86_engine(void)
{
    static const struct sha256_engine engine = {
        .name = "sha-ni",
        .compress = compress,
        .leaves = sha256_x86_leaves,
        .nodes = sha256_x86_nodes,
    };
    unsigned int eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & bit_SSE4_1) == 0) {
        return NULL; /* who has SSE 4.1 has the older SSSE 3 */
    }
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (ebx & bit_SHA) == 0) {
        return NULL;
    }
    return &engine;
}

#else

const struct sha256_engine *sha256_x86_engine(void)
{
    return NULL;
}

#endif
