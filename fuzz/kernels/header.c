/* libFuzzer: the frame header (RFC 6455 5.2), read from exactly the bytes there are, and written again. */
#include <stdlib.h>

#include "header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition) {
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    framewire_header header, plain[2];
    int read = framewire_read_header(&header, data, size);
    for (int masked = 0; masked < 2; masked++) {
        int taken = framewire_read_plain(&plain[masked], data, (ptrdiff_t)size, masked);
        int wanted = read && header.size <= size && header.minimal && header.masked == masked &&
                     (header.first == 0x81 || header.first == 0x82);
        require(taken == wanted);
        if (taken)
            require(plain[masked].length == header.length && plain[masked].key == header.key &&
                    plain[masked].size == header.size && plain[masked].first == header.first);
    }
    if (!read)
        return 0;
    require(header.size >= 2 && header.size <= 14 && header.first == data[0]);
    if (!header.minimal || header.size > size)
        return 0;
    uint8_t written[14];
    size_t length = framewire_write_header(written, header.first, header.length,
                                           header.masked ? data + header.size - 4 : NULL);
    require(length == header.size && !memcmp(written, data, length));
    for (size_t count = 0; count < 9; count++) {
        uint32_t key = framewire_advance_key(header.key, count);
        for (size_t i = 0; i < 4; i++)
            require(((uint8_t *)&key)[i] == ((uint8_t *)&header.key)[(count + i) % 4]);
    }
    return 0;
}
