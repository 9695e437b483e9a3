"""Examples, batches and steps that do not fit are refused, and change nothing."""

import math

import numpy as np
import pytest

from . import driving
from .driving import never
from .small import DATA, NET, call_train, strided, swapped

BAD_EXAMPLES = {
    "images of another type": {"images": DATA.images.astype(np.float32)},
    "images with signs": {"images": DATA.images.view(np.int8)},
    "images as a list": {"images": DATA.images.tolist()},
    "images without channels": {"images": DATA.images[:, 0].copy()},
    "an image too few": {"images": DATA.images[:-1]},
    "images of another width": {"images": DATA.images[..., :3].copy()},
    "images of another height": {"images": DATA.images[:, :, :3].copy()},
    "images of another depth": {"images": DATA.images[:, :1].copy()},
    "images strided": {"images": strided(DATA.images)},
    "images last channel first": {
        "images": np.moveaxis(np.ascontiguousarray(np.moveaxis(DATA.images, 1, -1)), -1, 1)
    },
    "no images": {"images": DATA.images[:0], "labels": DATA.labels[:0]},
}
BAD_LABELS = {
    "labels of another type": {"labels": DATA.labels.astype(np.int64)},
    "labels of two axes": {"labels": DATA.labels[:, None].copy()},
    "a label too few": {"labels": DATA.labels[:-1]},
    "labels strided": {"labels": strided(DATA.labels)},
    "a label that is no output": {"labels": np.where(np.arange(50) == 7, 4, DATA.labels).astype(np.uint8)},
}
BAD_INDICES = [
    np.array([50]),
    np.array([-1]),
    np.array([0, 1, 2**62]),
    np.array([0, 1, -(2**62)]),
    np.arange(3, dtype=np.int32),
    np.arange(3, dtype=np.uint64),
    np.arange(3.0),
    np.arange(4).reshape(2, 2),
    np.arange(8)[::2],
    swapped(np.arange(3)),
    [0, 1],
    None,
]


@pytest.mark.parametrize("name", BAD_EXAMPLES | BAD_LABELS)
def test_examples_that_do_not_fit(network, name):
    given = {"images": DATA.images, "labels": DATA.labels} | (BAD_EXAMPLES | BAD_LABELS)[name]
    images, labels, indices = given["images"], given["labels"], np.arange(50)
    for call in (
        lambda: call_train(network, **given),
        lambda: network.evaluate(images, labels, indices, never),
        lambda: network.gradients(images, labels, indices, 0),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()
    if name in BAD_EXAMPLES:
        with pytest.raises((TypeError, ValueError)):
            network.logits(images, indices)


@pytest.mark.parametrize("indices", BAD_INDICES, ids=repr)
def test_examples_indices(network, indices):
    for call in (
        lambda: call_train(network, order=indices),
        lambda: network.evaluate(DATA.images, DATA.labels, indices, never),
        lambda: network.gradients(DATA.images, DATA.labels, indices, 0),
        lambda: network.logits(DATA.images, indices),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()


def test_examples_index_names_itself(network):
    with pytest.raises(ValueError, match="index 50 is not one of 50 examples"):
        network.logits(DATA.images, np.array([3, 50]))


def test_examples_label_names_itself(network):
    labels = np.where(np.arange(50) == 7, 200, DATA.labels).astype(np.uint8)
    with pytest.raises(ValueError, match="label 200: the network has 4 outputs"):
        network.gradients(DATA.images, labels, np.arange(50), 0)
    network.gradients(DATA.images, labels, np.arange(7), 0)  # of those that are used


def test_examples_none(network):
    nothing = np.empty(0, np.int64)
    with pytest.raises(ValueError, match="there is no example"):
        call_train(network, order=nothing)
    with pytest.raises(ValueError, match="there is no example"):
        network.gradients(DATA.images, DATA.labels, nothing, 0)
    assert network.logits(DATA.images, nothing).shape == (0, 4)
    predictions, loss = network.evaluate(DATA.images, DATA.labels, nothing, never)
    assert (predictions.shape, loss) == ((0,), 0.0)


def test_examples_that_may_not_be_written(network):
    images, order = DATA.images.copy(), np.arange(50)
    images.flags.writeable = order.flags.writeable = False
    expected = network.logits(DATA.images, np.arange(50))
    np.testing.assert_array_equal(network.logits(images, order), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 0},
        {"batch_size": -1},
        {"batch_size": 2**24 + 1},
        {"batch_size": 2**63},
        {"batch_size": 2.5},
        {"batch_size": None},
        {"first_step": -1},
        {"first_step": 2**64},
        {"rates": np.full(2, 0.01, np.float32)},
        {"rates": np.full((2, 1), 0.01)},
        {"rates": np.full(4, 0.01)[::2]},
        {"rates": [0.01, 0.01]},
        {"rates": np.array([0.01, math.nan])},
        {"rates": np.array([math.inf, 0.01])},
        {"seeds": np.arange(2)},
        {"seeds": np.arange(1, dtype=np.uint64)},
        {"seeds": np.arange(2.0)},
        {"seeds": None},
        {"slice_seconds": "long"},
        {"interrupted": None},
        {"interrupted": 1},
    ],
    ids=repr,
)
def test_train_refuses(network, changes):
    with pytest.raises((TypeError, ValueError)):
        call_train(network, **changes)


def test_train_says_which_rate(network):
    with pytest.raises(ValueError, match="rates: step 1 is not finite"):
        call_train(network, rates=np.array([0.01, math.nan]))


def test_train_without_rates_takes_no_step(network):
    assert call_train(network, rates=np.empty(0), seeds=np.empty(0, np.uint64)) == (0, -1)


@pytest.mark.parametrize(("count", "steps"), [(40, 2), (41, 3), (1, 1), (20, 1)])
def test_train_ends_with_the_order(count, steps):
    network = driving.load(NET)
    rates = np.full(9, 0.01)
    assert call_train(network, order=np.arange(count), rates=rates, seeds=np.arange(9, dtype=np.uint64)) == (
        steps,
        -1,
    )


def test_train_takes_a_short_last_batch():
    given = {"rates": np.full(3, 0.01), "seeds": np.arange(3, dtype=np.uint64)}
    network, by_step = driving.load(NET), driving.load(NET)
    assert call_train(network, order=np.arange(45), **given) == (3, -1)
    for step, size in enumerate((20, 20, 5)):
        order = np.arange(20 * step, 20 * step + size)
        call_train(by_step, order=order, rates=given["rates"][:1], seeds=given["seeds"][step : step + 1])
    driving.numbers(network, NET).assert_same_bits(driving.numbers(by_step, NET))
