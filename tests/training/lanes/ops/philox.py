"""Philox4x32-10 of Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", in NumPy."""

from __future__ import annotations

import math

import numpy as np

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)  # the golden ratio and the root of three, less one
_LOW = np.uint64(0xFFFFFFFF)


def words(counter: np.ndarray, key: int) -> np.ndarray:
    """The block of each counter.

    Args:
        counter: Shape (..., 4), the first word first.
        key: 64 bits; the low half is the first word.

    Returns:
        Four words of 32 bits for each counter, of the counter's shape, uint64.
    """
    c0, c1, c2, c3 = (counter[..., k].astype(np.uint64) for k in range(4))
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        first, second = c0 * np.uint64(_MULTIPLIERS[0]), c2 * np.uint64(_MULTIPLIERS[1])
        c0, c2 = (second >> 32) ^ c1 ^ np.uint64(k0), (first >> 32) ^ c3 ^ np.uint64(k1)
        c1, c3 = second & _LOW, first & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1)


def dropout_words(seed: int, op: int, units: int, examples: int) -> np.ndarray:
    """The word of each unit of each example of a batch, (examples, units)."""
    blocks = -(-examples // 4)
    counter = np.zeros((blocks, units, 4), np.uint64)
    counter[..., 0] = np.arange(units)
    counter[..., 1] = np.arange(blocks)[:, None]
    counter[..., 2] = op
    return words(counter, seed).transpose(0, 2, 1).reshape(blocks * 4, units)[:examples]


def kept(seed: int, op: int, units: int, examples: int, p: float) -> np.ndarray:
    """Whether dropout with probability ``p`` of a zero keeps each unit of each example of a batch."""
    return dropout_words(seed, op, units, examples) >= math.ldexp(p, 32)
