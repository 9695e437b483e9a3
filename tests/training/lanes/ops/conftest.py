"""The kernels' own tests: the compiled networks against torch in float64, driven directly."""

from __future__ import annotations

import numpy as np
import pytest

from pomona.training.lanes import native

from . import driving
from .driving import OPTIMIZERS, make
from .small import DATA, NET


@pytest.fixture(autouse=True)
def built() -> native.Kernels:
    """The kernels; every test is skipped without them."""
    reason = native.missing()
    if reason is not None:
        pytest.skip(reason)
    return native.kernels()


@pytest.fixture
def refused():
    """Asserts that a network is refused, by an error of a kind and with certain words."""

    def check(shape, ops, words: str, error: type[Exception] = ValueError) -> None:
        with pytest.raises(error, match=words):
            make(shape, ops)

    return check


@pytest.fixture
def network(built):
    """A trained network with momentum; after the test it must be as it was, and work."""
    network = driving.load(NET)
    network.set_optimizer(*OPTIMIZERS["momentum"])
    steps = np.full(2, 0.01)
    driving.train(network, DATA, np.arange(50), 20, steps)
    before = driving.numbers(network, NET)
    yield network
    driving.numbers(network, NET).assert_same_bits(before)
    driving.train(network, DATA, np.arange(50), 20, steps, first_step=2)
    assert not any(np.array_equal(network.weight(op), before.arrays[f"weight {op}"]) for op in NET.weights)
