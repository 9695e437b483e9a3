"""The four decoded arrays of a data set."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import DataError
from pomona.data.catalogue import DatasetInfo

Bytes = NDArray[np.uint8]


class Parts(NamedTuple):
    """Decoded arrays, uint8 in C order: images N x C x H x W, labels N."""

    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes

    def digests(self) -> tuple[str, str, str, str]:
        """SHA-256 of the bytes of each part."""
        first, second, third, fourth = (
            hashlib.sha256(np.ascontiguousarray(part).data).hexdigest() for part in self
        )
        return first, second, third, fourth

    def check(self, info: DatasetInfo) -> None:
        """Compare shapes and digests with what the data set must be.

        Raises:
            DataError: Names the first part that differs.
        """
        images = (info.train_count, *info.shape), (info.test_count, *info.shape)
        expected = images[0], (info.train_count,), images[1], (info.test_count,)
        for name, part, shape in zip(self._fields, self, expected, strict=True):
            if part.shape != shape:
                raise DataError(f"{_spaced(name)}: expected the shape {shape}, got {part.shape}")
        for name, got, want in zip(self._fields, self.digests(), info.digests, strict=True):
            if got != want:
                raise DataError(f"{_spaced(name)}: wrong digest {got[:12]}..., expected {want[:12]}...")


def _spaced(field: str) -> str:
    return field.replace("_", " ")
