import numpy as np
import pytest

from . import driving
from .checking import check
from .nets import Net, conv, draw, examples, linear

# Around the sizes of blocks: of 2, 4, 6, 8 and 12 rows; of vectors, and of some hundred inputs.
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 16, 17, 24, 31)


@pytest.mark.parametrize("density", [1, 0.3])
@pytest.mark.parametrize("rows", ROWS)
def test_linear_of_any_number_of_rows(rows, density):
    ops = [linear(rows, relu=True), linear(rows + 1, relu=True), linear(3)]
    check(draw((1, 3, 5), ops, seed=rows, density=density), 33)


@pytest.mark.parametrize("density", [1, 0.3, 0.05])
@pytest.mark.parametrize(
    "columns", [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 49, 64, 65, 255, 256, 300, 1023, 1024, 1025, 2050]
)
def test_linear_of_any_number_of_columns(columns, density):
    ops = [linear(6, relu=True), linear(columns), linear(3)]
    check(draw((1, 1, columns), ops, seed=columns, density=density), 3)


@pytest.mark.parametrize("size", [1, 31, 32, 33, 60, 100])
@pytest.mark.parametrize("density", [1, 0.5, 0.1])
def test_linear_of_any_batch(size, density):
    check(draw((1, 5, 5), [linear(20, relu=True), linear(10)], seed=size, density=density), size)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("relu", [True, False])
def test_linear_with_and_without_bias_and_relu(first, bias, relu):
    before = [] if first else [linear(9, relu=True)]
    ops = [*before, linear(7, bias=bias, relu=relu), linear(4, bias=bias)]
    check(draw((2, 3, 3), ops), 40)


def test_linear_alone_is_a_network():
    check(draw((1, 4, 4), [linear(3)]), 34)


def test_linear_after_linear_without_relu():
    check(draw((1, 4, 4), [linear(6), linear(5), linear(4), linear(3)]), 34)


def test_linear_logits_may_have_a_relu():
    check(draw((1, 4, 4), [linear(12, relu=True), linear(5, relu=True)]), 34)


def test_linear_takes_channels_then_rows_then_columns():
    check(draw((3, 4, 5), [conv(4, (2, 3), relu=True), linear(6)]), 20)


@pytest.mark.parametrize("outputs", [255, 256, 257, 300])
def test_linear_of_more_outputs_than_labels(outputs):
    check(draw((1, 2, 3), [linear(outputs)]), 12)


@pytest.mark.parametrize("density", [1, 0.2])
def test_linear_on_a_pruned_image_reads_what_is_left(density):
    # Columns that no weight reads are not loaded; those beside them are.
    net = draw((1, 8, 9), [linear(6, relu=True), linear(4)], density=density)
    mask = net.masks.get(0, np.ones((6, 72), bool)).copy()
    mask[:, np.r_[0:16, 20:49, 71]] = False
    check(net.pruned(net.masks | {0: mask}), 45)


def test_linear_exact_sums():
    # Whole numbers: every sum is exact, so the logits are equal to the last bit.
    generator = np.random.default_rng(0)
    weights = {i: generator.integers(-4, 5, s).astype(np.float32) for i, s in enumerate([(20, 12), (5, 20)])}
    biases = {i: generator.integers(-9, 9, n).astype(np.float32) for i, n in enumerate([20, 5])}
    shift = np.array([-7], np.float32)
    net = Net((1, 3, 4), (linear(20, relu=True), linear(5)), weights, biases, shift=shift)
    data = examples(net, 70)
    hidden = np.maximum((data.images.reshape(70, -1).astype(int) - 7) @ weights[0].T + biases[0], 0)
    expected = (hidden @ weights[1].T + biases[1]).astype(np.float32)
    for variant in driving.variants():
        found = driving.load(net, variant).logits(data.images, np.arange(70))
        np.testing.assert_array_equal(found, expected, err_msg=str(variant), strict=True)
