/* SHA-1 in portable C, and the constants that all versions share. */
#include "sha1.h"

const uint32_t framewire_sha1_start[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};

/* clang-format off */
const uint32_t framewire_sha1_length[80] = {
    0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000,
    0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x000001E0,
    0x00000000, 0x00000000, 0x000003C0, 0x00000000, 0x00000000, 0x00000780, 0x00000000, 0x000003C0,
    0x00000F00, 0x00000000, 0x00000000, 0x00001E00, 0x00000000, 0x00000CC0, 0x00003C00, 0x00000440,
    0x00000000, 0x00007800, 0x00000F00, 0x00003300, 0x0000F000, 0x00000F00, 0x00000000, 0x0001EF00,
    0x00000000, 0x0000CC00, 0x0003C000, 0x00004380, 0x00000000, 0x00078F00, 0x0000FF00, 0x00032680,
    0x000F0000, 0x0000F000, 0x00003300, 0x001EFF00, 0x00000000, 0x000CB800, 0x003C0000, 0x00040B00,
    0x0000F000, 0x0078FF00, 0x000FF000, 0x00338700, 0x00F00000, 0x000FC300, 0x0000F000, 0x01EFBB00,
    0x00000000, 0x00CC0000, 0x03C0F000, 0x00438000, 0x00000000, 0x078F0000, 0x00FF0000, 0x03269E00,
    0x0F000000, 0x00F0F000, 0x00333C00, 0x1EFF8800, 0x00000000, 0x0CB88800, 0x3C00F000, 0x040A4A00,
};
/* clang-format on */

FRAMEWIRE_INLINE uint32_t rotate(uint32_t word, int bits) {
    return word << bits | word >> (32 - bits);
}

static void schedule(uint32_t w[80], const uint8_t block[64]) {
    for (int t = 0; t < 16; t++, block += 4)
        w[t] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 | block[3];
    for (int t = 16; t < 80; t++)
        w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
}

static void compress(uint32_t state[5], const uint32_t w[80]) {
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
#define ROUNDS(from, choice, constant)                                   \
    for (int t = from; t < (from) + 20; t++) {                           \
        uint32_t next = rotate(a, 5) + (choice) + e + (constant) + w[t]; \
        e = d, d = c, c = rotate(b, 30), b = a, a = next;                \
    }
    ROUNDS(0, (b & c) | (~b & d), 0x5A827999)
    ROUNDS(20, b ^ c ^ d, 0x6ED9EBA1)
    ROUNDS(40, (b & c) | (b & d) | (c & d), 0x8F1BBCDC)
    ROUNDS(60, b ^ c ^ d, 0xCA62C1D6)
#undef ROUNDS
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

void framewire_sha1_plain(uint8_t digest[20], const uint8_t block[64]) {
    uint32_t state[5], w[80];
    for (int i = 0; i < 5; i++)
        state[i] = framewire_sha1_start[i];
    schedule(w, block);
    compress(state, w);
    compress(state, framewire_sha1_length);
    for (int i = 0; i < 20; i++)
        digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}
