/* main() for the targets in kernels/ without libFuzzer: runs the target on each file named in the arguments. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL)
            return 2;
        uint8_t *data = malloc(1 << 16);
        size_t size = fread(data, 1, 1 << 16, file);
        fclose(file);
        data = realloc(data, size + !size); /* a read past the end is detected */
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    printf("%d\n", argc - 1);
    return 0;
}
