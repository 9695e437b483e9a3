import numpy as np
import pytest
import torch
import torch.nn.functional as F

from . import oracle
from .checking import check
from .nets import adaptive_avgpool, avgpool, conv, draw, linear, maxpool

GEOMETRIES = {
    "2x2": ((6, 8), {"kernel": 2}),
    "odd": ((7, 9), {"kernel": 2}),
    "map of one": ((1, 1), {"kernel": 1}),
    "map of one, padded": ((1, 1), {"kernel": 2, "stride": 1, "padding": 1}),
    "whole map": ((4, 3), {"kernel": (4, 3)}),
    "not square": ((5, 8), {"kernel": (3, 2), "stride": (1, 2)}),
    "windows that overlap": ((6, 6), {"kernel": 3, "stride": 1}),
    "windows apart": ((9, 8), {"kernel": 2, "stride": (3, 4)}),
    "padded": ((6, 7), {"kernel": 3, "stride": 2, "padding": 1}),
    "padded unevenly": ((5, 6), {"kernel": 4, "stride": (1, 3), "padding": (2, 0, 1, 2)}),
    "padded by half": ((2, 3), {"kernel": 4, "stride": 1, "padding": 2}),
}
ADAPTIVE = [
    ((6, 8), (1, 1)),
    ((7, 5), (3, 2)),
    ((7, 5), (7, 5)),
    ((3, 2), (5, 7)),
    ((1, 1), (2, 3)),
    ((9, 4), (4, 6)),
]


@pytest.mark.parametrize("divisor", [0, 1, 5, -2])
@pytest.mark.parametrize("include_pad", [True, False])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_avgpool_is_that_of_torch(name, include_pad, divisor):
    size, given = GEOMETRIES[name]
    op = avgpool(**given, include_pad=include_pad, divisor=divisor)
    check(draw((2, *size), [conv(3, 1, relu=True), op, linear(4)], seed=2), 33)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("size", "outputs"), ADAPTIVE, ids=str)
def test_avgpool_adaptive_is_that_of_torch(size, outputs, relu):
    ops = [conv(3, 1, relu=relu), adaptive_avgpool(*outputs), linear(4)]
    check(draw((2, *size), ops, seed=3), 33)


@pytest.mark.parametrize("op", [avgpool(3, 2, 1), adaptive_avgpool(2, 3)], ids=lambda op: op[0])
def test_avgpool_of_the_image(op):
    check(draw((2, 6, 7), [op, linear(5, relu=True), linear(3)]), 40)


@pytest.mark.parametrize("size", [1, 31, 32, 33, 60, 100])
def test_avgpool_of_any_batch(size):
    ops = [conv(3, 3, relu=True), avgpool(3, 2, 1), conv(4, 2), adaptive_avgpool(2, 2), linear(3)]
    check(draw((1, 8, 8), ops, density=0.6), size)


def test_avgpool_of_pruned_channels():
    ops = [conv(5, 2, relu=True), avgpool(2), maxpool(2, 1, 1), adaptive_avgpool(2, 2), linear(4)]
    net = draw((2, 6, 6), ops)
    mask = np.ones((4, 20), bool)
    mask[:, 4:12] = False
    check(net.pruned({4: mask}), 33)


def test_avgpool_makes_logits():
    check(draw((1, 4, 4), [conv(3, 3), adaptive_avgpool(1, 1)]), 33)


@pytest.mark.parametrize("padding", [(1, 0, 0, 0), (0, 2, 0, 0)])
def test_avgpool_refuses_windows_that_may_lie_in_the_padding(refused, padding):
    refused((1, 4, 4), [avgpool(1, 1, padding), linear(2)], "avgpool: the padding is more than half")


@pytest.mark.parametrize("padding", [(0, 0), (1, 0), (1, 1)])
def test_oracle_pads_as_torch_does_where_torch_can(padding):
    x = torch.randn(3, 2, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel, stride = (3, 2), (2, 1)
    for include_pad in (True, False):
        for divisor in (0, 4):
            found = oracle.apply(
                avgpool(kernel, stride, padding, include_pad=include_pad, divisor=divisor), x
            )
            expected = F.avg_pool2d(x, kernel, stride, padding, False, include_pad, divisor or None)
            torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    assert torch.equal(
        oracle.apply(maxpool(kernel, stride, padding), x), F.max_pool2d(x, kernel, stride, padding)
    )
    weight = torch.randn(4, 2, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = oracle.apply(conv(4, kernel, stride=stride, padding=padding, dilation=(1, 2)), x, weight)
    torch.testing.assert_close(
        found, F.conv2d(x, weight, None, stride, padding, (1, 2)), rtol=1e-13, atol=1e-13
    )
