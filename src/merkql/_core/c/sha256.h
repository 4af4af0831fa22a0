/* SHA-256 (FIPS 180-4) of many messages at once, with the fastest instructions this CPU has.
 *
 * Every function may run in any number of threads at once, allocates nothing and cannot fail.
 * Inputs need no alignment. Digests are 32 bytes each, back to back.
 */
#ifndef MERKQL_SHA256_H
#define MERKQL_SHA256_H

#include <stddef.h>

#define SHA256_DIGEST_SIZE 32
#define SHA256_LEAF_ENTRY_SIZE 49
#define SHA256_NODE_PAIR_SIZE 64

struct sha256_engine;

/* The engine for this CPU: looked for at the first call, the same ever after. */
const struct sha256_engine *sha256_fast(void);

/* The engine in plain C, which every other one must agree with. */
const struct sha256_engine *sha256_portable(void);

/* "sha-ni", "armv8" or "portable". */
const char *sha256_name(const struct sha256_engine *engine);

/* Digests of `count` messages; messages[i] may be NULL where sizes[i] is 0. */
void sha256_messages(const struct sha256_engine *engine, const unsigned char *const *messages,
                     const size_t *sizes, size_t count, unsigned char *digests);

/* SHA-256(0x00 | entry) of `count` entries of 49 bytes, back to back. */
void sha256_leaves(const struct sha256_engine *engine, const unsigned char *entries, size_t count,
                   unsigned char *hashes);

/* SHA-256(0x01 | left | right) of `count` pairs of 64 bytes, back to back. `hashes` may equal
 * `pairs`: a pair is read before anything is written over it. */
void sha256_nodes(const struct sha256_engine *engine, const unsigned char *pairs, size_t count,
                  unsigned char *hashes);

#endif
