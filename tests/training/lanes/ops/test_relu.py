import numpy as np
import pytest

from . import driving
from .checking import check
from .nets import Net, adaptive_avgpool, avgpool, conv, draw, dropout, examples, linear, maxpool, relu

# What comes before a ReLU of its own, on (2, 6, 6).
BEFORE = {
    "conv": [conv(3, 2)],
    "conv with a pool": [conv(3, 3, pool=2)],
    "linear": [linear(9)],
    "maxpool": [conv(3, 1), maxpool(2)],
    "avgpool": [conv(3, 1), avgpool(3, 2, 1)],
    "adaptive": [conv(3, 1), adaptive_avgpool(2, 3)],
    "relu": [conv(3, 1), relu()],
    "fused relu": [conv(3, 1, relu=True)],
    "dropout": [conv(3, 1), dropout(0.3)],
}
AFTER = {
    "linear": [],
    "conv": [conv(4, (2, 1), padding=1)],
    "maxpool": [maxpool(2, 1, 1)],
    "avgpool": [avgpool(2, 1, 1)],
    "relu": [relu()],
    "dropout": [dropout(0.3)],
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("after", AFTER)
def test_relu_between_any_two(before, after):
    check(draw((2, 6, 6), [*BEFORE[before], relu(), *AFTER[after], linear(4)], seed=1), 33)


def test_relu_of_the_image():
    check(draw((2, 5, 5), [relu(), conv(3, 2), linear(4)]), 33)


def test_relu_of_the_logits():
    check(draw((1, 4, 4), [linear(8, relu=True), linear(5), relu()]), 33)


@pytest.mark.parametrize("size", [1, 31, 32, 33, 60, 100])
def test_relu_of_any_batch(size):
    check(draw((1, 6, 6), [conv(4, 3), relu(), linear(12), relu(), linear(3)], density=0.5), size)


@pytest.mark.parametrize(
    "ops", [[linear(1, relu=True), linear(2)], [linear(1), relu(), linear(2)]], ids=["fused", "op"]
)
@pytest.mark.parametrize("kernels", ["dense", "sparse"])
def test_relu_has_no_gradient_at_zero(ops, kernels):
    # As torch has it.
    last = len(ops) - 1
    weights = {0: np.ones((1, 2), np.float32), last: np.array([[1], [-1]], np.float32)}
    biases = {0: np.zeros(1, np.float32), last: np.zeros(2, np.float32)}
    net = Net((1, 1, 2), tuple(ops), weights, biases, shift=np.array([-100], np.float32))
    network = driving.load(net, (driving.variants()[0][0], kernels))
    images = np.array([[[[100, 100]]], [[[98, 102]]], [[[100, 101]]]], np.uint8)
    labels = np.array([0, 0, 1], np.uint8)
    for batch, moves in ((0, False), (1, False), (2, True)):
        weight, bias = network.gradients(images, labels, np.array([batch]), 0)[0]
        assert weight.any() == moves
        assert bias.any() == moves


@pytest.mark.parametrize("fused", [True, False])
def test_relu_does_not_hide_nan(fused):
    ops = [linear(3, relu=True), linear(2)] if fused else [linear(3), relu(), linear(2)]
    net = draw((1, 2, 2), ops)
    net.weights[0][1, 2] = np.nan
    data = examples(net, 4)
    assert np.isnan(driving.load(net).logits(data.images, np.arange(4))).all()
