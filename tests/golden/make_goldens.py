#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes tests/golden/data/*.safetensors: what PyTorch says that the library must say too.

Run by hand with Debian's python3-torch (1.13.0a0) and python3-numpy (1.24.2):

    /usr/bin/python3 tests/golden/make_goldens.py

The models, the cue, pooled statistics, the linear curve and connectivity-based fine-tuning are
stated here anew, from the paper's specification, in PyTorch and NumPy, in float64 and on one
thread. Inputs (parameters, images) are rounded to float32 first, so that both sides start from
the same numbers; what is expected is written as float32 (rounded once) or float64. Random numbers
come from NumPy's frozen RandomState. Every case is also run in float32 and must agree with its
float64 self to a third of the tolerance that the C test holds the library to: a case that rounding
alone can break would test nothing. The script prints these distances, and how near a ReLU's input
came to its kink.

Files: NAME.safetensors is a bare state dict, as a PyTorch user would export it (with int64
num_batches_tracked); NAME.expected.safetensors holds inputs and results. Labels and indices are
float32.
"""
import copy
import json
import os
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

from models import (KINKS, Mlp, ResNet18, Vgg13, Windows, f32, functional_call, normalised,
                    pictures, pooled_statistics, randomise, set_statistics)

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
TOLERANCE = {"logits": 1e-5, "loss": 1e-5, "grad": 1e-4, "stats": 1e-5,
             "step": 1e-5, "curve": 1e-4, "steps": 1e-3}
# A gradient jumps where a ReLU's input crosses zero, and no float32 program can follow one that
# comes within rounding of it: seeds are such that none comes closer than this (activations are of
# order 1, float32 strays from float64 by some 1e-6).
KINK = 4e-6
torch.manual_seed(0)
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


# ---- files ---------------------------------------------------------------------------------------

def write(name, tensors, made, made_by=None):
    """One safetensors file: header length, JSON header, data, little endian."""
    dtypes = {"float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64"}
    header = {"__metadata__": {"torch": torch.__version__, "made_by": made_by or os.path.basename(sys.argv[0]),
                               "made": made}}
    data, offset = [], 0
    for key, value in tensors.items():
        value = np.asarray(value, order="C")
        raw = value.tobytes()
        header[key] = {"dtype": dtypes[str(value.dtype)], "shape": list(value.shape),
                       "data_offsets": [offset, offset + len(raw)]}
        data.append(raw)
        offset += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(OUT, name + ".safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def state(model, prefix=""):
    """Parameters and running statistics, state-dict order, float32."""
    return {prefix + key: f32(value) for key, value in model.state_dict().items()
            if not key.endswith("num_batches_tracked")}


def statistics(model, prefix=""):
    return {prefix + key: f32(value) for key, value in model.named_buffers()
            if not key.endswith("num_batches_tracked")}


# ---- checking that a case is well posed ----------------------------------------------------------

def distance(value, reference):
    return np.linalg.norm(value - reference) / max(np.linalg.norm(reference), 1e-300)


def both(name, run):
    """run(dtype) gives inputs by name and results by (kind of tolerance, name). Runs in float64
    and float32, compares the results, and gives inputs and float64 results by name."""
    KINKS.clear()
    reference, single = run(torch.float64), run(torch.float32)
    assert min(KINKS, default=1) > KINK, (name, "a ReLU hangs on rounding", min(KINKS))
    tensors, worst = {}, {}
    for key, value in reference.items():
        tensors[key[1] if isinstance(key, tuple) else key] = value
        if isinstance(key, tuple):
            kind = key[0]
            assert np.linalg.norm(value) > 0, (name, key, "is zero")
            error = distance(np.asarray(single[key], dtype=np.float64), np.float64(value))
            assert error < TOLERANCE[kind] / 3, (name, key, error)
            worst[kind] = max(worst.get(kind, 0), error)
    worst["kink"] = min(KINKS, default=1)
    print("%-22s" % name, " ".join("%s %.1e" % item for item in worst.items()))
    return tensors


# ---- case: one batch, every architecture ---------------------------------------------------------

def batch_case(name, build, shape, classes, train, evaluated, seed, half=False):
    """N.logits, N.representation: eval mode on N images. N.loss, N.grad.*, N.stats.*: training mode
    on N images: gradient of the mean cross-entropy, running statistics after it (momentum 0.1). Of
    a gradient of more than 8192 values only output channels 0, 3, 6, ... `half`: parameters that
    float16 holds exactly, and a file in it."""
    rng = np.random.RandomState(seed)
    levels, _ = pictures(rng, 32, shape, classes)
    model = randomise(build(), rng, normalised(levels))
    if half:
        model.half().double()
    kept = np.float16 if half else np.float32
    data = {n: pictures(rng, n, shape, classes) for n in sorted(set(train) | set(evaluated))}
    export = {}
    for key, value in model.state_dict().items():
        tracked = key.endswith("num_batches_tracked")
        export[key] = np.asarray(7, dtype=np.int64) if tracked else f32(value).astype(kept)
    write(name, export, "random parameters, seed %d" % seed)

    def run(dtype):
        out = {}
        for n, (batch, labels) in data.items():
            x, y = torch.tensor(normalised(batch), dtype=dtype), torch.tensor(labels)
            out["%d.images" % n], out["%d.labels" % n] = f32(x), f32(labels)
            if n in evaluated:
                net = copy.deepcopy(model).to(dtype).eval()
                with torch.no_grad():
                    out["logits", "%d.logits" % n] = f32(net(x))
                    out["logits", "%d.representation" % n] = f32(net.representation(x))
            if n in train:
                net = copy.deepcopy(model).to(dtype).train()
                loss = F.cross_entropy(net(x), y)
                loss.backward()
                out["loss", "%d.loss" % n] = np.array([loss.item()])
                for key, value in net.named_parameters():
                    step = 3 if value.numel() > 8192 else 1
                    out["grad", "%d.grad.%s" % (n, key)] = f32(value.grad[::step])
                for key, value in statistics(net).items():
                    out["stats", "%d.stats.%s" % (n, key)] = value
        return out

    write(name + ".expected", both(name, run), "logits and representation in eval mode; loss, "
          "gradient and running statistics in training mode; per batch size")


# ---- case: pooled statistics, curve --------------------------------------------------------------

def fit(model, x, y, steps, rate):
    optimiser = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimiser.step()
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.float().double())
    return model


def boxed(x, labels):
    """The box cue of class 0..8 (9: none) on normalised images, float64 [n][C][H][W]."""
    x = x.copy()
    _, c, h, w = x.shape
    for image, label in zip(x, labels):
        if label < 9:
            top = (0, (h - 3) // 2, h - 3)[label // 3]
            left = (0, (w - 3) // 2, w - 3)[label % 3]
            image[:, top:top + 3, left:left + 3] = 1 if c == 1 else np.reshape([0, 1, 0], (3, 1, 1))
    return x


def curve_case(seed):
    """The line between two trained models at t = i/10, loss and accuracy on test images without
    and with the cue. reset: statistics pooled over the training images, 20 + 20 + 5. interpolate:
    the ends' running statistics mixed like the parameters. batch: of the evaluated batch (16)."""
    rng = np.random.RandomState(seed)
    shape, classes = (1, 20, 20), 10
    levels, labels = pictures(rng, 45, shape, classes)
    x, y = normalised(levels), labels
    test_levels, test_y = pictures(rng, 48, shape, classes)
    test = {"nocue": normalised(test_levels)}
    test["cue"] = f32(boxed(test["nocue"], test_y))
    ends = []
    for _ in range(2):
        model = randomise(Vgg13(1, classes, 3 / 64), rng, x)
        ends.append(fit(model, torch.tensor(x).double(), torch.tensor(y), 25, 0.05))
    write("curve_first", state(ends[0]), "25 steps of gradient descent")
    write("curve_second", state(ends[1]), "25 steps of gradient descent, other start")
    gap = []

    def evaluate(net, images, batches):
        losses, hits = [], []
        for part in batches:
            logits = net(torch.tensor(images[part], dtype=next(net.parameters()).dtype))
            target = torch.tensor(test_y[part])
            losses += F.cross_entropy(logits, target, reduction="none").tolist()
            hits += (logits.argmax(1) == target).tolist()
            top = logits.topk(2, dim=1).values
            gap.append((top[:, 0] - top[:, 1]).min().item())
        return np.mean(losses), np.mean(hits)

    def run(dtype):
        out = {"train.images": x, "train.labels": f32(y), "test.images": test["nocue"],
               "test.labels": f32(test_y)}
        values = {}
        for i in range(11):
            t = i / 10
            first, second = ends[0].state_dict(), ends[1].state_dict()
            net = copy.deepcopy(ends[0]).to(dtype)
            mixed = {key: (1 - t) * first[key] + t * second[key] for key in first
                     if not key.endswith("num_batches_tracked")}
            net.load_state_dict(mixed, strict=False)
            everything = [slice(0, 48)]
            sixteens = [slice(0, 16), slice(16, 32), slice(32, 48)]
            with torch.no_grad():
                for view, images in test.items():
                    for policy in ("interpolate", "batch", "reset"):
                        work = copy.deepcopy(net)
                        work.train(policy == "batch")
                        if policy == "reset":
                            parts = [torch.tensor(x[a:a + 20], dtype=dtype) for a in (0, 20, 40)]
                            pooled = pooled_statistics(work, parts)
                            set_statistics(work, pooled)
                            if view == "nocue" and i in (0, 3):
                                for key, value in pooled.items():
                                    out["stats", "pooled%d.%s" % (i, key)] = f32(value)
                        batches = sixteens if policy == "batch" else everything
                        loss, hit = evaluate(work, images, batches)
                        key = "%s.%s" % (policy, view)
                        values.setdefault(("curve", key + ".loss"), []).append(loss)
                        values.setdefault(("curve", key + ".accuracy"), []).append(hit)
        out.update({key: np.array(value) for key, value in values.items()})
        return out

    result = both("curve", run)
    assert min(gap) > 2e-5, ("an accuracy hangs on rounding", min(gap))
    print("   reset nocue", np.round(result["reset.nocue.loss"], 3))
    write("curve.expected", result, "linear path, 11 points, three statistics policies")


# ---- case: training ------------------------------------------------------------------------------

def steps_case(seed):
    """30 steps of SGD (momentum 0.9, weight decay 1e-4), the rate times 0.1 before updates 12 and
    24, batches of 16, 16 and 5 by the rows of `order` (one epoch each)."""
    rng = np.random.RandomState(seed)
    shape, classes = (1, 17, 18), 10
    levels, y = pictures(rng, 37, shape, classes)
    x = normalised(levels)
    start = randomise(Vgg13(1, classes, 3 / 64), rng, x)
    order = np.array([rng.permutation(37) for _ in range(10)])
    rate = 0.02

    def run(dtype):
        net = copy.deepcopy(start).to(dtype).train()
        optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [12, 24], 0.1)
        losses, rates = [], []
        out = {"images": x, "labels": f32(y), "order": f32(order)}
        for epoch in order:
            for part in (epoch[:16], epoch[16:32], epoch[32:]):
                optimiser.zero_grad()
                loss = F.cross_entropy(net(torch.tensor(x[part], dtype=dtype)),
                                       torch.tensor(y[part]))
                loss.backward()
                rates.append(schedule.get_last_lr()[0])
                optimiser.step()
                schedule.step()
                losses.append(loss.item())
        out["steps", "loss"], out["rate"] = np.array(losses), np.array(rates)
        for key, value in state(net).items():
            out["steps", "after." + key] = value
        return out

    write("steps", state(start), "random parameters, seed %d" % seed)
    result = both("steps", run)
    print("   loss", np.round(result["loss"][::6], 3))
    write("steps.expected", result, "30 steps, batches given")


def whole_case(seed):
    """30 epochs of one batch (all 12 samples, so that no order matters): Nesterov momentum, weight
    decay 5e-3 (that it shows), cosine rate. ResNet-18."""
    rng = np.random.RandomState(seed)
    shape, classes = (3, 9, 10), 6
    levels, y = pictures(rng, 12, shape, classes)
    x = normalised(levels)
    start = randomise(ResNet18(3, classes, 3 / 64), rng, x)
    rate = 0.01

    def run(dtype):
        net = copy.deepcopy(start).to(dtype).train()
        optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=5e-3,
                                    nesterov=True)
        images, labels, losses = torch.tensor(x, dtype=dtype), torch.tensor(y), []
        for k in range(30):
            for group in optimiser.param_groups:
                group["lr"] = 0.5 * rate * (1 + np.cos(np.pi * k / 30))
            optimiser.zero_grad()
            loss = F.cross_entropy(net(images), labels)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        out = {"images": x, "labels": f32(y), ("steps", "loss"): np.array(losses)}
        for key, value in state(net).items():
            out["steps", "after." + key] = value
        return out

    write("whole", state(start), "random parameters, seed %d" % seed)
    result = both("whole", run)
    print("   loss", np.round(result["loss"][::6], 3))
    write("whole.expected", result, "30 full-batch steps, Nesterov, cosine")


# ---- case: connectivity-based fine-tuning --------------------------------------------------------

def invariance(z_nc, y_nc, z_c, y_c, classes):
    total = 0
    for k in range(classes):
        if (y_nc == k).any() and (y_c == k).any():
            a, b = z_nc[y_nc == k].mean(0), z_c[y_c == k].mean(0)
            a = a / torch.clamp(a.norm(), min=1e-12)
            b = b / torch.clamp(b.norm(), min=1e-12)
            total = total + ((a - b) ** 2).sum()
    return total


def cbft_case(seed):
    """Steps from `start` with theta_C = `origin` on batches nc (12) and c (10): kappa 1, lambda 1,
    momentum 0.9, weight decay 5e-3, rate 0.02. barrierI.* and loss_barrier: gradient of L_B at
    t[I], and its value; rest.*: gradient of L_CE + lambda/K L_I; all at `start`. Then the state
    after alternatingN.* (t[0]; a step on L_B, then one on the rest at the parameters that it gave)
    and jointN.* (t[1]; one step on the sum), N = 1 or 2 such steps at one t and the cosine rate
    rate/2 (1 + cos(pi k/N)); and loss.* = [N][L_CE, L_B, L_I] as met on the way."""
    rng = np.random.RandomState(seed)
    shape, classes, kappa, weight, rate = (1, 17, 18), 10, 1.0, 1.0, 0.02
    levels, all_y = pictures(rng, 60, shape, classes)
    all_x = normalised(levels)
    cued_x = f32(boxed(all_x, all_y))
    origin = randomise(Vgg13(1, classes, 3 / 64), rng, all_x)
    origin = fit(origin, torch.tensor(cued_x).double(), torch.tensor(all_y), 30, 0.05)
    start = copy.deepcopy(origin)
    with torch.no_grad():
        for value in start.parameters():
            noise = 0.6 * value.std() * torch.tensor(rng.standard_normal(tuple(value.shape)))
            value.copy_((value + noise).float().double())
    # Classes 4, 7 and 8 are missing from one batch or both.
    y_nc = np.array([0, 0, 0, 1, 1, 2, 3, 3, 5, 6, 8, 9])
    y_c = np.array([0, 1, 1, 2, 2, 3, 4, 5, 6, 9])
    x_nc = np.stack([all_x[np.nonzero(all_y == k)[0][i % 6]] for i, k in enumerate(y_nc)])
    x_c = np.stack([cued_x[np.nonzero(all_y == k)[0][i % 6]] for i, k in enumerate(y_c)])
    ts = (0.25, 0.75)

    def run(dtype):
        nc, c = torch.tensor(x_nc, dtype=dtype), torch.tensor(x_c, dtype=dtype)
        l_nc, l_c = torch.tensor(y_nc), torch.tensor(y_c)
        anchor = {key: value.to(dtype) for key, value in origin.named_parameters()}
        scratch = copy.deepcopy(start).to(dtype).train()  # running statistics thrown away

        def cross_entropy(net, t):
            mixed = {key: t * anchor[key] + (1 - t) * value
                     for key, value in net.named_parameters()}
            return F.cross_entropy(functional_call(scratch, mixed, c), l_c)

        def barrier(net, t):
            return (kappa - cross_entropy(net, t)).abs()

        def rest(net):
            z_nc, z_c = net.representation(nc), net.representation(c)
            ce = F.cross_entropy(net.linear(z_nc), l_nc)
            return ce, invariance(z_nc, l_nc, z_c, l_c, classes)

        def fresh():
            net = copy.deepcopy(start).to(dtype).train()
            return net, torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=5e-3)

        def step(optimiser, loss):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        def gradient(prefix, net, loss):
            grads = torch.autograd.grad(loss, list(net.parameters()))
            for (key, _), g in zip(net.named_parameters(), grads):
                out["grad", "%s.%s" % (prefix, key)] = f32(g)

        out = {"nc.images": x_nc, "nc.labels": f32(y_nc), "c.images": x_c, "c.labels": f32(y_c),
               "t": np.array(ts)}
        net = fresh()[0]
        ce, gap = rest(net)
        gradient("rest", net, ce + weight / classes * gap)
        out["loss", "loss_rest"] = np.array([ce.item(), gap.item()])
        inside = [cross_entropy(fresh()[0], t).item() for t in ts]
        assert inside[0] > kappa > inside[1], ("both signs of kappa - L are wanted", inside)
        for i, t in enumerate(ts):
            net = fresh()[0]
            gradient("barrier%d" % i, net, barrier(net, t))
        out["loss", "loss_barrier"] = np.abs(kappa - np.array(inside))
        for schedule, t in (("alternating", ts[0]), ("joint", ts[1])):
            for steps in (1, 2):
                net, optimiser = fresh()
                losses = []
                for k in range(steps):
                    for group in optimiser.param_groups:
                        group["lr"] = 0.5 * rate * (1 + np.cos(np.pi * k / steps))
                    wall = barrier(net, t)
                    if schedule == "alternating":
                        step(optimiser, wall)
                    ce, gap = rest(net)
                    total = ce + weight / classes * gap
                    step(optimiser, total if schedule == "alternating" else total + wall)
                    losses.append([ce.item(), wall.item(), gap.item()])
                name = "%s%d" % (schedule, steps)
                out["loss", name + ".loss"] = np.array(losses)
                for key, value in net.named_parameters():
                    out["step", "%s.%s" % (name, key)] = f32(value)
                for key, value in statistics(net).items():
                    out["stats", "%s.%s" % (name, key)] = value
        return out

    write("cbft_origin", state(origin), "30 steps on cue images")
    write("cbft_start", state(start), "origin, parameters perturbed")
    write("cbft.expected", both("cbft", run), "steps of CBFT, alternating (t[0]) and joint (t[1])")


# ---- case: the box cue ---------------------------------------------------------------------------

def box_case(seed):
    """uint8 levels (written as float32) of one image per class, and what a model must see of
    them in view cue, from float64; and which samples carry it at several proportions."""
    rng = np.random.RandomState(seed)
    out = {}
    for shape in ((1, 28, 28), (3, 32, 32), (1, 7, 12)):
        levels = rng.randint(0, 256, (10,) + shape)
        labels = rng.permutation(10)
        plain = (levels / 255.0 - 0.5) / 0.5
        name = "x".join(str(s) for s in shape)
        out[name + ".levels"], out[name + ".labels"] = f32(levels), f32(labels)
        out[name + ".cue"] = f32(boxed(plain, labels))
    labels = np.concatenate([rng.randint(0, 10, 140), np.full(100, 3)])
    labels = labels[rng.permutation(labels.size)]
    proportions = np.array([0.0, 0.1, 0.29, 0.6, 0.7, 1.0])
    values = np.full((proportions.size, labels.size), -1)
    for row, p in zip(values, proportions):
        for k in range(9):  # class 9 draws no box
            members = np.nonzero(labels == k)[0]
            row[members[:int(np.trunc(np.float64(members.size) * p))]] = k
    out["labels"], out["proportions"], out["values"] = f32(labels), proportions, f32(values)
    write("box.expected", out, "box cue and normalisation, NumPy float64, seed %d" % seed)


def main():
    os.makedirs(OUT, exist_ok=True)
    for model, count in ((Vgg13(3, 10, 1), 9413066), (ResNet18(3, 10, 1), 11173962)):
        assert sum(p.numel() for p in model.parameters()) == count
    batch_case("vgg13_16_1x28x28", lambda: Vgg13(1, 10, 1 / 16), (1, 28, 28), 10,
               train=(16, 5), evaluated=(1, 16), seed=17)
    batch_case("vgg13_3_64_3x19x23", lambda: Vgg13(3, 7, 3 / 64), (3, 19, 23), 7,
               train=(2,), evaluated=(1, 5), seed=9)
    batch_case("vgg13_8_3x32x32", lambda: Vgg13(3, 10, 1 / 8), (3, 32, 32), 10,
               train=(5,), evaluated=(1, 2, 5), seed=29, half=True)
    batch_case("resnet18_16_1x28x28", lambda: ResNet18(1, 10, 1 / 16), (1, 28, 28), 10,
               train=(16,), evaluated=(1, 5), seed=8)
    batch_case("resnet18_3_64_3x19x23", lambda: ResNet18(3, 7, 3 / 64), (3, 19, 23), 7,
               train=(2,), evaluated=(1, 5), seed=10)
    batch_case("resnet18_8_3x32x32", lambda: ResNet18(3, 10, 1 / 8), (3, 32, 32), 10,
               train=(5,), evaluated=(1, 2, 5), seed=24, half=True)
    batch_case("mlp_3x9x11", lambda: Mlp((3, 9, 11), 8, (24, 16)), (3, 9, 11), 8,
               train=(1, 2, 5, 16), evaluated=(1, 16), seed=3)
    batch_case("graph_3x19x23", lambda: Windows(3, 6), (3, 19, 23), 6,
               train=(2, 16), evaluated=(1, 5), seed=20)
    curve_case(seed=6)
    steps_case(seed=110)
    whole_case(seed=54)
    cbft_case(seed=40)
    box_case(seed=15)
    total = sum(os.path.getsize(os.path.join(OUT, name)) for name in os.listdir(OUT))
    print("torch %s, %d files, %.2f MB" % (torch.__version__, len(os.listdir(OUT)), total / 1e6))


if __name__ == "__main__":
    main()
