"""What criteria need to know beyond the weights, gathered from a network and examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pomona.core.errors import InputError, StateFailure, unknown
from pomona.pruning.criterion import NETWORK_EVIDENCE
from pomona.pruning.evidence.activations import channel_activations, input_norm
from pomona.pruning.evidence.batch import Batch, Loss
from pomona.pruning.evidence.curvature import curvature, inverse_blocks, inverse_curvature
from pomona.pruning.evidence.gradients import flow, hessian_gradient, mean_gradient
from pomona.pruning.evidence.network import MaskedNetwork, evaluating, plain_attention
from pomona.pruning.evidence.per_example import squared_gradient
from pomona.pruning.masks import full_masks
from pomona.pruning.obs import diagonal_of
from pomona.pruning.randomness import seeded

__all__ = ["Batch", "Loss", "gather"]

Found = dict[str, dict[str, Tensor]]


def gather(
    wanted: Iterable[str],
    network: nn.Module,
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    kinds: Mapping[str, str],
    batch: Batch,
    *,
    loss: Loss | None = None,
    granularities: Mapping[str, str] | None = None,
    held: bool = False,
) -> Found:
    """Gather evidence of every parameter in ``kinds``, at the masked weights.

    The network is called as a function of copies: its parameters, buffers, modes and hooks are afterwards
    what they were, and global random state is untouched. Sums run in float64 over fixed pieces in a fixed
    order.

    Args:
        wanted: Some of ``NETWORK_EVIDENCE``.
        network: Any module that maps inputs to outputs.
        weights: Parameters and buffers by name, at least those in ``kinds``; others are the network's.
            What has no mask here is taken as it is.
        masks: True where kept, by prunable parameter; one without a mask is dense.
        kinds: The prunable parameters that evidence is wanted of, and their kinds, in network order.
        batch: The examples.
        loss: Mean loss of outputs and targets; by default cross-entropy.
        granularities: ``channel-in`` or ``channel-out`` by parameter; needed by activations only.
        held: Pruned weights are held at the values that they have in ``weights``, and are not zero.

    Returns:
        Evidence name -> parameter -> tensor: float64, in the weight's shape; of activations one entry a
        channel; of ``inverse_blocks`` [blocks, entries, entries].

    Raises:
        InputError: An unknown name, a network that cannot be evaluated on the examples, or a layer that the
            evidence has no meaning for (says which).
        StateFailure: What was gathered is not finite (diverged; says where).
    """
    names = list(dict.fromkeys(wanted))
    for name in names:
        if name not in NETWORK_EVIDENCE:
            raise InputError(unknown("evidence", name, sorted(NETWORK_EVIDENCE)))
    view = MaskedNetwork.of(network, weights, full_masks(weights, masks, kinds), held)
    # Seeded for networks that draw numbers also in evaluation mode.
    with seeded(0), torch.enable_grad(), plain_attention():
        _try_out(view, batch, loss or F.cross_entropy)
        found = _found(names, view, batch, loss, granularities or {})
    for name in names:
        _refuse_not_finite(name, found[name])
    return {name: found[name] for name in names}


def _found(
    names: list[str], view: MaskedNetwork, batch: Batch, loss: Loss | None, granularities: Mapping[str, str]
) -> Found:
    mean_loss = loss or F.cross_entropy
    makers: dict[str, Callable[[], Found]] = {
        "gradient": lambda: {"gradient": mean_gradient(view, batch, mean_loss)},
        "hessian_gradient": lambda: {"hessian_gradient": hessian_gradient(view, batch, mean_loss)},
        "flow": lambda: {"flow": flow(view, batch)},
        "squared_gradient": lambda: {"squared_gradient": squared_gradient(view, batch, mean_loss)},
        "curvature": lambda: {"curvature": curvature(view, batch)},
        "inverse_blocks": lambda: _inverses(view, batch),
        "inverse_curvature": lambda: {"inverse_curvature": inverse_curvature(view, batch)},
        "input_norm": lambda: {"input_norm": input_norm(view, batch)},
        "activation_mean": lambda: channel_activations(view, batch, granularities),
        "activation_zeros": lambda: channel_activations(view, batch, granularities),
    }
    if loss is not None and {"curvature", "inverse_blocks", "inverse_curvature"} & set(names):
        raise InputError("curvature is that of cross-entropy: it cannot be gathered for another loss")
    found: Found = {}
    # In the order of the makers: blocks give their diagonals too.
    for name, make in makers.items():
        if name in names and name not in found:
            found.update(make())
    return found


def _inverses(view: MaskedNetwork, batch: Batch) -> Found:
    blocks = inverse_blocks(view, batch)
    diagonals = {name: diagonal_of(found, view.masks[name].shape) for name, found in blocks.items()}
    return {"inverse_blocks": blocks, "inverse_curvature": diagonals}


def _try_out(view: MaskedNetwork, batch: Batch, loss: Loss) -> None:
    """Say what is wrong with the examples before anything is computed."""
    if len(batch) == 0 or len(batch.targets) != len(batch):
        raise InputError(
            f"examples: expected at least one and as many targets, got {len(batch)} and {len(batch.targets)}"
        )
    try:
        with evaluating(view.network), torch.no_grad():
            loss(view({}, batch.inputs[:1]), batch.targets[:1])
    except Exception as error:
        raise InputError(
            f"the network cannot be evaluated on examples of shape {tuple(batch.inputs.shape[1:])}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _refuse_not_finite(evidence: str, found: Mapping[str, Tensor]) -> None:
    for name, tensor in found.items():
        bad = ~torch.isfinite(tensor)
        if bool(bad.any()):
            raise StateFailure(
                "diverged", f"{evidence} of {name} is not finite at {bad.nonzero()[0].tolist()}"
            )
