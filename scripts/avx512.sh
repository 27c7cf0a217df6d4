#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
set -eu
usage() {
    cat <<END
avx512.sh BUILD_DIR [TEST...]

Runs unit tests of BUILD_DIR by AVX-512 on a processor that lacks it: boots Debian's kernel in
Bochs, a machine for each test and as many at once as there are cores, with a processor that has it.
TEST is a name as meson knows it, kernels_product say; without any, those of the kernels and a sweep
of random graphs, which take hours: the emulation is several hundred times slower (kernels_depthwise
takes a minute, nn_conv a night). Needs Debian's packages bochs, bochs-term, bochsbios, vgabios,
xorriso, isolinux, syslinux-common, busybox-static and cpio, and a network the first time, for the
kernel, which is kept in BUILD_DIR/avx512; the system's own packages stay as they are. Without
these, or where the processor has AVX-512 (and \`make check\` tests it), it prints why it is
skipped, exit status 77.

  MODECONN_SWEEP_SEED, MODECONN_SWEEP_CASES   as in tests/unit/nn/test_sweep.c (1, 24)
END
}
one=no
case ${1:-} in
--help) usage; exit 0 ;;
--one) one=yes; shift ;; # from below: a single test, everything is there
'' | -*) usage >&2; exit 2 ;;
esac
skip() {
    echo "avx512: skipped, $1"
    exit 77
}
build=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- nn_sweep kernels_product kernels_winograd kernels_table kernels_depthwise \
    nn_smooth kernels_softmax
work=$build/avx512
kernel=$work/vmlinuz
bios=/usr/share/bochs/BIOS-bochs-latest vga=/usr/share/vgabios/vgabios.bin
isolinux=/usr/lib/ISOLINUX/isolinux.bin ldlinux=/usr/lib/syslinux/modules/bios/ldlinux.c32

[ "$(uname -m)" = x86_64 ] || skip "this is no x86-64 machine"
! grep -qw avx512f /proc/cpuinfo || skip "this processor has AVX-512: make check tests it"
for pair in bochs:bochs xorriso:xorriso cpio:cpio script:bsdutils dpkg-deb:dpkg apt-get:apt; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || skip "${pair%%:*} is missing (package ${pair#*:})"
done
for pair in "$bios:bochsbios" "$vga:vgabios" "$isolinux:isolinux" "$ldlinux:syslinux-common" \
    /bin/busybox:busybox-static; do
    [ -e "${pair%%:*}" ] || skip "${pair%%:*} is missing (package ${pair#*:})"
done

fetch_kernel() {
    rm -rf "$work/deb"
    mkdir -p "$work/deb"
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p' | head -1)
    (cd "$work/deb" && apt-get -qq -o APT::Sandbox::User= download "$package") || return 1
    dpkg-deb -x "$work"/deb/*.deb "$work/deb/files"
    mv "$work"/deb/files/boot/vmlinuz-* "$kernel"
    rm -rf "$work/deb"
}
[ -e "$kernel" ] || fetch_kernel || skip "no kernel could be downloaded"

# A folder with a bootable CD: the kernel, and one program with the libraries it is linked with.
make_machine() {
    root=$2/root program=$build/tests/unit/test_$1
    rm -rf "$2"
    mkdir -p "$root/proc" "$root/dev" "$root/tmp" "$root/bin" "$2/iso/isolinux"
    cp /bin/busybox "$root/bin/"
    cp "$program" "$root/test"
    ldd "$program" | sed -n 's,^[^/]*\(/[^ ]*\).*,\1,p' | while read -r library; do
        mkdir -p "$root$(dirname "$library")"
        cp -L "$library" "$root$library"
    done
    cat > "$root/init" <<END
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
echo
/bin/busybox grep -qw avx512vl /proc/cpuinfo && echo "@ has avx512"
export CK_FORK=no MODECONN_TEST_ISA=avx512
export MODECONN_SWEEP_SEED=${MODECONN_SWEEP_SEED:-1} MODECONN_SWEEP_CASES=${MODECONN_SWEEP_CASES:-24}
/test 2>&1
echo "@ status \$?"
/bin/busybox sleep 2
/bin/busybox poweroff -f
END
    chmod +x "$root/init"
    (cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) > "$2/iso/initrd.gz"
    cp "$kernel" "$2/iso/vmlinuz"
    cp "$isolinux" "$ldlinux" "$2/iso/isolinux/"
    # This Bochs and this kernel disagree about the size of compacted states: no XSAVES, no XSAVEC.
    cat > "$2/iso/isolinux/isolinux.cfg" <<END
DEFAULT test
LABEL test
 KERNEL /vmlinuz
 INITRD /initrd.gz
 APPEND console=ttyS0 quiet tsc=unstable lpj=100000 mitigations=off clearcpuid=xsaves,xsavec
END
    xorriso -as mkisofs -quiet -o "$2/test.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
        -no-emul-boot -boot-load-size 4 -boot-info-table "$2/iso" 2>/dev/null
    cat > "$2/bochsrc" <<END
config_interface: textconfig
display_library: term
cpu: model=corei7_skylake_x, ips=100000000, ignore_bad_msrs=1
megs: 1024
romimage: file=$bios
vgaromimage: file=$vga
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path="$2/test.iso", status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev="$2/serial.txt"
log: "$2/bochs.log"
panic: action=fatal
error: action=ignore
END
    echo continue > "$2/debugger"
}

# Bochs wants a terminal, and a word to its debugger before it starts and when the machine is off;
# until then it hears the latter as the machine's keyboard.
run_test() {
    folder=$work/$1
    make_machine "$1" "$folder"
    while sleep 10 && echo quit; do :; done |
        TERM=xterm script -qec "bochs -q -f '$folder/bochsrc' -rc '$folder/debugger'" /dev/null \
            > "$folder/screen.txt" 2>&1 || :
    tr -d '\r' < "$folder/serial.txt" > "$folder/output.txt" || :
    if grep -q '^@ has avx512' "$folder/output.txt" && grep -q '^@ status 0' "$folder/output.txt"; then
        echo "avx512: $1: $(sed -n 's/^100%: //p' "$folder/output.txt")"
    else
        echo "avx512: $1 failed; the end of $folder/output.txt:"
        tail -n 20 "$folder/output.txt"
        return 1
    fi
}

if [ "$one" = yes ]; then
    run_test "$1"
    exit
fi
for name in "$@"; do
    [ -x "$build/tests/unit/test_$name" ] || {
        echo "avx512.sh: no test $name in $build" >&2
        exit 2
    }
done
if printf '%s\n' "$@" | xargs -n 1 -P "$(nproc)" "$0" --one "$build"; then
    echo "avx512: $# programs passed"
else
    echo "avx512: failed"
    exit 1
fi
