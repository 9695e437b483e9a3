"""What is no longer finite is named by its first operation, and the step that made it changes nothing."""

import math

import numpy as np
import pytest

from . import driving
from .driving import OPTIMIZERS
from .nets import Net, conv, draw, dropout, examples, in_winograd_form, linear, maxpool, relu
from .small import call_train

OPS = (
    conv(4, 2, relu=True),
    conv(3, 2),
    relu(),
    maxpool(2, 1),
    linear(6, relu=True),
    dropout(0.1),
    linear(4),
)


# Dense in Winograd's form, where a number that is not finite reaches all outputs of its tile.
IN_TILES = (
    conv(32, 1, relu=True),
    conv(33, 3, padding=1, relu=True),
    conv(32, 3, relu=True, pool=2),
    conv(35, 3, padding=3),
    relu(),
    linear(4),
)


def drawn_net(density=1.0) -> Net:
    return draw((2, 5, 5), OPS, seed=2, density=density)


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("op", [0, 1, 4, 6])
@pytest.mark.parametrize("kernels", ["dense", "sparse"])
def test_not_finite_weight(kernels, op, number):
    net = drawn_net()
    weight = net.weights[op]
    weight.reshape(-1)[weight.size // 2] = number
    check(net, op, kernels)


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("op", [0, 1, 4, 6])
@pytest.mark.parametrize("kernels", ["dense", "sparse"])
def test_not_finite_bias(kernels, op, number):
    net = drawn_net()
    net.biases[op][:] = number
    check(net, op, kernels)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("op", [1, 2, 3])
@pytest.mark.parametrize("what", ["weight", "bias"])
def test_not_finite_in_tiles(what, op, number):
    net = draw((2, 10, 11), IN_TILES, seed=2)
    assert in_winograd_form(net) == [1, 2, 3]
    if what == "weight":
        net.weights[op][5, 7, 2, 1] = number
    else:
        # A ReLU takes minus infinity for zero.
        net.biases[op][5] = abs(number)
    check(net, op, "dense")


def test_large_numbers_stay_finite_in_tiles():
    # The sums of four numbers in each direction need a factor of sixteen.
    net = draw((2, 10, 11), IN_TILES, seed=2)
    for op in (1, 2, 3):
        net.biases[op][:] = 0
    data, batch, large = examples(net, 50), np.arange(50), np.float32(2.0**110)
    for variant in driving.variants():
        expected = driving.differentiate(driving.load(net, variant), net, data, batch)
        network = driving.load(net, variant)
        for values, write in ((net.weights, network.set_weight), (net.biases, network.set_bias)):
            write(0, values[0] * large)
        network.set_weight(5, net.weights[5] / large)
        found = driving.differentiate(network, net, data, batch)
        np.testing.assert_array_equal(found.arrays["logits"], expected.arrays["logits"])


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_not_finite_input(number):
    net = drawn_net()
    net.shift[:] = number
    check(net, 0, "dense")


def check(net: Net, op: int, kernels: str) -> None:
    network, data = driving.load(net, (driving.variants()[0][0], kernels)), examples(net, 50)
    network.set_optimizer(*OPTIMIZERS["momentum"])
    before = driving.numbers(network, net)
    given = {"images": data.images, "labels": data.labels, "first_step": 0}
    for _ in range(2):
        assert call_train(network, **given) == (0, op)
        driving.numbers(network, net).assert_same_bits(before)


@pytest.mark.parametrize("batch_size", [50, 2**24])
@pytest.mark.parametrize("kernels", ["dense", "sparse"])
@pytest.mark.parametrize("place", [0, 31, 32, 49])
def test_not_finite_one_example_of_the_batch(place, kernels, batch_size):
    net = drawn_net(density=0.7)
    network, data = driving.load(net, (driving.variants()[0][0], kernels)), examples(net, 50)
    network.set_optimizer(*OPTIMIZERS["adam"])
    data.images[:] //= 2
    data.images[place] = 255
    given = {"images": data.images, "labels": data.labels, "batch_size": batch_size, "first_step": 0}
    network.set_input(np.full(2, 1e36, np.float32), np.full(2, -1.27e38, np.float32))
    net.weights[0][:] = 1
    network.set_weight(0, net.weights[0] * net.masks[0])
    before = driving.numbers(network, net)
    assert call_train(network, **given, order=np.arange(50)) == (0, 0)
    driving.numbers(network, net).assert_same_bits(before)


def test_not_finite_after_a_step():
    net = drawn_net()
    network, data = driving.load(net), examples(net, 50)
    given = {"images": data.images, "labels": data.labels, "first_step": 0}
    rates = np.array([0.01, 1e38, 0.01])
    expected = driving.load(net)
    seeds = np.arange(3, dtype=np.uint64)
    order = np.arange(50).repeat(2)
    call_train(expected, **given, order=order, rates=rates[:2], seeds=seeds[:2])
    done, failed = call_train(network, **given, order=order, rates=rates, seeds=seeds)
    assert done == 2
    assert failed >= 0
    driving.numbers(network, net).assert_same_bits(driving.numbers(expected, net))


def test_not_finite_before_a_relu_is_found_in_the_next_step():
    # The first layer is infinite; the second makes it minus infinity, and its ReLU zero: the logits are finite.
    # Its gradient is zero times infinity. On torch too the loss is finite in this step and NaN in the next.
    ops = [linear(1, relu=True), linear(1, relu=True), linear(2)]
    net = draw((1, 1, 2), ops)
    net.weights[0][:], net.weights[1][:] = 3e38, -1
    net.scale[:], net.shift[:] = 1, 1
    data = examples(net, 50)
    for variant in driving.variants():
        network = driving.load(net, variant)
        given = {"images": data.images, "labels": data.labels, "first_step": 0}
        assert call_train(network, **given) == (1, 0)


def test_not_finite_network_has_no_gradients_of_before():
    net = drawn_net()
    network, data = driving.load(net), examples(net, 50)
    network.gradients(data.images, data.labels, np.arange(50), 0)
    network.set_bias(4, np.full(6, np.nan, np.float32))
    try:
        found = network.gradients(data.images, data.labels, np.arange(50), 0)
    except (ValueError, ArithmeticError, RuntimeError):
        return
    assert not any(np.isfinite(weight).all() for weight, _ in found.values())


def test_not_finite_examples_that_are_not_there_do_no_harm():
    # A black image would be infinite; no example of the batch is black.
    ops = [linear(2, relu=True), linear(2)]
    net = draw((1, 1, 2), ops)
    net.weights[0][:], net.biases[0][:] = 8, 1
    net.scale[:], net.shift[:] = -(2.0**120), 2.0**127
    images, labels = np.full((40, 1, 1, 2), 128, np.uint8), np.arange(40, dtype=np.uint8) % 2
    for variant in driving.variants():
        network = driving.load(net, variant)
        found = network.gradients(images, labels, np.arange(33), 0)
        assert all(np.isfinite(array).all() for pair in found.values() for array in pair)
