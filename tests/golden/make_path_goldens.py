#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the goldens of paths: see make_goldens.py, whose style and conditions these share.

    /usr/bin/python3 tests/golden/make_path_goldens.py

path.expected: control points fitted between curve_first and curve_second for 2 epochs on the
training images of curve.expected, by autograd through the curve (or by the steps of the paper's
code), in the orders and at the t that the library draws; and loss and accuracy along a cubic Bezier
curve and a chain of three legs over those two models, statistics reset at every point.
"""
import copy
import json
import os
import struct

import numpy as np
import torch
import torch.nn.functional as F

from make_finetune_goldens import permutation, random_u64
from make_goldens import OUT, both, f32, write
from models import Vgg13, functional_call, pooled_statistics, set_statistics

STREAM_T, STREAM_SHUFFLE = 50, 51
RATE, DECAY, BATCH = 0.05, 5e-3, 16
# Name: family, control points, mode, what decays, seed (one where no ReLU hangs on rounding).
FITS = {
    "curve": ("bezier", 3, "curve", "curve", 3),
    "reference": ("bezier", 3, "reference", "points", 1),
    "cubic": ("bezier", 4, "curve", "points", 1),
    "chain": ("chain", 4, "curve", "curve", 3),
}


def read(name):
    """Tensors of one of our files by name."""
    with open(os.path.join(OUT, name + ".safetensors"), "rb") as file:
        raw = file.read()
    size = struct.unpack("<Q", raw[:8])[0]
    header, out = json.loads(raw[8:8 + size]), {}
    kinds = {"F32": np.float32, "F64": np.float64}
    for key, entry in header.items():
        if key != "__metadata__":
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            out[key] = np.frombuffer(raw[begin:end], kinds[entry["dtype"]]).reshape(entry["shape"])
    return out


def weights(family, count, t):
    if family == "bezier":
        d = count - 1
        return [float(np.prod([(d - k) / (k + 1) for k in range(i)])) * t ** i * (1 - t) ** (d - i)
                for i in range(count)]
    place = t * (count - 1)
    return [max(0.0, 1 - abs(place - i)) for i in range(count)]


def line(first, second, share, dtype):
    """A point on the line, rounded to float32 as the library stores it."""
    return {key: torch.tensor(f32((1 - share) * np.float64(first[key])
                                  + share * np.float64(second[key])), dtype=dtype)
            for key in first}


def fit(net, keys, ends, x, y, how, dtype):
    """Mean loss of each epoch, and the control points between the ends."""
    family, count, mode, decay, draw = how
    points = [{key: value for key, value in line(*ends, i / (count - 1), dtype).items()
               if key in keys} for i in range(count)]
    inner = [value.requires_grad_() for point in points[1:-1] for value in point.values()]
    optimiser = torch.optim.SGD(inner, lr=RATE, momentum=0.9,
                                weight_decay=DECAY if decay == "points" else 0)
    losses, step = [], 0
    for epoch in range(2):
        order, summed = permutation(draw, epoch, len(y), STREAM_SHUFFLE), 0.0
        for at in range(0, len(y), BATCH):
            part = order[at:at + BATCH]
            t = (random_u64(draw, STREAM_T, step, 0) >> 11) * 2.0 ** -53
            w = weights(family, count, t)
            mixed = {key: sum(a * point[key] for a, point in zip(w, points)) for key in keys}
            if mode == "reference":
                mixed = {key: value.detach().requires_grad_() for key, value in mixed.items()}
            loss = F.cross_entropy(functional_call(net, mixed, x[part]), y[part])
            whole = loss
            if decay == "curve":
                whole = loss + 0.5 * DECAY * sum((value ** 2).sum() for value in mixed.values())
            optimiser.zero_grad()
            whole.backward()
            if mode == "reference":
                for key in keys:
                    points[1][key].grad = mixed[key].grad
                optimiser.param_groups[0]["lr"] = RATE * 2 * t * (1 - t)
            optimiser.step()
            summed += loss.item() * len(part)
            step += 1
        losses.append(summed / len(y))
    return np.array(losses), points[1:-1]


def measure(net, ends, family, x, test, dtype):
    """Loss at t = i/6 along A, B, A, B on the test images, statistics pooled over 20 + 20 + 5."""
    losses, hits = [], []
    for i in range(7):
        w = weights(family, 4, i / 6)
        work = copy.deepcopy(net)
        work.load_state_dict({key: torch.tensor(
            (w[0] + w[2]) * np.float64(ends[0][key]) + (w[1] + w[3]) * np.float64(ends[1][key]),
            dtype=dtype) for key in ends[0]}, strict=False)
        set_statistics(work, pooled_statistics(work, [x[a:a + 20] for a in (0, 20, 40)]))
        work.eval()
        with torch.no_grad():
            logits = work(torch.tensor(test[0], dtype=dtype))
            target = torch.tensor(test[1])
            losses.append(F.cross_entropy(logits, target).item())
            hits.append((logits.argmax(1) == target).double().mean().item())
    return np.array(losses), np.array(hits)


def path_case():
    """NAME.loss of each epoch and NAME.K.BLOCK (output channels 0, 3, 6 ...) of each control point
    K between the ends; along.FAMILY.loss and .accuracy of a path."""
    ends = [read("curve_first"), read("curve_second")]
    data = read("curve.expected")
    keys = [key for key, _ in Vgg13(1, 10, 3 / 64).named_parameters()]
    y = torch.tensor(data["train.labels"].astype(np.int64))
    test = data["test.images"], data["test.labels"].astype(np.int64)

    def fitted(name):
        def run(dtype):
            x = torch.tensor(data["train.images"].copy(), dtype=dtype)
            net = Vgg13(1, 10, 3 / 64).to(dtype).train()
            losses, points = fit(net, keys, ends, x, y, FITS[name], dtype)
            out = {("loss", name + ".loss"): losses}
            for k, point in enumerate(points):
                for key in keys:
                    out["grad", "%s.%d.%s" % (name, k + 1, key)] = f32(point[key].detach())[::3]
            return out
        return run

    def measured(dtype):
        out = {}
        x = torch.tensor(data["train.images"].copy(), dtype=dtype)
        for family in ("bezier", "chain"):
            net = Vgg13(1, 10, 3 / 64).to(dtype)
            loss, accuracy = measure(net, ends, family, x, test, dtype)
            key = "along.%s." % family
            out["curve", key + "loss"], out["curve", key + "accuracy"] = loss, accuracy
        return out

    result = both("curves", measured)
    for name in FITS:
        result.update(both(name, fitted(name)))
    for name in FITS:
        print("  ", name, np.round(result[name + ".loss"], 3))
    print("   bezier", np.round(result["along.bezier.loss"], 3))
    write("path.expected", result, "fitted control points, curves along a path",
          "make_path_goldens.py")


if __name__ == "__main__":
    path_case()
