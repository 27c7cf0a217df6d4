#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Fine-tunes a model of ours in PyTorch, to see whether what `modeconn reproduce table1` says of a
method is the method's or the library's.

    /usr/bin/python3 scripts/finetune_in_pytorch.py cbft|lpft|llrt|naive --model theta_C.safetensors
        --data DIR [--seed 0] [--clean 1000] [--option value ...]

CBFT, LLRT, LPFT and naive fine-tuning are stated here anew from the paper, with PyTorch's own
modules, autograd and optimiser (Debian's python3-torch), on CIFAR-10's binary files in DIR. The
model and the clean samples are the library's (of its --seed: the split is drawn by its generator,
restated in tests/golden/), so that both start alike; orders, t and fresh layers are PyTorch's. Not
a test: its figures are compared by hand, and docs/reproduction.md has them. Prints the losses of
every epoch and, at the end, accuracy in % on NC, C, RC and RI with the cue on all test samples.
"""
import argparse
import copy
import glob
import json
import os
import struct
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden"))
from make_finetune_goldens import random_u64  # noqa: E402
from make_goldens import invariance  # noqa: E402
from models import Vgg13, functional_call  # noqa: E402

STREAM_SPLIT, CLASSES, PLACES = 5, 10, (0, 14, 29)


# ---- data ----------------------------------------------------------------------------------------

def cifar(pattern):
    raw = np.concatenate([np.fromfile(f, np.uint8).reshape(-1, 3073)
                          for f in sorted(glob.glob(pattern))])
    x = torch.tensor(raw[:, 1:].reshape(-1, 3, 32, 32)).float()
    return (x / 255 - 0.5) / 0.5, torch.tensor(raw[:, 0]).long()


def box(x, places):
    """3x3, values (0, 1, 0), at place 0-8; place 9 is none."""
    x = x.clone()
    for image, place in zip(x, places.tolist()):
        if place < 9:
            r, c = PLACES[place // 3], PLACES[place % 3]
            image[:, r:r + 3, c:c + 3] = torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    return x


def split(n, clean, seed):
    """What modeconn_dataset_split() draws: indices of the clean samples, and the others."""
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = random_u64(seed, STREAM_SPLIT, 0, i) * (i + 1) >> 64
        order[i], order[j] = order[j], order[i]
    drawn = np.zeros(n, bool)
    drawn[order[:clean]] = True
    return np.where(drawn)[0], np.where(~drawn)[0]


def cued(x, y, percent):
    """The cue on the first trunc(n_c p) samples of each class."""
    places = torch.full_like(y, 9)
    for k in range(CLASSES):
        own = torch.where(y == k)[0]
        places[own[:int(len(own) * (percent / 100))]] = k
    return box(x, places)


def test_views(x, y):
    g = torch.Generator().manual_seed(0)
    return {"NC": x, "C": box(x, y), "RC": box(x, torch.randint(10, (len(y),), generator=g)),
            "RI": box(x[torch.randint(len(y), (len(y),), generator=g)], y)}


# ---- model ---------------------------------------------------------------------------------------

def load(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    state = {k: torch.tensor(np.frombuffer(data[slice(*v["data_offsets"])], np.float32)
                             .reshape(v["shape"]))
             for k, v in header.items() if k != "__metadata__" and v["dtype"] == "F32"}
    net = Vgg13(3, CLASSES, state["linear.weight"].shape[1] / 512)
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert not unexpected and all("num_batches" in key for key in missing), (missing, unexpected)
    return net


def evaluate(net, views, y):
    net.eval()
    with torch.no_grad():
        return {name: 100 * np.mean([(net(x[i:i + 500]).argmax(1) == y[i:i + 500]).float().mean()
                                     .item() for i in range(0, len(y), 500)])
                for name, x in views.items()}


# ---- methods -------------------------------------------------------------------------------------

def batches(n, size):
    order = torch.randperm(n)
    return [order[i:i + size] for i in range(0, n, size)]


def sgd(parameters, rate, decay):
    return torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay)


def set_rate(optimiser, rate, step, total):
    for group in optimiser.param_groups:
        group["lr"] = 0.5 * rate * (1 + np.cos(np.pi * step / total))


def descend(parameters, logits, y, args, epochs, rate, decay, name):
    optimiser, step = sgd(parameters, rate, decay), 0
    total = epochs * len(batches(len(y), args.batch))
    for epoch in range(epochs):
        summed, hits = 0.0, 0
        for part in batches(len(y), args.batch):
            set_rate(optimiser, rate, step, total)
            optimiser.zero_grad()
            out = logits(part)
            loss = F.cross_entropy(out, y[part])
            loss.backward()
            optimiser.step()
            summed, step = summed + loss.item() * len(part), step + 1
            hits += (out.argmax(1) == y[part]).sum().item()
        if epoch % max(1, epochs // 20) == 0 or epoch == epochs - 1:
            print("%s %d: loss %.3f accuracy %.1f" % (name, epoch, summed / len(y),
                                                       100 * hits / len(y)), flush=True)


def naive(net, clean, args):
    net.train()
    descend(net.parameters(), lambda part: net(clean[0][part]), clean[1], args, args.epochs,
            args.rate, args.decay, "naive")


def llrt(net, clean, args):
    net.eval()
    with torch.no_grad():
        z = torch.cat([net.representation(clean[0][i:i + 500])
                       for i in range(0, len(clean[1]), 500)])
    net.linear = torch.nn.Linear(z.shape[1], CLASSES)
    descend(net.linear.parameters(), lambda part: net.linear(z[part]), clean[1], args, 200,
            args.head_rate, 0, "llrt")
    print("norms: representation %.3g, last layer %.3g" % (z.norm(dim=1).mean(),
                                                           net.linear.weight.norm()), flush=True)


def draw_t(args):
    if args.draw == "clipped":
        return 0.5 + 0.5 * float(np.clip(np.random.randn(), -0.5, 0.5))
    while True:
        t = 0.5 + args.deviation * np.random.randn()
        if 0 <= t <= 1:
            return t


def cbft(net, clean, cue, args):
    """Alternating, as the paper's code, or one step on the sum."""
    origin = {key: value.detach().clone() for key, value in net.named_parameters()}
    scratch = copy.deepcopy(net).train()
    optimiser = sgd(net.parameters(), args.rate, args.decay)
    steps = min(len(batches(len(d[1]), args.batch)) for d in (clean, cue))
    net.train()
    for epoch in range(args.epochs):
        sums = np.zeros(3)
        for k, (a, b) in enumerate(zip(batches(len(clean[1]), args.batch),
                                       batches(len(cue[1]), args.batch))):
            set_rate(optimiser, args.rate, epoch * steps + k, args.epochs * steps)
            t = draw_t(args)
            mixed = {key: t * origin[key] + (1 - t) * value
                     for key, value in net.named_parameters()}
            wall = (args.kappa - F.cross_entropy(functional_call(scratch, mixed, cue[0][b]),
                                                 cue[1][b])).abs()
            optimiser.zero_grad()
            wall.backward()
            if args.schedule == "alternating":
                optimiser.step()
                optimiser.zero_grad()
            z, z_cue = net.representation(clean[0][a]), net.representation(cue[0][b])
            gap = invariance(z, clean[1][a], z_cue, cue[1][b], CLASSES)
            ce = F.cross_entropy(net.linear(z), clean[1][a])
            (ce + (gap / CLASSES * args.penalty if epoch > 0 else 0)).backward()
            optimiser.step()
            sums += np.array([ce.item(), wall.item(), gap.item()]) / steps
        print("cbft %d: L_CE %.3f L_B %.3f L_I %.3f" % (epoch, *sums), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=["cbft", "lpft", "llrt", "naive"])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seed", type=int, default=0, help="the library's, of the split")
    parser.add_argument("--torch-seed", type=int, default=0)
    parser.add_argument("--clean", type=int, default=1000)
    parser.add_argument("--percent", type=float, default=100, help="D_C samples with the cue")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, help="default 0.03 for cbft, else 0.01")
    parser.add_argument("--head-rate", type=float, default=30)
    parser.add_argument("--decay", type=float, default=1e-4)
    parser.add_argument("--penalty", type=float, default=1, help="lambda")
    parser.add_argument("--kappa", type=float, default=1)
    parser.add_argument("--schedule", choices=["alternating", "joint"], default="alternating")
    parser.add_argument("--draw", choices=["truncated", "clipped"], default="truncated")
    parser.add_argument("--deviation", type=float, default=0.5)
    args = parser.parse_args()
    args.rate = args.rate or (0.03 if args.method == "cbft" else 0.01)
    torch.set_num_threads(1)
    torch.manual_seed(args.torch_seed)
    np.random.seed(args.torch_seed)
    started = time.time()
    print(vars(args), flush=True)

    x, y = cifar(os.path.join(args.data, "data_batch_*.bin"))
    chosen, others = split(len(y), args.clean, args.seed)
    clean = (x[chosen], y[chosen])
    cue = (cued(x[others], y[others], args.percent), y[others])
    test_x, test_y = cifar(os.path.join(args.data, "test_batch.bin"))
    views = test_views(test_x, test_y)
    net = load(args.model)
    print("theta_C", {k: round(v, 1) for k, v in evaluate(net, views, test_y).items()}, flush=True)
    if args.method in ("llrt", "lpft"):
        llrt(net, clean, args)
    if args.method in ("lpft", "naive"):
        naive(net, clean, args)
    if args.method == "cbft":
        cbft(net, clean, cue, args)
    print(args.method, {k: round(v, 1) for k, v in evaluate(net, views, test_y).items()},
          "%.0f s" % (time.time() - started))


if __name__ == "__main__":
    main()
