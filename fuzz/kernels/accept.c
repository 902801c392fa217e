/* libFuzzer: the accept key (RFC 6455 4.2.2); SHA-1 of the processor against SHA-1 in plain C. */
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "kernels.h"
#include "sha1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition) {
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 24)
        return 0;
    char *key = malloc(24), *accept = malloc(28);
    memcpy(key, data, 24);
    int wanted = key[22] == '=' && key[23] == '=';
    for (int i = 0; i < 22; i++)
        wanted &= key[i] != 0 && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", key[i]) != NULL;
    require(framewire_accept(accept, key) == wanted);
    free(key);
    free(accept);
#ifdef FRAMEWIRE_X86
    if (size >= 60 && framewire_cpu() & FRAMEWIRE_CPU_SHA) {
        uint8_t block[64] = {0}, plain[20], wide[20];
        memcpy(block, data, 60);
        block[60] = 0x80;
        framewire_sha1_plain(plain, block);
        framewire_sha1_shani(wide, block);
        require(!memcmp(plain, wide, 20));
    }
#endif
    return 0;
}
