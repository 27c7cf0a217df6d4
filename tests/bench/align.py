#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""align.py BUILD_DIR [DATA]: what alignment costs, two tables.

The assignment solver beside SciPy's linear_sum_assignment: least processor time of five runs each,
on random matrices and on the correlations of the hidden units of two MLPs trained for two epochs.

Matching two VGG-13 by activations, beside one forward pass of both over the same images, and beside
the way of the paper's code: per layer and batch of 128 the layers up to it run anew in both models,
and the correlations come from an n x n x (batch * height * width) product. An eighth of a batch of
that is timed in PyTorch and multiplied: all of it is linear in the images, and whole batches take
minutes. Ours is timed on ten batches, the paper's code takes 91.

Times are processor times of all threads, which other processes on the machine do not lengthen;
PyTorch's threads are told to sleep while they wait. Seconds by the clock, which is what counts on an
idle machine and on no other, stand beside them for the paper's way."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

try:
    import numpy
    from scipy.optimize import linear_sum_assignment
except ImportError:
    sys.exit("SciPy is missing; install it first: apt-get install -y python3-scipy")

BATCH, TIMED, OURS, PAPER = 128, 16, 10, 91  # images; images; batches; batches
VGG = [(64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2), (512, 1),
       (512, 1)]


def run(program, *arguments, **options):
    return subprocess.run([program] + [str(x) for x in arguments], check=True,
                          stdout=subprocess.PIPE, **options).stdout


def matrices(build, data):
    for n in (512, 1024, 2048):
        yield "random", n, numpy.random.default_rng(n).random((n, n))
    with tempfile.TemporaryDirectory() as folder:
        prefix = os.path.join(folder, "correlations")
        run(build / "bench_align", "correlations", data, 4000, prefix)
        for n in (512, 1024, 2048):
            yield "correlations", n, numpy.fromfile("%s-%d" % (prefix, n)).reshape(n, n)


def compare_solvers(build, data):
    print("\n| matrix | n | ours, ms | SciPy, ms | ratio |\n|---|---|---|---|---|")
    for name, n, matrix in matrices(build, data):
        ours = json.loads(run(build / "bench_assignment", n, input=matrix.tobytes()))
        theirs = 1e300
        for _ in range(5):
            started = time.process_time()
            rows, columns = linear_sum_assignment(matrix, maximize=True)
            theirs = min(theirs, time.process_time() - started)
        best = matrix[rows, columns].sum()
        if abs(best - ours["sum"]) > 1e-9 * n:
            raise SystemExit("the sums differ: %r and %r" % (ours["sum"], best))
        print("| %s | %d | %.1f | %.1f | %.2f |" % (name, n, 1e3 * ours["seconds"], 1e3 * theirs,
                                                    theirs / ours["seconds"]), flush=True)


def reference_seconds(shape):
    """Processor's and by the clock, of the paper's code on TIMED images: every layer, its prefix run
    anew."""
    os.environ["OMP_WAIT_POLICY"] = "passive"
    import torch
    from torch import nn
    torch.manual_seed(0)

    def network():
        layers, before = [], shape[0]
        for width, stride in VGG:
            layers.append(nn.Sequential(nn.Conv2d(before, width, 3, stride, 1, bias=False),
                                        nn.BatchNorm2d(width), nn.ReLU()))
            before = width
        return nn.Sequential(*layers).eval()

    def centred(model, depth, x):
        z = model[:depth + 1](x)
        z = z - z.mean(dim=(0, 2, 3), keepdim=True)
        return z.permute(1, 2, 3, 0).reshape(z.shape[1], -1)

    models, x = (network(), network()), torch.randn(TIMED, *shape)
    started = time.process_time(), time.perf_counter()
    with torch.no_grad():
        for depth in range(len(VGG)):
            target, permuted = (centred(model, depth, x) for model in models)
            similarity = nn.functional.cosine_similarity(target[:, None], permuted[None], dim=-1)
            linear_sum_assignment(-similarity.numpy())
    return time.process_time() - started[0], time.perf_counter() - started[1]


def compare_matching(build, data):
    got = json.loads(run(build / "bench_align", "match", data, OURS * BATCH, BATCH, 5))
    ratios = [a / b for a, b in zip(got["match"], got["forward"])]
    ours = statistics.median(got["match"])
    print("\n| images | matching, s | forward pass of both, s | ratio (min..max) |\n|---|---|---|---|")
    print("| %d of %s | %.2f | %.2f | %.2f (%.2f..%.2f) |" % (
        got["images"], "x".join(map(str, got["shape"])), ours, statistics.median(got["forward"]),
        statistics.median(ratios), min(ratios), max(ratios)), flush=True)
    try:
        theirs = reference_seconds(got["shape"])
    except ImportError:
        sys.exit("PyTorch is missing (python3-torch): nothing to set beside it")
    print("\nThe way of the paper's code, %d images timed, multiplied to %d batches of %d:\n\n"
          "| seconds | ours | the paper's code | ratio |\n|---|---|---|---|" % (TIMED, PAPER, BATCH))
    mine = (ours, statistics.median(got["wall"]))
    for name, a, b in zip(("processor", "by the clock"), mine, theirs):
        a, b = a * PAPER / OURS, b * PAPER * BATCH / TIMED
        print("| %s | %.1f | %.0f | %.0f |" % (name, a, b, b / a), flush=True)


def main(build, data="fashion-mnist"):
    build = pathlib.Path(build) / "tests" / "bench"
    compare_matching(build, data)
    compare_solvers(build, data)


if __name__ == "__main__":
    main(*sys.argv[1:])
