"""The networks of the catalogue as modules of torch, in the shapes that the data ask for.

ReLU is written after max-pooling throughout: the two commute exactly, and it then works on a quarter of
the values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from pomona.core.errors import InputError
from pomona.models.catalogue import Option
from pomona.models.choice import hidden_sizes
from pomona.models.imagenet import AlexNet, Vgg11

Shape = tuple[int, int, int]


class LeNet(nn.Module):
    """Two convolutions and three linear layers."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) < 10:
            raise InputError(f"lenet needs images of 10x10 pixels or more, got {height}x{width}")
        self.conv1 = nn.Conv2d(channels, 6, 3)
        self.conv2 = nn.Conv2d(6, 16, 3)
        rows, columns = (((size - 2) // 2 - 2) // 2 for size in (height, width))
        self.fc1 = nn.Linear(16 * rows * columns, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images, shape ``(n, classes)``."""
        hidden = F.relu_(F.max_pool2d(self.conv1(images), 2))
        hidden = F.relu_(F.max_pool2d(self.conv2(hidden), 2))
        hidden = F.relu_(self.fc1(hidden.flatten(1)))
        logits: Tensor = self.fc3(F.relu_(self.fc2(hidden)))
        return logits


class Fc(nn.Module):
    """Linear layers ``fc1`` to ``fcN`` with ReLU between them."""

    def __init__(self, shape: Shape, classes: int, hidden: str) -> None:
        super().__init__()
        sizes = (shape[0] * shape[1] * shape[2], *hidden_sizes(hidden), classes)
        for i in range(1, len(sizes)):
            self.add_module(f"fc{i}", nn.Linear(sizes[i - 1], sizes[i]))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images, shape ``(n, classes)``."""
        *inner, last = self.children()
        hidden = images.flatten(1)
        for layer in inner:
            hidden = F.relu_(layer(hidden))
        logits: Tensor = last(hidden)
        return logits


class ConvPairs(nn.Module):
    """Conv-2, Conv-4 and Conv-6: pairs of padded convolutions, then three linear layers."""

    def __init__(self, shape: Shape, classes: int, pairs: int) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) < 2**pairs:
            raise InputError(
                f"conv-{2 * pairs} needs images of {2**pairs}x{2**pairs} pixels or more, got {height}x{width}"
            )
        self.pairs = pairs
        for i in range(2 * pairs):
            wider = 64 * 2 ** (i // 2)
            self.add_module(f"conv{i + 1}", nn.Conv2d(channels, wider, 3, padding=1))
            channels = wider
        self.fc1 = nn.Linear(channels * (height >> pairs) * (width >> pairs), 256)
        self.fc2 = nn.Linear(256, 256)
        self.fc3 = nn.Linear(256, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images, shape ``(n, classes)``."""
        layers = list(self.children())
        hidden = images
        for i in range(0, 2 * self.pairs, 2):
            hidden = layers[i + 1](F.relu_(layers[i](hidden)))
            hidden = F.relu_(F.max_pool2d(hidden, 2))
        hidden = F.relu_(self.fc1(hidden.flatten(1)))
        logits: Tensor = self.fc3(F.relu_(self.fc2(hidden)))
        return logits


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut around them."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, images: Tensor) -> Tensor:
        """Features after the block, shape ``(n, width, rows, columns)``."""
        hidden = F.relu_(self.bn1(self.conv1(images)))
        return F.relu_(self.bn2(self.conv2(hidden)) + self.shortcut(images))


class ResNet(nn.Module):
    """The residual network for images of about 32x32: three stages of ``blocks`` blocks."""

    def __init__(self, shape: Shape, classes: int, width: int, blocks: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(shape[0], width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.stages = nn.ModuleList()
        channels = width
        for stage in range(3):
            wider = width * 2**stage
            layers = [Block(channels, wider, stride=2 if stage else 1)]
            layers += [Block(wider, wider, stride=1) for _ in range(blocks - 1)]
            self.stages.append(nn.Sequential(*layers))
            channels = wider
        self.fc = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images, shape ``(n, classes)``."""
        hidden = F.relu_(self.bn(self.conv(images)))
        for stage in self.stages:
            hidden = stage(hidden)
        logits: Tensor = self.fc(hidden.mean((2, 3)))
        return logits


# Convolutions of each group, as multiples of the first width; all groups but the last end in a max-pool.
_VGG = {11: ((1,), (2,), (4, 4), (8, 8), (8, 8)), 19: ((1,) * 2, (2,) * 2, (4,) * 4, (8,) * 4, (8,) * 4)}


class Vgg(nn.Module):
    """Groups of padded 3x3 convolutions, a max-pool between groups, global average pooling and one layer."""

    def __init__(self, shape: Shape, classes: int, depth: int, width: int, batch_norm: bool) -> None:
        super().__init__()
        self.ends: list[bool] = []
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        channels, size = shape[0], min(shape[1:])
        for group, multiples in enumerate(_VGG[depth]):
            for i, multiple in enumerate(multiples):
                self.convs.append(nn.Conv2d(channels, multiple * width, 3, padding=1, bias=not batch_norm))
                self.norms.append(nn.BatchNorm2d(multiple * width) if batch_norm else nn.Identity())
                # Images too small for another pooling keep their size: 8x8 is pooled three times, not four.
                self.ends.append(group < 4 and i == len(multiples) - 1 and size > 1)
                channels = multiple * width
            size //= 2
        self.fc = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images, shape ``(n, classes)``."""
        hidden = images
        for conv, norm, ends in zip(self.convs, self.norms, self.ends, strict=True):
            hidden = norm(conv(hidden))
            hidden = F.relu_(F.max_pool2d(hidden, 2) if ends else hidden)
        logits: Tensor = self.fc(hidden.mean((2, 3)))
        return logits


NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    "lenet": LeNet,
    "fc": Fc,
    "conv-2": lambda shape, classes: ConvPairs(shape, classes, pairs=1),
    "conv-4": lambda shape, classes: ConvPairs(shape, classes, pairs=2),
    "conv-6": lambda shape, classes: ConvPairs(shape, classes, pairs=3),
    "resnet-20": lambda shape, classes, **options: ResNet(shape, classes, blocks=3, **options),
    "vgg-11": lambda shape, classes, **options: Vgg(shape, classes, depth=11, **options),
    "vgg-19": lambda shape, classes, **options: Vgg(shape, classes, depth=19, **options),
    "alexnet": AlexNet,
    "vgg-11-imagenet": Vgg11,
}


def catalogue_network(name: str, shape: Shape, classes: int, options: Mapping[str, Option]) -> nn.Module:
    """Construct a network of the catalogue, on the device of the surrounding context.

    Args:
        name: A name of ``MODELS``.
        shape: Channels, height and width of the images.
        classes: Number of outputs.
        options: Every option of the network.

    Raises:
        InputError: The images are too small for the network, or it has fewer outputs than classes.
    """
    keywords: dict[str, Any] = dict(options)
    return NETWORKS[name](shape, classes, **keywords)
