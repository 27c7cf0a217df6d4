#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes tests/golden/data/band.expected.safetensors: where 200 training steps may lead.

    /usr/bin/python3 tests/golden/make_band.py        (Debian's python3-torch; about two minutes)

A quarter-width VGG-13 learns ten classes of 28x28 grey pictures for 200 steps of SGD (batch 32,
momentum 0.9, weight decay 1e-4). Rounding differences grow from step to step, so that after some
dozens no two programs agree on digits; they agree on a distribution. It is sampled by eleven runs
of PyTorch in float32, one thread: one from the given weights, ten from weights of which each was
moved up or down by one unit in the last place, or left, at random. A twelfth run in float64 is kept
beside them.

`low` and `high` hold each step's least and largest loss of the ten moved runs, as they came. The
test (test_band.c) allows what an exchangeable eleventh run does:

- With w = high - low, the largest over the steps within REACH of a step, the loss must be in
  [low - w, high + w]. For ten draws of a normal law low and high lie 1.54 standard deviations off
  the mean and w is 3.08 of them, so this allows 4.6 deviations, which 200 steps exceed once in
  some thousand runs; an error of substance leaves it within a few steps.
- Why REACH: between the first step and the one where it saturates the spread grows exponentially.
  An engine whose rounding is R times as coarse (Winograd's products cost it some 1e-6, an ulp is
  6e-8 of a weight) goes through the same growth, log R / rate steps earlier. REACH covers that, and
  the script prints the growth that it saw.
- FLOOR, relative: in the first steps, where the band is narrower than one forward pass in float32
  may be off.

The script holds the unmoved float32 run and the float64 run to the same rule and prints how often
each leaves the bare band [low, high]. Pictures, labels and weights are functions of the library's
counter-based generator (lib/core/random.c), stated here anew; the test makes the same ones, and
compares `sums` of them first.
"""
import sys

import numpy as np
import torch
import torch.nn.functional as F

from make_goldens import write
from models import Vgg13

STEPS, BATCH, CLASSES, SIDE, WIDTH = 200, 32, 10, 28, 0.25
RUNS, REACH, FLOOR = 10, 12, 1e-5
RATE, MOMENTUM, DECAY = 0.05, 0.9, 1e-4
SEED, PATTERN, NOISE, LABEL, WEIGHT = 41, 1010, 1011, 1012, 1013


def philox(seed, stream, index, draw):
    """random_u64(seed, stream, index, draw) of lib/core/random.c for arrays of index and draw."""
    index, draw = np.broadcast_arrays(np.uint64(index), np.uint64(draw))
    low = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    c = [index & low, index >> shift, draw & low, np.full_like(index, stream)]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> shift) ^ c[1] ^ np.uint64(k[0]), p1 & low,
             (p0 >> shift) ^ c[3] ^ np.uint64(k[1]), p0 & low]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c[0] | c[1] << shift


def uniform(seed, stream, index, draw=0):
    return (philox(seed, stream, index, draw) >> np.uint64(11)).astype(np.float64) * 2.0 ** -53


def pictures():
    """Images [n][1][28][28] and labels [n]. A class is a pattern of 7x7 blocks of 4x4 pixels, each
    -40 or 40 around 128; a fifth of the samples has another class's label; noise is uniform over
    -100 to 99. All in integers but the last step, x = level / 127.5 - 1."""
    n = STEPS * BATCH
    label = (philox(SEED, LABEL, np.arange(n), 0) % np.uint64(CLASSES)).astype(np.int64)
    blocks = 80 * (philox(SEED, PATTERN, np.arange(CLASSES * 49), 0) & np.uint64(1)).astype(
        np.int64) - 40
    pattern = blocks.reshape(CLASSES, 7, 7).repeat(4, axis=1).repeat(4, axis=2)
    noise = (philox(SEED, NOISE, np.arange(n)[:, None], np.arange(SIDE * SIDE)[None, :])
             % np.uint64(200)).astype(np.int64).reshape(n, SIDE, SIDE) - 100
    level = np.clip(128 + pattern[label] + noise, 0, 255)
    other = philox(SEED, LABEL, np.arange(n), 1)
    wrong = other % np.uint64(5) == 0
    label[wrong] = ((other[wrong] >> np.uint64(32)) % np.uint64(CLASSES)).astype(np.int64)
    return (level / 127.5 - 1.0).astype(np.float32)[:, None], label


def weights(model):
    """U(+-1/sqrt(fan_in)) for convolutions and the linear layer, whose bias too; norms as they
    start. Index: the parameter's place among all, in state-dict order."""
    at, out = 0, {}
    for name, value in model.named_parameters():
        index = np.arange(at, at + value.numel())
        at += value.numel()
        if value.dim() == 1 and "linear" not in name:
            out[name] = value.detach().numpy().copy()
            continue
        fan_in = model.linear.in_features if value.dim() == 1 else value[0].numel()
        drawn = (2.0 * uniform(SEED, WEIGHT, index) - 1.0) / np.sqrt(np.float64(fan_in))
        out[name] = drawn.astype(np.float32).reshape(tuple(value.shape))
    return out


def moved(values, rng):
    """Each weight one unit in the last place up, down, or as it is."""
    out = {}
    for name, value in values.items():
        way = rng.randint(-1, 2, value.shape)
        up, down = np.nextafter(value, np.float32(np.inf)), np.nextafter(value, np.float32(-np.inf))
        out[name] = np.where(way > 0, up, np.where(way < 0, down, value))
    return out


def train(values, x, y, dtype):
    model = Vgg13(1, CLASSES, WIDTH).to(dtype).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.tensor(values[name]))
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM,
                                weight_decay=DECAY)
    losses = []
    for k in range(STEPS):
        part = slice(k * BATCH, (k + 1) * BATCH)
        loss = F.cross_entropy(model(torch.tensor(x[part]).to(dtype)), torch.tensor(y[part]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return np.array(losses)


def widest(width):
    """The largest width within REACH steps."""
    return np.array([width[max(0, k - REACH):k + REACH + 1].max() for k in range(STEPS)])


def report(name, run, low, high):
    w = widest(high - low) + FLOOR * high
    share = np.maximum((low - run) / w, (run - high) / w)
    print("%-10s outside [low, high] at %3d of %d steps, farthest by %.2f w" %
          (name, int(((run < low) | (run > high)).sum()), STEPS, share.max()))
    assert share.max() < 1, name


def main():
    torch.set_num_threads(1)
    x, y = pictures()
    start = weights(Vgg13(1, CLASSES, WIDTH))
    rng = np.random.RandomState(7)
    runs = []
    for run in range(RUNS):
        runs.append(train(moved(start, rng), x, y, torch.float32))
        print("run %d: first %.7f, last ten %.4f" % (run, runs[-1][0], runs[-1][-10:].mean()))
        sys.stdout.flush()
    runs = np.array(runs)
    low, high = runs.min(axis=0), runs.max(axis=0)
    width = (high - low) / high
    print("relative width at steps 0, 10, 20, ...:", " ".join("%.0e" % v for v in width[::10]))
    exact = train(start, x, y, torch.float64)
    report("unmoved", train(start, x, y, torch.float32), low, high)
    report("float64", exact, low, high)
    for run in range(RUNS):
        rest = np.delete(runs, run, axis=0)
        report("without %d" % run, runs[run], rest.min(axis=0), rest.max(axis=0))
    sums = [(x.astype(np.float64) * (1 + np.arange(x.size).reshape(x.shape) % 7)).sum(), y.sum()]
    sums.append(sum(np.abs(v.astype(np.float64)).sum() for v in start.values()))
    write("band.expected", {"low": low, "high": high, "float64": exact, "sums": np.array(sums),
                            "rule": np.array([REACH, FLOOR]),
                            "sgd": np.array([RATE, MOMENTUM, DECAY])},
          "200 steps of a quarter-width VGG-13, ten runs one ulp apart, seed %d" % SEED)


if __name__ == "__main__":
    main()
