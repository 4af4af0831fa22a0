/* What an instruction set provides for CRC-32C; private to the crc32c*.c files. */
#ifndef MERKQL_CRC32C_ENGINE_H
#define MERKQL_CRC32C_ENGINE_H

#include <stddef.h>
#include <stdint.h>

struct crc32c_engine {
    const char *name;
    uint32_t (*update)(uint32_t crc, const unsigned char *data, size_t size);
};

/* The engine of an instruction set, or NULL where this CPU (or this build) lacks it. */
const struct crc32c_engine *crc32c_x86_engine(void);
const struct crc32c_engine *crc32c_arm_engine(void);

#endif
