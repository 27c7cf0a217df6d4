#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""align.py BUILD_DIR [DATA]: what alignment costs, two tables.

The assignment solver beside SciPy's linear_sum_assignment: least processor time of five runs each,
on random matrices and on the correlations of the hidden units of two MLPs trained for two epochs.

Matching two VGG-13 by activations, beside one forward pass of both over the same images, and beside
the way of the paper's code: per layer and batch of 128 the layers up to it run anew in both models,
and the correlations come from an n x n x (batch * height * width) product. One batch of that is
timed in PyTorch and multiplied by 91, as many as the paper's code takes.

All times are processor times of all threads, which other processes on the machine do not lengthen;
PyTorch's threads are told to sleep while they wait."""
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

BATCHES, BATCH = 91, 128
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
    print("| matrix | n | ours, ms | SciPy, ms | ratio |\n|---|---|---|---|---|")
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


def reference_batch(shape):
    """Seconds for one batch of the paper's code: every layer, its prefix run anew."""
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

    models, x = (network(), network()), torch.randn(BATCH, *shape)
    started = time.process_time()
    with torch.no_grad():
        for depth in range(len(VGG)):
            target, permuted = (centred(model, depth, x) for model in models)
            similarity = nn.functional.cosine_similarity(target[:, None], permuted[None], dim=-1)
            linear_sum_assignment(-similarity.numpy())
    return time.process_time() - started


def compare_matching(build, data):
    print("\n| images | matching, s | forward pass of both, s | ratio (min..max) |\n|---|---|---|---|")
    for images, repeats in ((10 * BATCH, 5), (BATCHES * BATCH, 1)):
        got = json.loads(run(build / "bench_align", "match", data, images, BATCH, repeats))
        ratios = [a / b for a, b in zip(got["match"], got["forward"])]
        ours = statistics.median(got["match"])
        print("| %d of %s | %.2f | %.2f | %.2f (%.2f..%.2f) |" % (
            got["images"], "x".join(map(str, got["shape"])), ours,
            statistics.median(got["forward"]), statistics.median(ratios), min(ratios),
            max(ratios)), flush=True)
    try:
        batch = reference_batch(got["shape"])
    except ImportError:
        sys.exit("PyTorch is missing (python3-torch): nothing to set beside it")
    scale = got["images"] / BATCH
    print("\nThe way of the paper's code: %.1f s for one batch of %d, %.0f s for %.0f (multiplied), "
          "%.0f times ours." % (batch, BATCH, scale * batch, scale, scale * batch / ours))


def main(build, data="fashion-mnist"):
    build = pathlib.Path(build) / "tests" / "bench"
    compare_solvers(build, data)
    compare_matching(build, data)


if __name__ == "__main__":
    main(*sys.argv[1:])
