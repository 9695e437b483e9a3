"""What pruned weights become: zero, or their initial value, with what then holds of them at every moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pomona.core.errors import InputError, StateFailure, unknown

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]
ActionName = Literal["zero", "freeze", "freeze-unless-shrunk"]


@dataclass(frozen=True)
class Action:
    """An action of the catalogue.

    Args:
        name: As it is written in a study.
        formula: What a pruned weight becomes; w_f before the prune, w_i initially.
        holds: What is true of every pruned weight from then on, and checked by ``check_pruned``.
        needs_initial: Whether it reads the weights at the start.
        source: Where it comes from.
    """

    name: ActionName
    formula: str
    holds: str
    needs_initial: bool
    source: str


ACTIONS: dict[str, Action] = {
    "zero": Action(
        name="zero",
        formula="0",
        holds="exactly +0",
        needs_initial=False,
        source="LeCun et al. 1990; Han et al. 2015, arXiv:1506.02626",
    ),
    "freeze": Action(
        name="freeze",
        formula="w_i",
        holds="its initial value, bit for bit",
        needs_initial=True,
        source="Zhou et al. 2019, arXiv:1905.01067",
    ),
    "freeze-unless-shrunk": Action(
        name="freeze-unless-shrunk",
        formula="0 where |w_f| < |w_i| (it moved towards zero), w_i elsewhere",
        holds="exactly +0, or its initial value, bit for bit",
        needs_initial=True,
        source="Zhou et al. 2019, arXiv:1905.01067",
    ),
}


def pruned_values(action: str, final: Tensors, initial: Tensors | None, masks: Tensors) -> dict[str, Tensor]:
    """The values that pruned weights are held at: what ``apply_masks`` takes as ``values``.

    A weight that was held before, at zero or at its initial value, gets that value again: it did not move.

    Args:
        action: One of ``ACTIONS``.
        final: Tensors before the prune, at least those that have a mask. Not changed.
        initial: Tensors at the start; None where the action needs none. Not changed.
        masks: True where kept, by parameter.

    Returns:
        New tensors by masked parameter, of the weight's shape and dtype; exactly +0 where the mask keeps.

    Raises:
        InputError: The action is unknown, or a tensor is missing or has another shape or dtype.
    """
    import torch

    _check_given(action, final, masks, "final")
    if not ACTIONS[action].needs_initial:
        return {name: torch.zeros_like(final[name]) for name in masks}
    starts = _check_given(action, initial, masks, "initial")
    found: dict[str, Tensor] = {}
    for name, mask in masks.items():
        start, end = starts[name].detach(), final[name].detach()
        if start.shape != end.shape or start.dtype != end.dtype:
            raise InputError(
                f"action {action!r}: {name!r} is {start.dtype} of shape {tuple(start.shape)} initially and "
                f"{end.dtype} of shape {tuple(end.shape)} at the end"
            )
        released = mask if action == "freeze" else mask | (end.abs() < start.abs())
        found[name] = start.masked_fill(released, 0)
    return found


def check_pruned(
    weights: Tensors, masks: Tensors, action: str = "zero", initial: Tensors | None = None
) -> None:
    """Check that every pruned weight has the value that its action declares.

    Args:
        weights: Tensors of a state, at least those that have a mask.
        masks: True where kept, by parameter.
        action: One of ``ACTIONS``.
        initial: Tensors at the start; None where the action needs none.

    Raises:
        InputError: The action is unknown, or a tensor is missing.
        StateFailure: A pruned weight has another value; says the layer, the first place and both values.
    """
    import torch

    _check_given(action, weights, masks, "given")
    needs_initial = ACTIONS[action].needs_initial
    starts = _check_given(action, initial, masks, "initial") if needs_initial else weights
    for name, mask in masks.items():
        found = weights[name].detach()
        wrong = ~mask
        if action != "freeze":
            wrong &= ~_same_bits(found, torch.zeros_like(found))
        if needs_initial:
            wrong &= ~_same_bits(found, starts[name].detach())
        if bool(wrong.any()):
            place = wrong.nonzero()[0].tolist()
            was = f" (initially {starts[name][tuple(place)].item()!r})" if needs_initial else ""
            raise StateFailure(
                "error",
                f"pruned weight {name}{place} is {found[tuple(place)].item()!r}{was}; action {action!r} "
                f"holds it at {ACTIONS[action].holds}",
            )


def _check_given(action: str, given: Tensors | None, masks: Tensors, which: str) -> Tensors:
    if action not in ACTIONS:
        raise InputError(unknown("action on pruned weights", action, ACTIONS))
    if given is None:
        raise InputError(f"action {action!r} needs the {which} weights, got none")
    for name, mask in masks.items():
        if name not in given:
            raise InputError(unknown(f"masked parameter among the {which} weights", name, given))
        if given[name].shape != mask.shape:
            raise InputError(
                f"action {action!r}: {name!r} has the shape {tuple(given[name].shape)}, its mask "
                f"{tuple(mask.shape)}"
            )
    return given


def _same_bits(a: Tensor, b: Tensor) -> Tensor:
    """Unlike ``==``, parts +0 from -0 and finds a NaN equal to itself."""
    import torch

    whole = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return a.view(whole) == b.view(whole)
