/* libFuzzer: the frame header (RFC 6455 5.2), parsed from an exact allocation, and written again. */
#include <stdlib.h>

#include "header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition) {
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    framewire_header header, checked;
    int read = framewire_read_header(&header, data, size);
    for (int masked = 0; masked < 2; masked++) {
        for (int short_limit = 0; short_limit < 2; short_limit++) {
            uint64_t limit = short_limit ? 200 : UINT64_MAX;
            int found = framewire_check_frame(&checked, data, size, masked, limit);
            int right = read && header.size <= size && header.minimal && header.masked == masked &&
                        header.length <= limit;
            require((found != FRAMEWIRE_FRAME_REFUSED) == right);
            if (!right)
                continue;
            require((found == FRAMEWIRE_FRAME_WHOLE) == (header.length <= size - header.size));
            require(checked.length == header.length && checked.key == header.key && checked.size == header.size &&
                    checked.first == header.first && checked.masked == header.masked && checked.minimal);
        }
    }
    if (size > 0)
        require(framewire_is_message(data[0]) == (data[0] == 0x81 || data[0] == 0x82));
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
