"""Operations that are no network are refused in words, whatever their numbers; the process never ends."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from .nets import adaptive_avgpool, avgpool, conv, dropout, linear, maxpool

OPS = {
    op[0]: op for op in (conv(2, 2), linear(3), maxpool(2), avgpool(2), adaptive_avgpool(2, 2), dropout(0.5))
}
ATTRIBUTES = [(kind, name) for kind, (_, attributes) in OPS.items() for name in attributes]
INTEGERS = [(kind, name) for kind, name in ATTRIBUTES if name != "p"]
FROM_ZERO = ("pt", "pl", "pb", "pr", "bias", "relu", "pool", "include_pad", "divisor")


def changed(kind: str, name: str, value) -> list:
    op, attributes = OPS[kind]
    return [(op, attributes | {name: value}), linear(2)]


def test_ops_unknown_names_those_that_there_are(refused):
    known = "adaptive_avgpool, avgpool, conv, dropout, linear, maxpool, relu"
    refused((1, 2, 2), [("batchnorm", {})], f"unknown operation 'batchnorm'; expected one of {known}")


def test_ops_none(refused):
    refused((1, 2, 2), [], "at least one operation")


@pytest.mark.parametrize(("kind", "name"), ATTRIBUTES)
def test_ops_attribute_missing(refused, kind, name):
    op, attributes = OPS[kind]
    without = {key: value for key, value in attributes.items() if key != name}
    refused((1, 6, 6), [(op, without), linear(2)], f"{kind}: no attribute '{name}'")


@pytest.mark.parametrize("value", [0.5, -1, -0.5, 2e6, 1e300, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("kind", "name"), INTEGERS)
def test_ops_attribute_is_no_integer(refused, kind, name, value):
    if name == "divisor" and value == int(value if math.isfinite(value) else 0):
        pytest.skip("torch divides by any integer")
    refused((1, 6, 6), changed(kind, name, value), f"{kind}: .*{name}")


@pytest.mark.parametrize(("kind", "name"), [each for each in INTEGERS if each[1] not in FROM_ZERO])
def test_ops_attribute_is_zero(refused, kind, name):
    refused((1, 6, 6), changed(kind, name, 0), f"{kind}: .*{name}")


@pytest.mark.parametrize("pool", [1, 3, 4])
def test_ops_pool_is_of_two(refused, pool):
    refused((1, 6, 6), [conv(2, 2, pool=pool), linear(2)], "conv: pool is")


@pytest.mark.parametrize(("place", "inputs"), [(0, [1]), (0, [-1]), (0, []), (1, [0]), (1, [2]), (1, [1, 1])])
def test_ops_that_do_not_follow_one_another(place, inputs, built):
    ops = [("linear", [i], {"out": 3, "bias": 1, "relu": 0}) for i in range(2)]
    ops[place] = ("linear", inputs, ops[place][2])
    with pytest.raises(ValueError, match=rf"operation {place} \(linear\) must read the value before it"):
        built.Network(built.instruction_sets()[0], (1, 2, 2), ops)


@pytest.mark.parametrize(
    "op",
    [
        conv(2, (5, 1)),
        conv(2, 2, dilation=(1, 4)),
        conv(2, 3, padding=(0, 0, 0, 0), stride=1, dilation=2),
        conv(2, 4, pool=2),
        conv(2, (1, 4), pool=2),
        maxpool((1, 5)),
        avgpool((5, 1)),
    ],
    ids=str,
)
def test_ops_larger_than_their_input(refused, op):
    refused((1, 4, 4), [op, linear(2)], f"{op[0]}: its output would be")


@pytest.mark.parametrize("shape", [(0, 2, 2), (1, 0, 2), (1, 2, 0), (-1, 2, 2), (1, -3, -3)])
def test_ops_of_an_empty_image(refused, shape):
    refused(shape, [linear(2)], "the image")


@pytest.mark.parametrize(
    ("shape", "ops"),
    [
        ((1, 100_000, 100_000), [linear(2)]),
        ((2**31 - 1, 2**31 - 1, 2**31 - 1), [linear(2)]),
        ((1, 200, 200), [conv(1_000_000, 1), linear(2)]),
        ((3, 4, 4), [adaptive_avgpool(4096, 4096), linear(2)]),
        ((3, 4, 4), [conv(2, 1, padding=4096), linear(2)]),
        ((1, 100, 100), [linear(1_000_000), linear(2)]),
        ((1, 1, 1), [linear(1_000_000), linear(1001)]),
    ],
    ids=str,
)
def test_ops_too_large(refused, shape, ops):
    refused(shape, ops, "supported")


def test_ops_without_logits(refused):
    refused((1, 4, 4), [conv(3, 2)], "must give one number for each class")


@pytest.mark.parametrize("shape", [(1, 2), (1, 2, 2, 2), (1.5, 2, 2), "abc", None, (2**70, 1, 1)])
def test_ops_of_what_is_no_shape(refused, shape):
    refused(shape, [linear(2)], "incompatible function arguments", TypeError)


@pytest.mark.parametrize(
    "ops",
    [
        None,
        [None],
        ["linear"],
        [("linear", [0])],
        [(1, [0], {})],
        [("linear", 0, {})],
        [("linear", ["0"], {})],
        [("linear", [0], {"out": "3", "bias": 1, "relu": 0})],
        [("linear", [0], {"out": 10**400, "bias": 1, "relu": 0})],
        [("linear", [0], {1: 1})],
    ],
    ids=repr,
)
def test_ops_are_of_another_type(built, ops):
    with pytest.raises(TypeError):
        built.Network(built.instruction_sets()[0], (1, 2, 2), ops)


# Numbers whose products reach 32 bits. Those of geometry that are computed: the logits, with weights of one, no
# bias and pixels of four.
LARGE = {
    "a kernel that reaches round": ((1, 4, 4), [conv(2, (65537, 1), dilation=(65536, 1), bias=False)], None),
    "a kernel of a million, spread": ((1, 4, 4), [conv(2, 10**6, dilation=10**6, bias=False)], None),
    "a kernel of 4096, spread": ((1, 4, 4), [conv(2, 4096, dilation=4096, bias=False)], None),
    "a kernel of 2^32 taps": ((1, 4, 4), [conv(2, 65536, padding=40000, bias=False)], None),
    "a kernel of more than 2^31 taps": ((1, 1, 1), [conv(1, 46341, padding=23170, bias=False)], None),
    "a kernel of 2^24 taps": ((3, 1, 1), [conv(100, 4096, padding=2048, bias=False)], None),
    "a column of a million": ((1, 1, 1), [conv(1, (10**6, 1), padding=(500_000, 0), bias=False)], 8.0),
    "a column of 4096": ((1, 1, 1), [conv(1, (4096, 1), padding=(2048, 0), stride=4096, bias=False)], 4.0),
    "strides of a million": ((1, 4, 100), [conv(2, 1, stride=(10**6, 1), bias=False)], 800.0),
    "strides of 4096": ((1, 4, 20_000), [conv(2, 1, stride=(4096, 1), bias=False)], 160_000.0),
    "both strides of a million": ((2, 4, 4), [conv(2, 1, stride=10**6, bias=False)], 16.0),
    "a window of 2^32": ((1, 1, 1), [avgpool(65536, 1, 32768)], 4 * 4 / 2**32),
    "a window of 2^24": ((1, 1, 1), [avgpool(4096, 4096, 2048)], 4 / 2**24),
    "a window of more": ((1, 1, 1), [avgpool((10**6, 3000), 10**6, (500_000, 1500))], 4 / 3e9),
    "a window of a million": ((1, 1, 1), [avgpool(10**6, 10**6, 500_000)], 4 / 1e12),
    "a maximum of a million": ((1, 1, 1), [maxpool(10**6, 10**6, 500_000)], 4.0),
    "a maximum of 4096": ((1, 1, 1), [maxpool(4096, 4096, 2048)], 4.0),
}
CHILD = """
import json, os, sys
import numpy as np
from pomona.training.lanes import native

kernels = native.kernels()

def run(shape, ops):
    try:
        network = kernels.Network(kernels.instruction_sets()[0], tuple(shape), ops)
    except ValueError as error:
        return str(error)
    for op, (kind, _, _) in enumerate(ops):
        if kind in ("conv", "linear"):
            network.set_weight(op, np.ones_like(network.weight(op)))
    images = np.full((2, *shape), 4, np.uint8)
    network.gradients(images, np.zeros(2, np.uint8), np.arange(2), 0)
    return network.logits(images, np.arange(2)).tolist()

for shape, ops in json.load(sys.stdin):
    child = os.fork()
    if child == 0:
        print(json.dumps(run(shape, ops)), flush=True)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        print(json.dumps({"ended": status}), flush=True)
"""


def test_large_numbers_are_refused_or_computed():
    # In processes of their own, since what is wrong here may end them.
    given = []
    for shape, ops, _ in LARGE.values():
        listed = [(kind, [i], a) for i, (kind, a) in enumerate([*ops, linear(2, bias=False)])]
        given.append((shape, listed))
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps(given), capture_output=True, text=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    wrong = []
    for (name, (_, ops, expected)), got in zip(LARGE.items(), found, strict=True):
        if isinstance(got, str):
            right = ops[0][0] in got or "supported" in got
        else:
            right = expected is not None and isinstance(got, list) and np.allclose(got, expected, rtol=1e-6)
        wrong += [] if right else [f"{name}: {got} instead of {expected or 'an error'}"]
    reasons = [line for line in done.stderr.splitlines() if "error" in line]
    assert not wrong, "\n".join(wrong + reasons)
