/* CRC-32C: which engine runs, and the portable one, which takes eight bytes a step. */
#include "crc32c.h"

#include <stdatomic.h>

#include "crc32c_engine.h"
#include "endian.h"

/* The CRC is linear, so an entry of a table is the sum of the entries of the bits of its index:
 * from those eight the compiler makes all 256, and no thread ever has to. */
#define BIT(index, bit, value) ((index) >> (bit) & 1 ? (value) : 0u)
#define ENTRY(i, b0, b1, b2, b3, b4, b5, b6, b7)                                    \
    (BIT(i, 0, b0) ^ BIT(i, 1, b1) ^ BIT(i, 2, b2) ^ BIT(i, 3, b3) ^ BIT(i, 4, b4) \
     ^ BIT(i, 5, b5) ^ BIT(i, 6, b6) ^ BIT(i, 7, b7))
#define ROW4(i, ...) \
    ENTRY(i, __VA_ARGS__), ENTRY(i + 1, __VA_ARGS__), ENTRY(i + 2, __VA_ARGS__), \
        ENTRY(i + 3, __VA_ARGS__)
#define ROW16(i, ...) \
    ROW4(i, __VA_ARGS__), ROW4(i + 4, __VA_ARGS__), ROW4(i + 8, __VA_ARGS__), \
        ROW4(i + 12, __VA_ARGS__)
#define ROW64(i, ...) \
    ROW16(i, __VA_ARGS__), ROW16(i + 16, __VA_ARGS__), ROW16(i + 32, __VA_ARGS__), \
        ROW16(i + 48, __VA_ARGS__)
#define TABLE(...) \
    { ROW64(0, __VA_ARGS__), ROW64(64, __VA_ARGS__), ROW64(128, __VA_ARGS__), \
      ROW64(192, __VA_ARGS__) }

/* tables[k][b]: the remainder of byte b followed by k zero bytes. */
static const uint32_t tables[8][256] = {
    TABLE(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf,
          0x105ec76f, 0x20bd8ede, 0x417b1dbc, 0x82f63b78),
    TABLE(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8,
          0x3fc5f181, 0x7f8be302, 0xff17c604, 0xfbc3faf9),
    TABLE(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5,
          0x70a27d8a, 0xe144fb14, 0xc76580d9, 0x8b277743),
    TABLE(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6,
          0xe964b13d, 0xd725148b, 0xaba65fe7, 0x52a0c93f),
    TABLE(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91,
          0x8f2261d3, 0x1ba8b557, 0x37516aae, 0x6ea2d55c),
    TABLE(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f,
          0xc00c303e, 0x85f4168d, 0x0e045beb, 0x1c08b7d6),
    TABLE(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53,
          0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a, 0xf56e0ef4),
    TABLE(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da,
          0x847609b4, 0x0d006599, 0x1a00cb32, 0x34019664),
};

uint32_t crc32c_portable(uint32_t crc, const unsigned char *data, size_t size)
{
    crc = ~crc;
    for (; size >= 8; data += 8, size -= 8) {
        uint64_t word = load_le64(data) ^ crc;
        crc = tables[7][word & 255] ^ tables[6][word >> 8 & 255] ^ tables[5][word >> 16 & 255]
            ^ tables[4][word >> 24 & 255] ^ tables[3][word >> 32 & 255]
            ^ tables[2][word >> 40 & 255] ^ tables[1][word >> 48 & 255] ^ tables[0][word >> 56];
    }
    for (; size > 0; data++, size--) {
        crc = crc >> 8 ^ tables[0][(crc ^ *data) & 255];
    }
    return ~crc;
}

static const struct crc32c_engine portable = {"portable", crc32c_portable};

static const struct crc32c_engine *choose(void)
{
#ifndef MERKQL_PORTABLE
    const struct crc32c_engine *engine = crc32c_x86_engine();
    if (engine == NULL) {
        engine = crc32c_arm_engine();
    }
    if (engine != NULL) {
        return engine;
    }
#endif
    return &portable;
}

static const struct crc32c_engine *chosen_engine(void)
{
    /* Threads that race here store the same pointer to constant data: no order is needed. */
    static _Atomic(const struct crc32c_engine *) chosen;
    const struct crc32c_engine *engine = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (engine == NULL) {
        engine = choose();
        atomic_store_explicit(&chosen, engine, memory_order_relaxed);
    }
    return engine;
}

uint32_t crc32c_fast(uint32_t crc, const unsigned char *data, size_t size)
{
    return chosen_engine()->update(crc, data, size);
}

const char *crc32c_backend(void)
{
    return chosen_engine()->name;
}
