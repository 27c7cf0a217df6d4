#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""assignment.py BUILD_DIR: the assignment solver beside SciPy's linear_sum_assignment, least
processor time of five runs each, on random matrices and on correlations of random features."""
import json
import pathlib
import subprocess
import sys
import time

try:
    import numpy
    from scipy.optimize import linear_sum_assignment
except ImportError:
    sys.exit("SciPy is missing; install it first: apt-get install -y python3-scipy")


def matrices(n):
    rng = numpy.random.default_rng(n)
    yield "random", rng.random((n, n))
    features = numpy.maximum(rng.standard_normal((4 * n, n // 8)) @ rng.standard_normal((n // 8, n)),
                             0)
    other = numpy.maximum(features[:, rng.permutation(n)] + 2 * rng.standard_normal((4 * n, n)), 0)
    yield "correlation", numpy.corrcoef(features.T, other.T)[:n, n:]


def main(build):
    program = pathlib.Path(build) / "tests" / "bench" / "bench_assignment"
    print("%-12s %5s %10s %10s %7s" % ("matrix", "n", "ours, s", "SciPy, s", "ratio"))
    for n in (512, 1024, 2048):
        for name, matrix in matrices(n):
            matrix = numpy.ascontiguousarray(matrix)
            answer = subprocess.run([program, str(n)], input=matrix.tobytes(), check=True,
                                    stdout=subprocess.PIPE)
            ours = json.loads(answer.stdout)
            theirs = 1e300
            for _ in range(5):
                started = time.process_time()
                rows, columns = linear_sum_assignment(matrix, maximize=True)
                theirs = min(theirs, time.process_time() - started)
            best = matrix[rows, columns].sum()
            if abs(best - ours["sum"]) > 1e-9 * n:
                raise SystemExit("the sums differ: %r and %r" % (ours["sum"], best))
            print("%-12s %5d %10.4f %10.4f %7.2f" % (name, n, ours["seconds"], theirs,
                                                     theirs / ours["seconds"]))


if __name__ == "__main__":
    main(sys.argv[1])
