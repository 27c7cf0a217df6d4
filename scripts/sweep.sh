#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
set -eu
usage() {
    cat <<END
sweep.sh BUILD_DIR [SEEDS [CASES [FIRST]]]

Runs tests/unit/nn/test_sweep.c over SEEDS seeds (default 20) from FIRST on (default 100) with
CASES random graphs each (default 600): every instruction set of this machine against the double
twin, the same bits for 1, 2, 3 and 8 threads. Goes through all seeds; exit status 1 if one failed.
A failure names its seed and case: MODECONN_SWEEP_SEED and MODECONN_SWEEP_CASES repeat it.
END
}
case ${1:-} in
--help) usage; exit 0 ;;
'' | -*) usage >&2; exit 2 ;;
esac
build=$1 seeds=${2:-20} cases=${3:-600} first=${4:-100}
failed=0
seed=$first
while [ "$seed" -lt $((first + seeds)) ]; do
    MODECONN_SWEEP_SEED=$seed MODECONN_SWEEP_CASES=$cases CK_VERBOSITY=minimal \
        "$build/tests/unit/test_nn_sweep" || failed=$((failed + 1))
    seed=$((seed + 1))
done
echo "sweep: $seeds seeds of $cases graphs, $failed failed"
[ "$failed" = 0 ]
