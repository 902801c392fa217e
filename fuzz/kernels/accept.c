/* libFuzzer: the accept key (RFC 6455 4.2.2): validation of the key, and SHA-1 instructions against plain C.

   Input: the key. */
#include <stdlib.h>
#include <string.h>

#include "accept.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 24)
        return 0;
    /* Exact allocations, so that accesses past the end are detected. */
    char *key = malloc(24), *plain = calloc(1, 28), *best = calloc(1, 28);
    memcpy(key, data, 24);
    int wanted = key[22] == '=' && key[23] == '=';
    for (int i = 0; i < 22; i++)
        wanted &= key[i] != 0 && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", key[i]) != NULL;
    if (framewire_accept_plain(plain, key) != wanted || framewire_best_accept()(best, key) != wanted ||
        (wanted && memcmp(plain, best, 28)))
        abort();
    free(key);
    free(plain);
    free(best);
    return 0;
}
