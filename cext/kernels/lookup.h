/* UTF-8 validation by table lookup (J. Keiser and D. Lemire, "Validating UTF-8 In Less Than One
   Instruction Per Byte").

   Three nibbles of two adjacent bytes determine every error in them. Each table maps one nibble
   to the set of errors that it allows; the errors in all three sets have occurred. TWICE is an
   error only conditionally: a second continuation byte is valid as the third or fourth byte of a
   code point. The kernel derives these positions from the bytes two and three before and flips
   the bit there, so that a missing continuation byte is an error too. */
#ifndef FRAMEWIRE_LOOKUP_H
#define FRAMEWIRE_LOOKUP_H

#include <stdint.h>

enum {
    UNFINISHED = 1,  /* a lead byte, then no continuation byte */
    STRAY = 2,       /* ASCII, then a continuation byte */
    OVERLONG_2 = 4,  /* C0 or C1 */
    OVERLONG_3 = 8,  /* E0, then below A0 */
    SURROGATE = 16,  /* ED, then A0 or above */
    OVERLONG_4 = 32, /* F0, then below 90; also F5 to FF, then below 90 */
    TOO_LARGE = 64,  /* F4, then 90 or above; also F5 to FF, then 90 or above */
    TWICE = 128,     /* two continuation bytes */
    /* Errors that do not depend on the low nibble of the first byte. */
    ANY_LOW = UNFINISHED | STRAY | TWICE
};

/* The tables have one line for each range of bytes. */
/* clang-format off */

/* Errors by the high nibble of the first byte. */
static const uint8_t framewire_first_high[16] = {
    STRAY, STRAY, STRAY, STRAY, STRAY, STRAY, STRAY, STRAY, /* 00 to 7F */
    TWICE, TWICE, TWICE, TWICE,                             /* 80 to BF */
    UNFINISHED | OVERLONG_2,                                /* C0 to CF */
    UNFINISHED,                                             /* D0 to DF */
    UNFINISHED | OVERLONG_3 | SURROGATE,                    /* E0 to EF */
    UNFINISHED | OVERLONG_4 | TOO_LARGE,                    /* F0 to FF */
};

/* Errors by the low nibble of the first byte. */
static const uint8_t framewire_first_low[16] = {
    ANY_LOW | OVERLONG_2 | OVERLONG_3 | OVERLONG_4,                         /* 0 */
    ANY_LOW | OVERLONG_2,                                                   /* 1 */
    ANY_LOW, ANY_LOW,                                                       /* 2, 3 */
    ANY_LOW | TOO_LARGE,                                                    /* 4 */
    ANY_LOW | TOO_LARGE | OVERLONG_4, ANY_LOW | TOO_LARGE | OVERLONG_4,     /* 5, 6 */
    ANY_LOW | TOO_LARGE | OVERLONG_4, ANY_LOW | TOO_LARGE | OVERLONG_4,     /* 7, 8 */
    ANY_LOW | TOO_LARGE | OVERLONG_4, ANY_LOW | TOO_LARGE | OVERLONG_4,     /* 9, A */
    ANY_LOW | TOO_LARGE | OVERLONG_4, ANY_LOW | TOO_LARGE | OVERLONG_4,     /* B, C */
    ANY_LOW | TOO_LARGE | OVERLONG_4 | SURROGATE,                           /* D */
    ANY_LOW | TOO_LARGE | OVERLONG_4, ANY_LOW | TOO_LARGE | OVERLONG_4,     /* E, F */
};

/* Errors by the high nibble of the second byte. */
static const uint8_t framewire_second_high[16] = {
    UNFINISHED, UNFINISHED, UNFINISHED, UNFINISHED, UNFINISHED, UNFINISHED, UNFINISHED, UNFINISHED, /* 00 to 7F */
    STRAY | TWICE | OVERLONG_2 | OVERLONG_3 | OVERLONG_4,                                           /* 80 to 8F */
    STRAY | TWICE | OVERLONG_2 | OVERLONG_3 | TOO_LARGE,                                            /* 90 to 9F */
    STRAY | TWICE | OVERLONG_2 | SURROGATE | TOO_LARGE,                                             /* A0 to AF */
    STRAY | TWICE | OVERLONG_2 | SURROGATE | TOO_LARGE,                                             /* B0 to BF */
    UNFINISHED, UNFINISHED, UNFINISHED, UNFINISHED,                                                 /* C0 to FF */
};
/* clang-format on */

#endif
