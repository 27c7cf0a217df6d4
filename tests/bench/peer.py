# SPDX-License-Identifier: BSD-3-Clause
"""The PyTorch side of the benchmark; bench_jobs.c describes the requests on standard input.

Jobs do the same work as ours in the way that suits PyTorch best: images wait in memory as
normalised floats in the wanted memory format (job "train" takes "store": "uint8" where memory is
what counts), ReLU works in place, gradients are set to None, SGD steps fused where that is to be
had, and nothing is loaded by workers.
A format "... optimised" (inference) is torch.jit.optimize_for_inference() of the traced model,
which folds batch norm into the convolutions.
"""
import json
import os
import re
import sys
import time
import warnings

started = time.perf_counter()
import torch  # noqa: E402 (its import is measured)
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

IMPORT_SECONDS = time.perf_counter() - started

from jobs import CLASSES, RESNET, VGG, scaled  # noqa: E402

RATE, MOMENTUM, DECAY = 1e-3, 0.9, 1e-4
KAPPA, LAMBDA = 1.0, 1.0


# ---- models --------------------------------------------------------------------------------------

class ConvNorm(nn.Module):
    def __init__(self, cin, cout, kernel, stride):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(cout)

    def forward(self, x):
        return self.norm(self.conv(x))


class Vgg13(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        blocks, cin = [], channels
        for out, stride in VGG:
            blocks += [ConvNorm(cin, scaled(out, width), 3, stride), nn.ReLU(inplace=True)]
            cin = scaled(out, width)
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Linear(cin, CLASSES)

    def representation(self, x):
        return self.blocks(x).mean(dim=(2, 3))

    def forward(self, x):
        return self.linear(self.representation(x))


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.first = ConvNorm(cin, cout, 3, stride)
        self.second = ConvNorm(cout, cout, 3, 1)
        self.shortcut = nn.Identity()
        if stride != 1 or cin != cout:
            self.shortcut = ConvNorm(cin, cout, 1, stride)

    def forward(self, x):
        out = self.second(F.relu(self.first(x), inplace=True))
        out += self.shortcut(x)
        return F.relu(out, inplace=True)


class ResNet18(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        cin = scaled(64, width)
        blocks = [ConvNorm(channels, cin, 3, 1), nn.ReLU(inplace=True)]
        for out, first in RESNET:
            for stride in (first, 1):
                blocks.append(BasicBlock(cin, scaled(out, width), stride))
                cin = scaled(out, width)
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Linear(cin, CLASSES)

    def representation(self, x):
        return self.blocks(x).mean(dim=(2, 3))

    def forward(self, x):
        return self.linear(self.representation(x))


def make_model(settings, seed=0):
    torch.manual_seed(seed)
    channels, height, width = settings["shape"]
    if settings["arch"] == "mlp":
        sizes = [channels * height * width, 512, 512]
        blocks = [nn.Flatten()]
        for a, b in zip(sizes, sizes[1:]):
            blocks += [nn.Linear(a, b), nn.ReLU(inplace=True)]
        return nn.Sequential(*blocks, nn.Linear(sizes[-1], CLASSES))
    kind = Vgg13 if settings["arch"] == "vgg13" else ResNet18
    model = kind(channels, settings["width"])
    return model.to(memory_format=memory_format(settings))


def memory_format(settings):
    last = settings.get("format", "").startswith("channels_last")
    return torch.channels_last if last else torch.contiguous_format


def sgd(model):
    """Steps in one pass over the parameters ("fused") where this PyTorch has that for
    processors."""
    settings = {"momentum": MOMENTUM, "weight_decay": DECAY}
    try:
        return torch.optim.SGD(model.parameters(), RATE, fused=True, **settings)
    except (TypeError, RuntimeError):
        return torch.optim.SGD(model.parameters(), RATE, **settings)


# ---- data ----------------------------------------------------------------------------------------

def read(path, offset, shape):
    count = 1
    for extent in shape:
        count *= extent
    with open(path, "rb") as file:
        file.seek(offset)
        data = bytearray(file.read(count))
    return torch.frombuffer(data, dtype=torch.uint8).reshape(shape)


def normalise(levels):
    return levels.float().mul_(2 / 255).sub_(1)


class Data:
    """Samples first .. first+n-1 of the files. Stored so that taking rows of the first dimension
    gives the memory format."""

    def __init__(self, settings, first, n, cue=False):
        shape = settings["shape"]
        pixels = shape[0] * shape[1] * shape[2]
        images = read(settings["images"], first * pixels, [n] + shape)
        self.y = read(settings["labels"], first, [n]).long()
        self.levels = settings.get("store") == "uint8"
        if not self.levels:
            images = normalise(images)
        if cue:
            draw_boxes(images, self.y)
        self.last = memory_format(settings) == torch.channels_last
        self.x = images.permute(0, 2, 3, 1).contiguous() if self.last else images

    def batch(self, which):
        """By indices, or a slice (which copies nothing)."""
        x = self.x[which]
        x = normalise(x) if self.levels else x
        return (x.permute(0, 3, 1, 2) if self.last else x), self.y[which]

    def __len__(self):
        return len(self.y)


def draw_boxes(images, places):
    """The cue "box" of dataset.h."""
    height, width = images.shape[2:]
    rows, columns = (0, (height - 3) // 2, height - 3), (0, (width - 3) // 2, width - 3)
    value = torch.tensor([0.0, 1.0, 0.0]).reshape(3, 1, 1)
    for image, place in zip(images, places.tolist()):
        if place < 9:
            r, c = rows[place // 3], columns[place % 3]
            image[:, r:r + 3, c:c + 3] = value


# ---- jobs ----------------------------------------------------------------------------------------

class Train:
    def __init__(self, settings):
        self.data = Data(settings, 0, settings["n"])
        self.model = make_model(settings).train()
        self.optimiser = sgd(self.model)
        self.batch, self.order, self.hits, self.loss = settings["batch"], None, 0, 0.0

    def run(self, steps):
        for _ in range(steps):
            if self.order is None or len(self.order) < self.batch:
                self.order = torch.randperm(len(self.data))
            x, y = self.data.batch(self.order[:self.batch])
            self.order = self.order[self.batch:]
            self.optimiser.zero_grad(set_to_none=True)
            logits = self.model(x)
            loss = F.cross_entropy(logits, y)
            loss.backward()
            self.optimiser.step()
            # Every training loop keeps these two.
            self.loss += loss.item()
            self.hits += (logits.argmax(1) == y).sum().item()


class Infer:
    def __init__(self, settings):
        self.data = Data(settings, 0, settings["n"])
        self.model = make_model(settings).eval()
        self.batch, self.next = settings["batch"], 0
        self.parameters = sum(p.numel() for p in self.model.parameters())
        if settings.get("format", "").endswith("optimised"):
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                traced = torch.jit.trace(self.model, self.data.batch(slice(0, self.batch))[0])
                self.model = torch.jit.optimize_for_inference(traced)

    def run(self, steps):
        with torch.inference_mode():
            for _ in range(steps):
                self.model(self.data.batch(slice(self.next, self.next + self.batch))[0])
                self.next += self.batch
                if self.next + self.batch > len(self.data):
                    self.next = 0


class Curve:
    """At each point and for each view: a pass over the training images in training mode, which
    resets the running statistics, then the view's test images in eval mode. Views are drawn
    before the clock starts."""

    def __init__(self, settings):
        self.batch, self.points = settings["batch"], settings["points"]
        self.ends = [make_model(settings, seed).state_dict() for seed in (0, 1)]
        self.model = make_model(settings)
        self.train = Data(settings, 0, settings["n"])
        first, n = settings["n"], settings["test"]
        self.views = [Data(settings, first, n), Data(settings, first, n, cue=True),
                      Data(settings, first, n), Data(settings, first, n)]

    def batches(self, data):
        for i in range(0, len(data), self.batch):
            yield data.batch(slice(i, i + self.batch))

    def set_point(self, t):
        state = {key: torch.lerp(value, self.ends[1][key], t) if value.is_floating_point()
                 else value for key, value in self.ends[0].items()}
        self.model.load_state_dict(state)

    def run(self, steps):
        with torch.inference_mode():
            for _ in range(steps):
                for i in range(self.points):
                    self.set_point(i / (self.points - 1))
                    for view in self.views:
                        self.reset()
                        self.evaluate(view)

    def reset(self):
        self.model.train()
        for x, _ in self.batches(self.train):
            self.model(x)

    def evaluate(self, view):
        self.model.eval()
        loss = hits = 0
        for x, y in self.batches(view):
            logits = self.model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            hits += (logits.argmax(1) == y).sum().item()
        return loss / len(view), hits / len(view)


class Cbft:
    """Alternating steps, both terms in force: the barrier step goes through a scratch model at
    t origin + (1-t) theta, whose gradient is scaled by (1-t); then cross-entropy and invariance
    of one batch of each set."""

    def __init__(self, settings):
        n, batch = settings["n"], settings["batch"]
        self.batch, self.steps = batch, n // batch - 1
        self.clean, self.cued = Data(settings, 0, n), Data(settings, n, n, cue=True)
        self.model, self.origin = make_model(settings).train(), make_model(settings)
        self.mix = make_model(settings).train()
        self.optimiser = sgd(self.model)
        self.values = []

    def run(self, steps):
        for _ in range(steps):
            orders = [torch.randperm(len(data)) for data in (self.clean, self.cued)]
            for k in range(self.steps):
                part = slice(k * self.batch, (k + 1) * self.batch)
                self.step(self.clean.batch(orders[0][part]), self.cued.batch(orders[1][part]))

    def step(self, clean, cued):
        wall = self.barrier(cued, 0.25 + 0.5 * torch.rand(()).item())
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        z_clean, z_cued = (self.model.representation(x) for x, _ in (clean, cued))
        entropy = F.cross_entropy(self.model.linear(z_clean), clean[1])
        gap = invariance(z_clean, clean[1], z_cued, cued[1])
        (entropy + LAMBDA / CLASSES * gap).backward()
        self.optimiser.step()
        self.values.append((entropy.item(), wall, gap.item()))

    def barrier(self, cued, t):
        with torch.no_grad():
            for mixed, own, origin in zip(self.mix.parameters(), self.model.parameters(),
                                          self.origin.parameters()):
                torch.lerp(own, origin, t, out=mixed)
        self.mix.zero_grad(set_to_none=True)
        loss = (KAPPA - F.cross_entropy(self.mix(cued[0]), cued[1])).abs()
        loss.backward()
        for mixed, own in zip(self.mix.parameters(), self.model.parameters()):
            own.grad = mixed.grad.mul_(1 - t)
            mixed.grad = None
        return loss.item()


def invariance(z_a, y_a, z_b, y_b):
    def means(z, y):
        one_hot = F.one_hot(y, CLASSES).float()
        count = one_hot.sum(0)
        mean = one_hot.t() @ z / count.clamp(min=1).unsqueeze(1)
        return F.normalize(mean, dim=1, eps=1e-12), count > 0

    (a, in_a), (b, in_b) = means(z_a, y_a), means(z_b, y_b)
    return (((a - b) ** 2).sum(1) * (in_a & in_b)).sum()


# ---- requests ------------------------------------------------------------------------------------

KINDS = {"train": Train, "infer": Infer, "curve": Curve, "cbft": Cbft}
opened = {}


def info():
    with open("/proc/self/maps", encoding="utf-8") as maps:
        paths = {line.split()[-1] for line in maps if "/" in line}
    wanted = re.compile(r"/lib(?:blas|blis|openblas|mkl\w*|dnnl|gomp|omp|iomp5)[-.\w]*\.so[.\d]*$")
    onednn = re.search(r"MKL-DNN v(\S+)", torch.__config__.show())
    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    library = os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so")
    found = [p for p in sorted(paths) if p.endswith("libtorch_cpu.so")] + [library]
    return {"torch": torch.__version__, "onednn": onednn.group(1) if onednn else None,
            "mkldnn_enabled": torch.backends.mkldnn.is_available(),
            "built_in_blas": blas.group(1) if blas else "unknown",
            "threads": torch.get_num_threads(), "import_seconds": IMPORT_SECONDS,
            "libraries": sorted(p for p in paths if wanted.search(p)),
            "shared_object_bytes": os.path.getsize(found[0])}


def answer(request):
    op = request["op"]
    if op == "info":
        return info()
    if op == "open":
        torch.set_num_threads(request["threads"])
        job = KINDS[request["job"]](request)
        number = max(opened, default=-1) + 1
        opened[number] = job
        parameters = getattr(job, "parameters", None) or sum(
            p.numel() for p in job.model.parameters())
        return {"id": number, "parameters": parameters}
    if op == "run":
        begun = time.perf_counter()
        opened[request["id"]].run(request["steps"])
        return {"seconds": time.perf_counter() - begun}
    if op == "close":
        del opened[request["id"]]
        return {}
    if op == "create":
        begun = time.perf_counter()
        make_model(request)
        return {"seconds": time.perf_counter() - begun}
    if op == "memory":
        with open("/proc/self/status", encoding="utf-8") as status:
            return {"peak_kb": int(re.search(r"VmHWM:\s*(\d+)", status.read()).group(1))}
    return {"error": "unknown op"}


def main():
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as error:  # the driver reports it
            reply = {"error": "%s: %s" % (type(error).__name__, error)}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
