"""How the weights of a catalogue network are drawn: every tensor from its own part of the ``init`` stream."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pomona.core.streams import Stream
from pomona.models.choice import Distribution


def drawn_weights(
    module: nn.Module, seed_index: int, distribution: Distribution, draw: int = 0
) -> dict[str, Tensor]:
    """Initial values of every parameter and buffer of a network of the catalogue.

    Args:
        module: Any network of the catalogue; its own values are neither read nor changed.
        seed_index: Index of the ``init`` stream. Each parameter draws from the stream of its own name.
        distribution: ``torch``: weights and biases uniform in +-1/sqrt(fan_in). The others have zero biases.
            ``glorot-normal``: weights normal with variance 2 / (fan_in + fan_out). ``glorot-uniform``:
            uniform with that variance. ``vgg``: those of convolutions normal with variance 2 / fan_out, of
            linear layers normal with SD 0.01. Batch norm starts at scale 1, shift 0, mean 0, variance 1.
        draw: Number of a further draw of the same stream; 0 is the one that a replicate starts with.

    Returns:
        Tensors by name in the order of ``state_dict``; drawn in float64 and rounded to float32.

    Source:
        torch.nn.Linear and torch.nn.Conv2d as documented; Glorot & Bengio 2010; He et al. 2015,
        arXiv:1502.01852, and torchvision's VGG as documented.
    """
    found: dict[str, Tensor] = {}
    for prefix, layer in module.named_modules():
        names = [*dict(layer.named_parameters(recurse=False)), *dict(layer.named_buffers(recurse=False))]
        for name in names:
            full = f"{prefix}.{name}" if prefix else name
            stream = Stream("init", seed_index, parameter=full, level=draw or None)
            found[full] = _tensor(layer, name, stream, distribution)
    return {name: found[name] for name in module.state_dict()}


def _tensor(layer: nn.Module, name: str, stream: Stream, distribution: Distribution) -> Tensor:
    like: Tensor = getattr(layer, name)
    if isinstance(layer, nn.BatchNorm2d):
        one = name in ("weight", "running_var")
        return torch.ones(like.shape, dtype=like.dtype) if one else torch.zeros(like.shape, dtype=like.dtype)
    if not isinstance(layer, (nn.Conv2d, nn.Linear)):
        raise TypeError(f"{type(layer).__name__}.{name}: no initial distribution is defined")
    if name == "bias" and distribution != "torch":
        return torch.zeros(like.shape)
    receptive = math.prod(layer.weight.shape[2:])
    fan_in, fan_out = layer.weight.shape[1] * receptive, layer.weight.shape[0] * receptive
    values = (
        stream.normal(like.numel()) * (math.sqrt(2.0 / fan_out) if isinstance(layer, nn.Conv2d) else 0.01)
        if distribution == "vgg"
        else _values(stream, like.numel(), fan_in, fan_out, distribution)
    )
    return torch.from_numpy(values.astype(np.float32)).reshape(like.shape)


def _values(
    stream: Stream, count: int, fan_in: int, fan_out: int, distribution: Distribution
) -> NDArray[np.float64]:
    if distribution == "glorot-normal":
        return stream.normal(count) * math.sqrt(2.0 / (fan_in + fan_out))
    glorot = distribution == "glorot-uniform"
    bound = math.sqrt(6.0 / (fan_in + fan_out)) if glorot else 1.0 / math.sqrt(fan_in)
    return (2.0 * stream.uniform(count) - 1.0) * bound
