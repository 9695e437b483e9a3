"""Decoders of the formats in which the known data sets are published.

Each takes files as a mapping from base name to bytes and gives the same arrays, whatever the format.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pomona.core.errors import DataError
from pomona.data.parts import Bytes, Parts

Files = Mapping[str, bytes]

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CIFAR_BINARY_FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
CIFAR_PNG_FILES = (
    *(f"data_batch_{i}.png" for i in range(1, 6)),
    "test_batch.png",
    "train_lables.json",  # spelled so in the package
    "test_lables.json",
)

_CIFAR_RECORD_BYTES = 1 + 3 * 32 * 32


def from_idx(files: Files) -> Parts:
    """Decode the four idx files of MNIST and of the sets in its form, gzipped (``.gz``) or not.

    Raises:
        DataError: A file is missing, truncated or not an idx file of bytes.
    """
    arrays = [_idx(name, _plain(files, name)) for name in IDX_FILES]
    return Parts(arrays[0][:, None], arrays[1], arrays[2][:, None], arrays[3])


def from_cifar_binary(files: Files) -> Parts:
    """Decode CIFAR-10's binary version: records of a label byte and 3 x 32 x 32 pixels.

    Raises:
        DataError: A file is missing or truncated.
    """
    batches = []
    for name in CIFAR_BINARY_FILES:
        data = _need(files, name)
        if not data or len(data) % _CIFAR_RECORD_BYTES:
            raise DataError(f"{name}: truncated: {len(data)} bytes is no whole number of records")
        batches.append(np.frombuffer(data, np.uint8).reshape(-1, _CIFAR_RECORD_BYTES))
    images = [batch[:, 1:].reshape(-1, 3, 32, 32) for batch in batches]
    labels = [batch[:, 0] for batch in batches]
    return Parts(np.concatenate(images[:5]), np.concatenate(labels[:5]), images[5], labels[5])


def from_cifar_png(files: Files) -> Parts:
    """Decode CIFAR-10 as PNG sheets, one image of 32 x 32 RGB pixels in each row, and JSON labels.

    Raises:
        DataError: A file is missing or damaged.
    """
    images = [_png(name, _need(files, name)) for name in CIFAR_PNG_FILES[:6]]
    labels = [_json_labels(name, _need(files, name)) for name in CIFAR_PNG_FILES[6:]]
    return Parts(np.concatenate(images[:5]), labels[0], images[5], labels[1])


def from_mnist_pickle(packed: bytes) -> Parts:
    """Decode the gzipped pickle of MNIST in three (images, labels) pairs of 50,000, 10,000 and 10,000.

    Pixels are float32 k/256. Training followed by validation is the original order of the 60,000. The
    unpickler admits NumPy arrays alone; callers check the digest of the package first all the same.

    Raises:
        DataError: The content is damaged, or something other than such arrays.
    """
    try:
        pairs = _ArraysOnly(io.BytesIO(_gunzip("mnist.pkl.gz", packed)), encoding="latin1").load()
        (train, train_labels), (held, held_labels), (test, test_labels) = pairs
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError) as error:
        raise DataError(f"mnist.pkl.gz: not the three pairs that were expected: {error}") from error
    return Parts(
        np.concatenate([_exact_bytes(train), _exact_bytes(held)]).reshape(-1, 1, 28, 28),
        np.concatenate([train_labels, held_labels]).astype(np.uint8),
        _exact_bytes(test).reshape(-1, 1, 28, 28),
        np.asarray(test_labels).astype(np.uint8),
    )


class _ArraysOnly(pickle.Unpickler):
    """Refuses every global but the three that a pickled array is made of."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            # Where NumPy 2 keeps it; the old path warns.
            return super().find_class("numpy._core.multiarray", name)
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")


def _exact_bytes(pixels: Any) -> Bytes:
    scaled = np.asarray(pixels) * 256
    whole = scaled.astype(np.uint8)
    if not np.array_equal(whole, scaled):
        raise DataError("mnist.pkl.gz: pixels are not of the form k/256")
    return whole


def _names(name: str) -> Iterator[str]:
    for plain in (name, name.replace("-idx", ".idx")):  # both spellings are about
        yield from (plain, f"{plain}.gz")


def idx_names() -> list[str]:
    """Every name under which the idx files may lie in a folder."""
    return [variant for name in IDX_FILES for variant in _names(name)]


def _plain(files: Files, name: str) -> bytes:
    found = next((variant for variant in _names(name) if variant in files), None)
    if found is None:
        raise DataError(f"{name} (or {name}.gz) is missing")
    return _gunzip(found, files[found]) if found.endswith(".gz") else files[found]


def _need(files: Files, name: str) -> bytes:
    if name not in files:
        raise DataError(f"{name} is missing")
    return files[name]


def _gunzip(name: str, packed: bytes) -> bytes:
    try:
        return gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name}: truncated or damaged: {error}") from error


def _idx(name: str, data: bytes) -> Bytes:
    rank = data[3] if len(data) >= 4 else 0
    # Two zero bytes, the type (8: unsigned byte), the number of dimensions, then each as 32 bits.
    if data[:3] != b"\0\0\x08" or rank != (3 if "images" in name else 1) or len(data) < 4 + 4 * rank:
        raise DataError(f"{name}: not an idx file of bytes (starts with {data[:4].hex() or 'nothing'})")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", rank, 4))
    expected_bytes = 4 + 4 * rank + int(np.prod(shape))
    if len(data) != expected_bytes:
        raise DataError(f"{name}: truncated: {len(data)} bytes, expected {expected_bytes}")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _png(name: str, data: bytes) -> Bytes:
    from PIL import Image

    try:
        # One row is an image of 1,024 RGB pixels. These sheets are far below Pillow's bomb limit.
        sheet = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name}: truncated or damaged: {error}") from error
    if sheet.shape[1] != 32 * 32:
        raise DataError(f"{name}: expected rows of 1024 pixels, got {sheet.shape[1]}")
    return np.ascontiguousarray(sheet.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2))


def _json_labels(name: str, data: bytes) -> Bytes:
    try:
        labels = np.asarray(json.loads(data))
    except ValueError as error:
        raise DataError(f"{name}: not JSON: {error}") from error
    if labels.ndim != 1 or labels.dtype.kind != "i" or labels.min() < 0 or labels.max() > 255:
        raise DataError(f"{name}: expected a list of class numbers")
    return labels.astype(np.uint8)
