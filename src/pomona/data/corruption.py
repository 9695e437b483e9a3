"""Training data spoilt on purpose, as a control: random labels, permuted pixels, fewer examples.

A method that finds as good a mask on spoilt data does not use what was spoilt. Only the training part is
touched: validation and test images and labels stay clean, so the validation accuracy of a network that
trains on random labels is its accuracy on the true labels of the images held back.

The label and the pixels that are drawn for an example depend on the stream and on its number in the whole
training set alone. A larger share of one stream contains a smaller one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pomona.core.errors import InputError, StateFailure
from pomona.core.streams import Stream
from pomona.data.choice import Corruption, check_corruption
from pomona.data.parts import Bytes
from pomona.data.splits import Indices, expect

# Images whose permutations are held in memory at once: 8 bytes a pixel.
_IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class CorruptionEvidence:
    """What a corruption did to the training part; counts are of examples.

    Args:
        before: Examples of the training part.
        examples: Examples that are left.
        labels_drawn: Labels that were drawn anew.
        labels_changed: Those that are another one now; about ``labels_drawn * (1 - 1 / classes)``.
        images_permuted: Images whose pixels were permuted.
        images_changed: Those that are another image now: all but images of one colour.
    """

    before: int
    examples: int
    labels_drawn: int
    labels_changed: int
    images_permuted: int
    images_changed: int


@dataclass(frozen=True, eq=False)
class Corrupted:
    """Training images and labels, all of them, of which ``indices`` train; and what was changed."""

    images: Bytes
    labels: Bytes
    indices: Indices
    evidence: CorruptionEvidence


def corrupt(
    images: Bytes,
    labels: Bytes,
    classes: int,
    indices: Indices,
    corruption: Corruption,
    stream_of: Callable[[str], Stream],
) -> Corrupted:
    """Apply a declared corruption: first the subset, then the labels and the pixels of what is left.

    Args:
        images: All training images. uint8, N x C x H x W; not changed.
        labels: Their labels. uint8, N; not changed.
        classes: Number of classes.
        indices: The training part, without what is held back for validation.
        corruption: What to spoil.
        stream_of: The replicate's stream of a name; asked for those of ``corruption.streams`` only.

    Returns:
        New arrays, or views of the given ones where nothing of them is to change; all are read-only.

    Raises:
        InputError: It cannot change what it is to change: too few examples, one class, images of one colour.
        StateFailure: By chance no label changed.
    """
    check_corruption(len(indices), corruption)
    kept = indices
    if corruption.examples < 1:
        kept = subset(indices, corruption.examples, stream_of("subset"))
    new_labels, new_images = labels.view(), images.view()
    if corruption.labels > 0:
        new_labels = corrupt_labels(labels, classes, corruption.labels, kept, stream_of("label-noise"))
    if corruption.pixels:
        new_images = corrupt_pixels(images, kept, stream_of("pixel-noise"))
    evidence = CorruptionEvidence(
        before=len(indices),
        examples=len(kept),
        labels_drawn=round(corruption.labels * len(kept)),
        labels_changed=int((new_labels[kept] != labels[kept]).sum()),
        images_permuted=len(kept) if corruption.pixels else 0,
        images_changed=_changed(images, new_images, kept) if corruption.pixels else 0,
    )
    _check_bite(evidence)
    # As a data set's own arrays: many trainings may share them.
    new_labels.flags.writeable = new_images.flags.writeable = False
    return Corrupted(new_images, new_labels, kept, evidence)


def corrupt_labels(labels: Bytes, classes: int, fraction: float, indices: Indices, stream: Stream) -> Bytes:
    """Draw the labels of exactly ``round(fraction * len(indices))`` examples anew.

    A drawn label is uniform over all classes, the example's own included. The labels of examples that are
    not in ``indices``, those held back for validation above all, stay as they are.

    Args:
        labels: Of all training examples. uint8, N; not changed.
        classes: Number of classes; at least 2.
        fraction: Share of the examples in ``indices``, in [0, 1].
        indices: The training part; each example once.
        stream: The replicate's ``label-noise`` stream.

    Returns:
        A new array of the same dtype and shape.

    Raises:
        InputError: Less than two classes, or a fraction outside [0, 1].

    Source:
        Su et al. 2020, arXiv:2009.11094; Zhang et al. 2017, arXiv:1611.03530.
    """
    expect(stream, "label-noise")
    _check_fraction(fraction)
    if classes < 2:
        raise InputError(f"random labels need 2 classes or more, got {classes}")
    drawn = (stream.uniform(len(labels)) * classes).astype(labels.dtype)
    # Words of their own decide who is drawn: who it is says nothing about the label that it gets.
    rank = np.argsort(stream.words(len(labels), start=len(labels))[indices], kind="stable")
    chosen = np.asarray(indices)[rank[: round(fraction * len(indices))]]
    found = labels.copy()
    found[chosen] = drawn[chosen]
    return found


def corrupt_pixels(images: Bytes, indices: Indices, stream: Stream) -> Bytes:
    """Permute the pixels of each image by its own permutation, the same for all its channels.

    Args:
        images: All training images. uint8, N x C x H x W; not changed.
        indices: The training part; other images stay as they are.
        stream: The replicate's ``pixel-noise`` stream.

    Returns:
        A new array of the same dtype and shape.

    Source:
        Zhang et al. 2017, arXiv:1611.03530; Su et al. 2020, arXiv:2009.11094.
    """
    expect(stream, "pixel-noise")
    count, channels, height, width = images.shape
    pixels = height * width
    found = np.array(images)
    flat = found.reshape(count, channels, pixels)
    wanted = np.sort(np.asarray(indices))
    # In runs of consecutive numbers, so that an image's words are its own whatever else trains.
    for first in range(0, count, _IMAGES_AT_ONCE):
        last = min(first + _IMAGES_AT_ONCE, count)
        run = wanted[np.searchsorted(wanted, first) : np.searchsorted(wanted, last)]
        if len(run) > 0:
            words = stream.words((last - first) * pixels, first * pixels).reshape(-1, pixels)
            order = np.argsort(words[run - first], axis=1, kind="stable")
            flat[run] = np.take_along_axis(flat[run], order[:, None, :], axis=2)
    return found


def subset(indices: Indices, fraction: float, stream: Stream) -> Indices:
    """Exactly ``round(fraction * len(indices))`` examples, drawn uniformly whatever their class.

    A larger fraction of the same stream contains a smaller one. ``splits.epoch_order`` with
    ``length=len(indices)`` goes through the subset in as many steps an epoch as the whole part has.

    Args:
        indices: The training part; each example once.
        fraction: In [0, 1].
        stream: The replicate's ``subset`` stream.

    Returns:
        Indices, int64 and ascending.

    Raises:
        InputError: A fraction outside [0, 1].
    """
    expect(stream, "subset")
    _check_fraction(fraction)
    order = stream.permutation(len(indices))[: round(fraction * len(indices))]
    return np.sort(np.asarray(indices, dtype=np.int64)[order])


def _check_fraction(fraction: float) -> None:
    if not 0 <= fraction <= 1:
        raise InputError(f"expected a fraction of the examples from 0 to 1, got {fraction!r}")


def _changed(before: Bytes, after: Bytes, indices: Indices) -> int:
    runs = (indices[first : first + _IMAGES_AT_ONCE] for first in range(0, len(indices), _IMAGES_AT_ONCE))
    return sum(int((before[run] != after[run]).any(axis=(1, 2, 3)).sum()) for run in runs)


def _check_bite(evidence: CorruptionEvidence) -> None:
    if evidence.labels_drawn > 0 and evidence.labels_changed == 0:
        raise StateFailure(
            "error",
            f"corrupt: labels: by chance each of the {evidence.labels_drawn} labels drawn is the one that "
            f"was there before; take a larger share or another seed",
        )
    if evidence.images_permuted > 0 and evidence.images_changed == 0:
        raise InputError(
            f"corrupt: pixels: no permutation changes any of the {evidence.images_permuted} training images; "
            f"is each of one colour, or of one pixel?"
        )
