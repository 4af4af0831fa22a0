/* CRC-32C with the crc32c instructions of ARMv8; empty on other targets. */
#include "crc32c_engine.h"

/* clang declares these instructions only where the whole build may use them, as on every Mac. */
#if defined(__GNUC__) && defined(__aarch64__) && (defined(__linux__) || defined(__APPLE__)) \
    && (!defined(__clang__) || defined(__ARM_FEATURE_CRC32))

#include <arm_acle.h>
#include <string.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif

#ifdef __clang__
#define TARGET
#else
#define TARGET __attribute__((target("+crc")))
#endif

TARGET static uint32_t update(uint32_t crc, const unsigned char *data, size_t size)
{
    crc = ~crc;
    for (; size >= 8; data += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, data, sizeof word);
        crc = __crc32cd(crc, word);
    }
    for (; size > 0; data++, size--) {
        crc = __crc32cb(crc, *data);
    }
    return ~crc;
}

const struct crc32c_engine *crc32c_arm_engine(void)
{
    static const struct crc32c_engine engine = {"armv8", update};
#ifdef __linux__
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0 ? &engine : NULL;
#else
    return &engine; /* every Mac with this architecture has them */
#endif
}

#else

const struct crc32c_engine *crc32c_arm_engine(void)
{
    return NULL;
}

#endif
