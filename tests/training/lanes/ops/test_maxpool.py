import numpy as np
import pytest

from . import driving
from .checking import check, gradient_of_taken
from .nets import conv, draw, examples, linear, maxpool

GEOMETRIES = {
    "2x2": ((6, 8), maxpool(2)),
    "odd": ((7, 9), maxpool(2)),
    "map of one": ((1, 1), maxpool(1)),
    "map of one, padded": ((1, 1), maxpool(2, 1, 1)),
    "1x1 with a stride": ((5, 7), maxpool(1, (2, 3))),
    "whole map": ((4, 3), maxpool((4, 3))),
    "not square": ((5, 8), maxpool((3, 2), (1, 2))),
    "windows that overlap": ((6, 6), maxpool(3, 1)),
    "windows apart": ((9, 8), maxpool(2, (3, 4))),
    "padded": ((6, 7), maxpool(3, 2, 1)),
    "padded in one direction": ((6, 7), maxpool((2, 4), 2, (0, 2))),
    "padded unevenly": ((5, 6), maxpool(4, (1, 3), (2, 0, 1, 2))),
    "padded by half": ((2, 3), maxpool(4, 1, 2)),
}


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_maxpool_is_that_of_torch(name, relu):
    size, op = GEOMETRIES[name]
    check(draw((2, *size), [conv(3, 1, relu=relu), op, linear(4)], seed=2), 33)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_maxpool_of_the_image(name):
    size, op = GEOMETRIES[name]
    check(draw((2, *size), [op, linear(5, relu=True), linear(3)], seed=3), 20)


@pytest.mark.parametrize("size", [1, 31, 32, 33, 60, 100])
def test_maxpool_of_any_batch(size):
    ops = [conv(3, 3, relu=True), maxpool(3, 2, 1), conv(4, 2), maxpool(2, 1), linear(3)]
    check(draw((1, 8, 8), ops, density=0.6), size)


def test_maxpool_of_pruned_channels():
    net = draw((2, 6, 6), [conv(5, 2, relu=True), maxpool(2), maxpool(2, 1, 1), linear(4)])
    mask = np.ones((4, net.weights[3].shape[1]), bool)
    mask[:, : 3 * mask.shape[1] // 5] = False
    check(net.pruned({3: mask}), 33)


def test_maxpool_makes_logits():
    check(draw((1, 4, 4), [conv(3, 3), maxpool(2)]), 33)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("kernels", ["dense", "sparse"])
def test_maxpool_takes_the_first_of_equals(kernels, padding):
    # The first channel is one value; the second has weight 0 and is thus seen in the gradient alone.
    net = draw((2, 4, 6), [conv(1, 1, bias=False), maxpool(2, 2, padding), linear(2)])
    net.weights[0][:] = np.array([1, 0], np.float32).reshape(1, 2, 1, 1)
    data = examples(net, 40)
    data.images[:, 0] = 100
    network = driving.load(net, (driving.variants()[0][0], kernels))
    gradient = network.gradients(data.images, data.labels, np.arange(40), 0)[0][0].reshape(2)
    rows, columns = ((0, 2), (0, 2, 4)) if padding == 0 else ((0, 1, 3), (0, 1, 3, 5))
    expected = gradient_of_taken(net, data, data.images[:, :, rows][:, :, :, columns])
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_maxpool_of_negative_numbers_ignores_the_padding():
    net = draw((1, 3, 3), [maxpool(3, 2, 1), linear(2)])
    net.shift[:] = -300 * net.scale
    check(net, 10)


@pytest.mark.parametrize("padding", [(1, 0, 0, 0), (0, 0, 0, 1), (0, 1, 0, 1)])
def test_maxpool_refuses_windows_that_may_lie_in_the_padding(refused, padding):
    refused((1, 4, 4), [maxpool(1, 1, padding), linear(2)], "maxpool: the padding is more than half")
