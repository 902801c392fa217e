/* Sec-WebSocket-Accept in portable C: base64(SHA-1(Sec-WebSocket-Key + GUID)) (RFC 6455 4.2.2). */
#include "accept.h"

#include <string.h>

#include "cpu.h"
#include "sha1.h"

/* Whether the key consists of 22 base64 characters and "==". */
static int is_key(const char key[24]) {
    /* One bit for each byte value: "+", "/" and digits in the second word, then the letters. */
    static const uint32_t base64[8] = {0, 0x03FF8800, 0x07FFFFFE, 0x07FFFFFE};
    uint32_t valid = 1;
    for (int i = 0; i < 22; i++) {
        uint8_t c = (uint8_t)key[i];
        valid &= base64[c / 32] >> c % 32;
    }
    return valid && key[22] == '=' && key[23] == '=';
}

/* Six groups of three bytes and one of two, which is padded with "=". */
static void encode_base64(char text[28], const uint8_t bytes[20]) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t padded[21] = {0};
    memcpy(padded, bytes, 20);
    for (const uint8_t *group = padded; group < padded + 21; group += 3, text += 4) {
        uint32_t bits = (uint32_t)group[0] << 16 | (uint32_t)group[1] << 8 | group[2];
        text[0] = alphabet[bits >> 18];
        text[1] = alphabet[bits >> 12 & 63];
        text[2] = alphabet[bits >> 6 & 63];
        text[3] = alphabet[bits & 63];
    }
    text[-1] = '=';
}

int framewire_accept_plain(char accept[28], const char key[24]) {
    static const char guid_and_padding[40] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11\x80";
    uint8_t block[64], digest[20];
    if (!is_key(key))
        return 0;
    memcpy(block, key, 24);
    memcpy(block + 24, guid_and_padding, 40);
    framewire_sha1_plain(digest, block);
    encode_base64(accept, digest);
    return 1;
}

framewire_accept *framewire_best_accept(void) {
#ifdef FRAMEWIRE_X86
    if (framewire_cpu() & FRAMEWIRE_CPU_SHA)
        return framewire_accept_shani;
#endif
    return framewire_accept_plain;
}
