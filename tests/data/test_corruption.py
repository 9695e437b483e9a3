from __future__ import annotations

import random
import tracemalloc
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from pomona.core.errors import InputError, StateFailure
from pomona.core.streams import Stream
from pomona.data.choice import Corruption
from pomona.data.corruption import corrupt, corrupt_labels, corrupt_pixels, subset
from pomona.data.splits import epoch_order, split


def of(seed: int = 0):
    return lambda name: Stream(name, seed)


def images(count: int = 40, channels: int = 3, side: int = 5) -> np.ndarray:
    """Every pixel of an image is another value, the same in no two channels."""
    pixels = np.arange(channels * side * side, dtype=np.uint8).reshape(1, channels, side, side)
    return np.repeat(pixels, count, axis=0)


def labels(count: int = 40) -> np.ndarray:
    return (np.arange(count) % 10).astype(np.uint8)


KINDS = {
    "labels": Corruption(labels=0.5),
    "pixels": Corruption(pixels=True),
    "examples": Corruption(examples=0.5),
    "all": Corruption(labels=1.0, pixels=True, examples=0.25),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_corruption_touches_the_training_part_alone(kind: str) -> None:
    pictures, truth = images(), labels()
    train, held = split(40, 10, Stream("split", 0))
    copies = pictures.copy(), truth.copy(), train.copy()
    found = corrupt(pictures, truth, 10, train, KINDS[kind], of())
    assert np.array_equal(found.images[held], copies[0][held])
    assert np.array_equal(found.labels[held], copies[1][held])
    assert set(found.indices) <= set(train)
    for given_now, copy in zip((pictures, truth, train), copies, strict=True):
        assert np.array_equal(given_now, copy)
    assert found.images.dtype == found.labels.dtype == np.uint8
    assert (found.images.shape, found.labels.shape) == (pictures.shape, truth.shape)
    assert not found.images.flags.writeable
    assert not found.labels.flags.writeable
    assert pictures.flags.writeable
    assert truth.flags.writeable


@pytest.mark.parametrize("kind", KINDS)
def test_every_corruption_follows_its_streams_alone(kind: str) -> None:
    before = random.getstate(), np.random.get_state()[1].tobytes()
    first, again, other = (
        corrupt(images(), labels(), 10, np.arange(40), KINDS[kind], of(seed)) for seed in (0, 0, 1)
    )

    def same(a, b) -> bool:
        return all(np.array_equal(getattr(a, x), getattr(b, x)) for x in ("images", "labels", "indices"))

    assert same(first, again)
    assert not same(first, other)
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == before


@pytest.mark.parametrize("kind", KINDS)
def test_every_corruption_asks_for_its_declared_streams(kind: str) -> None:
    asked = []

    def stream_of(name: str) -> Stream:
        asked.append(name)
        return Stream(name, 0)

    corrupt(images(), labels(), 10, np.arange(40), KINDS[kind], stream_of)
    assert sorted(asked) == sorted(KINDS[kind].streams)


def test_evidence_counts_what_was_done() -> None:
    found = corrupt(images(), labels(), 10, np.arange(40), KINDS["all"], of())
    evidence = found.evidence
    assert (evidence.before, evidence.examples, evidence.labels_drawn) == (40, 10, 10)
    assert evidence.labels_changed == int((found.labels != labels()).sum()) > 0
    assert (evidence.images_permuted, evidence.images_changed) == (10, 10)
    clean = corrupt(images(), labels(), 10, np.arange(40), KINDS["examples"], of()).evidence
    assert (clean.labels_drawn, clean.labels_changed, clean.images_permuted, clean.images_changed) == (0,) * 4


@pytest.mark.parametrize("classes", [2, 10, 200])
@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_random_labels_change_as_many_as_chance_has_it(classes: int, fraction: float) -> None:
    count = 20_000
    truth = (np.arange(count) % classes).astype(np.uint8)
    indices = np.arange(0, count, 2)
    found = corrupt_labels(truth, classes, fraction, indices, Stream("label-noise", 0))
    drawn, keeps = round(fraction * len(indices)), 1 / classes
    changed = int((found != truth).sum())
    assert abs(changed - drawn * (1 - keeps)) < 4 * sqrt(drawn * keeps * (1 - keeps))


def test_random_labels_are_uniform_whatever_the_true_one() -> None:
    found = corrupt_labels(np.zeros(20_000, np.uint8), 10, 1.0, np.arange(20_000), Stream("label-noise", 3))
    assert chisquare(np.bincount(found, minlength=10)).pvalue > 0.01
    assert found.max() == 9


def test_labels_that_are_drawn_are_an_exact_number_of_random_ones() -> None:
    """With a class that no label has before, nearly every drawn label shows."""
    count, classes = 1000, 250
    truth = np.full(count, 255, np.uint8)
    times = np.zeros(count)
    for seed in range(200):
        found = corrupt_labels(truth, classes, 0.25, np.arange(count), Stream("label-noise", seed))
        assert int((found != 255).sum()) == 250
        times += found != 255
    assert chisquare(times).pvalue > 0.01


@given(st.integers(1, 60), st.floats(0, 1), st.floats(0, 1), st.integers(0, 50))
def test_larger_shares_contain_smaller_ones(count: int, one: float, two: float, seed: int) -> None:
    low, high = sorted((one, two))
    truth = np.full(count, 255, np.uint8)
    few, many = (
        corrupt_labels(truth, 5, f, np.arange(count), Stream("label-noise", seed)) for f in (low, high)
    )
    assert int((few != 255).sum()) == round(low * count)
    assert np.array_equal(few[few != 255], many[few != 255])
    small, large = (subset(np.arange(count), f, Stream("subset", seed)) for f in (low, high))
    assert len(small) == round(low * count)
    assert set(small) <= set(large)


def test_label_of_an_example_does_not_depend_on_what_else_trains() -> None:
    truth = labels(500)
    whole = corrupt_labels(truth, 10, 1.0, np.arange(500), Stream("label-noise", 0))
    part = corrupt_labels(truth, 10, 1.0, np.arange(0, 500, 3), Stream("label-noise", 0))
    assert np.array_equal(whole[::3], part[::3])


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(0, 20))
def test_pixels_are_permuted_alike_in_all_channels(channels: int, height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (3, channels, height, width), dtype=np.uint8)
    found = corrupt_pixels(pictures, np.arange(3), Stream("pixel-noise", seed))
    for before, after in zip(pictures, found, strict=True):
        # A pixel is the tuple of its channels.
        assert sorted(before.reshape(channels, -1).T.tolist()) == sorted(
            after.reshape(channels, -1).T.tolist()
        )


def test_each_image_has_its_own_permutation_whatever_else_trains() -> None:
    count = 1100
    pictures = images(count, channels=1)
    found = corrupt_pixels(pictures, np.arange(count), Stream("pixel-noise", 0))
    assert len({image.tobytes() for image in found}) == count
    chosen = np.array([3, 511, 512, 513, 1030, 1099])
    part = corrupt_pixels(pictures, chosen[::-1], Stream("pixel-noise", 0))
    assert np.array_equal(part[chosen], found[chosen])
    others = np.setdiff1d(np.arange(count), chosen)
    assert np.array_equal(part[others], pictures[others])


def test_permutations_of_pixels_are_uniform() -> None:
    """Images of four pixels have 24 orders; 2,400 images take each about 100 times."""
    pictures = np.repeat(np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2), 2400, axis=0)
    found = corrupt_pixels(pictures, np.arange(2400), Stream("pixel-noise", 1))
    _, times = np.unique(found.reshape(2400, 4), axis=0, return_counts=True)
    assert len(times) == 24
    assert chisquare(times).pvalue > 0.01


def test_subset_is_uniform() -> None:
    times = np.zeros(50)
    for seed in range(400):
        times[subset(np.arange(50), 0.2, Stream("subset", seed))] += 1
    assert chisquare(times).pvalue > 0.01


def test_corruptions_never_change() -> None:
    """Stored states were trained on these labels, pixels and examples."""
    truth = np.arange(8, dtype=np.uint8)
    assert corrupt_labels(truth, 8, 0.5, np.arange(8), Stream("label-noise", 0)).tolist() == [
        0,
        1,
        2,
        3,
        0,
        5,
        4,
        4,
    ]
    pictures = np.arange(18, dtype=np.uint8).reshape(2, 1, 3, 3)
    found = corrupt_pixels(pictures, np.arange(2), Stream("pixel-noise", 0))
    assert found.reshape(2, 9).tolist() == [[4, 5, 8, 1, 7, 3, 0, 6, 2], [16, 10, 9, 11, 13, 17, 12, 14, 15]]
    assert subset(np.arange(10), 0.4, Stream("subset", 0)).tolist() == [1, 2, 3, 4]


def test_half_of_the_examples_train_for_as_many_steps() -> None:
    half = subset(np.arange(100), 0.5, Stream("subset", 0))
    order = epoch_order(half, Stream("order", 0), 0, length=100)
    assert len(order) == 100
    assert np.array_equal(np.sort(order), np.repeat(half, 2))


@pytest.mark.parametrize(
    ("corruption", "pictures", "classes", "message"),
    [
        (
            Corruption(pixels=True),
            np.full((40, 1, 3, 3), 7, np.uint8),
            10,
            "no permutation changes any of the 40",
        ),
        (Corruption(pixels=True), images(side=1), 10, "no permutation changes any of the 40 training images"),
        (Corruption(labels=1.0), images(), 1, "random labels need 2 classes or more, got 1"),
        (Corruption(labels=0.01), images(), 10, r"labels 0\.01 of 40 training images is none of them"),
        (Corruption(examples=0.01), images(), 10, r"examples 0\.01 of 40 training images leaves 0 of them"),
        (Corruption(examples=0.99), images(), 10, r"examples 0\.99 of 40 training images leaves 40 of them"),
    ],
)
def test_corruption_that_cannot_bite_is_refused(corruption, pictures, classes: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        corrupt(pictures, labels(), classes, np.arange(40), corruption, of())


def test_labels_that_are_drawn_as_they_were_are_a_failure() -> None:
    drawn = corrupt_labels(np.zeros(40, np.uint8), 10, 1.0, np.arange(40), Stream("label-noise", 0))
    with pytest.raises(StateFailure, match="by chance each of the 40 labels drawn is the one that was there"):
        corrupt(images(), drawn, 10, np.arange(40), Corruption(labels=1.0), of())


def test_streams_and_fractions_are_checked() -> None:
    with pytest.raises(InputError, match="expected the stream 'label-noise', got 'order'"):
        corrupt_labels(labels(), 10, 0.5, np.arange(40), Stream("order", 0))
    with pytest.raises(InputError, match="expected the stream 'pixel-noise', got 'label-noise'"):
        corrupt_pixels(images(), np.arange(40), Stream("label-noise", 0))
    with pytest.raises(InputError, match="expected the stream 'subset', got 'split'"):
        subset(np.arange(4), 0.5, Stream("split", 0))
    with pytest.raises(InputError, match=r"expected a fraction of the examples from 0 to 1, got 1\.5"):
        subset(np.arange(4), 1.5, Stream("subset", 0))


def test_pixels_of_a_large_set_take_no_copy_beside_the_result() -> None:
    """The permutations of all images at once would be eight times the images."""
    pictures = np.zeros((10_000, 1, 28, 28), np.uint8)
    tracemalloc.start()
    corrupt_pixels(pictures, np.arange(10_000), Stream("pixel-noise", 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The result, and the permutations of some images at a time.
    assert peak < 2 * pictures.nbytes
