"""The evidence that a control bit: what it changed in every layer, with the counts as they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pomona.core.errors import InputError, StateFailure

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]


@dataclass(frozen=True)
class LayerEvidence:
    """What a control did to one parameter. Counts are of weights.

    Args:
        parameter: Its name.
        unit: What was moved: the granularity.
        could_change: Whether any draw changes something here; not where all or none is kept, say.
        changed: Places that have another value now.
        kept_before: Of a mask the weights that it keeps; of weights the survivors that are not zero.
        kept_after: The same, afterwards.
    """

    parameter: str
    unit: str
    could_change: bool
    changed: int
    kept_before: int
    kept_after: int


@dataclass(frozen=True)
class ControlEvidence:
    """What a control did, layer by layer."""

    control: str
    layers: tuple[LayerEvidence, ...]

    @property
    def changed(self) -> int:
        """Places that have another value now."""
        return sum(layer.changed for layer in self.layers)

    @property
    def fixed(self) -> tuple[str, ...]:
        """Parameters where nothing could change."""
        return tuple(layer.parameter for layer in self.layers if not layer.could_change)


@dataclass(frozen=True, eq=False)
class Controlled:
    """New tensors (masks of a control that touches masks, else weights) and what was done to them."""

    tensors: dict[str, Tensor]
    evidence: ControlEvidence


def mask_evidence(name: str, unit: str, could_change: bool, before: Tensor, after: Tensor) -> LayerEvidence:
    """What a control did to the mask of one parameter."""
    kept = int(before.sum()), int(after.sum())
    return LayerEvidence(name, unit, could_change, int((before != after).sum()), *kept)


def values_evidence(control: str, before: Tensors, after: Tensors, masks: Tensors) -> ControlEvidence:
    """What a control did to the surviving values; also for states that were drawn anew (``reinit``).

    Args:
        control: Its name.
        before: Tensors by name, at least those that have a mask.
        after: The same, afterwards.
        masks: True where kept, by parameter.

    Raises:
        InputError: A tensor is missing, or nothing can change: no layer has two different surviving values.
        StateFailure: Nothing changed, or the number of survivors that are not zero changed.
    """
    from pomona.pruning.masks import check_masks

    check_masks(before, masks)
    check_masks(after, masks)
    layers: list[LayerEvidence] = []
    for name, mask in masks.items():
        old, new = before[name].detach()[mask], after[name].detach()[mask]
        fixed = control == "shuffle-weights" and (old.numel() < 2 or bool((old == old[0]).all()))
        layers.append(
            LayerEvidence(
                parameter=name,
                unit="weight",
                could_change=old.numel() > 0 and not fixed,
                changed=int((old != new).sum()),
                kept_before=int(old.count_nonzero()),
                kept_after=int(new.count_nonzero()),
            )
        )
    return checked(ControlEvidence(control, tuple(layers)))


def zero_survivors(weights: Tensors, masks: Tensors) -> dict[str, int]:
    """How many weights of each layer a mask keeps although they are exactly zero: they start as if pruned."""
    from pomona.pruning.masks import check_masks

    check_masks(weights, masks)
    return {name: int((weights[name][mask] == 0).sum()) for name, mask in masks.items()}


def checked(evidence: ControlEvidence) -> ControlEvidence:
    """The evidence, of a control that bit and kept the counts.

    Raises:
        InputError: Nothing can change in any layer (says why).
        StateFailure: Nothing changed although it could, or a count changed (says where).
    """
    named = f"control {evidence.control!r}"
    for layer in evidence.layers:
        if layer.kept_before != layer.kept_after:
            raise StateFailure(
                "error",
                f"{named}: {layer.parameter} keeps {layer.kept_after} weights instead of {layer.kept_before}",
            )
    if not any(layer.could_change for layer in evidence.layers):
        raise InputError(f"{named} can change nothing: {_why_fixed(evidence)}")
    if evidence.changed == 0:
        raise StateFailure("error", f"{named} changed nothing, although it could; take another seed")
    return evidence


def _why_fixed(evidence: ControlEvidence) -> str:
    if not evidence.layers:
        return "there are no masks"
    count = len(evidence.layers)
    if evidence.control in ("rearrange", "random-mask"):
        return (
            f"none of the {count} layers has two units that differ and could change places (all are kept, "
            f"all are pruned, or there is but one)"
        )
    return f"none of the {count} layers has surviving values that differ"
