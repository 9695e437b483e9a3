"""Named streams of random numbers, one for every source of variation of a replicate.

A stream is Philox4x64-10 keyed by the SHA-256 of its name, its seed index, the parameter it fills and,
where it matters, the level. It is counter based: any part of it can be drawn without drawing what comes
before, and one stream can vary while all others are held. What is drawn is fixed by arithmetic on the
words alone, so that other languages and later versions draw the same values.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pomona.core.canonical import Value, canonical
from pomona.core.errors import InputError, unknown
from pomona.core.quantile import normal_quantile

STREAMS = (
    "init",
    "order",
    "split",
    "augmentation",
    "mask",
    "label-noise",
    "dropout",
    "pixel-noise",
    "subset",
    "treatment",
    "control",
)


@dataclass(frozen=True)
class Stream:
    """One source of variation of one replicate.

    Args:
        name: One of ``STREAMS``.
        index: Seed index, 0 or more; by default a replicate uses its own number in every stream.
        parameter: Name of the tensor that is filled, where each tensor has a stream of its own.
        level: Pruning level, where each level draws anew (random masks). Order and augmentation omit it.
    """

    name: str
    index: int
    parameter: str | None = None
    level: int | None = None

    def __post_init__(self) -> None:
        if self.name not in STREAMS:
            raise InputError(unknown("seed stream", self.name, STREAMS))
        if self.index < 0:
            raise InputError(f"the seed index of stream {self.name!r} must be 0 or more, got {self.index}")

    def key(self) -> int:
        """The 128-bit Philox key: the first 16 bytes of the digest, little endian."""
        form: dict[str, Value] = {
            "stream": self.name,
            "index": self.index,
            "parameter": self.parameter,
            "level": self.level,
        }
        return int.from_bytes(hashlib.sha256(canonical(form)).digest()[:16], "little")

    def words(self, count: int, start: int = 0) -> NDArray[np.uint64]:
        """Random 64-bit words ``start`` to ``start + count``. Word 0 is the first of counter block 1."""
        block, skip = divmod(start, 4)
        raw = np.random.Philox(key=self.key(), counter=block).random_raw(count + skip)
        return raw[skip:]

    def uniform(self, count: int, start: int = 0) -> NDArray[np.float64]:
        """Uniform in [0, 1): the upper 53 bits of each word."""
        return (self.words(count, start) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, count: int, start: int = 0) -> NDArray[np.float64]:
        """Standard normal by the quantile function at the midpoints of 2^52 cells, one word a value."""
        cells = (self.words(count, start) >> np.uint64(12)).astype(np.float64)
        return normal_quantile((cells + 0.5) * 2.0**-52)

    def permutation(self, count: int, round: int = 0) -> NDArray[np.int64]:
        """A permutation of ``count`` items: the stable argsort of words; each ``round`` has its own."""
        return np.argsort(self.words(count, round * count), kind="stable").astype(np.int64)

    def seed(self, position: int = 0) -> int:
        """A 63-bit seed for a generator of another library; each position has its own."""
        return int(self.words(1, position)[0] >> np.uint64(1))
