"""First derivatives of the mean loss, the Hessian times the gradient, and the flow of SynFlow."""

from __future__ import annotations

import torch
from torch import Tensor

from pomona.pruning.evidence.batch import Batch, Loss
from pomona.pruning.evidence.network import MaskedNetwork, evaluating

# GraSP divides the logits so that the softmax of an untrained network is not saturated.
TEMPERATURE = 200.0


def mean_gradient(
    view: MaskedNetwork, batch: Batch, loss: Loss, temperature: float = 1.0
) -> dict[str, Tensor]:
    """The gradient of the mean loss at the masked weights, also for pruned entries.

    Norms take their statistics from each piece of the batch; dropout is off.

    Args:
        view: The network.
        batch: The examples.
        loss: Mean loss of outputs and targets.
        temperature: What the outputs are divided by.

    Returns:
        One float64 tensor for each prunable parameter, in its shape; nats per unit weight.
    """
    totals = view.zeros()
    with evaluating(view.network, batch_statistics=True):
        for inputs, targets in batch.pieces():
            leaves = view.leaves()
            value = loss(view(leaves, inputs) / temperature, targets)
            found = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
            for name, gradient in zip(leaves, found, strict=True):
                totals[name] += gradient.double() * (len(inputs) / len(batch))
    return totals


def hessian_gradient(view: MaskedNetwork, batch: Batch, loss: Loss) -> dict[str, Tensor]:
    """H g of the loss with logits / 200, by differentiating g' g a second time.

    The gradient g is that of the kept prunable weights: what is pruned does not move.

    Returns:
        One float64 tensor for each prunable parameter, in its shape.
    """
    along = {
        name: gradient.masked_fill(~view.masks[name], 0).to(view.tensors[name].dtype)
        for name, gradient in mean_gradient(view, batch, loss, TEMPERATURE).items()
    }
    totals = view.zeros()
    with evaluating(view.network, batch_statistics=True):
        for inputs, targets in batch.pieces():
            leaves = view.leaves()
            weights = list(leaves.values())
            value = loss(view(leaves, inputs) / TEMPERATURE, targets)
            first = torch.autograd.grad(value, weights, create_graph=True, materialize_grads=True)
            product = sum((g * along[name]).sum() for name, g in zip(leaves, first, strict=True))
            assert isinstance(product, Tensor)
            # Where the gradient depends on no weight, there is nothing to differentiate.
            if product.requires_grad:
                second = torch.autograd.grad(product, weights, materialize_grads=True)
                for name, found in zip(leaves, second, strict=True):
                    totals[name] += found.double() * (len(inputs) / len(batch))
    return totals


def flow(view: MaskedNetwork, batch: Batch) -> dict[str, Tensor]:
    """dR/d|w|: R is the sum of the outputs of the network of absolute values, for one input of ones.

    Every parameter and buffer is replaced by its absolute value. Evaluation mode, float64.

    Args:
        view: The network.
        batch: Gives the shape of an input only. Inputs of integers stay integers.

    Returns:
        One float64 tensor for each prunable parameter, in its shape.
    """
    positive = {
        name: tensor.abs().double() if tensor.is_floating_point() else tensor.clone()
        for name, tensor in view.tensors.items()
    }
    leaves = {name: positive[name].requires_grad_() for name in view.masks}
    ones = torch.ones_like(batch.inputs[:1])
    with evaluating(view.network):
        total = view(positive, ones.double() if ones.is_floating_point() else ones).sum()
    found = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, found, strict=True))
