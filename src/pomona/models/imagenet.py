"""Networks that were made for ImageNet: AlexNet and VGG-11 whole, with their heads of 4096 units.

Modules and their numbers are named as in torchvision, so that its checkpoints fit.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from pomona.core.errors import InputError

Shape = tuple[int, int, int]

# Of AlexNet at width 64: channels, kernel, stride and padding, and whether a max-pool follows.
_ALEXNET = (
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)
# Of VGG-11: channels as multiples of the first, by group; a max-pool follows each group.
_VGG_11 = ((1,), (2,), (4, 4), (8, 8), (8, 8))


class _ImageNet(nn.Module):
    """Convolutions, a grid of means, and a head; images are first brought to the size that it is made for.

    Args:
        shape: Channels, height and width of the images.
        resize: Rows and columns that they are brought to.
        rows: Rows and columns of what the convolutions give, at that size.
        grid: Rows and columns that the head sees.
    """

    features: nn.Sequential
    classifier: nn.Sequential

    def __init__(self, shape: Shape, resize: int, rows: int, grid: int) -> None:
        super().__init__()
        self.resize = _Resize(resize)
        self.grey = shape[0] == 1
        self.avgpool = _means(rows, grid)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images, shape ``(n, outputs)``."""
        images = self.resize(images)
        hidden = self.features(images.expand(-1, 3, -1, -1) if self.grey else images)
        logits: Tensor = self.classifier(self.avgpool(hidden).flatten(1))
        return logits


class AlexNet(_ImageNet):
    """Five convolutions and three linear layers with dropout before the first two."""

    def __init__(
        self, shape: Shape, classes: int, width: int, outputs: int, resize: int, dropout: float
    ) -> None:
        _check("alexnet", classes, outputs, resize, smallest=63)
        rows = (resize - 7) // 4 // 2  # after the first convolution and its max-pool
        super().__init__(shape, resize, rows=((rows - 1) // 2 - 1) // 2, grid=6)
        last = _scaled(256, width)
        self.features = nn.Sequential(*_alexnet_features(_channels(shape), width))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(36 * last, 64 * width),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(64 * width, 64 * width),
            nn.ReLU(inplace=True),
            nn.Linear(64 * width, outputs),
        )


class Vgg11(_ImageNet):
    """Eight padded convolutions and three linear layers with dropout after the first two."""

    def __init__(
        self, shape: Shape, classes: int, width: int, outputs: int, resize: int, dropout: float
    ) -> None:
        _check("vgg-11-imagenet", classes, outputs, resize, smallest=32)
        super().__init__(shape, resize, rows=resize // 32, grid=7)
        self.features = nn.Sequential(*_vgg_features(_channels(shape), width))
        self.classifier = nn.Sequential(
            nn.Linear(49 * 8 * width, 64 * width),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(64 * width, 64 * width),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(64 * width, outputs),
        )


class _Resize(nn.Module):
    """Bilinear; where images shrink, over every pixel, as image libraries do. Equal size changes nothing."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Images of ``size`` rows and columns."""
        size = (self.size, self.size)
        return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


class _Spread(nn.Module):
    """The one mean of each channel at every place of a grid: adaptive pooling of a single place.

    On a GPU the sum of its gradients has a fixed order, which that of adaptive pooling does not.
    """

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, hidden: Tensor) -> Tensor:
        """Features of ``grid`` rows and columns."""
        return hidden.expand(-1, -1, self.grid, self.grid)


def _means(rows: int, grid: int) -> nn.Module:
    if rows == grid:
        return nn.Identity()
    return _Spread(grid) if rows == 1 else nn.AdaptiveAvgPool2d(grid)


def _alexnet_features(channels: int, width: int) -> Iterator[nn.Module]:
    for wide, kernel, stride, padding, pooled in _ALEXNET:
        yield nn.Conv2d(channels, _scaled(wide, width), kernel, stride, padding)
        yield nn.ReLU(inplace=True)
        if pooled:
            yield nn.MaxPool2d(3, 2)
        channels = _scaled(wide, width)


def _vgg_features(channels: int, width: int) -> Iterator[nn.Module]:
    for group in _VGG_11:
        for multiple in group:
            yield nn.Conv2d(channels, multiple * width, 3, padding=1)
            yield nn.ReLU(inplace=True)
            channels = multiple * width
        yield nn.MaxPool2d(2)


def _scaled(channels: int, width: int) -> int:
    """Channels of AlexNet, all of which are multiples of its first 64."""
    return channels * width // 64


def _channels(shape: Shape) -> int:
    """Channels that the first convolution sees: grey images are repeated."""
    return 3 if shape[0] == 1 else shape[0]


def _check(name: str, classes: int, outputs: int, resize: int, smallest: int) -> None:
    if outputs < classes:
        raise InputError(f"{name}: {outputs} outputs for {classes} classes; give outputs: {classes} or more")
    if resize < smallest:
        raise InputError(f"{name} needs images of {smallest}x{smallest} pixels or more, got resize: {resize}")
