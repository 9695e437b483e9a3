"""The Gauss-Newton matrix of the mean cross-entropy: its diagonal, and its blocks of consecutive weights.

For logits z(w) with Jacobian J and p = softmax(z) the matrix is the mean over examples of J' (D - p p') J, D
with p on its diagonal. D - p p' is S S' for S = D^(1/2) - p sqrt(p)', so that each example gives one row
S_c' J a class. Where z is piecewise linear in every single weight, the diagonal is the Hessian's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.func import vjp, vmap

from pomona.core.errors import InputError, StateFailure
from pomona.pruning.evidence.batch import Batch
from pomona.pruning.evidence.network import MaskedNetwork, evaluating
from pomona.pruning.evidence.per_example import at_a_time
from pomona.pruning.obs import damped_inverses, diagonal_of, in_blocks, refuse_too_large


def curvature(view: MaskedNetwork, batch: Batch) -> dict[str, Tensor]:
    """The diagonal of the Gauss-Newton matrix.

    Returns:
        One float64 tensor for each prunable parameter, in its shape; nats per squared unit weight.
    """
    totals = view.zeros()
    for rows in _rows(view, batch, list(totals)):
        for name, found in rows.items():
            totals[name] += found.double().square().sum(dim=0)
    return {name: total / len(batch) for name, total in totals.items()}


def inverse_blocks(view: MaskedNetwork, batch: Batch) -> dict[str, Tensor]:
    """The inverses of the damped blocks, of every prunable parameter: see ``pomona.pruning.obs``.

    Raises:
        InputError: They would take too much memory together.
    """
    refuse_too_large({name: mask.numel() for name, mask in view.masks.items()})
    return {name: _inverses_of(view, batch, name) for name in view.masks}


def inverse_curvature(view: MaskedNetwork, batch: Batch) -> dict[str, Tensor]:
    """The diagonals of the same, one layer after the other.

    Returns:
        One float64 tensor for each prunable parameter, in its shape; positive.
    """
    found = {}
    for name, mask in view.masks.items():
        refuse_too_large({name: mask.numel()})
        found[name] = diagonal_of(_inverses_of(view, batch, name), mask.shape)
    return found


def _inverses_of(view: MaskedNetwork, batch: Batch, name: str) -> Tensor:
    mask = view.masks[name]
    keep = in_blocks(mask)
    blocks = torch.zeros(*keep.shape, keep.shape[1], dtype=torch.float64, device=mask.device)
    for rows in _rows(view, batch, [name]):
        parts = in_blocks(rows[name].double(), batched=True).transpose(0, 1)
        blocks.baddbmm_(parts.mT, parts, alpha=1 / len(batch))
    if not bool(torch.isfinite(blocks).all()):
        raise StateFailure("diverged", f"the curvature of {name} is not finite")
    return damped_inverses(blocks, keep)


def _rows(view: MaskedNetwork, batch: Batch, names: list[str]) -> Iterator[dict[str, Tensor]]:
    """Rows S_c' J of all examples and classes, [rows, *shape] for each parameter, some at a time."""
    weights = {name: view.tensors[name] for name in names}

    def of_one(example: Tensor, classes: slice) -> dict[str, Tensor]:
        logits, pull, *_ = vjp(lambda changed: view(changed, example[None])[0], weights)
        found: dict[str, Tensor] = vmap(lambda cotangent: pull(cotangent)[0])(_factor(logits)[classes])
        return found

    count = _classes(view, batch)
    entries = sum(weight.numel() for weight in weights.values())
    classes = at_a_time(entries, most=count)
    examples = at_a_time(entries * classes)
    with evaluating(view.network):
        for inputs, _ in batch.pieces(examples):
            for start in range(0, count, classes):
                piece = partial(of_one, classes=slice(start, start + classes))
                rows = vmap(piece)(inputs)
                yield {name: found.flatten(0, 1) for name, found in rows.items()}


def _factor(logits: Tensor) -> Tensor:
    """S', one row a class: sqrt(p_c) (e_c - p)."""
    p = logits.softmax(0)
    return p.sqrt()[:, None] * (torch.eye(len(p), dtype=p.dtype, device=p.device) - p)


def _classes(view: MaskedNetwork, batch: Batch) -> int:
    with evaluating(view.network), torch.no_grad():
        outputs = view({}, batch.inputs[:1])
    if outputs.dim() != 2:
        raise InputError(
            f"curvature needs one logit an example and class, got outputs of shape {tuple(outputs.shape)}"
        )
    return outputs.shape[1]
