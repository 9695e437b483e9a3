"""Which images train, which validate, and in what order an epoch visits them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError
from pomona.core.streams import Stream
from pomona.data.choice import check_validation

Indices = NDArray[np.int64]


def split(count: int, validation: int, stream: Stream) -> tuple[Indices, Indices]:
    """Hold back part of the training images: the first ``validation`` items of the stream's permutation.

    A larger validation part of the same stream contains a smaller one.

    Args:
        count: Number of training images.
        validation: How many are held back; 0 holds back none.
        stream: The replicate's ``split`` stream.

    Returns:
        Indices that train and indices that validate, both int64 and ascending.

    Raises:
        InputError: ``validation`` is negative or leaves nothing to train on.
    """
    _expect(stream, "split")
    check_validation(count, validation)
    # Without a validation part nothing is drawn: every replicate trains on the same images.
    order = stream.permutation(count) if validation else np.arange(count, dtype=np.int64)
    return np.sort(order[validation:]), np.sort(order[:validation])


def epoch_order(train_indices: Indices, stream: Stream, epoch: int) -> Indices:
    """The order in which an epoch visits the training images.

    Args:
        train_indices: What trains, from ``split``.
        stream: The replicate's ``order`` stream.
        epoch: Counted from 0; each has its own permutation.

    Returns:
        The same indices, permuted; int64.
    """
    _expect(stream, "order")
    if epoch < 0:
        raise InputError(f"epochs count from 0, got {epoch}")
    return np.asarray(train_indices, dtype=np.int64)[stream.permutation(len(train_indices), round=epoch)]


def _expect(stream: Stream, name: str) -> None:
    if stream.name != name:
        raise InputError(f"expected the stream {name!r}, got {stream.name!r}")
