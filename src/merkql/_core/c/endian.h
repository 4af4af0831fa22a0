/* Loads and stores of fixed byte order at any alignment; each compiles to an instruction or two. */
#ifndef MERKQL_ENDIAN_H
#define MERKQL_ENDIAN_H

#include <stdint.h>

static inline uint32_t load_be32(const unsigned char *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static inline uint64_t load_le64(const unsigned char *from)
{
    return (uint64_t)from[7] << 56 | (uint64_t)from[6] << 48 | (uint64_t)from[5] << 40
        | (uint64_t)from[4] << 32 | (uint64_t)from[3] << 24 | (uint64_t)from[2] << 16
        | (uint64_t)from[1] << 8 | from[0];
}

static inline void store_be32(unsigned char *to, uint32_t value)
{
    to[0] = (unsigned char)(value >> 24);
    to[1] = (unsigned char)(value >> 16);
    to[2] = (unsigned char)(value >> 8);
    to[3] = (unsigned char)value;
}

static inline void store_be64(unsigned char *to, uint64_t value)
{
    store_be32(to, (uint32_t)(value >> 32));
    store_be32(to + 4, (uint32_t)value);
}

#endif
