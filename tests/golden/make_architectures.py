#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes tests/golden/data/ for the architectures and layers beyond make_goldens.py's, by its rules
and with its tools: every ResNet at two widths, the theory's network, layer norm and GELU, convolutions in groups.

    /usr/bin/python3 tests/golden/make_architectures.py

Training mode is left out where ReLUs are so many that one always comes near its kink.
"""
from make_goldens import batch_case
from models import Grouped, Smooth, Theory, resnet

COUNTS = {"resnet34": 21282122, "resnet50": 23520842, "resnet56": 855770,
          "resnet18_bottleneck": 13958986, "resnet56_bottleneck": 869530}


def res(name, channels, classes, width):
    return lambda: resnet(name)(channels, classes, width)


def main():
    for name, count in COUNTS.items():
        assert sum(p.numel() for p in resnet(name)(3, 10, 1).parameters()) == count, name
    batch_case("resnet34_32_3x17x16", res("resnet34", 3, 10, 1 / 32), (3, 17, 16), 10,
               train=(4,), evaluated=(1, 5), seed=1)
    batch_case("resnet34_3_64_1x28x28", res("resnet34", 1, 7, 3 / 64), (1, 28, 28), 7,
               train=(), evaluated=(2,), seed=2, half=True)
    batch_case("resnet50_32_3x17x16", res("resnet50", 3, 10, 1 / 32), (3, 17, 16), 10,
               train=(4,), evaluated=(1, 5), seed=4)
    batch_case("resnet50_3_64_1x28x28", res("resnet50", 1, 7, 3 / 64), (1, 28, 28), 7,
               train=(), evaluated=(2,), seed=4, half=True)
    batch_case("resnet56_8_3x13x16", res("resnet56", 3, 10, 1 / 8), (3, 13, 16), 10,
               train=(4,), evaluated=(1, 5), seed=8)
    batch_case("resnet56_4_1x28x28", res("resnet56", 1, 7, 1 / 4), (1, 28, 28), 7,
               train=(), evaluated=(2,), seed=6, half=True)
    batch_case("resnet18_bottleneck_16_3x19x23", res("resnet18_bottleneck", 3, 7, 1 / 16),
               (3, 19, 23), 7, train=(4,), evaluated=(1, 5), seed=2, half=True)
    batch_case("resnet56_bottleneck_8_3x16x16", res("resnet56_bottleneck", 3, 10, 1 / 8),
               (3, 16, 16), 10, train=(), evaluated=(1, 5), seed=11)
    batch_case("theory_3x4x5", lambda: Theory((3, 4, 5), 48, 10), (3, 4, 5), 2,
               train=(1, 16), evaluated=(1, 5), seed=9)
    batch_case("smooth_3x9x11", lambda: Smooth((3, 9, 11), 6), (3, 9, 11), 6,
               train=(1, 16), evaluated=(1, 5), seed=10)
    batch_case("groups_3x17x14", lambda: Grouped(3, 6), (3, 17, 14), 6,
               train=(4, 16), evaluated=(1, 5), seed=8)


if __name__ == "__main__":
    main()
