from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pomona.core.errors import StoreError
from pomona.graph.masks import pack_masks, unpack_masks

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
masks = st.dictionaries(st.text(min_size=1, max_size=8), hnp.arrays(np.bool_, shapes), max_size=4)


@given(masks)
def test_masks_round_trip_with_order_and_kinds(given_masks: dict[str, np.ndarray]) -> None:
    kinds = {name: f"kind {i}" for i, name in enumerate(given_masks)}
    found, found_kinds = unpack_masks(*pack_masks(given_masks, kinds))
    assert list(found) == list(given_masks)
    assert found_kinds == kinds
    for name, mask in given_masks.items():
        assert found[name].dtype == np.bool_
        assert found[name].shape == mask.shape
        assert (found[name] == mask).all()


@given(hnp.arrays(np.bool_, shapes))
def test_masks_take_one_bit_a_weight(mask: np.ndarray) -> None:
    arrays, _ = pack_masks({"w": mask}, {"w": "linear"})
    assert arrays["w"].nbytes == (mask.size + 7) // 8


def test_masks_of_another_memory_order_are_the_same() -> None:
    mask = np.random.default_rng(3).random((5, 7)) < 0.5
    for other in (np.asfortranarray(mask), mask.T.copy().T):
        arrays, _ = pack_masks({"w": other}, {"w": "linear"})
        assert (arrays["w"] == np.packbits(mask)).all()


@pytest.mark.parametrize("shape", [[3, 6], [3, 4], [100]])
def test_masks_that_do_not_fit_their_shape_are_refused(shape: list[int]) -> None:
    arrays, about = pack_masks({"w": np.ones((3, 11), dtype=bool)}, {"w": "linear"})
    about["layers"][0]["shape"] = shape
    with pytest.raises(StoreError, match="mask of 'w': the stored bits do not fit the shape"):
        unpack_masks(arrays, about)


def test_masks_that_are_missing_are_refused() -> None:
    _, about = pack_masks({"w": np.ones(3, dtype=bool)}, {"w": "linear"})
    with pytest.raises(StoreError, match=r"mask of 'w': the stored bits do not fit the shape \(3,\)"):
        unpack_masks({}, about)


@pytest.mark.parametrize(
    ("shape", "size"),
    [([1 << 32, 1 << 32], 0), ([1 << 61, 8], 0), ([1 << 70, 0], 0), ([1] * 70, 1)],
)
def test_masks_of_a_shape_that_no_array_has_are_refused(shape: list[int], size: int) -> None:
    """Products that overflow to 0 among them."""
    arrays = {"w": np.zeros(size, np.uint8)}
    about = {"layers": [{"name": "w", "shape": shape, "kind": "linear"}]}
    with pytest.raises(StoreError, match="mask of 'w': the stored bits do not fit the shape"):
        unpack_masks(arrays, about)


@pytest.mark.parametrize(
    "bits", [np.zeros(1), np.zeros((1, 1), np.uint8), np.zeros(2, np.uint8), np.zeros(1, bool)]
)
def test_masks_of_other_numbers_are_refused(bits: np.ndarray) -> None:
    about = {"layers": [{"name": "w", "shape": [3], "kind": "linear"}]}
    with pytest.raises(StoreError, match="mask of 'w': the stored bits do not fit the shape"):
        unpack_masks({"w": bits}, about)


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"layers": 3},
        {"layers": ["w"]},
        {"layers": [{"name": "w", "shape": [3]}]},
        {"layers": [{"name": ["w"], "shape": [3], "kind": "linear"}]},
        {"layers": [{"name": "w", "shape": "3", "kind": "linear"}]},
        {"layers": [{"name": "w", "shape": [3.0], "kind": "linear"}]},
        {"layers": [{"name": "w", "shape": [-3], "kind": "linear"}]},
        {"layers": [{"name": "w", "shape": [3], "kind": None}]},
    ],
)
def test_masks_without_a_description_are_refused(about: dict[str, object]) -> None:
    with pytest.raises(StoreError, match="lacks the name, shape and kind of each layer"):
        unpack_masks({"w": np.zeros(1, np.uint8)}, about)
