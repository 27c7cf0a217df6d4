#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes tests/golden/data/cues.expected.safetensors: pixels of the CIFAR-100 box and of Dominoes.

Run by hand with Debian's python3-numpy (1.24.2) and python3-pil (9.4.0):

    /usr/bin/python3 tests/golden/make_cue_goldens.py

Everything is stated here from the paper's specification with NumPy, colorsys and PIL, whose resize
is the one that Dominoes' definition names. Random numbers come from NumPy's frozen RandomState.
All tensors are float32; bytes are whole numbers in it.
"""
import colorsys
import json
import os
import struct

import numpy as np
import PIL
from PIL import Image

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
LEVEL = 77  # of every pixel under the box
SIZES = ((28, 28, 32, 32), (28, 28, 17, 40), (9, 11, 32, 5), (50, 33, 7, 12), (1, 3, 4, 1))


def write(name, tensors, made):
    """One safetensors file: header length, JSON header, data, little endian."""
    header = {"__metadata__": {"torch": "none; PIL " + PIL.__version__,
                               "made_by": "make_cue_goldens.py", "made": made}}
    data, offset = [], 0
    for key, value in tensors.items():
        raw = np.asarray(value, dtype="<f4", order="C").tobytes()
        header[key] = {"dtype": "F32", "shape": list(np.shape(value)),
                       "data_offsets": [offset, offset + len(raw)]}
        data.append(raw)
        offset += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(OUT, name + ".safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def boxed(label, height, width):
    """One image of level LEVEL with the CIFAR-100 box of a label, normalised [3][H][W]."""
    x = np.full((3, height, width), (LEVEL / 255 - 0.5) / 0.5)
    place, rows, columns = label % 10, (height - 3) // 2, (width - 3) // 2
    if place == 9:
        top, left = rows - height // 4, columns - width // 4
    else:
        top = (0, rows, height - 3)[place // 3]
        left = (0, columns, width - 3)[place % 3]
    red, green, blue = colorsys.hsv_to_rgb((label // 10) / 10, 1, 1)
    x[:, top:top + 3, left:left + 3] = np.array([blue, red, green]).reshape(3, 1, 1)
    return x


def resized(plane, height, width):
    """Rows, then columns: newer versions of Pillow choose the order by the sizes."""
    rows = Image.fromarray(plane, "L").resize((width, plane.shape[0]), Image.BILINEAR)
    return np.asarray(rows.resize((width, height), Image.BILINEAR))


def dominoes(rng, out):
    """Three lower images and five upper ones of two classes, and the pairs that they make."""
    below, below_y = rng.randint(0, 256, (3, 3, 32, 32)).astype(np.uint8), [1, 0, 1]
    above, above_y = rng.randint(0, 256, (5, 28, 28)).astype(np.uint8), [0, 1, 1, 0, 1]
    above[1] = np.add.outer(np.arange(28), np.arange(28)) * 4  # smooth, as clothes are
    members = {c: [i for i, y in enumerate(above_y) if y == c] for c in (0, 1)}
    seen, pairs = {0: 0, 1: 0}, []
    for image, label in zip(below, below_y):
        upper = Image.fromarray(above[members[label][seen[label]]], "L").convert("RGB")
        seen[label] += 1
        upper = np.asarray(upper.resize((32, 32), Image.BILINEAR)).transpose(2, 0, 1)
        pairs.append(np.concatenate([upper, image], axis=1) / 255)
    out.update({"below": below, "below.labels": below_y, "above": above, "above.labels": above_y,
                "dominoes": np.stack(pairs)})


def main():
    rng = np.random.RandomState(21)
    out = {"box.32x32": np.stack([boxed(11 * k, 32, 32) for k in range(10)]),
           "box.7x8": np.stack([boxed(label, 7, 8) for label in range(0, 100, 3)])}
    for height, width, to_height, to_width in SIZES:
        plane = rng.randint(0, 256, (height, width)).astype(np.uint8)
        name = "resize.%dx%d.%dx%d" % (height, width, to_height, to_width)
        out[name + ".from"], out[name + ".to"] = plane, resized(plane, to_height, to_width)
    dominoes(rng, out)
    write("cues.expected", out, "CIFAR-100 box, PIL bilinear, Dominoes; seed 21")
    print("PIL %s, %d tensors" % (PIL.__version__, len(out)))


if __name__ == "__main__":
    main()
