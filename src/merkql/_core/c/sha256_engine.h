/* What an instruction set provides for SHA-256; private to the sha256*.c files. */
#ifndef MERKQL_SHA256_ENGINE_H
#define MERKQL_SHA256_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "endian.h"

#define SHA256_BLOCK_SIZE 64
#define SHA256_LANES_MAX 3

struct sha256_engine {
    const char *name;
    /* Feeds `blocks` blocks from data[i] into states[i] for each of `lanes` (1 to 3) messages.
     * Messages are independent: interleaving them hides the latency of each one's chain. */
    void (*compress)(uint32_t (*states)[8], const unsigned char *const *data, size_t lanes,
                     size_t blocks);
    /* Ways of their own for inputs of one size, contract as in sha256.h; or NULL. */
    void (*leaves)(const unsigned char *entries, size_t count, unsigned char *hashes);
    void (*nodes)(const unsigned char *pairs, size_t count, unsigned char *hashes);
};

extern const uint32_t sha256_initial_state[8];
extern const uint32_t sha256_round_constants[64];

/* The engine of an instruction set, or NULL where this CPU (or this build) lacks it. */
const struct sha256_engine *sha256_x86_engine(void);
const struct sha256_engine *sha256_arm_engine(void);

static inline void store_digest(unsigned char *digest, const uint32_t *state)
{
    for (int word = 0; word < 8; word++) {
        store_be32(digest + 4 * word, state[word]);
    }
}

#endif
