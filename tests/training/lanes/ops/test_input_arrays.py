"""Arrays and rules that do not fit are refused, and change nothing."""

import math
import subprocess
import sys

import numpy as np
import pytest

from . import driving
from .driving import OPTIMIZERS, make
from .nets import linear
from .small import NET, strided, swapped


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    "value",
    [
        np.ones(1, np.float32),
        np.ones(3, np.float32),
        np.ones(2),
        np.ones((2, 1), np.float32),
        np.ones((), np.float32),
        strided(np.ones(2, np.float32)),
        swapped(np.ones(2, np.float32)),
        [1.0, 1.0],
        None,
    ],
    ids=repr,
)
def test_scale_and_shift(network, which, value):
    given = [np.ones(2, np.float32), np.ones(2, np.float32)]
    given[which] = value
    with pytest.raises((TypeError, ValueError)):
        network.set_input(*given)


@pytest.mark.parametrize("op", [-1, 2, 4, 10**6])
def test_weights_of_what_has_none(network, op):
    for call in (
        lambda: network.weight(op),
        lambda: network.bias(op),
        lambda: network.state(op, "weight", 0),
        lambda: network.set_weight(op, np.ones((3, 3), np.float32)),
        lambda: network.set_bias(op, np.ones(3, np.float32)),
        lambda: network.set_masks({op: np.ones((3, 3), bool)}),
        lambda: network.set_state(op, "bias", 0, np.ones(3, np.float32)),
    ):
        with pytest.raises(ValueError, match=f"operation {op} has no weights"):
            call()


@pytest.mark.parametrize("op", ["0", 0.0, None, 2**40])
def test_weights_of_what_is_no_integer(network, op):
    with pytest.raises(TypeError):
        network.weight(op)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.astype(np.float64),
        lambda w: w.astype(np.float16),
        lambda w: w[:-1].copy(),
        lambda w: np.concatenate([w, w]),
        lambda w: w[..., :-1].copy(),
        lambda w: np.ascontiguousarray(np.moveaxis(w, 0, -1)),
        lambda w: w.reshape(-1).copy(),
        lambda w: w.reshape(1, *w.shape),
        strided,
        swapped,
        np.asfortranarray,
        lambda w: w.tolist(),
        lambda w: w.astype(np.complex64),
        lambda w: w.view(np.int32),
    ],
    ids=list(map(str, range(14))),
)
@pytest.mark.parametrize("op", [0, 1])
def test_weights(network, op, change):
    weight = NET.weights[op]
    with pytest.raises((TypeError, ValueError)):
        network.set_weight(op, change(weight))
    with pytest.raises((TypeError, ValueError)):
        network.set_state(op, "weight", 0, change(weight))


@pytest.mark.parametrize("shape", [(3, 8), (3, 4, 2), (3, 1, 4, 2)])
def test_weights_with_other_axes(network, shape):
    # As many numbers, and a first axis that fits.
    with pytest.raises(ValueError, match=r"expected the shape \(3, 2, 2, 2\)"):
        network.set_weight(0, NET.weights[0].reshape(shape))


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((3, 2, 2, 2), np.uint8),
        np.ones((3, 2, 2, 2), np.float32),
        np.ones((3, 2, 2, 1), bool),
        np.ones((2, 2, 2, 3), bool),
        np.ones(24, bool),
        np.ones((3, 2, 2, 4), bool)[..., ::2],
        None,
    ],
    ids=lambda m: str(getattr(m, "shape", m)) + str(getattr(m, "dtype", "")),
)
def test_masks(network, mask):
    with pytest.raises((TypeError, ValueError)):
        network.set_masks({0: mask})


def test_kernels(network):
    with pytest.raises(ValueError, match="expected 'auto', 'dense' or 'sparse', got 'fast'"):
        network.set_masks({}, "fast")


@pytest.mark.parametrize(
    "bias",
    [
        np.ones(2, np.float32),
        np.ones(3),
        np.ones((3, 1), np.float32),
        strided(np.ones(3, np.float32)),
        [1.0] * 3,
    ],
    ids=repr,
)
def test_biases(network, bias):
    with pytest.raises((TypeError, ValueError)):
        network.set_bias(0, bias)
    with pytest.raises((TypeError, ValueError)):
        network.set_state(0, "bias", 0, bias)


def test_bias_where_there_is_none():
    network = make((1, 2, 2), [linear(3, bias=False)])
    with pytest.raises(ValueError, match="operation 0 has no bias"):
        network.bias(0)
    with pytest.raises(ValueError, match="operation 0 has no bias"):
        network.set_bias(0, np.ones(3, np.float32))


@pytest.mark.parametrize(
    ("optimizer", "which", "slot", "words"),
    [
        ("plain", "weight", 0, "slot 0: the optimizer has 0"),
        ("momentum", "weight", 1, "slot 1: the optimizer has 1"),
        ("adam", "bias", 2, "slot 2: the optimizer has 2"),
        ("adam", "bias", -1, "slot -1"),
        ("adam", "gradient", 0, "expected 'weight' or 'bias', got 'gradient'"),
    ],
)
def test_state_that_is_not_kept(optimizer, which, slot, words):
    network = driving.load(NET)
    network.set_optimizer(*OPTIMIZERS[optimizer])
    with pytest.raises(ValueError, match=words):
        network.state(0, which, slot)
    with pytest.raises(ValueError, match=words):
        network.set_state(0, which, slot, np.ones(3, np.float32))


UNALIGNED = """
import numpy as np
from pomona.training.lanes import native
kernels = native.kernels()
def moved(array):
    room = np.zeros(array.nbytes + 1, np.uint8)
    view = room[1:].view(array.dtype).reshape(array.shape)
    view[:] = array
    return view
network = kernels.Network(kernels.instruction_sets()[0], (1, 1, 4), [("linear", [0], {"out": 3, "bias": 1, "relu": 0})])
weight, bias = np.arange(12, dtype=np.float32).reshape(3, 4), np.arange(3, dtype=np.float32)
images, labels = np.arange(20, dtype=np.uint8).reshape(5, 1, 1, 4), np.array([0, 1, 2, 0, 1], np.uint8)
def number(call, *arguments):
    try:
        return call(*map(moved, arguments))
    except (TypeError, ValueError):
        return call(*arguments)
number(network.set_input, np.ones(1, np.float32), np.zeros(1, np.float32))
number(lambda w: network.set_weight(0, w), weight)
number(lambda b: network.set_bias(0, b), bias)
indices = np.array([3, 1, 4])
expected = images[indices].reshape(3, 4) @ weight.T + bias
assert np.array_equal(number(lambda i: network.logits(images, i), indices), expected)
network.set_optimizer("sgd", {"momentum": 0, "nesterov": 0, "weight_decay": 0})
def step(order, rates, seeds):
    return network.train(images, labels, order, 3, 0, rates, seeds, 1e9, lambda: False)
assert number(step, indices, np.array([0.5]), np.array([7], np.uint64)) == (1, -1)
assert not np.array_equal(network.weight(0), weight)
print("right")
"""


def test_unaligned_arrays_are_refused_or_read_right():
    # As views of a file may be; in a process of its own, since what is wrong here may end it.
    done = subprocess.run([sys.executable, "-c", UNALIGNED], capture_output=True, text=True)
    assert done.stdout == "right\n", [line for line in done.stderr.splitlines() if "error" in line]


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_optimizer_value_missing(network, kind):
    given = dict(OPTIMIZERS["momentum" if kind == "sgd" else "adam"][1])
    for name in given:
        without = {key: value for key, value in given.items() if key != name}
        with pytest.raises(ValueError, match=f"{kind}: no value for '{name}'"):
            network.set_optimizer(kind, without)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_optimizer_value_is_no_value(network, kind, value):
    given = dict(OPTIMIZERS["momentum" if kind == "sgd" else "adam"][1])
    for name in given.keys() - {"nesterov"}:
        with pytest.raises(ValueError, match=f"{kind}: {name} is .*, expected 0 or more"):
            network.set_optimizer(kind, given | {name: value})


@pytest.mark.parametrize("name", ["beta1", "beta2"])
def test_optimizer_adam_that_never_forgets(network, name):
    with pytest.raises(ValueError, match="must be below 1"):
        network.set_optimizer("adam", OPTIMIZERS["adam"][1] | {name: 1.0})


def test_optimizer_unknown(network):
    with pytest.raises(ValueError, match="expected 'sgd' or 'adam', got 'rmsprop'"):
        network.set_optimizer("rmsprop", OPTIMIZERS["adam"][1])
