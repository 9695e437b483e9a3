"""Examples in memory as bytes, gathered by index and normalised batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pomona.core.errors import InputError


@dataclass(frozen=True)
class Examples:
    """Labelled images, and how a network sees them: input = image * scale + shift, by channel.

    Args:
        images: Shape ``(n, channels, height, width)``, uint8; may be memory-mapped.
        labels: Shape ``(n,)``, uint8.
        scale: One per channel, per unit of the byte: 1 / (255 * SD) for images normalised by mean and SD.
        shift: One per channel: -mean / SD.

    Raises:
        InputError: Shapes or types disagree.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    scale: tuple[float, ...]
    shift: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise InputError(
                f"images: expected uint8 of (n, channels, height, width), got {self.images.dtype} of "
                f"{tuple(self.images.shape)}"
            )
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != np.uint8:
            raise InputError(
                f"labels: expected uint8 of ({len(self.images)},), got {self.labels.dtype} of "
                f"{tuple(self.labels.shape)}"
            )
        for name, values in (("scale", self.scale), ("shift", self.shift)):
            if len(values) != self.images.shape[1]:
                raise InputError(f"{name}: {len(values)} values for {self.images.shape[1]} channels")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        _, channels, height, width = self.images.shape
        return channels, height, width


# What is seen of images in a training, a row for each. int32, n x 3: how many rows down and columns right of
# the image a window of its size begins, with zeros where that leaves it, and 1 where it is then mirrored.
Views = NDArray[np.int32]


class Batches:
    """Gathers batches of ``Examples`` on a device.

    On the CPU the gather is NumPy's: of bytes it is about twenty times as fast as indexing a tensor. On
    another device all bytes are moved there once.

    Args:
        examples: All that may be asked for.
        device: Where the batches are wanted.

    Attributes:
        classes: Labels that occur, at least: the largest one and 1.
    """

    def __init__(self, examples: Examples, device: torch.device) -> None:
        self._images = examples.images
        self._labels = examples.labels.astype(np.int64)
        self.device = device
        self.classes = int(examples.labels.max()) + 1
        one_channel = len(examples.scale) == 1
        self._scale: float | Tensor = (
            examples.scale[0] if one_channel else _by_channel(examples.scale, device)
        )
        self._shift: float | Tensor = (
            examples.shift[0] if one_channel else _by_channel(examples.shift, device)
        )
        self._moved: tuple[Tensor, Tensor] | None = None
        if device.type != "cpu":
            images = torch.from_numpy(np.array(examples.images))
            self._moved = images.to(device), torch.from_numpy(self._labels).to(device)

    def gather(self, indices: NDArray[np.int64], views: Views | None = None) -> tuple[Tensor, Tensor]:
        """The inputs (float32) and labels (int64) of some examples, in the order of the indices.

        Args:
            indices: Which examples.
            views: What is seen of each; None for the images as they are.
        """
        if self._moved is None:
            images = torch.from_numpy(self._images.take(indices, axis=0))
            labels = torch.from_numpy(self._labels.take(indices))
        else:
            chosen = torch.from_numpy(indices).to(self.device)
            images, labels = (part.index_select(0, chosen) for part in self._moved)
        if views is not None:
            images = _viewed(images, torch.from_numpy(views).to(self.device))
        return images.to(torch.float32).mul_(self._scale).add_(self._shift), labels


def _viewed(images: Tensor, views: Tensor) -> Tensor:
    """Of bytes, so that what lies outside is normalised as a pixel of zero."""
    count, channels, height, width = images.shape
    down, right, mirrored = (views[:, i : i + 1].to(torch.int64) for i in range(3))
    rows = torch.arange(height, device=images.device) + down
    columns = torch.arange(width, device=images.device)
    columns = torch.where(mirrored > 0, width - 1 - columns, columns) + right
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    # The pixel (0, 0) stands for all that lie outside.
    places = (rows[:, :, None] * width + columns[:, None]).mul_(inside)
    places = places.reshape(count, 1, -1).expand(-1, channels, -1)
    found = images.reshape(count, channels, -1).gather(2, places).reshape(images.shape)
    return found.mul_(inside[:, None])


def _by_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).reshape(-1, 1, 1)
