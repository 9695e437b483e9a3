"""Random numbers for resampling: fixed by a purpose and a seed, whatever the version of a library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from math import prod

import numpy as np
from numpy.typing import NDArray

from pomona.core.canonical import canonical
from pomona.core.errors import InputError
from pomona.core.quantile import normal_quantile

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# About 32 MB of numbers at a time, however many draws are asked for.
_CHUNK = 1 << 22


class Draws:
    """A sequence of Philox words of its own for every purpose and seed.

    Resampling is no source of variation of a replicate, so it has no name among the seed streams of a study.

    Args:
        purpose: What is drawn for, so that two procedures with one seed draw independently.
        seed: An integer, 0 or more.

    Raises:
        InputError: The seed is no integer of 0 or more.
    """

    def __init__(self, purpose: str, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise InputError(f"expected a seed that is an integer of 0 or more, got {seed!r}")
        digest = hashlib.sha256(canonical({"draws": purpose, "seed": int(seed)})).digest()
        self._bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))

    def words(self, count: int) -> NDArray[np.uint64]:
        """The next ``count`` words of 64 random bits."""
        return self._bits.random_raw(count)

    def uniform(self, *shape: int) -> Floats:
        """Uniform in (0, 1): midpoints of 2^52 cells, so that a quantile function is finite at each."""
        cells = (self.words(prod(shape)) >> np.uint64(12)).astype(np.float64)
        return ((cells + 0.5) * 2.0**-52).reshape(shape)

    def normal(self, *shape: int) -> Floats:
        """Standard normal numbers."""
        return normal_quantile(self.uniform(prod(shape))).reshape(shape)

    def indices(self, count: int, *shape: int) -> Indices:
        """Uniform integers from 0 to ``count`` - 1."""
        return (self.uniform(*shape) * count).astype(np.int64)

    def signs(self, *shape: int) -> Floats:
        """-1 or 1, with equal chance."""
        bits = np.unpackbits(self.words(-(-prod(shape) // 64)).view(np.uint8))[: prod(shape)]
        return np.asarray(1.0 - 2.0 * bits, dtype=np.float64).reshape(shape)

    def orders(self, count: int, rows: int) -> Indices:
        """Permutations of ``count`` items, one a row: the stable argsort of words."""
        words = self.words(rows * count).reshape(rows, count)
        return np.argsort(words, axis=1, kind="stable").astype(np.int64)


def chunks(draws: int, width: int) -> Iterator[int]:
    """Sizes that add up to ``draws``, small enough that ``width`` numbers for each fit in memory."""
    size = max(1, _CHUNK // max(1, width))
    for start in range(0, draws, size):
        yield min(size, draws - start)
