#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# test_setup.sh SOURCE_ROOT: scripts/setup.sh on made-up machines. Every program that it asks is a
# stand-in in a folder that is the whole PATH; apt-get writes down how it was called.
set -eu
setup=$1/scripts/setup.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bin=$work/bin
calls=$work/calls
real_sh=$(command -v sh)
real_env=$(command -v env)

stand_in() { # NAME BODY
    printf '#!%s\n%s\n' "$real_sh" "$2" > "$bin/$1"
    chmod +x "$bin/$1"
}

# machine UID: everything installed, apt-get works, no sudo.
machine() {
    rm -rf "$bin" "$calls"
    mkdir "$bin"
    : > "$calls"
    for program in cc meson ninja pkg-config; do
        stand_in $program ':'
    done
    ln -s "$real_env" "$bin/env"
    stand_in id "echo $1"
    stand_in dpkg-query "printf installed"
    stand_in apt-get "echo \"apt-get \$*\" >> $calls"
}

# run WANTED_STATUS: the script's output is in $work/out and $work/err.
run() {
    status=0
    PATH=$bin "$real_sh" "$setup" > "$work/out" 2> "$work/err" < /dev/null || status=$?
    [ $status = "$1" ] || fail "status $status, expected $1"
}

fail() {
    echo "$case: $1" >&2
    cat "$work/out" "$work/err" "$calls" >&2
    exit 1
}

says() { grep -q -- "$2" "$work/$1" || fail "no '$2' in $1"; }
called() { grep -q -- "$1" "$calls" || fail "not called: $1"; }
not_called() { if grep -q -- "$1" "$calls"; then fail "called: $1"; fi; }

case='nothing missing'
machine 0
run 0
[ -z "$(cat "$work/out" "$work/err" "$calls")" ] || fail 'not silent'

case='as root'
machine 0
rm "$bin/meson"
stand_in dpkg-query 'case "$*" in *libblis-dev*) exit 1 ;; *) printf installed ;; esac'
run 0
says out '^Installing Debian packages: meson libblis-dev$'
called 'apt-get -q install -y --no-install-recommends meson libblis-dev$'
not_called ' update'

case='removed, its settings kept'
machine 0
stand_in dpkg-query 'case "$*" in *check*) printf config-files ;; *) printf installed ;; esac'
run 0
called 'install -y --no-install-recommends check$'

case='no package lists yet'
machine 0
rm "$bin/ninja"
stand_in apt-get "echo \"apt-get \$*\" >> $calls
case \"\$*\" in *update*) : > $work/lists ;; *) [ -e $work/lists ] ;; esac"
run 0
called 'apt-get -q update'
called 'apt-get -q install -y --no-install-recommends ninja-build$'

case='no network'
machine 0
rm "$bin/ninja"
stand_in apt-get 'exit 100'
run 1
says err 'apt-get install -y --no-install-recommends ninja-build$'

case='neither root nor sudo'
machine 1000
rm "$bin/cc" "$bin/pkg-config"
run 1
says err '    apt-get update && apt-get install -y --no-install-recommends gcc pkg-config$'
[ ! -s "$calls" ] || fail 'apt-get was called'

case='sudo without a password'
machine 1000
rm "$bin/meson"
stand_in sudo "echo \"sudo \$*\" >> $calls; shift; \"\$@\""
ln -s "$(command -v true)" "$bin/true"
run 0
called '^sudo -n env DEBIAN_FRONTEND=noninteractive apt-get -q install -y .*meson$'

case='sudo with a password and nobody to type it'
machine 1000
rm "$bin/meson"
stand_in sudo 'exit 1'
run 1
says err 'apt-get install -y --no-install-recommends meson$'
[ ! -s "$calls" ] || fail 'apt-get was called'

case='another system, programs missing'
machine 0
rm "$bin/dpkg-query" "$bin/meson"
run 1
says err 'Needed and not found: meson'

case='another system, programs there'
machine 0
rm "$bin/dpkg-query"
run 0
[ ! -s "$work/out" ] || fail 'not silent'
