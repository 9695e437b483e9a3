"""What goes into the layers and what comes out of them, summed up by hooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from pomona.core.errors import InputError
from pomona.pruning.evidence.batch import Batch
from pomona.pruning.evidence.hooks import Call, listen
from pomona.pruning.evidence.network import MaskedNetwork


def input_norm(view: MaskedNetwork, batch: Batch) -> dict[str, Tensor]:
    """The 2-norm of the inputs that each weight multiplies, over all examples and positions.

    A layer is linear in its weight, so that the derivative of sum(layer(x^2)) by a weight is the sum of the
    squares of what it multiplies, whatever the stride, the padding and the groups. Evaluation mode.

    Returns:
        One float64 tensor for each prunable parameter, in its shape; the same for all outputs of a group.

    Raises:
        InputError: A parameter is not the weight of a linear or convolution layer, or no call of it is seen.
    """
    totals = view.zeros()

    def add(name: str, call: Call) -> None:
        totals[name] += _sum_of_squares(call)

    listen(view, batch, "input_norm", add)
    return {name: total.sqrt() for name, total in totals.items()}


@dataclass(eq=False)
class _Sums:
    """What one layer's channels add up to."""

    values: Tensor
    zeros: Tensor
    count: int


def channel_activations(
    view: MaskedNetwork, batch: Batch, granularities: Mapping[str, str]
) -> dict[str, dict[str, Tensor]]:
    """Mean activation and share of zeros of each channel, over all examples and positions.

    Of an output channel: the mean of max(z, 0) and the share of z <= 0, z what the layer gives. Of an input
    channel: the mean of |x| and the share of x = 0. Evaluation mode.

    Args:
        view: The network.
        batch: The examples.
        granularities: ``channel-in`` or ``channel-out`` for each prunable parameter.

    Returns:
        ``activation_mean`` and ``activation_zeros``, each by parameter: 1-D, float64, one entry a channel.

    Raises:
        InputError: As ``input_norm``; or a parameter has no such granularity.
    """
    for name in view.masks:
        if granularities.get(name) not in ("channel-in", "channel-out"):
            raise InputError(
                f"activations are of channels: expected the granularity channel-in or channel-out for "
                f"{name!r}, got {granularities.get(name)!r}"
            )
    found: dict[str, _Sums] = {}

    def add(name: str, call: Call) -> None:
        out = granularities[name] == "channel-out"
        rows = _by_channel(call.output if out else call.input, view.masks[name].dim() - 1)
        values = rows.clamp_min(0) if out else rows.abs()
        none = rows.new_zeros(len(rows), dtype=torch.float64)
        sums = found.setdefault(name, _Sums(none, none.clone(), 0))
        sums.values += values.double().sum(dim=1)
        sums.zeros += (values == 0).sum(dim=1)
        sums.count += rows.shape[1]

    listen(view, batch, "activation_mean", add)
    return {
        "activation_mean": {name: found[name].values / found[name].count for name in view.masks},
        "activation_zeros": {name: found[name].zeros / found[name].count for name in view.masks},
    }


def _sum_of_squares(call: Call) -> Tensor:
    # In float64: the outputs of a group see the same inputs, and must get the same sum.
    zeros = {name: torch.zeros_like(x, dtype=torch.float64) for name, x in call.layer.named_parameters()}
    weight = zeros["weight"].requires_grad_()
    with torch.enable_grad():
        total = functional_call(call.layer, zeros, (call.input.double().square(), *call.further)).sum()
    return torch.autograd.grad(total, weight)[0]


def _by_channel(values: Tensor, dimensions: int) -> Tensor:
    """As [channels, examples and positions]; so many dimensions end with the channels and their positions."""
    return values.movedim(-dimensions, 0).flatten(1)
