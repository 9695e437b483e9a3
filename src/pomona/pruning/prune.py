"""One prune: weights and masks in, smaller masks and their audit out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pomona.core.errors import InputError
from pomona.pruning.counts import Rounding, units_to_prune
from pomona.pruning.layers import fractions, layer_of, touched
from pomona.pruning.masks import full_masks
from pomona.pruning.method import AXES, Granularity, Method
from pomona.pruning.scoring import StreamOf, scorer
from pomona.pruning.select import Selection, kept_units, select_lowest, without_units


@dataclass(frozen=True)
class LayerAudit:
    """What a prune did to one prunable parameter. Counts are of units: weights or channels.

    Args:
        parameter: Its name.
        unit: The granularity; None where the method leaves the layer alone.
        requested: Units that were to go; None where a global pool decides.
        achieved: Units that went.
        remaining: Units that are left; weights where the method leaves the layer alone.
        ties_cut: Removed units that only the tie rule parts from a kept one of the same score.
        kept_weights: Weights that are left.
        collapsed: No weight is left.
    """

    parameter: str
    unit: Granularity | None
    requested: int | None
    achieved: int
    remaining: int
    ties_cut: int
    kept_weights: int
    collapsed: bool


@dataclass(frozen=True)
class Audit:
    """What a prune did: the totals in units, and each prunable parameter in network order."""

    requested: int
    achieved: int
    layers: tuple[LayerAudit, ...]

    @property
    def collapsed(self) -> tuple[str, ...]:
        """Parameters without a kept weight."""
        return tuple(layer.parameter for layer in self.layers if layer.collapsed)


@dataclass(frozen=True, eq=False)
class Pruned:
    """New masks of every prunable parameter, in network order, and what was done to each."""

    masks: dict[str, Tensor]
    audit: Audit


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer that the method touches: its units, flat, with what is needed to rank them."""

    name: str
    unit: Granularity
    mask: Tensor
    units: Tensor
    scores: Tensor
    fraction: float


@dataclass(frozen=True, eq=False)
class _Cut:
    """What goes from one layer, and how much was asked of it alone."""

    layer: _Layer
    selection: Selection
    requested: int | None


def prune(
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    kinds: Mapping[str, str],
    method: Method,
    amount: float | Mapping[str, float],
    rounding: Rounding = "nearest",
    *,
    stream: StreamOf | None = None,
    folder: Path | None = None,
) -> Pruned:
    """Remove a fraction of the units that remain: exactly the counted number, those of the lowest scores.

    Among equal scores the unit with the lowest flat index goes first; in a global pool the layers follow
    each other in network order. What is pruned stays pruned. Nothing that is given is changed.

    Args:
        weights: Tensors by name, at least the prunable ones.
        masks: True where kept, by parameter; a parameter without one is dense.
        kinds: Every prunable parameter and its kind, ``conv`` or ``linear``, in network order.
        method: What is scored, removed and ranked together.
        amount: Fraction of the remaining units, in [0, 1]; or one by layer, pattern, kind, ``default``.
        rounding: How the fraction becomes a count.
        stream: The mask stream of a parameter at this level; needed by random pruning only.
        folder: Where a user's criterion is looked for; by default the working folder.

    Raises:
        InputError: A key that matches no layer, a layer without an amount, tensors that do not fit, a
            user's criterion that fails or gives NaN (says where).
        StateFailure: A kept weight is NaN (diverged; says where).
    """
    before = full_masks(weights, masks, kinds)
    given = fractions(amount, kinds)
    score = scorer(method, stream, folder)
    pool: list[_Layer] = []
    for name in touched(method.layers, kinds):
        unit = method.granularity_of(kinds[name], where=layer_of(name))
        mask, axis = before[name], AXES[unit]
        scores = score(name, weights[name].detach(), mask, axis)
        fraction = _given(given[name], name, kinds[name])
        pool.append(_Layer(name, unit, mask, kept_units(mask, axis), scores, fraction))
    if method.scope == "layer":
        cuts = [_cut_alone(layer, rounding) for layer in pool]
        requested = sum(cut.requested or 0 for cut in cuts)
    else:
        requested = units_to_prune(_one_fraction(pool), sum(int(x.units.sum()) for x in pool), rounding)
        cuts = _cut_together(pool, requested)
    after = {name: mask.clone() for name, mask in before.items()}
    for cut in cuts:
        axis = AXES[cut.layer.unit]
        after[cut.layer.name] = without_units(cut.layer.mask, axis, cut.selection.pruned)
    layers = tuple(_audit_of(name, mask, cuts) for name, mask in after.items())
    return Pruned(after, Audit(requested, sum(layer.achieved for layer in layers), layers))


def _given(fraction: float | None, name: str, kind: str) -> float:
    if fraction is None:
        raise InputError(
            f"amount: nothing is given for layer {layer_of(name)!r}; add {layer_of(name)!r}, its kind "
            f"{kind!r}, or 'default'"
        )
    return fraction


def _one_fraction(pool: list[_Layer]) -> float:
    found = {layer.fraction for layer in pool}
    if len(found) > 1:
        raise InputError(
            f"amount: scope 'global' ranks all units together and takes one fraction, got "
            f"{', '.join(f'{value:g}' for value in sorted(found))}; use scope 'layer'"
        )
    return found.pop() if found else 0.0


def _cut_alone(layer: _Layer, rounding: Rounding) -> _Cut:
    count = units_to_prune(layer.fraction, int(layer.units.sum()), rounding)
    return _Cut(layer, select_lowest(layer.scores, layer.units, count), count)


def _cut_together(pool: list[_Layer], count: int) -> list[_Cut]:
    if not pool:
        return []
    found = select_lowest(torch.cat([x.scores for x in pool]), torch.cat([x.units for x in pool]), count)
    sizes = [layer.units.numel() for layer in pool]
    parts = zip(pool, torch.split(found.pruned, sizes), torch.split(found.tied, sizes), strict=True)
    return [_Cut(layer, Selection(pruned, tied), None) for layer, pruned, tied in parts]


def _audit_of(name: str, mask: Tensor, cuts: list[_Cut]) -> LayerAudit:
    kept = int(mask.sum())
    cut = next((cut for cut in cuts if cut.layer.name == name), None)
    if cut is None:
        return LayerAudit(name, None, 0, 0, kept, 0, kept, kept == 0)
    # Counted from the masks, not from the selection: this is what a commit is checked against.
    remaining = int(kept_units(mask, AXES[cut.layer.unit]).sum())
    achieved = int(cut.layer.units.sum()) - remaining
    ties = int(cut.selection.tied.sum())
    return LayerAudit(name, cut.layer.unit, cut.requested, achieved, remaining, ties, kept, kept == 0)
