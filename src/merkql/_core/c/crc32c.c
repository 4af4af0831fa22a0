/* CRC-32C: which engine runs, and the portable one, which takes eight bytes a step. */
#include "crc32c.h"

#include <stdatomic.h>

#include "crc32c_engine.h"
#include "endian.h"

#define POLYNOMIAL 0x82f63b78 /* Castagnoli's, bits reversed */

/* ROWS(f) lists f(0), … f(255): the compiler fills the tables, so no thread ever has to. */
#define ROW4(f, n) f(n), f(n + 1), f(n + 2), f(n + 3)
#define ROW16(f, n) ROW4(f, n), ROW4(f, n + 4), ROW4(f, n + 8), ROW4(f, n + 12)
