"""Tensors with the shapes of the LeNet variant, filled from a stream."""

import math

import torch
from torch import Tensor

from pomona.core.streams import Stream

LENET = {
    "conv1.weight": (6, 1, 3, 3),
    "conv2.weight": (16, 6, 3, 3),
    "fc1.weight": (120, 400),
    "fc2.weight": (84, 120),
    "fc3.weight": (10, 84),
}
KINDS = {name: "conv" if name.startswith("conv") else "linear" for name in LENET}


def normal(shape: tuple[int, ...], name: str = "w", index: int = 0) -> Tensor:
    values = torch.from_numpy(Stream("init", index, name).normal(math.prod(shape)))
    return values.float().reshape(shape)


def lenet_weights(index: int = 0) -> dict[str, Tensor]:
    return {name: normal(shape, name, index) for name, shape in LENET.items()}


def lenet_state(index: int = 0) -> dict[str, Tensor]:
    """All tensors: weights, biases and the buffers of a batch norm."""
    state: dict[str, Tensor] = {}
    for name, shape in LENET.items():
        state[name] = normal(shape, name, index)
        bias = name.replace("weight", "bias")
        state[bias] = normal(shape[:1], bias, index)
    state["bn.weight"] = normal((6,), "bn.weight", index)
    state["bn.running_mean"] = normal((6,), "bn.running_mean", index)
    state["bn.num_batches_tracked"] = torch.tensor(index)
    return state


def mask_stream(level: int, index: int = 0):
    return lambda name: Stream("mask", index, name, level)
