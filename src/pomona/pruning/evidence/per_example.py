"""Gradients of single examples, summed up piece by piece and never held all at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import grad, vmap

from pomona.pruning.evidence.batch import Batch, Loss
from pomona.pruning.evidence.network import MaskedNetwork, evaluating

# Gradient entries that are held at a time: 64 MiB in float32. Activations count too, hence the examples.
ENTRIES = 1 << 24
_EXAMPLES = 64


def at_a_time(entries: int, most: int = _EXAMPLES) -> int:
    """How many gradients of so many entries are held together: fixed by the network alone."""
    return max(1, min(most, ENTRIES // max(1, entries)))


def squared_gradient(view: MaskedNetwork, batch: Batch, loss: Loss) -> dict[str, Tensor]:
    """The mean over examples of the squared gradient of one example's loss. Evaluation mode.

    Returns:
        One float64 tensor for each prunable parameter, in its shape.
    """

    def of_one(weights: Mapping[str, Tensor], example: Tensor, target: Tensor) -> Tensor:
        return loss(view(weights, example[None]), target[None])

    each = vmap(grad(of_one), in_dims=(None, 0, 0))
    size = at_a_time(sum(weight.numel() for weight in view.prunable.values()))
    totals = view.zeros()
    with evaluating(view.network):
        for inputs, targets in batch.pieces(size):
            for name, found in each(view.prunable, inputs, targets).items():
                totals[name] += torch.sum(found.double().square(), dim=0)
    return {name: total / len(batch) for name, total in totals.items()}
