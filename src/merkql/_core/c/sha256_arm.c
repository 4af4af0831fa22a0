/* SHA-256 with the cryptography extensions of ARMv8; empty on other targets. */
#include "sha256_engine.h"

/* clang declares these instructions only where the whole build may use them, as on every Mac. */
#if defined(__GNUC__) && defined(__aarch64__) && (defined(__linux__) || defined(__APPLE__)) \
    && (!defined(__clang__) || defined(__ARM_FEATURE_SHA2))

#include <arm_neon.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif

#ifdef __clang__
#define TARGET
#define INLINE static inline __attribute__((always_inline))
#else
#define TARGET __attribute__((target("+crypto")))
#define INLINE static inline __attribute__((always_inline, target("+crypto")))
#endif

/* A message in progress. */
struct lane {
    uint32x4_t abcd, efgh;
    uint32x4_t words[4]; /* of the message schedule: the sixteen to come */
};

/* Four rounds. The words of a group stand at its number modulo four, `turn`. */
INLINE void rounds(struct lane *lane, int group, int turn)
{
    uint32x4_t words = vaddq_u32(lane->words[turn], vld1q_u32(sha256_round_constants + 4 * group));
    uint32x4_t abcd = lane->abcd;
    lane->abcd = vsha256hq_u32(abcd, lane->efgh, words);
    lane->efgh = vsha256h2q_u32(lane->efgh, abcd, words);
}

/* Puts the words of four groups later in the place of those just used. */
INLINE void schedule(struct lane *lane, int turn)
{
    uint32x4_t next = vsha256su0q_u32(lane->words[turn], lane->words[(turn + 1) & 3]);
    lane->words[turn] = vsha256su1q_u32(next, lane->words[(turn + 2) & 3],
                                        lane->words[(turn + 3) & 3]);
}

/* `lanes` is a constant wherever this is called: the compiler drops the lanes not in use. */
INLINE void step(struct lane *a, struct lane *b, struct lane *c, int lanes, int group, int turn)
{
    rounds(a, group + turn, turn);
    schedule(a, turn);
    if (lanes > 1) {
        rounds(b, group + turn, turn);
        schedule(b, turn);
    }
    if (lanes > 2) {
        rounds(c, group + turn, turn);
        schedule(c, turn);
    }
}

INLINE void last_rounds(struct lane *lane)
{
    rounds(lane, 12, 0);
    rounds(lane, 13, 1);
    rounds(lane, 14, 2);
    rounds(lane, 15, 3);
}

INLINE void load_block(struct lane *lane, const unsigned char *block)
{
    for (int group = 0; group < 4; group++) {
        lane->words[group] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(block + 16 * group)));
    }
}

INLINE void compress_lanes(uint32_t (*states)[8], const unsigned char *const *data, int lanes,
                           size_t blocks)
{
    struct lane group[SHA256_LANES_MAX], before[SHA256_LANES_MAX];
    struct lane *a = group, *b = lanes > 1 ? group + 1 : a, *c = lanes > 2 ? group + 2 : a;
    for (int lane = 0; lane < lanes; lane++) {
        group[lane].abcd = vld1q_u32(states[lane]);
        group[lane].efgh = vld1q_u32(states[lane] + 4);
    }
    for (size_t block = 0; block < blocks; block++) {
        for (int lane = 0; lane < lanes; lane++) {
            before[lane] = group[lane];
            load_block(group + lane, data[lane] + SHA256_BLOCK_SIZE * block);
        }
        for (int turns = 0; turns < 12; turns += 4) {
            step(a, b, c, lanes, turns, 0);
            step(a, b, c, lanes, turns, 1);
            step(a, b, c, lanes, turns, 2);
            step(a, b, c, lanes, turns, 3);
        }
        for (int lane = 0; lane < lanes; lane++) {
            last_rounds(group + lane);
            group[lane].abcd = vaddq_u32(group[lane].abcd, before[lane].abcd);
            group[lane].efgh = vaddq_u32(group[lane].efgh, before[lane].efgh);
        }
    }
    for (int lane = 0; lane < lanes; lane++) {
        vst1q_u32(states[lane], group[lane].abcd);
        vst1q_u32(states[lane] + 4, group[lane].efgh);
    }
}

TARGET static void compress(uint32_t (*states)[8], const unsigned char *const *data, size_t lanes,
                            size_t blocks)
{
    if (lanes == 3) {
        compress_lanes(states, data, 3, blocks);
    } else if (lanes == 2) {
        compress_lanes(states, data, 2, blocks);
    } else {
        compress_lanes(states, data, 1, blocks);
    }
}

const struct sha256_engine *sha256_arm_engine(void)
{
    static const struct sha256_engine engine = {.name = "armv8", .compress = compress};
#ifdef __linux__
    return (getauxval(AT_HWCAP) & HWCAP_SHA2) != 0 ? &engine : NULL;
#else
    return &engine; /* every Mac with this architecture has them */
#endif
}

#else

const struct sha256_engine *sha256_arm_engine(void)
{
    return NULL;
}

#endif
