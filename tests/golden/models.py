# SPDX-License-Identifier: BSD-3-Clause
"""For make_goldens.py: the architectures, stated from the paper's specification in plain PyTorch
with the state-dict names of its code, how they get their random parameters, pooled batch-norm
statistics, and images; and functional_call() of any version of PyTorch."""
import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

try:
    from torch.func import functional_call
except ImportError:  # before PyTorch 2.0
    from torch.nn.utils.stateless import functional_call

KINKS = []  # the smallest magnitude that each ReLU met where a gradient in float64 went through it


def relu(x):
    if x.requires_grad and x.dtype == torch.float64:
        KINKS.append(x.detach().abs().min().item())
    return F.relu(x)


def f32(value):
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    return np.asarray(value).astype(np.float32)


def scaled(width, multiplier):
    return max(1, int(round(width * multiplier)))


class VggLayer(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)

    def forward(self, x):
        return relu(self.bn1(self.conv1(x)))


class Vgg13(nn.Module):
    """Ten 3x3 convolutions, batch norm, ReLU; global average pool; one linear layer."""
    PLAN = ((64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2), (512, 1),
            (512, 1))

    def __init__(self, channels, classes, width):
        super().__init__()
        layers, cin = [], channels
        for out, stride in self.PLAN:
            layers.append(VggLayer(cin, scaled(out, width), stride))
            cin = scaled(out, width)
        self.layers = nn.ModuleList(layers)
        self.linear = nn.Linear(cin, classes)

    def representation(self, x):
        for layer in self.layers:
            x = layer(x)
        return x.mean(dim=(2, 3))

    def forward(self, x):
        return self.linear(self.representation(x))


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.projects = stride != 1 or cin != cout
        if self.projects:
            self.shortcut_conv = nn.Conv2d(cin, cout, 1, stride=stride, bias=False)
            self.shortcut_bn = nn.BatchNorm2d(cout)

    def forward(self, x):
        out = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(out + (self.shortcut_bn(self.shortcut_conv(x)) if self.projects else x))


class Bottleneck(nn.Module):
    """1x1 to the width, 3x3 with the stride, 1x1 to four times the width."""

    def __init__(self, cin, width, stride):
        super().__init__()
        cout = 4 * width
        self.conv1 = nn.Conv2d(cin, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, cout, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(cout)
        self.projects = stride != 1 or cin != cout
        if self.projects:
            self.shortcut_conv = nn.Conv2d(cin, cout, 1, stride=stride, bias=False)
            self.shortcut_bn = nn.BatchNorm2d(cout)

    def forward(self, x):
        out = relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))))
        out = self.bn3(self.conv3(out))
        return relu(out + (self.shortcut_bn(self.shortcut_conv(x)) if self.projects else x))


class ResNet(nn.Module):
    """CIFAR stem (3x3, stride 1, no max pool), groups layer1, layer2, ... of residual blocks, the
    first block of each group but the first at stride 2."""
    WIDE, NARROW = (64, 128, 256, 512), (16, 32, 64)

    def __init__(self, block, counts, widths, channels, classes, width):
        super().__init__()
        w = [scaled(value, width) for value in widths]
        expansion = 4 if block is Bottleneck else 1
        self.conv1 = nn.Conv2d(channels, w[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(w[0])
        cin, self.groups = w[0], len(w)
        for i, (count, out) in enumerate(zip(counts, w)):
            blocks = []
            for k in range(count):
                blocks.append(block(cin, out, 2 if i > 0 and k == 0 else 1))
                cin = expansion * out
            setattr(self, "layer%d" % (i + 1), nn.Sequential(*blocks))
        self.linear = nn.Linear(cin, classes)

    def representation(self, x):
        x = relu(self.bn1(self.conv1(x)))
        for i in range(self.groups):
            x = getattr(self, "layer%d" % (i + 1))(x)
        return x.mean(dim=(2, 3))

    def forward(self, x):
        return self.linear(self.representation(x))


def resnet(name):
    """What makes the ResNet of that name, as the library calls it, from (channels, classes,
    width)."""
    block, counts, widths = {
        "resnet18": (BasicBlock, (2, 2, 2, 2), ResNet.WIDE),
        "resnet34": (BasicBlock, (3, 4, 6, 3), ResNet.WIDE),
        "resnet50": (Bottleneck, (3, 4, 6, 3), ResNet.WIDE),
        "resnet56": (BasicBlock, (9, 9, 9), ResNet.NARROW),
        "resnet18_bottleneck": (Bottleneck, (2, 2, 2, 2), ResNet.WIDE),
        "resnet56_bottleneck": (Bottleneck, (9, 9, 9), ResNet.NARROW),
    }[name]
    return lambda channels, classes, width: ResNet(block, counts, widths, channels, classes, width)


ResNet18 = resnet("resnet18")


class Theory(nn.Module):
    """f(x; W) = (1/N) 1^T relu(W^T x), logits (-m/2, m/2) with m = scale (f - 1/2)."""

    def __init__(self, shape, units, scale):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(int(np.prod(shape)), units, bias=False)])
        self.scale = scale

    def representation(self, x):
        return relu(self.layers[0](x.flatten(1)))

    def forward(self, x):
        margin = self.scale * (self.representation(x).mean(dim=1) - 0.5)
        return torch.stack([-margin / 2, margin / 2], dim=1)


class Mlp(nn.Module):
    def __init__(self, shape, classes, hidden):
        super().__init__()
        sizes = [int(np.prod(shape))] + list(hidden)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.linear = nn.Linear(sizes[-1], classes)

    def representation(self, x):
        x = x.flatten(1)
        for layer in self.layers:
            x = relu(layer(x))
        return x

    def forward(self, x):
        return self.linear(self.representation(x))


class Windows(nn.Module):
    """A graph of one's own: windows of every kind, strides, padding, biases, a sum of branches."""

    def __init__(self, channels, classes):
        super().__init__()
        self.stem = nn.Conv2d(channels, 6, 5, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6, eps=1e-3, momentum=0.25)
        self.left = nn.Conv2d(6, 5, 1, bias=True)
        self.right = nn.Conv2d(6, 5, 3, stride=1, padding=1, bias=False)
        self.hidden = nn.Linear(5 * 3 * 3, 9)
        self.head = nn.Linear(9, classes, bias=False)

    def representation(self, x):
        x = F.max_pool2d(relu(self.norm(self.stem(x))), 3, stride=2, padding=1)
        x = F.avg_pool2d(self.left(x) + self.right(x), 3, stride=2, padding=1)
        return relu(self.hidden(x.flatten(1)))

    def forward(self, x):
        return self.head(self.representation(x))


class Smooth(nn.Module):
    """A graph of one's own: layer norms over images, over the channels of a pixel and without
    weights, both forms of GELU, a sum of branches."""

    def __init__(self, shape, classes):
        super().__init__()
        c, h, w = shape
        self.first = nn.LayerNorm([c, h, w])
        self.stem = nn.Conv2d(c, 7, 3, stride=2, padding=1, bias=True)
        self.pixels = nn.LayerNorm(7, eps=1e-3)
        self.point = nn.Conv2d(7, 7, 1, bias=False)
        self.hidden = nn.Linear(7 * ((h + 1) // 2) * ((w + 1) // 2), 9)
        self.vector = nn.LayerNorm(9)
        self.head = nn.Linear(9, classes)

    def representation(self, x):
        x = F.gelu(self.stem(self.first(x)))
        y = self.pixels(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = x + F.gelu(self.point(y), approximate="tanh")
        x = F.layer_norm(x, x.shape[1:])
        return F.gelu(self.vector(self.hidden(x.flatten(1))))

    def forward(self, x):
        return self.head(self.representation(x))


class Grouped(nn.Module):
    """A graph of one's own: convolutions in groups of several widths and depthwise, with one output
    a channel and with two."""

    def __init__(self, channels, classes):
        super().__init__()
        self.stem = nn.Conv2d(channels, 12, 1, bias=True)
        self.groups = nn.Conv2d(12, 18, 3, padding=1, groups=3, bias=False)
        self.norm = nn.BatchNorm2d(18)
        self.depthwise = nn.Conv2d(18, 18, 5, stride=2, padding=1, groups=18, bias=False)
        self.middle = nn.BatchNorm2d(18)
        self.two = nn.Conv2d(18, 36, 3, padding=2, groups=18, bias=True)
        self.narrow = nn.Conv2d(36, 6, 2, stride=3, groups=2, bias=False)
        self.head = nn.Linear(6 * 3 * 3, classes)

    def representation(self, x):
        x = relu(self.norm(self.groups(self.stem(x))))
        x = relu(self.middle(self.depthwise(x)))
        return self.narrow(self.two(x)).flatten(1)

    def forward(self, x):
        return self.head(self.representation(x))


def pictures(rng, n, shape, classes):
    """Images of n cycling classes, uint8 levels [n][C][H][W] and labels [n]: a wave per class and
    channel, shaken and noisy."""
    c, h, w = shape
    labels = np.arange(n) % classes
    rows, columns = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    x = np.empty((n, c, h, w))
    for i, label in enumerate(labels):
        for j in range(c):
            angle = np.pi * (label + 0.3 * j) / classes
            phase = label + rng.uniform(-0.6, 0.6)
            wave = np.cos(0.7 * (rows * np.sin(angle) + columns * np.cos(angle)) + phase)
            x[i, j] = 128 + 70 * wave + 35 * rng.standard_normal((h, w))
    order = rng.permutation(n)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)[order], labels[order]


def normalised(levels):
    return f32((levels.astype(np.float64) / 255 - 0.5) / 0.5)


def randomise(model, rng, x):
    """Weights U(+-1/sqrt(fan_in)); batch norm's weights, biases and running statistics perturbed
    (some weights negative), the statistics around those of x. All float32 numbers in float64."""
    model.double()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                bound = 1 / np.sqrt(module.weight[0].numel())
                for value in module.parameters(recurse=False):
                    value.copy_(torch.tensor(f32(rng.uniform(-bound, bound, tuple(value.shape)))))
            elif isinstance(module, nn.BatchNorm2d):
                c = module.num_features
                sign = np.where(rng.uniform(size=c) < 0.1, -1, 1)
                module.weight.copy_(torch.tensor(f32(sign * rng.uniform(0.5, 1.5, c))))
                module.bias.copy_(torch.tensor(f32(0.3 * rng.standard_normal(c))))
            elif isinstance(module, nn.LayerNorm):
                size = module.normalized_shape
                module.weight.copy_(torch.tensor(f32(rng.uniform(0.5, 1.5, size))))
                module.bias.copy_(torch.tensor(f32(0.3 * rng.standard_normal(size))))
        pooled = pooled_statistics(model, [torch.tensor(x, dtype=torch.float64)])
        for name, module in norms(model):
            c = module.num_features
            mean, var = pooled[name + ".running_mean"], pooled[name + ".running_var"]
            shift = mean + 0.2 * var.sqrt() * torch.tensor(rng.standard_normal(c))
            module.running_mean.copy_(torch.tensor(f32(shift)))
            scale = torch.tensor(rng.uniform(0.7, 1.4, c))
            module.running_var.copy_(torch.tensor(f32(var * scale)))
    return model


def norms(model):
    return [(name, module) for name, module in model.named_modules()
            if isinstance(module, nn.BatchNorm2d)]


def pooled_statistics(model, batches):
    """Running statistics that pool the batches: each layer sees what the layers before make of a
    batch with that batch's own statistics. Law of total variance, weights n_b h w; unbiased."""
    sums = {}

    def gather(name):
        def hook(_, inputs):
            x = inputs[0].detach()
            count = x.numel() // x.shape[1]
            mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
            sums.setdefault(name, []).append((count, mean, var))
        return hook

    scratch = copy.deepcopy(model).train()
    hooks = [module.register_forward_pre_hook(gather(name)) for name, module in norms(scratch)]
    with torch.no_grad():
        for x in batches:
            scratch(x)
    for hook in hooks:
        hook.remove()
    result = {}
    for name, parts in sums.items():
        total = sum(count for count, _, _ in parts)
        mean = sum(count * m for count, m, _ in parts) / total
        within = sum(count * v for count, _, v in parts) / total
        between = sum(count * (m - mean) ** 2 for count, m, _ in parts) / total
        result[name + ".running_mean"] = mean
        result[name + ".running_var"] = (within + between) * total / (total - 1)
    return result


def set_statistics(model, values):
    buffers = dict(model.named_buffers())
    with torch.no_grad():
        for key, value in values.items():
            buffers[key].copy_(value)
