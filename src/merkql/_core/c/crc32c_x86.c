/* CRC-32C with the crc32 instruction of SSE 4.2; empty on other targets.
 *
 * The instruction takes a word a cycle but gives its result after three: one chain would leave two
 * thirds of it idle, so three stretches of the data are read at a time. Joining their results is
 * multiplying by powers of x, modulo the polynomial.
 */
#include "crc32c_engine.h"

#if defined(__GNUC__) && defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#define TARGET __attribute__((target("sse4.2,pclmul")))
#define INLINE static inline __attribute__((always_inline, target("sse4.2,pclmul")))

/* Three stretches of `size` bytes are read at once. The factors carry a CRC over one and two times
 * `size` bytes of zeros: x^(8 * bytes - 33) modulo the polynomial, bits reversed. The 33 makes up
 * for the 32 zero bits the crc32 instruction adds and the one bit a reversed product lacks. */
struct stretch {
    size_t size;
    uint32_t over_one, over_two;
};

static const struct stretch stretches[] = {
    {1024, 0x170076fa, 0xa51b6135},
    {256, 0xb9e02b86, 0xdd7e3b0c},
    {64, 0x9e4addf8, 0x0d3b6092},
};

#define STRETCH_COUNT (sizeof stretches / sizeof stretches[0])

INLINE uint64_t load_word(const unsigned char *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

INLINE uint64_t multiply(uint64_t crc, uint32_t factor)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc),
                                           _mm_cvtsi32_si128((int)factor), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

/* The CRC of three stretches in a row. */
INLINE uint64_t update_three(uint64_t first, const unsigned char *data,
                             const struct stretch *stretch)
{
    uint64_t second = 0, third = 0;
    for (size_t position = 0; position < stretch->size; position += 8) {
        const unsigned char *word = data + position;
        first = _mm_crc32_u64(first, load_word(word));
        second = _mm_crc32_u64(second, load_word(word + stretch->size));
        third = _mm_crc32_u64(third, load_word(word + 2 * stretch->size));
    }
    first = multiply(first, stretch->over_two) ^ multiply(second, stretch->over_one);
    return _mm_crc32_u64(0, first) ^ third;
}

TARGET static uint32_t update(uint32_t crc, const unsigned char *data, size_t size)
{
    uint64_t state = (uint32_t)~crc;
    for (size_t index = 0; index < STRETCH_COUNT; index++) {
        const struct stretch *stretch = &stretches[index];
        for (; size >= 3 * stretch->size; size -= 3 * stretch->size) {
            state = update_three(state, data, stretch);
            data += 3 * stretch->size;
        }
    }
    for (; size >= 8; data += 8, size -= 8) {
        state = _mm_crc32_u64(state, load_word(data));
    }
    for (; size > 0; data++, size--) {
        state = _mm_crc32_u8((uint32_t)state, *data);
    }
    return ~(uint32_t)state;
}

const struct crc32c_engine *crc32c_x86_engine(void)
{
    static const struct crc32c_engine engine = {"sse4.2", update};
    unsigned int eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
        return NULL;
    }
    return (ecx & bit_SSE4_2) != 0 && (ecx & bit_PCLMUL) != 0 ? &engine : NULL;
}

#else

const struct crc32c_engine *crc32c_x86_engine(void)
{
    return NULL;
}

#endif
