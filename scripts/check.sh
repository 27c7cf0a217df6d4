#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# check.sh BUILD_DIR...: builds and tests each folder, then prints one line with the sums over all
# of them. Exit status 0 only if every build and every test succeeded.
set -u
cd "$(dirname "$0")/.." || exit 1

# LeakSanitizer stops the threads of its process through ptrace, which some containers forbid.
leaks=1
probe=$(mktemp -d) || exit 1
trap 'rm -rf "$probe"' EXIT
echo 'int main(void) { return 0; }' > "$probe/probe.c"
if ! { "${CC:-cc}" -fsanitize=address "$probe/probe.c" -o "$probe/probe" &&
    ASAN_OPTIONS=detect_leaks=1 "$probe/probe"; } >/dev/null 2>&1; then
    leaks=0
    echo "Leak detection is off: this machine does not let a process trace itself."
fi
# Off: the frames that gcc 12 moves to the heap for that check are aligned to 32 bytes, where vectors
# of 64 need 64: the AVX-512 kernels would crash (vmovaps in mc_winograd_cotangent_avx512()).
frames=detect_stack_use_after_return=0
export ASAN_OPTIONS="detect_leaks=$leaks:strict_string_checks=1:$frames"
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

# Sanitized programs, or those on a busy machine, are a few times slower: both Check's limits for
# one test and Meson's for a program.
slower=4
export CK_TIMEOUT_MULTIPLIER=$slower
failed=0
for dir; do
    rm -f "$dir/meson-logs/testlog.json"
    meson compile -C "$dir" &&
        meson test -C "$dir" --no-rebuild --print-errorlogs --timeout-multiplier $slower || failed=1
done
python3 scripts/summary.py "$@" || failed=1
exit $failed
