"""Which layers are ranked together, and how many units each pool is left with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pomona.core.errors import InputError
from pomona.pruning.allocation import Layer, allocate
from pomona.pruning.counts import Rounding, kept, units
from pomona.pruning.granularity import Unit, groups_of_inputs, kept_units, parse_unit
from pomona.pruning.layers import ALL, KINDS, fractions, kind_of, layer_of, touched
from pomona.pruning.method import Method

if TYPE_CHECKING:
    from torch import Tensor

_ONE_DENSITY = "allocation {!r} divides one density between the layers, got one for each"


@dataclass(frozen=True)
class Target:
    """A parameter that the method touches.

    Args:
        name: Of the parameter.
        kind: Its kind.
        unit: The granularity.
        shape: Of its weight.
        total: Its units.
        alive: Those of them that are still kept.
    """

    name: str
    kind: str
    unit: Unit
    shape: tuple[int, ...]
    total: int
    alive: int


@dataclass(frozen=True)
class Pool:
    """Layers whose units are ranked together.

    Args:
        targets: In network order.
        left: How many units of them are to be left.
    """

    targets: tuple[Target, ...]
    left: int

    @property
    def alive(self) -> int:
        """Units that are still kept."""
        return sum(target.alive for target in self.targets)

    def after_round(self, number: int, rounds: int) -> int:
        """Units that are left after one of several rounds, which keep the same share each."""
        if number == rounds or self.left >= self.alive:
            return self.left
        way = number / rounds
        between = float(float(self.alive) ** (1 - way) * float(max(self.left, 1)) ** way)
        return max(self.left, round(between))


def touched_by(method: Method, kinds: Mapping[str, str]) -> list[str]:
    """The parameters that a method touches, in network order.

    The outputs of the last layer are the classes: by output channels it is pruned only where it is named.

    Raises:
        InputError: A name, pattern or kind matches no layer, or a layer has no granularity.
    """
    names = touched(method.layers, kinds)
    if names and len(kinds) > 1 and {*method.layers} <= {ALL, *KINDS}:
        last = list(kinds)[-1]
        if names[-1] == last and method.granularity_of(kind_of(kinds[last]), layer_of(last)) == "channel-out":
            return names[:-1]
    return names


def check_names(
    method: Method, shares: Sequence[float | Mapping[str, float] | None], kinds: Mapping[str, str]
) -> None:
    """Check that a method and its amounts fit a network, by the names and kinds of its layers alone.

    Args:
        method: The method.
        shares: Amounts or densities, each one number or one by layer.
        kinds: Every prunable parameter and its kind, in network order.

    Raises:
        InputError: A key matches no layer, a layer has no amount or granularity, or a pool has several.
    """
    names = touched_by(method, kinds)
    units = {name: parse_unit(method.granularity_of(kind_of(kinds[name]), layer_of(name))) for name in names}
    targets = [Target(name, kinds[name], units[name], (), 0, 0) for name in names]
    rest = [target for target in targets if target.unit.form != "n:m"]
    for share in shares:
        if share is None or not rest:
            continue
        written = fractions(share, kinds)
        found = {target.name: _given(written[target.name], target) for target in rest}
        if method.allocation not in (None, "uniform") and len(set(found.values())) > 1:
            raise InputError(_ONE_DENSITY.format(method.allocation))
        for group in _ranked_together(rest, method):
            _one_share(group, found, method)


def make_pools(
    masks: Mapping[str, Tensor],
    kinds: Mapping[str, str],
    method: Method,
    amount: float | Mapping[str, float] | None,
    density: float | Mapping[str, float] | None,
    rounding: Rounding,
) -> list[Pool]:
    """The pools of a prune.

    Args:
        masks: Of every prunable parameter.
        kinds: Of every prunable parameter, in network order.
        method: Says which layers are touched, by which unit, and which are ranked together.
        amount: Fraction of what remains that goes, or by layer; None where a density is given.
        density: Fraction of everything that is left, or by layer.
        rounding: How a fraction becomes a count.

    Raises:
        InputError: A key matches no layer, a layer has no amount, or a pool has several.
    """
    if amount is not None and density is not None:
        raise InputError("expected an amount (of what remains) or a density (of everything), got both")
    targets = [_target(name, masks[name], kinds[name], method) for name in touched_by(method, kinds)]
    grouped = [
        Pool((target,), _left_of_groups(target, masks)) for target in targets if target.unit.form == "n:m"
    ]
    rest = [target for target in targets if target.unit.form != "n:m"]
    if rest and amount is None and density is None:
        raise InputError("expected an amount (of what remains) or a density (of everything) to prune to")
    if not rest and targets and (amount is not None or density is not None):
        raise InputError(f"granularity {targets[0].unit} says itself how many weights go: give no amount")
    written = fractions(amount if amount is not None else density or 0.0, kinds)
    shares = {target.name: _given(written[target.name], target) for target in rest}
    whole = density is not None
    if method.allocation not in (None, "uniform"):
        assert method.allocation is not None
        return grouped + _allocated(rest, method.allocation, shares, whole, rounding)
    return grouped + [
        _pool(group, shares, whole, rounding, method) for group in _ranked_together(rest, method)
    ]


def _target(name: str, mask: Tensor, kind: str, method: Method) -> Target:
    unit = parse_unit(method.granularity_of(kind_of(kind), where=layer_of(name)))
    there = kept_units(mask, unit, kind)
    return Target(name, kind, unit, tuple(mask.shape), there.numel(), kept(there))


def _ranked_together(targets: Sequence[Target], method: Method) -> Iterable[list[Target]]:
    if method.scope == "layer":
        return [[target] for target in targets]
    pools: dict[str, list[Target]] = {}
    for target in targets:
        pools.setdefault(kind_of(target.kind) if method.scope == "kind" else "", []).append(target)
    return pools.values()


def _pool(
    targets: list[Target], shares: Mapping[str, float], whole: bool, rounding: Rounding, method: Method
) -> Pool:
    share, alive = _one_share(targets, shares, method), sum(target.alive for target in targets)
    if not whole:
        return Pool(tuple(targets), alive - units(share, alive, rounding))
    left = units(share, sum(target.total for target in targets), rounding)
    # A layer of one channel is not to vanish for a density of 20 %: as with amounts, it keeps it.
    return Pool(tuple(targets), min(alive, max(left, 1 if share > 0 else 0)))


def _allocated(
    targets: Sequence[Target], allocation: str, shares: Mapping[str, float], whole: bool, rounding: Rounding
) -> list[Pool]:
    """Each layer by itself, with what the allocation leaves it of the whole network's density."""
    if len(set(shares.values())) > 1:
        raise InputError(_ONE_DENSITY.format(allocation))
    share = next(iter(shares.values()), 0.0)
    total = sum(target.total for target in targets)
    if not whole:
        alive = sum(target.alive for target in targets)
        share = (alive - units(share, alive, rounding)) / max(1, total)
    layers = [Layer(target.name, target.shape, target.kind, target.total) for target in targets]
    wanted = allocate(allocation, layers, share, rounding)
    left = {target.name: min(target.alive, wanted[target.name]) for target in targets}
    # What a layer has lost already goes to those that have room, front to back: no more go than asked.
    spare = sum(wanted.values()) - sum(left.values())
    for target in targets:
        more = min(spare, target.alive - left[target.name])
        left[target.name] += more
        spare -= more
    return [Pool((target,), left[target.name]) for target in targets]


def _left_of_groups(target: Target, masks: Mapping[str, Tensor]) -> int:
    import torch

    mask = masks[target.name]
    groups = groups_of_inputs(mask, target.unit, target.kind).reshape(-1)
    alive = torch.bincount(groups, weights=mask.reshape(-1).double())
    return int(alive.clamp(max=target.unit.keep).sum())


def _given(share: float | None, target: Target) -> float:
    if share is None:
        raise InputError(
            f"amount: nothing is given for layer {layer_of(target.name)!r}; add {layer_of(target.name)!r}, "
            f"its kind {kind_of(target.kind)!r}, or 'default'"
        )
    return share


def _one_share(targets: Sequence[Target], shares: Mapping[str, float], method: Method) -> float:
    found = {shares[target.name] for target in targets}
    if len(found) > 1:
        raise InputError(
            f"amount: scope {method.scope!r} ranks all units together and takes one fraction, got "
            f"{', '.join(f'{value:g}' for value in sorted(found))}; use scope 'layer'"
        )
    return found.pop() if found else 0.0
