/* SHA-256 of leaves and nodes, and the choice of the engine. */
#include "sha256.h"

#include <stdatomic.h>
#include <string.h>

#include "endian.h"
#include "sha256_engine.h"

static const struct sha256_engine *choose(void)
{
#ifndef MERKQL_PORTABLE
    const struct sha256_engine *engine = sha256_x86_engine();
    if (engine == NULL) {
        engine = sha256_arm_engine();
    }
    if (engine != NULL) {
        return engine;
    }
#endif
    return sha256_portable();
}

const struct sha256_engine *sha256_fast(void)
{
    /* Threads that race here store the same pointer to constant data: no order is needed. */
    static _Atomic(const struct sha256_engine *) chosen;
    const struct sha256_engine *engine = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (engine == NULL) {
        engine = choose();
        atomic_store_explicit(&chosen, engine, memory_order_relaxed);
    }
    return engine;
}

const char *sha256_name(const struct sha256_engine *engine)
{
    return engine->name;
}

/* Hashes inputs of one fixed size after a prefix byte, as many at a time as there are lanes. */
static void hash_prefixed(const struct sha256_engine *engine, unsigned char prefix, size_t size,
                          const unsigned char *inputs, size_t count, unsigned char *hashes)
{
    unsigned char padded[SHA256_LANES_MAX][2 * SHA256_BLOCK_SIZE] = {{0}};
    const unsigned char *data[SHA256_LANES_MAX];
    size_t blocks = (1 + size + 9 + SHA256_BLOCK_SIZE - 1) / SHA256_BLOCK_SIZE;
    for (size_t lane = 0; lane < SHA256_LANES_MAX; lane++) {
        data[lane] = padded[lane];
        padded[lane][0] = prefix;
        padded[lane][1 + size] = 0x80;
        store_be64(padded[lane] + blocks * SHA256_BLOCK_SIZE - 8, (uint64_t)(1 + size) * 8);
    }
    while (count > 0) {
        uint32_t states[SHA256_LANES_MAX][8];
        size_t lanes = count < SHA256_LANES_MAX ? count : SHA256_LANES_MAX;
        for (size_t lane = 0; lane < lanes; lane++) {
            memcpy(padded[lane] + 1, inputs + lane * size, size);
            memcpy(states[lane], sha256_initial_state, sizeof states[lane]);
        }
        engine->compress(states, data, lanes, blocks);
        for (size_t lane = 0; lane < lanes; lane++) {
            store_digest(hashes + SHA256_DIGEST_SIZE * lane, states[lane]);
        }
        inputs += lanes * size;
        hashes += lanes * SHA256_DIGEST_SIZE;
        count -= lanes;
    }
}

void sha256_leaves(const struct sha256_engine *engine, const unsigned char *entries, size_t count,
                   unsigned char *hashes)
{
    if (engine->leaves != NULL) {
        engine->leaves(entries, count, hashes);
        return;
    }
    hash_prefixed(engine, 0x00, SHA256_LEAF_ENTRY_SIZE, entries, count, hashes);
}

void sha256_nodes(const struct sha256_engine *engine, const unsigned char *pairs, size_t count,
                  unsigned char *hashes)
{
    if (engine->nodes != NULL) {
        engine->nodes(pairs, count, hashes);
        return;
    }
    hash_prefixed(engine, 0x01, SHA256_NODE_PAIR_SIZE, pairs, count, hashes);
}
