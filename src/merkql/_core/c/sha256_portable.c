/* SHA-256 in plain C: FIPS 180-4, section 6.2.2, one message after the other. */
#include "endian.h"
#include "sha256.h"
#include "sha256_engine.h"

const uint32_t sha256_initial_state[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

/* Aligned, because the vector engines load four at a time. */
_Alignas(16) const uint32_t sha256_round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t rotate_right(uint32_t word, int bits)
{
    return word >> bits | word << (32 - bits);
}

static inline uint32_t schedule(const uint32_t *words, int round)
{
    uint32_t early = words[(round + 1) & 15], late = words[(round + 14) & 15];
    uint32_t sigma0 = rotate_right(early, 7) ^ rotate_right(early, 18) ^ early >> 3;
    uint32_t sigma1 = rotate_right(late, 17) ^ rotate_right(late, 19) ^ late >> 10;
    return words[round & 15] + sigma0 + words[(round + 9) & 15] + sigma1;
}

static void compress_block(uint32_t *state, const unsigned char *block)
{
    uint32_t words[16]; /* the last sixteen of the message schedule */
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    /* Unrolled, the eight variables stay where they are instead of moving up every round. */
#pragma GCC unroll 64
    for (int round = 0; round < 64; round++) {
        words[round & 15] = round < 16 ? load_be32(block + 4 * round) : schedule(words, round);
        uint32_t sum1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
        uint32_t sum0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
        uint32_t first = h + sum1 + ((e & f) ^ (~e & g)) + sha256_round_constants[round]
            + words[round & 15];
        uint32_t second = sum0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + first;
        d = c, c = b, b = a, a = first + second;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

static void compress(uint32_t (*states)[8], const unsigned char *const *data, size_t lanes,
                     size_t blocks)
{
    for (size_t lane = 0; lane < lanes; lane++) {
        for (size_t block = 0; block < blocks; block++) {
            compress_block(states[lane], data[lane] + SHA256_BLOCK_SIZE * block);
        }
    }
}

static const struct sha256_engine engine = {.name = "portable", .compress = compress};

const struct sha256_engine *sha256_portable(void)
{
    return &engine;
}
