from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from pomona.core.errors import InputError
from pomona.data.catalogue import DATASETS
from pomona.data.dataset import describe, load
from pomona.data.fetching import is_cached


def test_describe_needs_no_bytes() -> None:
    assert describe("cifar-10") is DATASETS["cifar-10"]
    assert not is_cached("cifar-10")


def test_describe_says_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"did you mean 'fashion-mnist'\?"):
        describe("fashion_mnist")


def test_load_gives_read_only_arrays_of_one_mapped_file() -> None:
    found = load("digits")
    images = found.train_images
    assert images.shape == (1437, 1, 8, 8)
    assert images.flags.c_contiguous
    for array in (images, found.train_labels, found.test_images, found.test_labels):
        assert array.dtype == np.uint8
        assert not array.flags.writeable
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base, np.memmap)
    with pytest.raises(FrozenInstanceError):
        found.train_images = images  # type: ignore[misc]


def test_load_twice_gives_the_same() -> None:
    first, second = load("digits"), load("digits")
    assert first.info == second.info
    assert np.array_equal(first.test_images, second.test_images)
