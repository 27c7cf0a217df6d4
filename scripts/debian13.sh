#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
set -eu
usage() {
    cat <<END
debian13.sh [ROOT]

Builds the library and runs its unit and golden tests in a Debian 13 (trixie) system, which has
BLIS 1.x where Debian 12 has 0.9. The system is made by debootstrap in ROOT (default
build-debian13/root) and kept there for the next time. Needs root and a network the first time;
without these, or without debootstrap, it prints why it is skipped, exit status 77.
END
}
case ${1:-} in
--help) usage; exit 0 ;;
-*) usage >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."
root=${1:-build-debian13/root}
skip() {
    echo "debian13: skipped, $1"
    exit 77
}
[ "$(id -u)" = 0 ] || skip "it needs root for chroot"
command -v debootstrap >/dev/null 2>&1 || skip "debootstrap is missing (package debootstrap)"
needs=gcc,libc6-dev,meson,ninja-build,pkg-config,libblis-dev,check,libjansson-dev,zlib1g-dev,libzip-dev,python3
if [ ! -e "$root/complete" ]; then
    rm -rf "$root"
    mkdir -p "$root"
    # debootstrap does not resolve alternatives of dependencies, apt in the new system does.
    debootstrap --variant=minbase trixie "$root" http://deb.debian.org/debian >"$root.log" 2>&1 ||
        skip "debootstrap failed, see $root.log"
fi
# `complete` holds the list that was installed: a longer one is installed anew.
if [ "$(cat "$root/complete" 2>/dev/null)" != "$needs" ]; then
    chroot "$root" sh -c "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install \
        -y --no-install-recommends $(echo $needs | tr , ' ')" >>"$root.log" 2>&1 ||
        skip "the build's packages could not be installed, see $root.log"
    echo "$needs" > "$root/complete"
fi
root=$(cd "$root" && pwd)
trap 'umount "$root/proc" 2>/dev/null || :' EXIT
mount -t proc proc "$root/proc" 2>/dev/null || echo "debian13: /proc cannot be mounted"
rm -rf "$root/src"
mkdir "$root/src"
git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - | tar -xf - -C "$root/src"
chroot "$root" sh -ec '
    cd /src
    [ -e /build/build.ninja ] || meson setup /build
    nice ninja -C /build
    nice meson test -C /build --no-rebuild --print-errorlogs --suite unit --suite golden
    /build/tools/modeconn info --build'
