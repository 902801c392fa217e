/* SHA-1 (FIPS 180-4) of exactly 60 bytes: the key and the GUID of an opening handshake. */
#ifndef FRAMEWIRE_SHA1_H
#define FRAMEWIRE_SHA1_H

#include <stdint.h>

#include "target.h"

/* Hash the 60 bytes at the start of block, which must be followed by the padding 0x80 0 0 0. The
   second block of the padded message then holds only the length. */
void framewire_sha1_plain(uint8_t digest[20], const uint8_t block[64]);

/* The initial hash value. */
extern const uint32_t framewire_sha1_start[5];

/* The message schedule of the second block, which is constant: 15 zero words and 480, the number of
   bits. */
extern const uint32_t framewire_sha1_length[80];

#endif
