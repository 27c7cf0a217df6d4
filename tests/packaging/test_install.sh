#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# test_install.sh SOURCE_ROOT BUILD_ROOT VERSION: installs the build into an empty folder, compiles
# every example against that tree through pkg-config, runs one, and links one statically.
set -eu
source=$1
build=$2
version=$3
cc=${CC:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "$1" >&2
    exit 1
}

meson install -C "$build" --no-rebuild --quiet --destdir "$work/tree"
(cd "$work/tree" && find . -type f -o -type l) | sort > "$work/installed"
cat "$work/installed"

pc=$(find "$work/tree" -name modeconn.pc)
[ -n "$pc" ] || fail 'no modeconn.pc'
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
# The prefix as it is inside the folder that stands for the root of the system.
prefix=$work/tree$(pkg-config --variable=prefix modeconn)
modeconn_config() { pkg-config --define-variable=prefix="$prefix" "$@" modeconn; }
libdir=$(modeconn_config --variable=libdir)

[ "$(modeconn_config --modversion)" = "$version" ] || fail 'wrong version in modeconn.pc'
for header in "$source"/include/modeconn/*.h; do
    cmp "$header" "$(modeconn_config --variable=includedir)/modeconn/$(basename "$header")"
done
for file in libmodeconn.so libmodeconn.so.0 libmodeconn.a; do
    [ -e "$libdir/$file" ] || fail "no $file"
done
if grep -q -F "$source" "$pc"; then
    fail 'modeconn.pc names the source tree'
fi

# The installed program has lost the build's library path.
[ "$(LD_LIBRARY_PATH=$libdir "$prefix/bin/modeconn" --version)" = "modeconn $version" ] ||
    fail 'the installed program does not run'

for example in "$source"/examples/*.c; do
    # shellcheck disable=SC2046
    "$cc" -std=c99 -Wall -Werror $(modeconn_config --cflags) "$example" \
        -o "$work/$(basename "$example" .c)" $(modeconn_config --libs)
done
LD_LIBRARY_PATH=$libdir "$source/examples/run-test.sh" measure_barrier "$work/train_and_save" \
    "$work/measure_barrier"

# --static gives what the archive needs; a folder without the shared library makes the linker
# take the archive.
mkdir "$work/static"
cp "$libdir/libmodeconn.a" "$work/static"
# shellcheck disable=SC2046
"$cc" -std=c99 $(modeconn_config --cflags) "$source/examples/train_and_save.c" \
    -o "$work/static/train_and_save" -L "$work/static" \
    $(modeconn_config --static --libs | sed "s|-L$libdir||")
if readelf -d "$work/static/train_and_save" | grep -q libmodeconn; then
    fail 'not linked statically'
fi
"$source/examples/run-test.sh" train_and_save "$work/static/train_and_save" \
    "$work/static/train_and_save"
