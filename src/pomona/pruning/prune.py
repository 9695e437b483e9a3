"""One prune: weights and masks in, smaller masks and their audit out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pomona.pruning.audit import Audit, audit_layer
from pomona.pruning.counts import Rounding, kept
from pomona.pruning.granularity import groups_of_inputs, kept_units, without_units
from pomona.pruning.masks import full_masks
from pomona.pruning.method import Method
from pomona.pruning.pools import Pool, make_pools
from pomona.pruning.scoring import Evidence, Scorer, StreamOf
from pomona.pruning.select import Selection, select_groups, select_lowest

Gather = Callable[[Collection[str], Mapping[str, Tensor]], Evidence]


@dataclass(frozen=True, eq=False)
class Pruned:
    """What a prune leaves.

    Args:
        masks: Of every prunable parameter, in network order.
        audit: What was asked of each of them, and what was done.
        weights: What was given, with the survivors' new values where the criterion moves them (``obs``).
    """

    masks: dict[str, Tensor]
    audit: Audit
    weights: dict[str, Tensor]


def prune(
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    kinds: Mapping[str, str],
    method: Method,
    amount: float | Mapping[str, float] | None = None,
    rounding: Rounding = "nearest",
    *,
    density: float | Mapping[str, float] | None = None,
    evidence: Gather | None = None,
    stream: StreamOf | None = None,
    folder: Path | None = None,
) -> Pruned:
    """Remove units of the lowest scores: exactly the counted number.

    Among equal scores the unit with the lowest flat index goes first, or the one of the lowest random number
    where the criterion says so; in a pool of several layers they follow each other in network order. What is
    pruned stays pruned. Nothing that is given is changed.

    Args:
        weights: Tensors by name, at least the prunable ones.
        masks: True where kept, by parameter; a parameter without one is dense.
        kinds: Every prunable parameter and its kind, in network order.
        method: What is scored, removed and ranked together.
        amount: Fraction of the remaining units that goes, in [0, 1]; or one by layer, pattern, kind,
            ``default``. Layers of granularity N:M need none.
        rounding: How a fraction becomes a count.
        density: Instead of an amount, the share of all units that is left; or one by layer and so on. Layers
            that keep fewer already lose nothing.
        evidence: What the criterion reads beside weights, masks and streams: asked once a round for the names
            of evidence, with the masks of the moment.
        stream: The mask stream of a parameter at this level; needed by criteria that draw.
        folder: Where a user's criterion is looked for; by default the working folder.

    Raises:
        InputError: A key that matches no layer, a layer without an amount, tensors that do not fit, evidence
            that is missing, a user's criterion that fails or gives NaN (says where).
        StateFailure: A kept weight or the evidence of one is NaN (diverged; says where).
    """
    before = full_masks(weights, masks, kinds)
    pools = make_pools(before, kinds, method, amount, density, rounding)
    scorer = Scorer(method, evidence, stream, folder)
    now, values = dict(before), dict(weights)
    ties = dict.fromkeys(kinds, 0)
    for number in range(1, method.rounds + 1):
        scorer.gather(now)
        after = dict(now)
        for pool in pools:
            for target, cut in zip(pool.targets, _cut(pool, number, now, values, scorer), strict=True):
                after[target.name] = without_units(now[target.name], target.unit, target.kind, cut.pruned)
                ties[target.name] += kept(cut.tied)
        values |= scorer.moved(values, now, after)
        now = after
    return Pruned(
        {name: mask.clone() for name, mask in now.items()}, _audit(before, now, kinds, pools, ties), values
    )


def _cut(
    pool: Pool, number: int, masks: Mapping[str, Tensor], weights: Mapping[str, Tensor], scorer: Scorer
) -> list[Selection]:
    """What goes from each layer of a pool in one round."""
    scores = [
        scorer.scores(target, weights[target.name].detach(), masks[target.name]) for target in pool.targets
    ]
    left = [kept_units(masks[target.name], target.unit, target.kind) for target in pool.targets]
    first = pool.targets[0]
    if first.unit.form == "n:m":
        groups = groups_of_inputs(masks[first.name], first.unit, first.kind).reshape(-1)
        numbers = scorer.tie_numbers(pool.targets)
        drawn = numbers[0]() if numbers is not None else None
        return [select_groups(scores[0], left[0], groups, first.unit.keep, drawn)]
    count = sum(kept(units) for units in left) - pool.after_round(number, scorer.method.rounds)
    return select_lowest(scores, left, max(0, count), scorer.tie_numbers(pool.targets))


def _audit(
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    kinds: Mapping[str, str],
    pools: list[Pool],
    ties: Mapping[str, int],
) -> Audit:
    """Requests of pools beside what the masks say was done."""
    unit_of = {target.name: target.unit for pool in pools for target in pool.targets}
    alone = {pool.targets[0].name: pool.alive - pool.left for pool in pools if len(pool.targets) == 1}
    layers = tuple(
        audit_layer(
            name,
            before[name],
            after[name],
            kind,
            unit_of.get(name),
            alone.get(name, None if name in unit_of else 0),
            ties[name],
        )
        for name, kind in kinds.items()
    )
    requested = sum(pool.alive - pool.left for pool in pools)
    return Audit(requested, sum(layer.achieved for layer in layers), layers)
