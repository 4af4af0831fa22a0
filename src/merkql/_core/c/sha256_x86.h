/* The rounds of SHA-256 on the SHA extensions of x86, for one to three messages at a time;
 * private to the sha256_x86*.c files.
 *
 * `lanes` is a constant wherever these are called: the compiler drops the lanes not in use. One
 * lane is bound by the latency of its own chain, three fill the unit; with four, even the states
 * and the words in progress would not fit the registers.
 */
#ifndef MERKQL_SHA256_X86_H
#define MERKQL_SHA256_X86_H

#include <immintrin.h>

#include "sha256_engine.h"

#define SHA256_X86_TARGET __attribute__((target("sha,sse4.1")))
#define SHA256_X86_INLINE static inline __attribute__((always_inline, target("sha,sse4.1")))

/* A message in progress. The instructions want the state as two halves, a b e f and c d g h. */
struct lane {
    __m128i abef, cdgh;
    __m128i words[4]; /* of the message schedule: the sixteen to come */
    __m128i latest;   /* the last four of them again */
};

SHA256_X86_INLINE __m128i load(const void *from)
{
    return _mm_loadu_si128((const __m128i *)from);
}

SHA256_X86_INLINE void store(void *to, __m128i value)
{
    _mm_storeu_si128((__m128i *)to, value);
}

/* Swaps the bytes of each 32-bit word. */
SHA256_X86_INLINE __m128i swap_bytes(__m128i words)
{
    return _mm_shuffle_epi8(words, _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
}

/* Four rounds. The words of a group stand at its number modulo four, `turn`. */
SHA256_X86_INLINE void rounds(struct lane *lane, int group, int turn)
{
    __m128i constants = _mm_load_si128((const __m128i *)sha256_round_constants + group);
    __m128i words = _mm_add_epi32(lane->words[turn], constants);
    lane->cdgh = _mm_sha256rnds2_epu32(lane->cdgh, lane->abef, words);
    words = _mm_shuffle_epi32(words, 0x0e);
    lane->abef = _mm_sha256rnds2_epu32(lane->abef, lane->cdgh, words);
}

/* Puts the words of four groups later in the place of those just used. The words of three lanes
 * do not fit the registers, and compilers shuffle them about; so they are told to leave them in
 * memory and to keep `latest`, on which the next step waits, in a register. */
SHA256_X86_INLINE void schedule(struct lane *lane, int lanes, int turn)
{
    __m128i next = _mm_sha256msg1_epu32(lane->words[turn], lane->words[(turn + 1) & 3]);
    next = _mm_add_epi32(next, _mm_alignr_epi8(lane->latest, lane->words[(turn + 2) & 3], 4));
    lane->latest = _mm_sha256msg2_epu32(next, lane->latest);
    lane->words[turn] = lane->latest;
    if (lanes > 2) {
        __asm__("" : "+m"(lane->words[turn]));
    }
}

/* Four rounds of every lane, and the words they make room for. */
SHA256_X86_INLINE void step(struct lane *a, struct lane *b, struct lane *c, int lanes, int group,
                            int turn)
{
    rounds(a, group + turn, turn);
    schedule(a, lanes, turn);
    if (lanes > 1) {
        rounds(b, group + turn, turn);
        schedule(b, lanes, turn);
    }
    if (lanes > 2) {
        rounds(c, group + turn, turn);
        schedule(c, lanes, turn);
    }
}

/* The same where no more words are needed. */
SHA256_X86_INLINE void last_step(struct lane *a, struct lane *b, struct lane *c, int lanes,
                                 int turn)
{
    rounds(a, 12 + turn, turn);
    if (lanes > 1) {
        rounds(b, 12 + turn, turn);
    }
    if (lanes > 2) {
        rounds(c, 12 + turn, turn);
    }
}

/* Feeds one block, whose words stand in the lanes, into the state of every lane. */
SHA256_X86_INLINE void compress_block(struct lane *a, struct lane *b, struct lane *c, int lanes)
{
    struct lane before_a = *a, before_b = *b, before_c = *c;
#pragma GCC unroll 3
    for (int group = 0; group < 12; group += 4) {
        step(a, b, c, lanes, group, 0);
        step(a, b, c, lanes, group, 1);
        step(a, b, c, lanes, group, 2);
        step(a, b, c, lanes, group, 3);
    }
    last_step(a, b, c, lanes, 0);
    last_step(a, b, c, lanes, 1);
    last_step(a, b, c, lanes, 2);
    last_step(a, b, c, lanes, 3);
    a->abef = _mm_add_epi32(a->abef, before_a.abef);
    a->cdgh = _mm_add_epi32(a->cdgh, before_a.cdgh);
    if (lanes > 1) {
        b->abef = _mm_add_epi32(b->abef, before_b.abef);
        b->cdgh = _mm_add_epi32(b->cdgh, before_b.cdgh);
    }
    if (lanes > 2) {
        c->abef = _mm_add_epi32(c->abef, before_c.abef);
        c->cdgh = _mm_add_epi32(c->cdgh, before_c.cdgh);
    }
}

SHA256_X86_INLINE void load_state(struct lane *lane, const uint32_t *state)
{
    __m128i abcd = _mm_shuffle_epi32(load(state), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(load(state + 4), 0x1b);
    lane->abef = _mm_alignr_epi8(abcd, efgh, 8);
    lane->cdgh = _mm_blend_epi16(efgh, abcd, 0xf0);
}

SHA256_X86_INLINE __m128i state_abcd(const struct lane *lane)
{
    return _mm_blend_epi16(_mm_shuffle_epi32(lane->abef, 0x1b),
                           _mm_shuffle_epi32(lane->cdgh, 0xb1), 0xf0);
}

SHA256_X86_INLINE __m128i state_efgh(const struct lane *lane)
{
    return _mm_alignr_epi8(_mm_shuffle_epi32(lane->cdgh, 0xb1),
                           _mm_shuffle_epi32(lane->abef, 0x1b), 8);
}

/* In sha256_x86_tree.c. */
void sha256_x86_leaves(const unsigned char *entries, size_t count, unsigned char *hashes);
void sha256_x86_nodes(const unsigned char *pairs, size_t count, unsigned char *hashes);

#endif
