"""The comparisons must notice small faults: one example, one row of pixels, one weight."""

from dataclasses import replace

import numpy as np
import pytest

from . import driving
from .checking import (
    Expected,
    Step,
    Trained,
    assert_near,
    assert_steps_near,
    expected_gradients,
    expected_training,
    safe_step,
    take_steps,
)
from .driving import OPTIMIZERS
from .nets import Examples, Net, conv, draw, dropout, linear

NUMBERS = r"^(weight|bias) \d"
SHAPE = (1, 8, 8)
OPS = [conv(4, 3, relu=True, pool=2), linear(16, relu=True), dropout(0.2), linear(5)]


def other_label(data: Examples, example: int) -> Examples:
    labels = data.labels.copy()
    labels[example] = (labels[example] + 1) % 5
    return Examples(data.images, labels)


def other_row(data: Examples, example: int) -> Examples:
    images = data.images.copy()
    images[example, 0, 3] = np.roll(images[example, 0, 3], 1)
    return Examples(images, data.labels)


@pytest.fixture(scope="module")
def trained() -> dict[str, Trained]:
    """By optimizer: forty examples a step."""
    net = draw(SHAPE, OPS, seed=2, density=0.5)
    return {name: expected_training(net, name, 40) for name in ("plain", "nesterov", "adam")}


@pytest.mark.parametrize("change", [other_label, other_row])
@pytest.mark.parametrize("density", [1, 0.3])
@pytest.mark.parametrize("place", [0, 31, 32, 99])
def test_gradients_of_one_changed_example_are_noticed(place, density, change):
    net = draw(SHAPE, OPS, seed=1, density=density)
    step = safe_step(net, 100)
    expected = expected_gradients(step)
    changed = replace(step, data=change(step.data, step.batch[place]))
    for variant in driving.variants():
        network = driving.load(net, variant)
        found = driving.differentiate(network, net, step.data, step.batch, step.seed)
        assert_near(found, expected.result, expected.allowed)
        found = driving.differentiate(network, net, changed.data, step.batch, step.seed)
        # By the gradients alone, whatever the logits are.
        found.arrays["logits"] = expected.result.arrays["logits"]
        with pytest.raises(AssertionError, match=NUMBERS):
            assert_near(found, expected.result, expected.allowed)


@pytest.fixture(scope="module")
def in_tiles() -> tuple[Net, Expected, Step]:
    """A convolution in tiles of two by two outputs, on 9x10 pixels without padding."""
    net = draw((32, 9, 10), [conv(32, 3, relu=True), linear(5)], seed=1)
    net = replace(net, scale=net.scale / 4)
    step = safe_step(net, 33)
    return net, expected_gradients(step), step


@pytest.mark.parametrize("name", ["logits", "weight 0"])
@pytest.mark.parametrize("pixel", [(0, 0), (0, 9), (8, 0), (8, 9), (1, 2), (3, 4), (8, 5), (4, 9)])
def test_one_pixel_in_place_of_its_neighbour_is_noticed_in_tiles(in_tiles, pixel, name):
    # What a tile that reads one row or column too far would see: of one example, in one channel.
    net, expected, step = in_tiles
    images, (i, j) = step.data.images.copy(), pixel
    of, neighbour = step.batch[32], (i - 1 if i else 1, j)
    images[of, 5, i, j] = images[of, 5][neighbour]
    assert images[of, 5, i, j] != step.data.images[of, 5, i, j]
    network = driving.load(net)
    found = driving.differentiate(network, net, step.data, step.batch, step.seed)
    assert_near(found, expected.result, expected.allowed)
    changed = Examples(images, step.data.labels)
    other = driving.differentiate(network, net, changed, step.batch, step.seed)
    found.arrays[name] = other.arrays[name]
    with pytest.raises(AssertionError, match=name):
        assert_near(found, expected.result, expected.allowed)


@pytest.mark.parametrize("name", ["weight 0", "bias 0", "weight 3", "bias 3"])
def test_a_gradient_that_is_off_is_noticed(name):
    step = safe_step(draw(SHAPE, OPS, seed=1), 33)
    expected = expected_gradients(step)
    found = {key: array.copy() for key, array in expected.result.arrays.items()}
    largest = np.unravel_index(np.abs(found[name]).argmax(), found[name].shape)
    for fault in (found[name][largest] * 1.0001, np.nan):
        found[name][largest] = fault
        with pytest.raises(AssertionError, match=name):
            assert_near(driving.Result(found), expected.result, expected.allowed)


@pytest.mark.parametrize("change", [other_label, other_row])
@pytest.mark.parametrize("optimizer", ["plain", "nesterov", "adam"])
def test_training_on_one_changed_example_is_noticed(trained, optimizer, change):
    expected = trained[optimizer]
    assert_steps_near(take_steps(driving.load(expected.net), expected, optimizer), expected)
    # In the last step alone.
    data, order = expected.data, expected.order.copy()
    doubled = Examples(np.tile(data.images, (2, 1, 1, 1)), np.tile(data.labels, 2))
    order[-7] += len(data.labels)
    changed = replace(expected, data=change(doubled, int(order[-7])), order=order)
    found = take_steps(driving.load(expected.net), changed, optimizer)
    with pytest.raises(AssertionError, match=NUMBERS):
        assert_steps_near(found, expected)


@pytest.mark.parametrize("optimizer", ["plain", "nesterov", "adam"])
def test_training_otherwise_is_noticed(trained, optimizer):
    expected = trained[optimizer]
    order, rates, seeds = expected.order.copy(), expected.rates.copy(), driving.seeds_of(20)
    order[[0, 799]] = order[[799, 0]]
    rates[10] *= 1.01
    faults = (
        (replace(expected, order=order), seeds),
        (replace(expected, rates=rates), seeds),
        (expected, np.append(seeds[:19], seeds[:1])),
    )
    for other, drawn in faults:
        found = take_steps(driving.load(expected.net), other, optimizer, seeds=drawn)
        with pytest.raises(AssertionError, match=NUMBERS):
            assert_steps_near(found, expected)


@pytest.mark.parametrize("optimizer", ["plain", "nesterov", "adam"])
def test_another_optimizer_is_noticed(trained, optimizer):
    expected = trained[optimizer]
    for other in OPTIMIZERS.keys() - {optimizer}:
        found = take_steps(driving.load(expected.net), expected, other)
        with pytest.raises(AssertionError, match=NUMBERS):
            assert_steps_near(found, expected)


@pytest.mark.parametrize("kernels", ["dense", "sparse"])
@pytest.mark.parametrize("optimizer", ["plain", "nesterov", "adam"])
def test_one_pruned_weight_that_moved_is_noticed(trained, optimizer, kernels):
    # The kernels are not told of one of the pruned weights.
    expected = trained[optimizer]
    for op, mask in expected.net.masks.items():
        pruned = np.argwhere(~mask)[7]
        masks = {**expected.net.masks, op: mask.copy()}
        masks[op][tuple(pruned)] = True
        network = driving.load(replace(expected.net, masks=masks), (driving.variants()[0][0], kernels))
        found = take_steps(network, expected, optimizer)
        with pytest.raises(AssertionError, match=f"weight {op}: a pruned weight is"):
            assert_steps_near(found, expected)
    found = take_steps(driving.load(expected.net, (driving.variants()[0][0], kernels)), expected, optimizer)
    for moved in (1e-30, -0.0):
        found.arrays["weight 1"][tuple(np.argwhere(~expected.net.masks[1])[3])] = moved
        with pytest.raises(AssertionError, match="weight 1: a pruned weight is"):
            assert_steps_near(found, expected)
