#!/bin/bash -eu
# Build the fuzz targets of the C kernels as ClusterFuzzLite and OSS-Fuzz expect them: one program
# each in $OUT, with its seeds. They set CC, CFLAGS, CXX, CXXFLAGS, LIB_FUZZING_ENGINE and OUT, and
# run it in the root of the repository.
objects=$(mktemp -d)
for source in cext/kernels/*.c fuzz/kernels/*.c; do
    $CC $CFLAGS -Icext/kernels -c "$source" -o "$objects/$(echo "$source" | tr / _).o"
done
for source in fuzz/kernels/*.c; do
    name=$(basename "$source" .c)
    $CXX $CXXFLAGS "$objects/fuzz_kernels_$name.c.o" "$objects"/cext_*.o $LIB_FUZZING_ENGINE -o "$OUT/$name"
    zip --quiet --junk-paths "$OUT/${name}_seed_corpus.zip" fuzz/seeds/"$name"/*
done
