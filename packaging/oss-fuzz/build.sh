#!/bin/bash -eu
# Build the fuzzers in the image of OSS-Fuzz: each C kernel by itself, and both twins in one process
# with an instrumented extension. The seeds are those of `make fuzz`.
seeds() {
    zip -q -j "$OUT/$1_seed_corpus.zip" "fuzz/seeds/$2/"*
}

objects=()
for source in cext/kernels/*.c; do
    objects+=("$WORK/$(basename "$source" .c).o")
    $CC $CFLAGS -Icext/kernels -c "$source" -o "${objects[-1]}"
done
for source in fuzz/kernels/*.c; do
    name=$(basename "$source" .c)
    $CC $CFLAGS -Icext/kernels -c "$source" -o "$WORK/fuzz_$name.o"
    $CXX $CXXFLAGS "$WORK/fuzz_$name.o" "${objects[@]}" $LIB_FUZZING_ENGINE -o "$OUT/kernel_$name"
    seeds "kernel_$name" "$name"
done

FRAMEWIRE_EXTENSIONS=1 pip3 install .
for source in fuzz/{stream,deflate,functions,utf8,handshake}.py; do
    compile_python_fuzzer "$source" --paths fuzz --paths tests/support \
        --collect-submodules framewire._fast --collect-submodules framewire._pure
    seeds "$(basename "$source" .py)" "$(basename "$source" .py)"
done
