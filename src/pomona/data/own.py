"""Data from a user's function ``mine.py:load``, decoded once and kept under the digest of its source."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from pomona.core.errors import InputError
from pomona.core.reference import Reference, user_traceback
from pomona.data.cache import cache_root
from pomona.data.catalogue import DatasetInfo
from pomona.data.parts import Bytes, Parts

_MOST_CLASSES = 256
_STATISTICS_CHUNK = 4096


def cache_path(reference: Reference) -> Path:
    """The cache's file for a user's function: by its source and where it lies.

    The place counts because such functions read files beside them; two copies may read different ones.
    """
    name = hashlib.sha256(f"{reference.digest()}\n{reference}".encode()).hexdigest()[:32]
    return cache_root() / "own" / f"{name}.data"


def decode(written: str, reference: Reference) -> tuple[DatasetInfo, Parts]:
    """Run a user's function and check what it returns.

    It returns training images, training labels, test images and test labels. Images are uint8 of shape
    N x C x H x W, N x H x W (one channel) or N x features; labels are whole numbers 0 to classes - 1.

    Args:
        written: The reference as the user wrote it.
        reference: The function.

    Raises:
        InputError: The function fails (names file and line), or returns something else (says what).
    """
    function = reference.load()
    try:
        returned = function()
    except Exception as error:
        place = user_traceback(error, reference.path)
        raise InputError(f"{place}: {type(error).__name__}: {error}") from error
    parts = _checked(returned, written)
    mean, sd = _mean_sd(parts.train_images)
    channels, height, width = parts.train_images.shape[1:]
    info = DatasetInfo(
        name=written,
        title=written,
        shape=(channels, height, width),
        classes=int(parts.train_labels.max()) + 1,
        train_count=len(parts.train_labels),
        test_count=len(parts.test_labels),
        digests=parts.digests(),
        mean=mean,
        sd=sd,
        source=f"the function {reference.name} of {reference.path.name}",
    )
    return info, parts


def _checked(returned: Any, where: str) -> Parts:
    if not isinstance(returned, (tuple, list)) or len(returned) != 4:
        got = f"{len(returned)} values" if isinstance(returned, (tuple, list)) else type(returned).__name__
        raise InputError(
            f"{where}: expected train_images, train_labels, test_images, test_labels; it returned {got}"
        )
    train, train_labels, test, test_labels = returned
    images = _images(train, f"{where}: train_images"), _images(test, f"{where}: test_images")
    if images[0].shape[1:] != images[1].shape[1:]:
        raise InputError(
            f"{where}: training images of shape {_by(images[0])} and test images of shape {_by(images[1])}; "
            "expected the same"
        )
    labels = (
        _labels(train_labels, len(images[0]), f"{where}: train_labels"),
        _labels(test_labels, len(images[1]), f"{where}: test_labels"),
    )
    _check_classes(labels[0], labels[1], where)
    return Parts(images[0], labels[0].astype(np.uint8), images[1], labels[1].astype(np.uint8))


def _images(given: Any, where: str) -> Bytes:
    images = np.asarray(given)
    if images.dtype != np.uint8:
        hint = "; give pixels as 0 to 255" if images.dtype.kind == "f" else ""
        raise InputError(f"{where}: expected uint8, got {images.dtype}{hint}")
    if images.ndim not in (2, 3, 4) or images.size == 0:
        raise InputError(
            f"{where}: expected N x C x H x W, N x H x W or N x features, none of them 0; "
            f"got the shape {images.shape}"
        )
    if images.ndim == 4 and images.shape[1] == images.shape[2] > 4 >= images.shape[3]:
        raise InputError(
            f"{where}: the shape {images.shape} looks like N x H x W x C; expected N x C x H x W, "
            "as images.transpose(0, 3, 1, 2) gives it"
        )
    shape = {2: (-1, 1, 1), 3: (1, *images.shape[1:]), 4: images.shape[1:]}[images.ndim]
    return np.ascontiguousarray(images).reshape(len(images), *shape)


def _labels(given: Any, count: int, where: str) -> np.ndarray[Any, Any]:
    labels = np.asarray(given)
    if labels.dtype.kind not in "iu":
        raise InputError(f"{where}: expected whole numbers, got {labels.dtype}")
    if labels.shape != (count,):
        raise InputError(
            f"{where}: expected one label for each of {count} images, got the shape {labels.shape}"
        )
    return labels


def _check_classes(train: np.ndarray[Any, Any], test: np.ndarray[Any, Any], where: str) -> None:
    lowest = min(int(train.min()), int(test.min()))
    highest = max(int(train.max()), int(test.max()))
    if lowest < 0 or not 1 <= highest < _MOST_CLASSES:
        raise InputError(
            f"{where}: expected labels 0 to classes - 1 with 2 to {_MOST_CLASSES} classes, "
            f"got labels {lowest} to {highest}"
        )
    missing = np.setdiff1d(np.arange(highest + 1), train)
    if len(missing):
        raise InputError(
            f"{where}: labels go up to {highest}, but no training image has the label {missing[0]}; "
            "expected 0 to classes - 1, each of them in training"
        )


def _mean_sd(images: Bytes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of pixels/255 per channel; an SD of 0 becomes 1, so that it can divide."""
    channels = images.shape[1]
    total = np.zeros(channels, np.int64)
    squares = np.zeros(channels, np.int64)
    for start in range(0, len(images), _STATISTICS_CHUNK):
        chunk = images[start : start + _STATISTICS_CHUNK].astype(np.int64)
        total += chunk.sum(axis=(0, 2, 3))
        squares += (chunk * chunk).sum(axis=(0, 2, 3))
    # Sums are exact integers; one rounding each from here on, the same on every machine.
    count = images.size // channels
    mean = [int(t) / (255 * count) for t in total]
    variance = [
        (count * int(s) - int(t) ** 2) / (255 * count) ** 2 for t, s in zip(total, squares, strict=True)
    ]
    return tuple(mean), tuple(v**0.5 if v > 0 else 1.0 for v in variance)


def _by(images: Bytes) -> str:
    return " x ".join(str(size) for size in images.shape[1:])
