# SPDX-License-Identifier: BSD-3-Clause
"""What is measured: the jobs, their sizes, the ratio to reach, and the arithmetic that each does.

FLOP are those of direct convolution, two per multiplication, padding counted, whatever an engine
really does: a training step is the forward pass and two such passes back (one in the first layer,
where nobody asks for the gradient of the images). Normalisation, ReLU, pooling and the optimiser
are not counted.
"""

VGG = ((64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2), (512, 1),
       (512, 1))
RESNET = ((64, 1), (128, 2), (256, 2), (512, 2))
CLASSES = 10
IMAGES = 12800  # of 3x32x32 bytes in the data file; smaller shapes take its beginning


def scaled(width, multiplier):
    return max(1, int(round(width * multiplier)))


def layers(arch, width, shape, hidden=(512, 512)):
    """Multiplications of each layer's forward pass on one image, the first layer first."""
    c, h, w = shape
    found = []

    def conv(cin, cout, kernel, stride, h, w):
        h, w = -(-h // stride), -(-w // stride)
        found.append(cin * cout * kernel * kernel * h * w)
        return h, w

    if arch == "vgg13":
        for out, stride in VGG:
            h, w = conv(c, scaled(out, width), 3, stride, h, w)
            c = scaled(out, width)
    elif arch == "resnet18":
        conv(c, scaled(64, width), 3, 1, h, w)
        c = scaled(64, width)
        for out, first in RESNET:
            out = scaled(out, width)
            for stride in (first, 1):
                oh, ow = conv(c, out, 3, stride, h, w)
                conv(out, out, 3, 1, oh, ow)
                if stride != 1 or c != out:
                    conv(c, out, 1, stride, h, w)
                c, h, w = out, oh, ow
    else:
        c = c * h * w
        for out in hidden:
            found.append(c * out)
            c = out
    found.append(c * CLASSES)
    return found


def forward_flop(settings):
    return 2 * sum(layers(settings["arch"], settings["width"], settings["shape"]))


def train_flop(settings):
    each = layers(settings["arch"], settings["width"], settings["shape"])
    return 2 * (3 * sum(each) - each[0])


NAMES = {"vgg13": "VGG-13", "resnet18": "ResNet-18", "mlp": "MLP 784-512-512-10"}


def name_of(arch, width, shape):
    name = NAMES[arch]
    if width != 1:
        name += " quarter width" if width == 0.25 else " width %g" % width
    return name + ("" if arch == "mlp" else ", %dx%dx%d" % tuple(shape))


def train(arch, batch, goal, width=1, shape=(3, 32, 32), scaling_goal=None):
    settings = {"job": "train", "arch": arch, "width": width, "shape": list(shape),
                "batch": batch, "n": IMAGES}
    flop = batch * train_flop(settings)
    job = {"key": "train-%s-%g-%d-%d" % (arch, width, shape[1], batch), "unit": "images/s",
           "label": "%s, training step, batch %d" % (name_of(arch, width, shape), batch),
           "settings": settings, "items": batch, "flop": flop, "peer_flop": flop, "goal": goal,
           "formats": ["contiguous"] if arch == "mlp" else ["channels_last", "contiguous"]}
    if scaling_goal:
        job["scaling_goal"] = scaling_goal
    return job


def infer(arch, batch, goal):
    settings = {"job": "infer", "arch": arch, "width": 1, "shape": [3, 32, 32], "batch": batch,
                "n": max(1280, batch)}
    flop = batch * forward_flop(settings)
    return {"key": "infer-%s-%d" % (arch, batch), "unit": "images/s",
            "label": "%s, inference, batch %d" % (name_of(arch, 1, (3, 32, 32)), batch),
            "settings": settings, "items": batch, "flop": flop, "peer_flop": flop, "goal": goal,
            "bound": True, "formats": ["channels_last", "contiguous"],
            "optimised": ["channels_last optimised", "contiguous optimised"]}


def curve(points, statistics, test, goal):
    settings = {"job": "curve", "arch": "vgg13", "width": 1, "shape": [3, 32, 32], "batch": 128,
                "n": statistics, "test": test, "points": points}
    flop = points * forward_flop(settings)
    label = "VGG-13, path evaluation, %d points x 4 views, %s + %s images" % (
        points, format(statistics, ","), format(test, ","))
    return {"key": "curve", "unit": "s", "label": label, "settings": settings, "items": 1,
            "flop": flop * (statistics + 4 * test), "peer_flop": flop * 4 * (statistics + test),
            "goal": goal, "whole": True, "formats": ["channels_last", "contiguous"]}


def cbft(steps, goal):
    batch = 128
    settings = {"job": "cbft", "arch": "vgg13", "width": 1, "shape": [3, 32, 32], "batch": batch,
                "n": (steps + 1) * batch}
    flop = 3 * steps * batch * train_flop(settings)
    return {"key": "cbft", "unit": "s", "label": "VGG-13, CBFT epoch, %d steps of %d + %d images"
            % (steps, batch, batch), "settings": settings, "items": 1, "flop": flop,
            "peer_flop": flop, "goal": goal, "whole": True,
            "formats": ["channels_last", "contiguous"]}


def table(quick=False, full=False):
    """The jobs in the order of the table. Time on either side is proportional to points and images
    of a path, and to the steps of an epoch: they are cut down, on both sides alike, to what fits
    into the run."""
    if full:
        path = dict(curve(11, 10000, 2000, 5.0), trial=curve(2, 1280, 256, 5.0))
    elif quick:
        path = curve(2, 384, 128, 5.0)
    else:
        path = curve(2, 1280, 256, 5.0)
    grey = (1, 28, 28)
    return [
        train("vgg13", 128, 2.0, scaling_goal=1.85),
        train("resnet18", 64, 2.0, scaling_goal=1.85),
        train("resnet18", 128, 2.0),
        infer("vgg13", 128, 1.8),
        infer("resnet18", 128, 1.8),
        train("vgg13", 128, 2.5, width=0.25),
        train("vgg13", 128, 2.5, width=0.25, shape=grey),
        train("resnet18", 128, 2.5, width=0.25),
        train("resnet18", 128, 2.5, width=0.25, shape=grey),
        train("mlp", 128, 1.3, shape=grey),
        infer("vgg13", 1, 1.0),
        infer("vgg13", 16, 1.0),
        path,
        cbft(1 if quick else 4, 2.0),
    ]
