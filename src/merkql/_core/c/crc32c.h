/* CRC-32C (Castagnoli; RFC 3720, appendix B.4), with the fastest instructions this CPU has.
 *
 * Values are finalised: start with 0, and feed a result back to continue. Every function may run in
 * any number of threads at once; inputs need no alignment.
 */
#ifndef MERKQL_CRC32C_H
#define MERKQL_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c_fast(uint32_t crc, const unsigned char *data, size_t size);

/* The same in plain C, which every other version must agree with. */
uint32_t crc32c_portable(uint32_t crc, const unsigned char *data, size_t size);

/* What crc32c_fast runs: "sse4.2", "armv8" or "portable". */
const char *crc32c_backend(void);

#endif
