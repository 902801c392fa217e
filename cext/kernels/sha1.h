/* SHA-1 (FIPS 180-4) of exactly 60 bytes, the key and the GUID of an opening handshake. */
#ifndef FRAMEWIRE_SHA1_H
#define FRAMEWIRE_SHA1_H

#include <stdint.h>

#include "target.h"

/* block: the 60 bytes, 0x80 and three zeros, which leaves for a second block just the length. */
void framewire_sha1_plain(uint8_t digest[20], const uint8_t block[64]);

extern const uint32_t framewire_sha1_start[5];

/* The message schedule of that second block: of 15 zero words and 480, the number of bits. */
extern const uint32_t framewire_sha1_length[80];

#endif
