# SPDX-License-Identifier: BSD-3-Clause
#
# The front door. Meson does the work (meson.build lists the sources); this file installs what is
# missing, names the usual jobs and calls it.
#
#   SETUP=no                 leave the set-up out (packagers, machines without Debian packages)
#   prefix=DIR DESTDIR=DIR   where `make install` puts things
#   MESON_FLAGS=...          more options for `meson setup` of a build folder that is made anew

SETUP = yes
prefix = /usr/local
DESTDIR =
MESON_FLAGS =
DEMO_FLAGS =
BENCH_FLAGS =
ALIGN_DATA = fashion-mnist
FUZZ_SECONDS = 60
SWEEP_SEEDS = 20
AVX512_TESTS =

# Meson asks dpkg-architecture for Debian's library folder; where that is not installed it takes
# lib64, which neither the loader nor pkg-config looks into.
MULTIARCH = $(shell [ -e /etc/debian_version ] && $(CC) -print-multiarch 2>/dev/null)
LIBDIR = $(if $(MULTIARCH),-Dlibdir=lib/$(MULTIARCH))

BUILD = build
SANITIZED = build-asan
FUZZ = build-fuzz

.PHONY: all build demo check bench bench-align install sanitize fuzz sweep blis-variants arm64 \
    avx512 debian13 abi abi-baseline docs format clean help setup
.NOTPARALLEL:

## build          the library, the program and the examples, into build/ (also: all)
all build: setup $(BUILD)/build.ninja
	meson compile -C $(BUILD)

## demo           the paper's main experiment on Fashion-MNIST; report in demo-results/
demo: build
	$(BUILD)/tools/modeconn reproduce demo --out demo-results $(DEMO_FLAGS)

## check          every test, plain and under AddressSanitizer and UBSan
check: setup $(BUILD)/build.ninja $(SANITIZED)/build.ninja
	scripts/check.sh $(BUILD) $(SANITIZED)

## sanitize       the sanitized half of check
sanitize: setup $(SANITIZED)/build.ninja
	scripts/check.sh $(SANITIZED)

## bench          the engine beside PyTorch, a table; BENCH_FLAGS=--quick takes three minutes
bench: build
	meson compile -C $(BUILD) bench_programs
	python3 tests/bench/bench.py $(BUILD) $(BENCH_FLAGS)

## bench-align    alignment beside SciPy and PyTorch (python3-scipy, python3-torch); minutes
bench-align: build
	meson compile -C $(BUILD) bench_assignment bench_align
	/usr/bin/python3 tests/bench/align.py $(BUILD) $(ALIGN_DATA)

## install        library, headers, program and modeconn.pc under $(DESTDIR)$(prefix)
install: build
	meson configure $(BUILD) -Dprefix='$(prefix)'
	meson install -C $(BUILD) --quiet $(if $(DESTDIR),--destdir '$(abspath $(DESTDIR))')
	@if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

## fuzz           each reader of foreign files for FUZZ_SECONDS (needs clang)
fuzz: setup $(FUZZ)/build.ninja
	meson compile -C $(FUZZ)
	scripts/fuzz.sh $(FUZZ) $(FUZZ_SECONDS)

## sweep          random graphs against the double twin, SWEEP_SEEDS seeds; minutes
sweep: build
	scripts/sweep.sh $(BUILD) $(SWEEP_SEEDS)

## blis-variants  the tests of products and alignment on Debian's three builds of BLIS
blis-variants: build
	scripts/blis_variants.sh $(BUILD) || [ $$? = 77 ]

## arm64          cross-compiles and runs the engine's unit tests under qemu, or says what is missing
arm64:
	scripts/arm64.sh || [ $$? = 77 ]

## avx512         runs the kernels' tests in an emulated processor that has AVX-512; hours
avx512: build
	scripts/avx512.sh $(BUILD) $(AVX512_TESTS) || [ $$? = 77 ]

## debian13       builds and tests on Debian 13 with its BLIS 1.x, in a chroot (root only)
debian13:
	scripts/debian13.sh || [ $$? = 77 ]

## abi            compares the headers' ABI with the committed baseline (needs abigail-tools)
abi:
	python3 tests/abi/abi.py check . $(CC)

## abi-baseline   writes that baseline anew (docs/abi.md says when)
abi-baseline:
	python3 tests/abi/abi.py write . $(CC)

## docs           API reference into build/docs/html (needs doxygen)
docs:
	@scripts/need.sh doxygen doxygen
	mkdir -p $(BUILD)/docs
	OUTPUT_DIRECTORY=$(BUILD)/docs doxygen docs/Doxyfile
	@echo "open $(BUILD)/docs/html/index.html"

## format         clang-format over every C file, with the committed style
format:
	@scripts/need.sh clang-format clang-format
	find include lib tools examples tests -name '*.[ch]' -exec clang-format -i {} +

## clean          removes the build folders (results of the demo stay)
clean:
	rm -rf $(BUILD) $(SANITIZED) $(FUZZ)

## help           this list
help:
	@sed -n 's/^## /  /p' Makefile

setup:
	@if [ '$(SETUP)' != no ]; then scripts/setup.sh; fi

# A failed set-up leaves no build.ninja, so it is tried anew next time.
$(BUILD)/build.ninja:
	meson setup $(BUILD) -Dprefix='$(prefix)' $(LIBDIR) $(MESON_FLAGS)

$(SANITIZED)/build.ninja:
	meson setup $(SANITIZED) -Dbuildtype=debugoptimized -Db_sanitize=address,undefined \
	    -Dc_args=-fno-sanitize-recover=undefined $(MESON_FLAGS)

$(FUZZ)/build.ninja:
	@scripts/need.sh clang clang
	CC=clang meson setup $(FUZZ) -Dbuildtype=debugoptimized -Dfuzz=true \
	    -Db_sanitize=address,undefined $(MESON_FLAGS)
