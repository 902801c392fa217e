/* libFuzzer: masking with every instruction set against a simple loop, at any alignment, copying and in place.

   Input: 4 bytes of key, 1 byte of alignments, the payload. */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bit of the result of mask_or and or_all that is clear if all bytes are ASCII. */
enum { HIGH = 0x80 };

/* A buffer that ends with its allocation, so that accesses past the end are detected. */
static uint8_t *aligned_at(size_t offset, size_t size, uint8_t **all) {
    *all = malloc(offset + size + !(offset + size));
    return *all + offset;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 5)
        return 0;
    uint32_t key;
    memcpy(&key, data, 4);
    size_t from = data[4] & 15, to = data[4] >> 4;
    const uint8_t *payload = data + 5;
    size -= 5;

    uint8_t *all[3], *src = aligned_at(from, size, &all[0]), *dst = aligned_at(to, size, &all[1]);
    uint8_t *wanted = aligned_at(0, size, &all[2]), any = 0, any_plain = 0;
    for (size_t i = 0; i < size; i++) {
        wanted[i] = payload[i] ^ data[i % 4];
        any |= wanted[i];
        any_plain |= payload[i];
    }
    const framewire_kernels *const *tables;
    size_t count = framewire_available(&tables);
    for (size_t t = 0; t < count; t++) {
        memcpy(src, payload, size);
        if ((tables[t]->or_all(src, size) ^ any_plain) & HIGH)
            abort();
        tables[t]->mask(dst, src, size, key);
        if (memcmp(dst, wanted, size))
            abort();
        memset(dst, 0, size);
        if ((tables[t]->mask_or(dst, src, size, key) ^ any) & HIGH || memcmp(dst, wanted, size))
            abort();
        tables[t]->mask(src, src, size, key);
        if (memcmp(src, wanted, size))
            abort();
        memcpy(src, payload, size);
        if ((tables[t]->mask_or(src, src, size, key) ^ any) & HIGH || memcmp(src, wanted, size))
            abort();
    }
    free(all[0]);
    free(all[1]);
    free(all[2]);
    return 0;
}
