#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Finds which of the Debian packages for building, testing and the demo are missing and installs
# those, as root or through sudo. Where nothing is missing it prints nothing and touches no
# network. One list serves every job: the demo's data set also lets the tests read real files.
set -eu

# program:package, for what may also come from elsewhere than Debian ...
programs='cc:gcc meson:meson ninja:ninja-build pkg-config:pkg-config'
# ... and packages without a program.
packages='libblis-dev check libjansson-dev zlib1g-dev libzip-dev dataset-fashion-mnist'

missing=
for pair in $programs; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
if command -v dpkg-query >/dev/null 2>&1; then
    for package in $packages; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
        [ "$status" = installed ] || missing="$missing $package"
    done
elif [ -n "$missing" ]; then
    # Not Debian: Meson itself tells which libraries it does not find.
    echo "Needed and not found:$missing (names of Debian's packages)." >&2
    echo "Also needed: $packages." >&2
    exit 1
fi
missing=${missing# }
[ -n "$missing" ] || exit 0

as_root=
refuse() {
    echo "Missing Debian packages: $missing" >&2
    echo "Install them as root, then run make again:" >&2
    echo "    apt-get update && apt-get install -y --no-install-recommends $missing" >&2
    exit 1
}
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || refuse
    if sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    elif [ -t 0 ]; then
        as_root=sudo # asks for the password
    else
        refuse
    fi
fi

apt() {
    # shellcheck disable=SC2086 # both are lists of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@"
}
# shellcheck disable=SC2086
install_missing() {
    apt install -y --no-install-recommends $missing
}

echo "Installing Debian packages: $missing"
# Fresh systems have no package lists, old ones stale lists: they are fetched only then.
# shellcheck disable=SC2086
if apt-get -q --simulate install $missing >/dev/null 2>&1 && install_missing; then
    exit 0
fi
echo "Fetching the package lists first"
if apt update && install_missing; then
    exit 0
fi
refuse
