#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the goldens of fine-tuning and of representations: see make_goldens.py, whose style and
conditions these share.

    /usr/bin/python3 tests/golden/make_finetune_goldens.py

reference.expected: connectivity-based fine-tuning by the steps of the paper's code (alternating
updates, clipped law of t, cosine after two epochs and one late, the cue batch passed only once the
invariance term counts, the shorter set ending the epoch) for 4 epochs from reference_start.
finetune.expected: the invariance term and its gradient by autograd; last-layer retraining and LPFT
followed for some epochs in PyTorch from a VGG of random parameters (finetune_start), batches of 8
with a short last one, in the orders and from the fresh layer that the library draws: its generator,
Philox4x32-10 (Salmon et al. 2011), is stated here anew. cka.expected: linear CKA, biased and
debiased, from kernel matrices in NumPy.
"""
import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from make_goldens import both, boxed, f32, invariance, state, write
from models import Mlp, Vgg13, functional_call, normalised, pictures, randomise

BY = "make_finetune_goldens.py"
MASK = 0xFFFFFFFF
STREAM_INIT, STREAM_SHUFFLE, STREAM_T, STREAM_CUE_SHUFFLE, STREAM_LLRT = 1, 2, 8, 9, 20


# ---- the library's random numbers ----------------------------------------------------------------

def random_u64(seed, stream, index, draw):
    c = [index & MASK, index >> 32, draw, stream]
    k = [seed & MASK, seed >> 32]
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k[0], q & MASK, (p >> 32) ^ c[3] ^ k[1], p & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c[0] | c[1] << 32


def permutation(seed, epoch, n, stream=STREAM_SHUFFLE):
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = random_u64(seed, stream, epoch, i) * (i + 1) >> 64
        order[i], order[j] = order[j], order[i]
    return order


def clipped_t(seed, step):
    u, v = ((random_u64(seed, STREAM_T, step, i) >> 11) * 2.0 ** -53 for i in range(2))
    normal = np.sqrt(-2 * np.log(1 - u)) * np.cos(2 * np.pi * v)
    return 0.5 + 0.5 * np.clip(normal, -0.5, 0.5)


def fresh_layer(seed, width, classes):
    """U(+-1/sqrt(width)), the weight's values first, as float32."""
    own = random_u64(seed, STREAM_LLRT, 0, 0) >> 11
    u = np.array([(random_u64(own, STREAM_INIT, i, 0) >> 11) * 2.0 ** -53
                  for i in range(classes * (width + 1))])
    values = f32((2 * u - 1) / np.sqrt(width)).astype(np.float64)
    layer = nn.Linear(width, classes).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(values[:classes * width].reshape(classes, width)))
        layer.bias.copy_(torch.tensor(values[classes * width:]))
    return layer


# ---- case: fine-tuning ---------------------------------------------------------------------------

def descend(parameters, logits, labels, epochs, rate, decay, seed, late):
    """SGD with momentum 0.9 and a cosine rate on batches of 8; the mean loss of each epoch."""
    optimiser = torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay)
    n, k, losses = len(labels), 0, []
    total = epochs * -(-n // 8)
    for epoch in range(epochs):
        order, summed = permutation(seed, epoch, n), 0.0
        for at in range(0, n, 8):
            part = order[at:at + 8]
            for group in optimiser.param_groups:
                group["lr"] = 0.5 * rate * (1 + np.cos(np.pi * max(k - late, 0) / total))
            optimiser.zero_grad()
            loss = F.cross_entropy(logits(part), labels[part])
            loss.backward()
            optimiser.step()
            summed += loss.item() * len(part)
            k += 1
        losses.append(summed / n)
    return losses


def finetune_case(seed):
    """N.loss and the state after N (of llrt the last layer's): llrt (6 epochs, rate 1, no decay; llrt_late with the cosine one
    update late) and lpft (then 2 epochs at rate 0.02, decay 5e-3). invariance.*: z [12][5] and
    [10][5], the value, and its gradients."""
    rng = np.random.RandomState(seed)
    shape, classes, draw = (1, 17, 18), 5, 11
    levels, y = pictures(rng, 21, shape, classes)
    x = normalised(levels)
    start = randomise(Vgg13(1, classes, 3 / 64), rng, x)
    z_rng = [f32(rng.standard_normal((n, 5))) for n in (12, 10)]
    z_y = [np.array([0, 0, 0, 1, 1, 2, 3, 3, 3, 5, 6, 6]), np.array([0, 1, 1, 2, 2, 3, 4, 5, 5, 5])]

    def run(dtype):
        images, labels = torch.tensor(x, dtype=dtype), torch.tensor(y)
        out = {"images": x, "labels": f32(y)}

        def head(net, late):
            net.eval()
            with torch.no_grad():
                z = net.representation(images)
            net.linear = fresh_layer(draw, z.shape[1], classes).to(dtype)
            return descend(net.linear.parameters(), lambda part: net.linear(z[part]), labels, 6,
                           1.0, 0.0, draw, late)

        for name, late in (("llrt", 0), ("llrt_late", 1), ("lpft", 0)):
            net = copy.deepcopy(start).to(dtype)
            losses = head(net, late)
            if name == "lpft":
                net.train()
                losses += descend(net.parameters(), lambda part: net(images[part]), labels, 2, 0.02,
                                  5e-3, draw, 0)
            out["loss", name + ".loss"] = np.array(losses)
            for key, value in state(net).items():
                if name == "lpft" or key.startswith("linear."):
                    out["step", "%s.%s" % (name, key)] = value

        z = [torch.tensor(value, dtype=dtype, requires_grad=True) for value in z_rng]
        gap = invariance(z[0], torch.tensor(z_y[0]), z[1], torch.tensor(z_y[1]), 7)
        gap.backward()
        for i in range(2):
            out["invariance.z%d" % i], out["invariance.y%d" % i] = z_rng[i], f32(z_y[i])
            out["grad", "invariance.grad%d" % i] = f32(z[i].grad)
        out["loss", "invariance.value"] = np.array([gap.item()])
        return out

    write("finetune_start", state(start), "random parameters, seed %d" % seed, BY)
    result = both("finetune", run)
    print("   llrt", np.round(result["llrt.loss"], 3), "lpft", np.round(result["lpft.loss"], 3))
    write("finetune.expected", result, "last-layer retraining, LPFT, the invariance term", BY)


# ---- case: the paper's code ----------------------------------------------------------------------

def reference_case(seed):
    """clean (21) and cue (16) images, batches of 8, rate 0.02, decay 1e-4, kappa 1, lambda 1. Means
    over each epoch's steps loss.ce, loss.barrier and, from epoch 1, loss.invariance; then the state
    after."""
    rng = np.random.RandomState(seed)
    shape, classes, draw, rate, epochs = (1, 17, 18), 5, 23, 0.02, 4
    levels, all_y = pictures(rng, 37, shape, classes)
    all_x = normalised(levels)
    start = randomise(Vgg13(1, classes, 3 / 64), rng, all_x)
    x = (all_x[:21], f32(boxed(all_x[21:], all_y[21:])))
    y = (all_y[:21], all_y[21:])

    def run(dtype):
        images = [torch.tensor(value, dtype=dtype) for value in x]
        labels = [torch.tensor(value) for value in y]
        net = copy.deepcopy(start).to(dtype).train()
        scratch = copy.deepcopy(net)  # its running statistics are nobody's
        anchor = {key: value.detach().clone() for key, value in net.named_parameters()}
        optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
        horizon, scheduled, step, record = epochs * 3, 0, 0, []
        for epoch in range(epochs):
            orders = (permutation(draw, epoch, 21),
                      permutation(draw, epoch, 16, STREAM_CUE_SHUFFLE))
            sums = np.zeros(3)
            for at in (0, 8):
                nc, c = orders[0][at:at + 8], orders[1][at:at + 8]
                t = clipped_t(draw, step)
                mixed = {key: t * anchor[key] + (1 - t) * value
                         for key, value in net.named_parameters()}
                wall = (1 - F.cross_entropy(functional_call(scratch, mixed, images[1][c]),
                                            labels[1][c])).abs()
                optimiser.zero_grad()
                wall.backward()
                optimiser.step()

                optimiser.zero_grad()
                if epoch < 1:
                    ce, gap = F.cross_entropy(net(images[0][nc]), labels[0][nc]), torch.zeros(())
                else:
                    z_nc, z_c = net.representation(images[0][nc]), net.representation(images[1][c])
                    gap = invariance(z_nc, labels[0][nc], z_c, labels[1][c], classes)
                    ce = F.cross_entropy(net.linear(z_nc), labels[0][nc])
                (ce + gap / classes).backward()
                optimiser.step()
                if epoch > 1:
                    for group in optimiser.param_groups:
                        group["lr"] = 0.5 * rate * (1 + np.cos(np.pi * scheduled / horizon))
                    scheduled += 1
                sums += np.array([ce.item(), wall.item(), gap.item()]) / 2
                step += 1
            record.append(sums)
        record = np.array(record)
        out = {"nc.images": x[0], "nc.labels": f32(y[0]), "c.images": x[1], "c.labels": f32(y[1]),
               ("loss", "loss.ce"): record[:, 0], ("loss", "loss.barrier"): record[:, 1],
               ("loss", "loss.invariance"): record[1:, 2]}
        for key, value in state(net).items():
            out["steps", "after." + key] = value
        return out

    write("reference_start", state(start), "random parameters, seed %d" % seed, BY)
    result = both("reference", run)
    print("   ce", np.round(result["loss.ce"], 3), "barrier", np.round(result["loss.barrier"], 3))
    write("reference.expected", result, "CBFT by the steps of the paper's code, 4 epochs", BY)


# ---- case: centred kernel alignment --------------------------------------------------------------

def hsic(k, l):
    """Trace of centred kernels."""
    h = np.eye(len(k)) - 1 / len(k)
    return np.trace(h @ k @ h @ l)


def unbiased_hsic(k, l):
    """Song et al. 2012, equation 5."""
    n, ones = len(k), np.ones(len(k))
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))
    return (np.trace(k @ l) + (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3))


def alignment(x, y, of):
    k, l = x @ x.T, y @ y.T
    return of(k, l) / np.sqrt(of(k, k) * of(l, l))


def cka_case(seed):
    """Per hidden layer of two MLPs of different widths: biased and debiased CKA on 30 images."""
    rng = np.random.RandomState(seed)
    shape, classes = (1, 9, 11), 8
    levels, y = pictures(rng, 30, shape, classes)
    x = normalised(levels)
    nets = [randomise(Mlp(shape, classes, hidden), rng, x) for hidden in ((24, 16), (12, 20))]
    out, layers = {"images": x, "labels": f32(y)}, []
    with torch.no_grad():
        for net in nets:
            z, hidden = torch.tensor(x).double().flatten(1), []
            for layer in net.layers:
                z = F.relu(layer(z))
                hidden.append(z.numpy())
            layers.append(hidden)
    out["cka"] = np.array([alignment(a, b, hsic) for a, b in zip(*layers)])
    out["debiased"] = np.array([alignment(a, b, unbiased_hsic) for a, b in zip(*layers)])
    print("cka", out["cka"], out["debiased"])
    for name, net in zip(("cka_first", "cka_second"), nets):
        write(name, state(net), "random parameters, seed %d" % seed, BY)
    write("cka.expected", out, "linear CKA from kernel matrices, NumPy float64", BY)


if __name__ == "__main__":
    finetune_case(seed=3)
    reference_case(seed=10)
    cka_case(seed=7)
