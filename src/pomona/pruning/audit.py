"""What a prune did to every layer, counted from the masks themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pomona.pruning.counts import kept
from pomona.pruning.granularity import Unit, kept_units

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LayerAudit:
    """What a prune did to one prunable parameter. Counts are of units: weights, channels, blocks.

    Args:
        parameter: Its name.
        unit: The granularity; None where the method leaves the layer alone.
        requested: Units that were to go; None where a pool of several layers decides.
        achieved: Units that went.
        remaining: Units that are left; weights where the method leaves the layer alone.
        ties_cut: Removed units that only the tie rule parts from a kept one of the same score.
        kept_weights: Weights that are left.
        collapsed: No weight is left.
    """

    parameter: str
    unit: str | None
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


def audit_layer(
    name: str,
    before: Tensor,
    after: Tensor,
    kind: str,
    unit: Unit | None,
    requested: int | None,
    ties: int,
) -> LayerAudit:
    """Count what happened to one layer.

    Args:
        name: Of the parameter.
        before: Its mask until now.
        after: Its mask from now on.
        kind: Its kind.
        unit: The granularity; None where the method leaves it alone.
        requested: As in ``LayerAudit``.
        ties: Removed units that only the tie rule parts from a kept one.
    """
    weights = kept(after)
    if unit is None:
        return LayerAudit(name, None, 0, 0, weights, 0, weights, weights == 0)
    # Counted from the masks, not from the selection: this is what a commit is checked against.
    remaining = kept(kept_units(after, unit, kind))
    achieved = kept(kept_units(before, unit, kind)) - remaining
    return LayerAudit(name, str(unit), requested, achieved, remaining, ties, weights, weights == 0)
