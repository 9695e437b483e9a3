import numpy as np
import pytest

from . import driving
from .checking import check, gradient_of_taken
from .nets import avgpool, conv, draw, examples, in_winograd_form, linear

# Shape of the image and a convolution on it.
GEOMETRIES = {
    "1x1": ((3, 4, 5), conv(5, 1)),
    "3x3": ((2, 6, 7), conv(4, 3)),
    "not square": ((2, 7, 9), conv(3, (2, 5))),
    "a column": ((2, 9, 4), conv(6, (5, 1))),
    "a row": ((1, 1, 30), conv(3, (1, 7), stride=(1, 2))),
    "as large as the map": ((2, 5, 4), conv(7, (5, 4))),
    "map of one": ((4, 1, 1), conv(6, 1)),
    "map of one, padded": ((3, 1, 1), conv(5, 3, padding=1)),
    "padded": ((2, 6, 5), conv(8, 3, padding=1)),
    "padded in one direction": ((2, 6, 5), conv(4, (3, 5), padding=(0, 2))),
    "padded unevenly": ((2, 5, 6), conv(9, 3, padding=(1, 2, 0, 3))),
    "windows in the padding alone": ((1, 3, 4), conv(4, 2, padding=(3, 2, 4, 5))),
    "padded between taps": ((1, 2, 3), conv(4, 2, dilation=5, padding=(4, 5))),
    "stride": ((2, 9, 8), conv(5, 3, stride=2)),
    "strides": ((2, 8, 11), conv(6, 3, stride=(1, 3))),
    "stride over inputs": ((2, 9, 10), conv(3, (1, 2), stride=(4, 3))),
    "stride and padding": ((2, 7, 8), conv(4, 4, stride=(3, 2), padding=(2, 1, 1, 3))),
    "dilation": ((2, 8, 9), conv(4, 3, dilation=(2, 3))),
    "all of them": ((2, 9, 8), conv(5, (3, 2), stride=(2, 1), padding=(2, 3, 1, 2), dilation=(2, 3))),
    "many taps": ((65, 3, 4), conv(3, 3, padding=1)),
    "many taps at many positions": ((17, 7, 11), conv(3, 3)),
    "many taps back": ((3, 3, 4), conv(70, 3)),
    "many positions": ((1, 21, 18), conv(2, 2)),
    "a long row": ((1, 3, 90), conv(3, (2, 3), stride=(2, 1))),
    "a long column": ((2, 80, 2), conv(2, (5, 1), padding=(2, 0))),
    "pool": ((1, 8, 10), conv(6, 3, relu=True, pool=2)),
    "pool, odd": ((2, 7, 9), conv(4, 3, relu=True, pool=2)),
    "pool, one left out each way": ((1, 9, 8), conv(5, (3, 2), pool=2)),
    "pool, padded": ((2, 6, 5), conv(7, 3, padding=1, relu=True, pool=2)),
    "pool, padded unevenly": ((2, 5, 6), conv(3, 3, padding=(0, 2, 3, 1), pool=2)),
    "pool, windows in the padding": ((1, 2, 3), conv(4, 2, padding=(5, 4, 5, 4), relu=True, pool=2)),
    "pool, stride": ((2, 11, 9), conv(6, 3, stride=2, relu=True, pool=2)),
    "pool, strides and dilation": ((2, 12, 9), conv(2, (3, 2), stride=(1, 2), dilation=(2, 3), pool=2)),
    "pool, many taps": ((17, 7, 8), conv(5, 3, padding=1, relu=True, pool=2)),
    "pool to one": ((3, 4, 4), conv(16, 3, relu=True, pool=2)),
}
# The same for dense kernels in Winograd's form: tiles of two by two outputs, taken in pairs, and in strips of four.
IN_TILES = {
    "one row of pairs": ((32, 2, 32), conv(32, 3, padding=1)),
    "whole tiles": ((33, 10, 12), conv(35, 3)),
    "half a tile below": ((32, 11, 10), conv(33, 3)),
    "half a tile at the right": ((34, 10, 11), conv(32, 3)),
    "half tiles": ((32, 9, 9), conv(37, 3, padding=1)),
    "an odd number of tiles": ((38, 10, 10), conv(32, 3, padding=1)),
    "padded": ((32, 8, 10), conv(38, 3, padding=1)),
    "padded by two": ((35, 7, 8), conv(32, 3, padding=2)),
    "padded by more than the kernel": ((32, 3, 4), conv(33, 3, padding=(5, 4))),
    "padded unevenly": ((32, 8, 9), conv(32, 3, padding=(2, 0, 1, 3))),
    "pool": ((32, 8, 8), conv(32, 3, padding=1, relu=True, pool=2)),
    "pool, odd": ((33, 11, 9), conv(34, 3, padding=1, relu=True, pool=2)),
    "pool, no ReLU": ((32, 10, 12), conv(32, 3, pool=2)),
    "pool, padded unevenly": ((32, 8, 9), conv(36, 3, padding=(3, 1, 0, 2), relu=True, pool=2)),
    "two blocks of channels": ((130, 8, 8), conv(32, 3, padding=1, relu=True)),
    "two blocks of channels back": ((32, 8, 8), conv(131, 3, padding=1)),
    "many of both": ((70, 8, 8), conv(81, 3, padding=1, relu=True, pool=2)),
}
OUTPUTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 16, 18, 20)


@pytest.mark.parametrize("density", [1, 0.3])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_conv_on_the_image(name, density):
    shape, op = GEOMETRIES[name]
    check(draw(shape, [op, linear(4)], seed=1, density=density), 33)


@pytest.mark.parametrize("density", [1, 0.3])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_conv_sends_its_gradient_back(name, relu, density):
    shape, op = GEOMETRIES[name]
    ops = [conv(shape[0], 1, relu=relu), op, linear(4)]
    check(draw((2, *shape[1:]), ops, seed=2, density=density), 33)


@pytest.mark.parametrize("density", [1, 0.5])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("name", IN_TILES)
def test_conv_in_tiles(name, relu, density):
    shape, op = IN_TILES[name]
    ops = [conv(shape[0], 1, relu=relu), op, linear(4)]
    net = draw((2, *shape[1:]), ops, seed=2, density=density)
    assert in_winograd_form(net) == [1]
    check(net, 33, spare=400)


@pytest.mark.parametrize("density", [1, 0.3])
def test_conv_in_tiles_on_the_image(density):
    check(draw((32, 9, 10), [conv(33, 3, padding=1, relu=True), linear(4)], density=density), 33, spare=400)


@pytest.mark.parametrize("size", [1, 32, 65])
def test_conv_in_tiles_of_any_batch(size):
    ops = [
        conv(32, 3, relu=True),
        conv(32, 3, padding=1, relu=True),
        conv(35, 3, padding=1, pool=2),
        linear(5),
    ]
    net = draw((3, 10, 10), ops, seed=3)
    assert in_winograd_form(net) == [1, 2]
    check(net, size, spare=400)


@pytest.mark.parametrize("inputs", ["half", "one", "none"])
@pytest.mark.parametrize("outputs", ["half", "one", "none"])
def test_conv_in_tiles_of_a_few_live_channels(inputs, outputs):
    net = draw((2, 8, 9), [conv(40, 1), conv(39, 3, padding=1, relu=True), linear(4)], seed=6)
    live = {"half": slice(0, None, 2), "one": slice(7, 8), "none": slice(0)}
    mask = np.zeros(net.weights[1].shape, bool)
    mask[live[outputs], live[inputs]] = True
    check(net.pruned({1: mask}), 33, spare=400)


@pytest.mark.parametrize("density", [1, 0.4])
@pytest.mark.parametrize("pool", [0, 2])
@pytest.mark.parametrize("outputs", OUTPUTS)
def test_conv_of_any_number_of_channels(outputs, pool, density):
    ops = [conv(outputs, 3, relu=True, pool=pool), conv(outputs + 1, 2, padding=1), linear(3)]
    check(draw((2, 7, 6), ops, seed=outputs, density=density), 5)


@pytest.mark.parametrize("size", [1, 31, 32, 33, 60, 100])
@pytest.mark.parametrize("density", [1, 0.3, 0.1])
def test_conv_of_any_batch(size, density):
    ops = [conv(4, 3, padding=1, relu=True, pool=2), conv(6, 3, padding=1, relu=True), linear(5)]
    check(draw((1, 7, 8), ops, seed=3, density=density), size)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17])
def test_conv_of_any_width(width):
    # Positions in a row are computed in blocks, and in another order where there are few.
    ops = [conv(3, (2, 1), padding=(1, 0), relu=True), conv(4, (1, 3), padding=(0, 1), relu=True), linear(3)]
    check(draw((2, 3, width), ops, density=0.5), 7)
    check(draw((2, width, 3), ops, density=0.5), 7)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("pool", [0, 2])
def test_conv_with_and_without_what_is_fused(bias, relu, pool):
    op = conv(5, 2, bias=bias, relu=relu, pool=pool)
    check(draw((1, 9, 10), [op, op, linear(3)], seed=4), 40)


def test_conv_makes_logits():
    check(draw((2, 5, 6), [conv(4, 3, relu=True), conv(7, (3, 4))]), 36)


def test_conv_logits_may_be_pooled():
    check(draw((1, 4, 4), [conv(4, 3, relu=True), conv(3, 1, pool=2)]), 33)


def test_conv_before_an_average():
    check(draw((2, 6, 6), [conv(8, 3, relu=True), conv(5, 1), avgpool(4)]), 33)


@pytest.mark.parametrize("kernels", ["dense", "sparse"])
def test_conv_pool_takes_the_first_of_equals(kernels):
    # A channel of one value and a channel that has weight 0 and is thus seen in the gradient alone.
    op = conv(1, 1, bias=False, pool=2)
    net = draw((2, 4, 6), [op, linear(2)])
    net.weights[0][:] = np.array([1, 0], np.float32).reshape(1, 2, 1, 1)
    data = examples(net, 40)
    data.images[:, 0] = 100
    found = driving.load(net, (driving.variants()[0][0], kernels))
    gradient = found.gradients(data.images, data.labels, np.arange(40), 0)[0][0].reshape(2)
    expected = gradient_of_taken(net, data, data.images[:, :, ::2, ::2])
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_conv_weights_have_the_shape_of_torch():
    net = draw((3, 6, 6), [conv(4, (2, 5)), linear(3)])
    network, data = driving.load(net), examples(net, 5)
    network.set_optimizer(*driving.OPTIMIZERS["momentum"])
    gradients = network.gradients(data.images, data.labels, np.arange(5), 0)
    for op, weight in net.weights.items():
        assert network.weight(op).shape == weight.shape
        assert network.state(op, "weight", 0).shape == weight.shape
        assert gradients[op][0].shape == weight.shape
