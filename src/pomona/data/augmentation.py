"""Which view of each training image an epoch trains on: a window that is moved by some pixels, or mirrored.

A view is three numbers: how many rows down and columns right of the image its window begins, with zeros
where it leaves the image, and whether it is mirrored after that. It is drawn here and computed where batches
are gathered.

What is drawn for an image depends on the stream, the epoch and its number in the whole training set alone:
not on its place in the epoch, its batch or what is held back. The level is left out, so that a network is
trained on the same views when it is dense and at every level.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError
from pomona.core.streams import Stream
from pomona.data.choice import Augmentation
from pomona.data.splits import Indices, expect

Views = NDArray[np.int32]


def epoch_views(
    augmentation: Augmentation, order: Indices, count: int, distinct: int, stream: Stream, epoch: int
) -> Views:
    """The views of the images that an epoch visits, one word of the stream for each visit.

    Args:
        augmentation: What is drawn.
        order: The images of the epoch in their order, from ``splits.epoch_order``.
        count: Images of the whole training set.
        distinct: How many of them train. After so many visits an epoch goes through them again, with new
            views.
        stream: The replicate's ``augmentation`` stream.
        epoch: Counted from 0; each has its own views.

    Returns:
        One row for each entry of ``order``: rows down and columns right, from -crop to crop, and 1 where it
        is mirrored, else 0. int32, ``len(order)`` x 3.

    Raises:
        InputError: The stream is another one, or the epoch is negative.
    """
    expect(stream, "augmentation")
    if epoch < 0:
        raise InputError(f"epochs count from 0, got {epoch}")
    views = np.empty((len(order), 3), np.int32)
    passes = -(-len(order) // distinct) if distinct else 0
    for number in range(passes):
        now = slice(number * distinct, (number + 1) * distinct)
        words = stream.words(count, (epoch * passes + number) * count)
        views[now] = views_of(augmentation, words[order[now]])
    return views


def views_of(augmentation: Augmentation, words: NDArray[np.uint64]) -> Views:
    """The views that words of 64 bits stand for.

    The upper bit mirrors, so that a flip is the same with and without a crop. The next 31 and the lower 32
    are fractions that choose a row and a column among 2 crop + 1; the shares of two of them differ by 2^-31
    at most.
    """
    views = np.zeros((len(words), 3), np.int32)
    if augmentation.crop is not None:
        places = np.uint64(2 * augmentation.crop + 1)
        down = (words >> np.uint64(32)) & np.uint64(2**31 - 1)
        right = words & np.uint64(2**32 - 1)
        views[:, 0] = (down * places) >> np.uint64(31)
        views[:, 1] = (right * places) >> np.uint64(32)
        views[:, :2] -= augmentation.crop
    if augmentation.flip:
        views[:, 2] = words >> np.uint64(63)
    return views
