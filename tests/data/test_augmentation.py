from __future__ import annotations

import random
from fractions import Fraction
from math import floor, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import chisquare

from pomona.core.errors import InputError
from pomona.core.streams import Stream
from pomona.data.augmentation import epoch_views, views_of
from pomona.data.choice import Augmentation, DataChoice, check_augmentation
from pomona.data.splits import epoch_order
from pomona.training.batches import Batches, Examples

BOTH = Augmentation(crop=4, flip=True)


def stream(seed: int = 0) -> Stream:
    return Stream("augmentation", seed)


def seen(image: np.ndarray, word: int, crop: int, flip: bool) -> np.ndarray:
    """By hand: pad, cut out, mirror. The word's parts are fractions of 1."""
    channels, height, width = image.shape
    padded = np.zeros((channels, height + 2 * crop, width + 2 * crop), np.uint8)
    padded[:, crop : crop + height, crop : crop + width] = image
    top = floor(Fraction(word >> 32 & 0x7FFFFFFF, 2**31) * (2 * crop + 1))
    left = floor(Fraction(word & 0xFFFFFFFF, 2**32) * (2 * crop + 1))
    cut = padded[:, top : top + height, left : left + width]
    return cut[:, :, ::-1] if flip and word >= 2**63 else cut


@pytest.mark.parametrize("augmentation", [BOTH, Augmentation(crop=3), Augmentation(flip=True)], ids=str)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 9)])
def test_views_are_pad_crop_and_flip_by_hand(augmentation: Augmentation, shape: tuple[int, int, int]) -> None:
    count = 60
    images = np.random.Generator(np.random.Philox(key=3)).integers(0, 256, (count, *shape), dtype=np.uint8)
    order = epoch_order(np.arange(count), Stream("order", 0), epoch=2)
    views = epoch_views(augmentation, order, count, count, stream(), epoch=2)
    words = stream().words(count, 2 * count)
    crop = augmentation.crop or 0
    wanted = np.stack([seen(images[i], int(words[i]), crop, augmentation.flip) for i in order])
    examples = Examples(images, np.zeros(count, np.uint8), (1.0,) * shape[0], (0.0,) * shape[0])
    inputs, _ = Batches(examples, torch.device("cpu")).gather(order, views)
    assert np.array_equal(inputs.numpy(), wanted)
    assert not np.array_equal(wanted, images[order])


def test_what_lies_outside_is_a_pixel_of_zero_before_it_is_normalised() -> None:
    examples = Examples(np.full((1, 1, 4, 4), 200, np.uint8), np.zeros(1, np.uint8), (0.01,), (-0.5,))
    inputs, _ = Batches(examples, torch.device("cpu")).gather(
        np.zeros(1, int), np.array([[-3, 3, 0]], np.int32)
    )
    wanted = np.full((4, 4), np.float32(-0.5))
    wanted[3, 0] = np.float32(200) * np.float32(0.01) - np.float32(0.5)
    assert np.array_equal(inputs.numpy()[0, 0], wanted)


def test_all_places_are_equally_likely_and_half_are_mirrored() -> None:
    count = 81 * 1000
    views = epoch_views(BOTH, np.arange(count), count, count, stream(), epoch=0)
    assert views.dtype == np.int32
    assert views.shape == (count, 3)
    assert set(views[:, 2]) == {0, 1}
    places = (views[:, 0] + 4) * 9 + views[:, 1] + 4
    assert (views[:, :2].min(), views[:, :2].max()) == (-4, 4)
    assert chisquare(np.bincount(places, minlength=81)).pvalue > 1e-3
    # Within four standard deviations, and whatever the place.
    assert abs(views[:, 2].mean() - 0.5) < 4 * 0.5 / sqrt(count)
    assert chisquare(np.bincount(places[views[:, 2] == 1], minlength=81)).pvalue > 1e-3


def test_the_ends_of_the_words_are_the_outermost_places() -> None:
    words = np.array([0, 2**63 - 1, 2**63, 2**64 - 1], np.uint64)
    assert views_of(BOTH, words).tolist() == [[-4, -4, 0], [4, 4, 0], [-4, -4, 1], [4, 4, 1]]


@given(st.integers(1, 40), st.integers(0, 3), st.integers(0, 2**20))
def test_a_view_depends_on_the_image_and_the_epoch_alone(count: int, epoch: int, seed: int) -> None:
    def by_image(order: np.ndarray) -> dict[int, list[int]]:
        views = epoch_views(BOTH, order, 40, len(order), stream(seed), epoch)
        return dict(zip(order.tolist(), views.tolist(), strict=True))

    whole = by_image(np.arange(40))
    part = by_image(epoch_order(np.arange(40), Stream("order", seed), epoch)[:count])
    assert part == {image: whole[image] for image in part}


def test_epochs_and_seeds_have_their_own_views() -> None:
    order = np.arange(50)
    found = [epoch_views(BOTH, order, 50, 50, stream(s), e).tolist() for s, e in [(0, 0), (0, 1), (1, 0)]]
    assert found[0] != found[1] != found[2] != found[0]
    assert epoch_views(BOTH, order, 50, 50, stream(), 1).tolist() == found[1]


def test_a_subset_that_an_epoch_goes_through_again_has_new_views() -> None:
    kept = np.array([3, 5, 8, 9])
    visits = [epoch_order(kept, Stream("order", 0), epoch, length=10) for epoch in (0, 1)]
    views = [epoch_views(BOTH, visits[e], 20, 4, stream(), e) for e in (0, 1)]
    rounds = [views[e][first : first + 4].tolist() for e in (0, 1) for first in (0, 4)]
    assert all(one != other for i, one in enumerate(rounds) for other in rounds[:i])
    # Three rounds an epoch, the last one cut off: round 4 is the second of epoch 1.
    words = stream().words(20, 4 * 20)
    assert views[1][4:8].tolist() == views_of(BOTH, words[visits[1][4:8]]).tolist()


def test_a_flip_is_the_same_with_and_without_a_crop() -> None:
    words = stream().words(100)
    alone = views_of(Augmentation(flip=True), words)
    assert np.array_equal(alone[:, 2], views_of(BOTH, words)[:, 2])
    assert not alone[:, :2].any()
    assert not views_of(Augmentation(crop=4), words)[:, 2].any()


def test_global_random_state_is_not_touched() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    epoch_views(BOTH, np.arange(9), 9, 9, stream(), 0)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_another_stream_and_no_epoch_are_refused() -> None:
    with pytest.raises(InputError, match="expected the stream 'augmentation', got 'order'"):
        epoch_views(BOTH, np.arange(9), 9, 9, Stream("order", 0), 0)
    with pytest.raises(InputError, match="epochs count from 0, got -1"):
        epoch_views(BOTH, np.arange(9), 9, 9, stream(), -1)


@pytest.mark.parametrize(
    ("written", "identity"),
    [
        ({"crop": 4, "flip": "yes"}, {"crop": 4, "flip": True}),
        ({"crop": 27}, {"crop": 27}),
        ({"flip": True, "crop": None}, {"flip": True}),
        ({"flip": "no"}, None),
        (None, None),
    ],
)
def test_augmentation_enters_the_identity_where_there_is_one(written, identity) -> None:
    choice = DataChoice.model_validate({"name": "mnist", "augment": written})
    assert choice.identity().get("augment") == identity
    assert (choice == DataChoice(name="mnist")) == (identity is None)
    assert DataChoice.model_validate(choice.model_dump(mode="json")) == choice


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({}, "expected crop, flip or both, got nothing"),
        ({"corp": 4}, "corp"),
        ({"crop": 0}, "expected 1 pixel of padding or more, got 0; without a crop leave it out"),
        ({"crop": -2}, "expected 1 pixel of padding or more, got -2"),
        ({"crop": 2.5}, "expected 1 pixel of padding or more, got 2.5"),
        ({"crop": True}, "expected 1 pixel of padding or more, got True"),
        ({"crop": 28}, "augment: crop: expected 1 to 27 pixels of padding for images of 1x28x28, got 28"),
        ({"flip": 1}, "expected yes or no, got the number 1; images are flipped with probability 1/2"),
        ({"flip": 0.5}, "expected yes or no, got the number 0.5"),
        ({"flip": "maybe"}, "flip"),
    ],
)
def test_augmentation_that_cannot_be_read_says_why(written, message) -> None:
    with pytest.raises(ValidationError) as caught:
        DataChoice.model_validate({"name": "mnist", "augment": written})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "augmentation", "message"),
    [
        ((6, 1, 1), Augmentation(flip=True), "moves the pixels of images, and these are rows of 6 features"),
        ((6, 1, 1), Augmentation(crop=1), "rows of 6 features"),
        ((1, 8, 1), Augmentation(flip=True), "flip: images of 1x8x1 are one pixel wide and stay as they are"),
        ((3, 9, 5), Augmentation(crop=5), "expected 1 to 4 pixels of padding for images of 3x9x5, got 5"),
        ((3, 5, 9), Augmentation(crop=5), "expected 1 to 4 pixels of padding for images of 3x5x9, got 5"),
    ],
)
def test_images_that_cannot_be_augmented_are_refused(shape, augmentation, message) -> None:
    with pytest.raises(InputError, match=message):
        check_augmentation(shape, augmentation)
    check_augmentation((3, 9, 9), augmentation)
