"""A small network of every kind, examples for it, and one call that trains it."""

from __future__ import annotations

import numpy as np

from .driving import never
from .nets import conv, draw, dropout, examples, linear

NET = draw((2, 4, 4), [conv(3, 2, relu=True), linear(5, relu=True), dropout(0.2), linear(4)], seed=1)
DATA = examples(NET, 50)


def call_train(network, **changes):
    """Two steps after two others, but for what is changed; what ``train`` returns."""
    given = {
        "images": DATA.images,
        "labels": DATA.labels,
        "order": np.arange(40),
        "batch_size": 20,
        "first_step": 2,
        "rates": np.full(2, 0.01),
        "seeds": np.arange(2, dtype=np.uint64),
        "slice_seconds": 1e9,
        "interrupted": never,
    }
    return network.train(*(given | changes).values())


def strided(array: np.ndarray) -> np.ndarray:
    """Equal, and not contiguous."""
    room = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    room[..., ::2] = array
    return room[..., ::2]


def swapped(array: np.ndarray) -> np.ndarray:
    """Equal, with the bytes of each number the other way round."""
    return array.astype(array.dtype.newbyteorder())
