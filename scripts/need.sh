#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# need.sh PROGRAM PACKAGE: a job that few need says what to install instead of installing it.
command -v "$1" >/dev/null 2>&1 && exit 0
echo "$1 is missing; install it first: apt-get install -y $2" >&2
exit 1
