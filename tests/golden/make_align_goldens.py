#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""make_align_goldens.py: writes data/align.expected.safetensors from PyTorch and SciPy: for the two
VGG-13 of the curve's goldens, the correlations of every layer's units behind the ReLU on the 45
training images (eval mode, float64), the assignment that maximises their sum, and the part of the
units that both have in the same state, on or off."""
import json
import os
import struct

import numpy as np
import scipy
import torch
from scipy.optimize import linear_sum_assignment

import models
from make_goldens import OUT, write

torch.set_num_threads(1)


def read(name):
    with open(os.path.join(OUT, name + ".safetensors"), "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header, data = json.loads(file.read(size)), file.read()
    types = {"F32": np.float32, "F64": np.float64, "F16": np.float16, "I64": np.int64}
    return {key: np.frombuffer(data[slice(*value["data_offsets"])],
                               types[value["dtype"]]).reshape(value["shape"])
            for key, value in header.items() if key != "__metadata__"}


def activations(name, images):
    """Outputs of the ten layers, [rows][units]."""
    state = {key: torch.tensor(np.float64(value)) for key, value in read(name).items()}
    seen, x = [], images
    strides = (1, 2, 1, 2, 1, 2, 1, 2, 1, 1)
    for i, stride in enumerate(strides):
        prefix = "layers.%d." % i
        x = models.F.conv2d(x, state[prefix + "conv1.weight"], stride=stride, padding=1)
        x = models.F.batch_norm(x, state[prefix + "bn1.running_mean"],
                                state[prefix + "bn1.running_var"], state[prefix + "bn1.weight"],
                                state[prefix + "bn1.bias"], training=False, eps=1e-5)
        x = torch.relu(x)
        seen.append(x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).numpy())
    return seen


def correlations(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    scale = np.linalg.norm(x, axis=0)[:, None] * np.linalg.norm(y, axis=0)[None, :]
    return np.divide(x.T @ y, scale, out=np.zeros_like(scale), where=scale > 0)


def main():
    images = torch.tensor(np.float64(read("curve.expected")["train.images"]))
    pairs = zip(activations("curve_first", images), activations("curve_second", images))
    tensors = {}
    for i, (first, second) in enumerate(pairs):
        matrix = correlations(first, second)
        rows, columns = linear_sum_assignment(matrix, maximize=True)
        tensors["%d.correlation" % i] = matrix
        tensors["%d.permutation" % i] = np.float32(columns)
        tensors["%d.agreement" % i] = np.array([((first > 0) == (second > 0)).mean()])
        dead = int((matrix == 0).all(0).sum()), int((matrix == 0).all(1).sum())
        print(i, matrix.shape, "mean %.6f" % matrix[rows, columns].mean(), "dead", dead)
    write("align.expected", tensors, "correlations behind the ReLUs of curve_first and "
          "curve_second, their best assignment by SciPy " + scipy.__version__)


if __name__ == "__main__":
    main()
