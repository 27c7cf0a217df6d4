#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# fuzz.sh BUILD_DIR SECONDS: runs every fuzz target of the build for that long, on a corpus that
# starts from small valid files and is kept in BUILD_DIR/corpus. A finding ends it and leaves its
# input in BUILD_DIR.
set -eu
build=$1
seconds=$2
found=0
mkdir -p "$build/corpus"
"$build/tests/fuzz/seeds" "$build/corpus"
for target in "$build"/tests/fuzz/fuzz_*; do
    { [ -f "$target" ] && [ -x "$target" ]; } || continue
    name=$(basename "$target")
    found=1
    echo "$name: $seconds s"
    "$target" -max_total_time="$seconds" -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="$build/$name-" "$build/corpus/$name"
done
[ $found = 1 ] || { echo "no fuzz target in $build/tests/fuzz" >&2; exit 1; }
