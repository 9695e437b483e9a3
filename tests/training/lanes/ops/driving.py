"""The compiled kernels, driven directly: one network in every variant that this machine can run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pomona.training.lanes import native

from .nets import Examples, Net

# The eps of Adam is large: where it is small, a gradient of nothing but rounding takes a step as large as any.
OPTIMIZERS = {
    "plain": ("sgd", {"momentum": 0, "nesterov": 0, "weight_decay": 0}),
    "decay": ("sgd", {"momentum": 0, "nesterov": 0, "weight_decay": 0.02}),
    "momentum": ("sgd", {"momentum": 0.9, "nesterov": 0, "weight_decay": 0}),
    "nesterov": ("sgd", {"momentum": 0.8, "nesterov": 1, "weight_decay": 0.01}),
    "adam": ("adam", {"beta1": 0.9, "beta2": 0.999, "eps": 0.01, "weight_decay": 0}),
    "adam-decay": ("adam", {"beta1": 0.8, "beta2": 0.99, "eps": 0.02, "weight_decay": 0.03}),
}


def variants() -> list[tuple[str, str]]:
    """Instruction sets and kinds of kernels, the best and dense first."""
    sets = native.kernels().instruction_sets()
    return [(instruction_set, kernels) for instruction_set in sets for kernels in ("dense", "sparse")]


def make(shape, ops, instruction_set: str | None = None):
    """A network without numbers."""
    kernels = native.kernels()
    listed = [(kind, [i], {k: float(v) for k, v in a.items()}) for i, (kind, a) in enumerate(ops)]
    return kernels.Network(instruction_set or kernels.instruction_sets()[0], shape, listed)


def load(net: Net, variant: tuple[str, str] | None = None, *, masked: bool = True):
    """A network with its numbers, and its masks unless zeros are to do."""
    instruction_set, kernels = variant or variants()[0]
    network = make(net.shape, net.ops, instruction_set)
    network.set_input(net.scale, net.shift)
    network.set_masks(net.masks if masked else {}, kernels)
    for op, weight in net.weights.items():
        network.set_weight(op, weight)
    for op, bias in net.biases.items():
        network.set_bias(op, bias)
    return network


@dataclass
class Result:
    """Arrays by name; those of layers in torch's shapes."""

    arrays: dict[str, np.ndarray]

    def assert_same_bits(self, other: Result, what: object = "") -> None:
        assert self.arrays.keys() == other.arrays.keys()
        for name, array in self.arrays.items():
            np.testing.assert_array_equal(array, other.arrays[name], err_msg=f"{what}: {name}", strict=True)


def differentiate(network, net: Net, data: Examples, batch: np.ndarray, seed: int = 0) -> Result:
    """Logits and gradients of a batch."""
    arrays = {"logits": network.logits(data.images, batch)}
    for op, (weight, bias) in network.gradients(data.images, data.labels, batch, seed).items():
        arrays[f"weight {op}"] = weight.reshape(net.weights[op].shape)
        if bias is not None:
            arrays[f"bias {op}"] = bias
    return Result(arrays)


def never() -> bool:
    """Nobody interrupts."""
    return False


def seeds_of(steps: int) -> np.ndarray:
    """A seed of dropout for each step, of all 64 bits."""
    return np.random.default_rng(9).integers(0, 2**64, steps, dtype=np.uint64)


def train(
    network, data: Examples, order, batch_size: int, rates, *, first_step=0, seeds=None, slice_seconds=1e9
):
    """Steps; all of them must be taken."""
    rates = np.asarray(rates, np.float64)
    seeds = seeds_of(first_step + len(rates))[first_step:] if seeds is None else seeds
    order = np.ascontiguousarray(order, np.int64)
    done, failed = network.train(
        data.images, data.labels, order, batch_size, first_step, rates, seeds, slice_seconds, never
    )
    assert failed == -1
    return done


def numbers(network, net: Net) -> Result:
    """Weights, biases and the optimizer's state."""
    arrays = {}
    for op, weight in net.weights.items():
        arrays[f"weight {op}"] = network.weight(op).reshape(weight.shape)
        for slot in range(network.slots()):
            arrays[f"weight {op} slot {slot}"] = network.state(op, "weight", slot).reshape(weight.shape)
    for op in net.biases:
        arrays[f"bias {op}"] = network.bias(op)
        for slot in range(network.slots()):
            arrays[f"bias {op} slot {slot}"] = network.state(op, "bias", slot)
    return Result(arrays)
