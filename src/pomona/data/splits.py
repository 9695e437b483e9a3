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
    expect(stream, "split")
    check_validation(count, validation)
    # Without a validation part nothing is drawn: every replicate trains on the same images.
    order = stream.permutation(count) if validation else np.arange(count, dtype=np.int64)
    return np.sort(order[validation:]), np.sort(order[:validation])


def epoch_order(train_indices: Indices, stream: Stream, epoch: int, length: int | None = None) -> Indices:
    """The order in which an epoch visits the training images.

    Args:
        train_indices: What trains, from ``split`` or ``corruption.subset``; each image once.
        stream: The replicate's ``order`` stream.
        epoch: Counted from 0; each has its own permutation.
        length: Images that an epoch visits, where that is more than there are: a subset at equal steps. It is
            gone through as often as needed, by a new permutation each time, and the last one is cut off.

    Returns:
        The same indices, permuted; int64. ``length`` of them where it is given.

    Raises:
        InputError: The epoch is negative, the length is less than the images, or there are no images.
    """
    expect(stream, "order")
    if epoch < 0:
        raise InputError(f"epochs count from 0, got {epoch}")
    indices = np.asarray(train_indices, dtype=np.int64)
    count = len(indices)
    length = count if length is None else length
    if length < count or (count == 0 and length > 0):
        raise InputError(f"an epoch visits each of the {count} training images, not {length}")
    # One pass is round `epoch`: a whole part keeps the order that it has always had.
    passes = -(-length // count) if count else 0
    rounds = range(epoch * passes, (epoch + 1) * passes)
    order = [indices[stream.permutation(count, round=number)] for number in rounds]
    return np.concatenate(order)[:length] if order else indices


def expect(stream: Stream, name: str) -> None:
    """Check that a stream is the one of this purpose: two purposes on one stream would be correlated.

    Raises:
        InputError: It has another name.
    """
    if stream.name != name:
        raise InputError(f"expected the stream {name!r}, got {stream.name!r}")
