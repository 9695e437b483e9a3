from __future__ import annotations

import gzip
import io
import json
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pomona.core.errors import DataError
from pomona.data.formats import (
    CIFAR_BINARY_FILES,
    CIFAR_PNG_FILES,
    IDX_FILES,
    from_cifar_binary,
    from_cifar_png,
    from_idx,
    from_mnist_pickle,
)
from pomona.data.parts import Parts

from .conftest import idx_files, make_parts


def same(first: Parts, second: Parts) -> bool:
    return all(
        a.shape == b.shape and a.dtype == b.dtype == np.uint8 and np.array_equal(a, b)
        for a, b in zip(first, second, strict=True)
    )


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_idx_round_trip(height: int, width: int, train: int, test: int, packed: bool) -> None:
    parts = make_parts(1, height, width, train, test)
    assert same(from_idx(idx_files(parts, packed)), parts)


def test_idx_takes_the_spelling_with_a_dot(parts: Parts) -> None:
    files = {name.replace("-idx", ".idx"): data for name, data in idx_files(parts).items()}
    assert same(from_idx(files), parts)


@pytest.mark.parametrize("name", IDX_FILES)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_says_which_file_is_truncated(parts: Parts, name: str, packed: bool) -> None:
    files = idx_files(parts, packed)
    key = f"{name}.gz" if packed else name
    files[key] = files[key][:-3]
    with pytest.raises(DataError, match=f"{name}.*truncated"):
        from_idx(files)


def test_idx_refuses_other_content(parts: Parts) -> None:
    files = idx_files(parts) | {IDX_FILES[0]: b"<html>no such page</html>"}
    with pytest.raises(DataError, match="train-images-idx3-ubyte: not an idx file"):
        from_idx(files)


def test_idx_says_what_is_missing(parts: Parts) -> None:
    files = idx_files(parts)
    del files[IDX_FILES[3]]
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte \(or .*gz\) is missing"):
        from_idx(files)


def cifar_binary(parts: Parts) -> dict[str, bytes]:
    records = [
        np.concatenate([labels[:, None], images.reshape(len(images), -1)], axis=1)
        for images, labels in (parts[:2], parts[2:])
    ]
    batches = [*np.split(records[0], 5), records[1]]
    return {name: batch.tobytes() for name, batch in zip(CIFAR_BINARY_FILES, batches, strict=True)}


def cifar_png(parts: Parts) -> dict[str, bytes]:
    sheets = [*np.split(parts.train_images, 5), parts.test_images]
    files = {}
    for name, images in zip(CIFAR_PNG_FILES[:6], sheets, strict=True):
        sheet = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).reshape(len(images), 1024, 3)
        held = io.BytesIO()
        Image.fromarray(sheet).save(held, "PNG")
        files[name] = held.getvalue()
    for name, labels in zip(CIFAR_PNG_FILES[6:], (parts.train_labels, parts.test_labels), strict=True):
        files[name] = json.dumps(labels.tolist()).encode()
    return files


def test_cifar_is_the_same_from_both_formats() -> None:
    parts = make_parts(3, 32, 32)
    assert same(from_cifar_binary(cifar_binary(parts)), parts)
    assert same(from_cifar_png(cifar_png(parts)), parts)


def test_cifar_binary_refuses_a_part_of_a_record() -> None:
    files = cifar_binary(make_parts(3, 32, 32))
    files["data_batch_3.bin"] = files["data_batch_3.bin"][:-1]
    with pytest.raises(DataError, match=r"data_batch_3.bin: truncated"):
        from_cifar_binary(files)
    with pytest.raises(DataError, match=r"data_batch_1.bin is missing"):
        from_cifar_binary({})


def test_cifar_png_refuses_damage() -> None:
    files = cifar_png(make_parts(3, 32, 32))
    with pytest.raises(DataError, match=r"data_batch_2.png: truncated or damaged"):
        from_cifar_png(files | {"data_batch_2.png": files["data_batch_2.png"][:200]})
    with pytest.raises(DataError, match=r"train_lables.json: not JSON"):
        from_cifar_png(files | {"train_lables.json": b"[1, 2"})
    with pytest.raises(DataError, match=r"test_lables.json: expected a list of class numbers"):
        from_cifar_png(files | {"test_lables.json": b"[-1, 300]"})


def pickled(content: object) -> bytes:
    # As the package was written: before NumPy 2 moved the function.
    return gzip.compress(pickle.dumps(content, protocol=3).replace(b"numpy._core.", b"numpy.core."))


def mnist_pairs(parts: Parts) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    def floats(images: np.ndarray) -> np.ndarray:
        return (images.reshape(len(images), -1) / 256).astype(np.float32)

    train, held = slice(0, 30), slice(30, None)
    return (
        (floats(parts.train_images[train]), parts.train_labels[train].astype(np.int64)),
        (floats(parts.train_images[held]), parts.train_labels[held].astype(np.int64)),
        (floats(parts.test_images), parts.test_labels.astype(np.int64)),
    )


def test_pickle_gives_back_the_original_order() -> None:
    parts = make_parts(1, 28, 28)
    assert same(from_mnist_pickle(pickled(mnist_pairs(parts))), parts)


def test_pickle_admits_arrays_only() -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("exit 3",)

    with pytest.raises(DataError, match=r"posix.system is not allowed"):
        from_mnist_pickle(pickled(Evil()))


def test_pickle_refuses_pixels_that_are_no_bytes() -> None:
    pairs = mnist_pairs(make_parts(1, 28, 28))
    pairs[0][0][0, 0] = 0.001
    with pytest.raises(DataError, match="not of the form k/256"):
        from_mnist_pickle(pickled(pairs))


def test_pickle_refuses_damage() -> None:
    packed = pickled(mnist_pairs(make_parts(1, 28, 28)))
    with pytest.raises(DataError, match=r"mnist.pkl.gz: truncated or damaged"):
        from_mnist_pickle(packed[:-20])
    with pytest.raises(DataError, match=r"mnist.pkl.gz: not the three pairs"):
        from_mnist_pickle(pickled([1, 2]))
