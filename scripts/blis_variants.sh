#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
set -eu
usage() {
    cat <<END
blis_variants.sh BUILD_DIR

Runs the tests that multiply matrices through BLIS, those of products and of alignment, with each of
Debian's builds of it behind the library: openmp, pthread and serial, with BLIS_NUM_THREADS unset and 4. The packages are downloaded and
unpacked into a temporary folder, and found through LD_LIBRARY_PATH; nothing is installed and no
alternative is changed. A build that cannot be had is skipped, by name. Exit status 1 if a test
failed, 77 if every build was skipped.
END
}
case ${1:-} in
--help) usage; exit 0 ;;
'' | -*) usage >&2; exit 2 ;;
esac
build=$(cd "$1" && pwd)
tests='unit/test_kernels_gemm unit/test_kernels_blis_host unit/test_align_align
    golden/test_golden_align'
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export CK_DEFAULT_TIMEOUT=240 CK_VERBOSITY=minimal
failed=0 ran=0

# Prints where libblis.so.4 of package $1 lies once unpacked; fails where it cannot be had.
unpack() {
    mkdir -p "$scratch/$1/root"
    (cd "$scratch/$1" && apt-get -qq download "$1" >apt.log 2>&1 && dpkg-deb -x ./*.deb root) ||
        return 1
    find "$scratch/$1/root" -name libblis.so.4 -printf '%h\n' | head -1 | grep .
}

# One test program with folder $1 in front of the loader's; $2 says what it is.
run_one() {
    program=$build/tests/$3
    [ -x "$program" ] || { echo "$2: $3 is not built"; failed=$((failed + 1)); return; }
    if ! LD_LIBRARY_PATH=$1 ldd "$program" | grep -q "$1/libblis.so.4"; then
        echo "$2: $3 does not load $1/libblis.so.4"
        failed=$((failed + 1))
    elif LD_LIBRARY_PATH=$1 "$program" >"$scratch/log" 2>&1; then
        ran=$((ran + 1))
    else
        echo "$2: $3 failed"
        cat "$scratch/log"
        failed=$((failed + 1))
    fi
}

for variant in openmp pthread serial; do
    if ! folder=$(unpack "libblis4-$variant"); then
        echo "blis $variant: skipped, apt-get download libblis4-$variant failed"
        continue
    fi
    for threads in '' 4; do
        if [ -n "$threads" ]; then
            export BLIS_NUM_THREADS=$threads
        else
            unset BLIS_NUM_THREADS
        fi
        before=$failed
        for test in $tests; do
            run_one "$folder" "blis $variant, BLIS_NUM_THREADS=$threads" "$test"
        done
        [ "$failed" != "$before" ] || echo "blis $variant, BLIS_NUM_THREADS=${threads:-unset}: passed"
    done
done
echo "blis variants: $ran runs passed, $failed failed"
[ "$failed" = 0 ] || exit 1
[ "$ran" != 0 ] || exit 77
