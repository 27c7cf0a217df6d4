#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
set -eu
usage() {
    cat <<END
arm64.sh [BUILD_DIR]

Cross-compiles the library and the unit tests of lib/core, lib/kernels and lib/nn for arm64 into
BUILD_DIR (default build-arm64) and runs them under qemu. Needs Debian's gcc-aarch64-linux-gnu and
qemu-user-static, and a network the first time: the arm64 libraries are downloaded through a
private apt configuration and unpacked into BUILD_DIR/sysroot; the system's packages stay as they
are. Without these it prints why it is skipped, exit status 77.
END
}
case ${1:-} in
--help) usage; exit 0 ;;
-*) usage >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."
build=${1:-build-arm64}
skip() {
    echo "arm64: skipped, $1"
    exit 77
}
for pair in aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu qemu-aarch64-static:qemu-user-static \
    meson:meson dpkg-deb:dpkg apt-get:apt; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || skip "${pair%%:*} is missing (package ${pair#*:})"
done
mkdir -p "$build"
build=$(cd "$build" && pwd)
sysroot=$build/sysroot
# shellcheck disable=SC1091 # the system's
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
packages='libc6 libc6-dev linux-libc-dev libgcc-s1 libgomp1 libblis4-pthread libblis-pthread-dev
    libjansson4 libjansson-dev zlib1g zlib1g-dev libzip4 libzip-dev libbz2-1.0 libssl3 check
    libsubunit0 libsubunit-dev'

# apt with lists, cache and architecture of its own.
private_apt() {
    apt-get -qq -o Dir::State="$build/apt/state" -o Dir::State::status="$build/apt/status" \
        -o Dir::Cache="$build/apt/cache" -o Dir::Etc::sourcelist="$build/apt/sources.list" \
        -o Dir::Etc::sourceparts=- -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
        -o APT::Sandbox::User= -o pkgCacheGen::Essential=none "$@"
}

fill_sysroot() {
    rm -rf "$sysroot" "$build/apt"
    mkdir -p "$sysroot" "$build/apt/state/lists/partial" "$build/apt/cache/archives/partial" \
        "$build/apt/debs"
    : > "$build/apt/status"
    echo "deb http://deb.debian.org/debian $release main" > "$build/apt/sources.list"
    private_apt update || return 1
    # shellcheck disable=SC2086 # a list of words
    (cd "$build/apt/debs" && private_apt download $packages) || return 1
    for deb in "$build"/apt/debs/*.deb; do
        dpkg-deb -x "$deb" "$sysroot"
    done
    # What Debian's alternatives would do.
    folder=$sysroot/usr/lib/aarch64-linux-gnu
    for name in libblis.so libblis.so.4; do
        ln -sf blis-pthread/libblis.so.4 "$folder/$name"
    done
    header=$(find "$sysroot/usr/include" -name blis.h | head -1)
    [ -z "$header" ] || ln -sf "$header" "$sysroot/usr/include/blis.h"
    echo "$packages" > "$sysroot/complete"
}
# `complete` holds the list that was unpacked: another one is unpacked anew.
[ "$(cat "$sysroot/complete" 2>/dev/null)" = "$packages" ] || fill_sysroot ||
    skip "no arm64 packages could be downloaded"

cat > "$build/cross.ini" <<END
[binaries]
c = 'aarch64-linux-gnu-gcc'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
pkg-config = 'pkg-config'
exe_wrapper = ['qemu-aarch64-static', '-L', '$sysroot']
[properties]
sys_root = '$sysroot'
pkg_config_libdir = '$sysroot/usr/lib/aarch64-linux-gnu/pkgconfig'
[built-in options]
c_args = ['--sysroot=$sysroot']
c_link_args = ['--sysroot=$sysroot', '-Wl,-rpath-link,$sysroot/lib/aarch64-linux-gnu']
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'armv8-a'
endian = 'little'
END
[ -e "$build/meson/build.ninja" ] || meson setup "$build/meson" --cross-file "$build/cross.ini"
programs=$(ninja -C "$build/meson" -t targets all | sed -n \
    's,^\(tests/unit/test_\(core\|kernels\|nn\)_[a-z0-9_]*\): c_LINKER.*,\1,p')
# shellcheck disable=SC2086
ninja -C "$build/meson" $programs
# Emulated programs are some twenty times slower; the fork server of Check works under qemu.
export MODECONN_SWEEP_CASES="${MODECONN_SWEEP_CASES:-24}" CK_TIMEOUT_MULTIPLIER=5
names=$(for program in $programs; do basename "$program" | sed 's/^test_//'; done)
# shellcheck disable=SC2086
meson test -C "$build/meson" --no-rebuild --timeout-multiplier 20 --print-errorlogs $names
