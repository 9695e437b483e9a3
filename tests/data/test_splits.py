from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import InputError
from pomona.core.streams import Stream
from pomona.data.splits import epoch_order, split

counts = st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1)))


@given(counts, st.integers(0, 50))
def test_split_parts_every_index_once(sizes: tuple[int, int], seed: int) -> None:
    count, validation = sizes
    train, held = split(count, validation, Stream("split", seed))
    assert len(held) == validation
    assert train.dtype == held.dtype == np.int64
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(held) > 0)
    assert sorted([*train, *held]) == list(range(count))


@given(st.integers(2, 200), st.integers(0, 20))
def test_split_parts_of_one_stream_are_nested(count: int, seed: int) -> None:
    stream = Stream("split", seed)
    _, smaller = split(count, count // 3, stream)
    _, larger = split(count, count // 2, stream)
    assert set(smaller) <= set(larger)


def test_split_follows_its_stream() -> None:
    first, again, other = (split(500, 100, Stream("split", seed))[1] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_split_and_order_never_change() -> None:
    """Stored states were trained on these images in this order."""
    train, held = split(20, 5, Stream("split", 3))
    assert held.tolist() == [4, 7, 11, 14, 17]
    assert epoch_order(train, Stream("order", 3), 2).tolist() == [
        1,
        5,
        8,
        12,
        0,
        2,
        15,
        10,
        3,
        19,
        9,
        6,
        13,
        16,
        18,
    ]


@pytest.mark.parametrize("validation", [10, 11, -1])
def test_split_refuses_what_leaves_nothing(validation: int) -> None:
    with pytest.raises(InputError, match=rf"expected 0 to 9 of the 10 training images, got {validation}"):
        split(10, validation, Stream("split", 0))


@given(counts, st.integers(0, 20), st.integers(0, 30))
def test_epoch_order_visits_each_training_image_once(sizes: tuple[int, int], seed: int, epoch: int) -> None:
    train, _ = split(*sizes, Stream("split", seed))
    order = epoch_order(train, Stream("order", seed), epoch)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), train)


def test_epoch_order_differs_by_epoch_and_seed_alone() -> None:
    train, _ = split(200, 20, Stream("split", 0))
    orders = [epoch_order(train, Stream("order", seed), epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({order.tobytes() for order in orders}) == 4
    assert np.array_equal(orders[1], epoch_order(train, Stream("order", 0), 1))


def test_epoch_order_refuses_a_negative_epoch() -> None:
    with pytest.raises(InputError, match="epochs count from 0, got -1"):
        epoch_order(np.arange(3), Stream("order", 0), -1)


@given(st.integers(1, 30), st.integers(0, 70), st.integers(0, 9), st.integers(0, 20))
def test_epoch_order_of_a_subset_fills_the_length_with_whole_passes(
    count: int, more: int, seed: int, epoch: int
) -> None:
    """Equal steps: every image is visited as often as any other, or once more."""
    indices = np.arange(0, 2 * count, 2)
    length = count + more
    order = epoch_order(indices, Stream("order", seed), epoch, length=length)
    assert len(order) == length
    for first in range(0, length - count + 1, count):
        assert np.array_equal(np.sort(order[first : first + count]), indices)
    times = np.bincount(order, minlength=2 * count)[::2]
    assert times.max() - times.min() <= 1


def test_epoch_order_of_a_subset_draws_every_pass_anew() -> None:
    indices = np.arange(50)
    passes = [
        epoch_order(indices, Stream("order", 0), epoch, length=125)[first : first + 50].tobytes()
        for epoch in range(3)
        for first in (0, 50)
    ]
    assert len(set(passes)) == 6


def test_epoch_order_of_the_whole_part_is_what_it_was() -> None:
    indices = np.arange(3, 40)
    for epoch in range(3):
        order = epoch_order(indices, Stream("order", 5), epoch)
        assert np.array_equal(order, epoch_order(indices, Stream("order", 5), epoch, length=37))
        assert np.array_equal(order, indices[Stream("order", 5).permutation(37, round=epoch)])


@pytest.mark.parametrize(("count", "length"), [(5, 4), (0, 3)])
def test_epoch_order_refuses_a_length_that_it_cannot_fill(count: int, length: int) -> None:
    with pytest.raises(
        InputError, match=f"an epoch visits each of the {count} training images, not {length}"
    ):
        epoch_order(np.arange(count), Stream("order", 0), 0, length=length)


def test_streams_are_not_confused() -> None:
    with pytest.raises(InputError, match="expected the stream 'split', got 'order'"):
        split(10, 2, Stream("order", 0))
    with pytest.raises(InputError, match="expected the stream 'order', got 'split'"):
        epoch_order(np.arange(3), Stream("split", 0), 0)


def test_global_random_state_is_not_touched() -> None:
    before = random.getstate(), np.random.get_state()[1].tobytes()
    train, _ = split(50, 5, Stream("split", 0))
    epoch_order(train, Stream("order", 0), 1)
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == before
