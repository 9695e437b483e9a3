"""How many weights each layer keeps when the network is to keep a given share of all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pomona.core.errors import InputError, unknown
from pomona.pruning.counts import Rounding, units
from pomona.pruning.layers import kind_of

# What the last linear layer keeps under a smart ratio, so that the classifier does not collapse; more only
# where the whole network keeps more.
LAST_LINEAR = 0.3


@dataclass(frozen=True)
class Layer:
    """A prunable parameter as an allocation sees it.

    Args:
        name: Of the parameter.
        shape: Of its weight.
        kind: ``conv``, ``linear`` and so on, with the groups of a convolution.
        total: How many units it has.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    total: int


@dataclass(frozen=True)
class Allocation:
    """A way to divide what is kept between layers.

    Args:
        name: As it is written in a study.
        densities: From (layers, total density) to a density for each layer.
        rounding: How a layer's density becomes a count; None takes the one that is asked for.
        formula: The density of layer l of L.
        source: Where it comes from.
    """

    name: str
    densities: Callable[[Sequence[Layer], float], list[float]]
    rounding: Rounding | None
    formula: str
    source: str


def allocate(name: str, layers: Sequence[Layer], density: float, rounding: Rounding) -> dict[str, int]:
    """Units that each layer keeps.

    Args:
        name: One of ``ALLOCATIONS``.
        layers: In network order.
        density: Share of all units together that is kept, in [0, 1].
        rounding: How a layer's density becomes a count, where the allocation has no rule of its own.

    Raises:
        InputError: An unknown allocation, or a density that it cannot give.
    """
    if name not in ALLOCATIONS:
        raise InputError(unknown("allocation", name, ALLOCATIONS))
    chosen = ALLOCATIONS[name]
    found = chosen.densities(layers, density)
    rule = chosen.rounding or rounding
    return {layer.name: units(share, layer.total, rule) for layer, share in zip(layers, found, strict=True)}


def uniform(layers: Sequence[Layer], density: float) -> list[float]:
    """The same density for every layer."""
    return [density] * len(layers)


def erdos_renyi_kernel(layers: Sequence[Layer], density: float) -> list[float]:
    """Density in proportion to (sum of the sides) / (product of the sides), capped at 1.

    What a cap takes away goes to the layers without one, in the same proportion.
    """
    raw = [sum(layer.shape) / math.prod(layer.shape) for layer in layers]
    dense: set[int] = set()
    while True:
        rest = [index for index in range(len(layers)) if index not in dense]
        budget = density * sum(layer.total for layer in layers) - sum(layers[i].total for i in dense)
        weight = sum(raw[i] * layers[i].total for i in rest)
        scale = budget / weight if weight else 0.0
        over = {i for i in rest if scale * raw[i] > 1}
        if not over:
            return [1.0 if i in dense else scale * raw[i] for i in range(len(layers))]
        dense |= over


def _smart(ratio: Callable[[int, int], float]) -> Callable[[Sequence[Layer], float], list[float]]:
    """Densities in proportion to ``ratio(l, L)``, the last linear layer apart.

    What is above 1 is pushed on to the next layer, front to back; what is left at the end goes to the layers
    that have room, front to back, so that the network keeps what it is to keep.
    """

    def densities(layers: Sequence[Layer], density: float) -> list[float]:
        count = len(layers)
        last = next((i for i in reversed(range(count)) if kind_of(layers[i].kind) == "linear"), None)
        fixed = {} if last is None or count == 1 else {last: min(1.0, max(LAST_LINEAR, density))}
        # A whole number of weights, rounded down as everything here: the paper's densities come out exactly.
        whole = units(density, sum(layer.total for layer in layers), "floor")
        budget = whole - sum(layers[i].total * share for i, share in fixed.items())
        if budget < 0:
            raise InputError(
                f"smart ratio: the last linear layer keeps {LAST_LINEAR:.0%} of its weights, which is more "
                f"than the density {density:g} leaves for the whole network"
            )
        rest = [i for i in range(count) if i not in fixed]
        weight = sum(ratio(i + 1, count) * layers[i].total for i in rest)
        found = [fixed.get(i, 0.0) for i in range(count)]
        over = 0.0
        for i in rest:
            wanted = ratio(i + 1, count) * budget / weight * layers[i].total + over
            found[i] = min(1.0, wanted / layers[i].total)
            over = max(0.0, wanted - layers[i].total)
        for i in [*rest, *fixed]:
            more = min(over, (1.0 - found[i]) * layers[i].total)
            found[i] += more / layers[i].total
            over -= more
        return [min(1.0, share) for share in found]

    return densities


_SMART = "Su et al. 2020, arXiv:2009.11094"

ALLOCATIONS: dict[str, Allocation] = {
    "uniform": Allocation("uniform", uniform, None, "d for every layer", "the plain choice"),
    "erk": Allocation(
        name="erk",
        densities=erdos_renyi_kernel,
        rounding=None,
        formula="in proportion to (inputs + outputs + sides of the kernel) / (their product), at most 1",
        source="Evci et al. 2020, arXiv:1911.11134",
    ),
    "smart-ratio": Allocation(
        name="smart-ratio",
        densities=_smart(lambda i, n: (n - i + 1) ** 2 + (n - i + 1)),
        rounding="floor",
        formula="in proportion to (L-l+1)^2 + (L-l+1); the last linear layer keeps 0.3",
        source=f"{_SMART}, for residual networks",
    ),
    "smart-ratio-plain": Allocation(
        name="smart-ratio-plain",
        densities=_smart(lambda i, n: ((n - i + 1) ** 2 + (n - i + 1)) / i**2),
        rounding="floor",
        formula="in proportion to ((L-l+1)^2 + (L-l+1)) / l^2; the last linear layer keeps 0.3",
        source=f"{_SMART}, for plain networks (VGG)",
    ),
    "smart-ratio-linear": Allocation(
        name="smart-ratio-linear",
        densities=_smart(lambda i, n: n - i + 1),
        rounding="floor",
        formula="in proportion to L-l+1; the last linear layer keeps 0.3",
        source=f"{_SMART}, ablation",
    ),
    "smart-ratio-cubic": Allocation(
        name="smart-ratio-cubic",
        densities=_smart(lambda i, n: (n - i + 1) ** 3),
        rounding="floor",
        formula="in proportion to (L-l+1)^3; the last linear layer keeps 0.3",
        source=f"{_SMART}, ablation",
    ),
    "smart-ratio-ascending": Allocation(
        name="smart-ratio-ascending",
        densities=_smart(lambda i, n: i**2 + i),
        rounding="floor",
        formula="in proportion to l^2 + l; the last linear layer keeps 0.3",
        source=f"{_SMART}, ablation",
    ),
    "smart-ratio-uniform": Allocation(
        name="smart-ratio-uniform",
        densities=_smart(lambda i, n: 1.0),
        rounding="floor",
        formula="the same for every layer but the last linear one, which keeps 0.3",
        source=f"{_SMART}, ablation",
    ),
}


def densities_of(masks: Mapping[str, object]) -> dict[str, float]:
    """The density of each mask, to be asked of another prune.

    Args:
        masks: True where kept, by parameter; NumPy arrays or torch tensors.
    """
    return {name: float(mask.sum()) / max(1, math.prod(mask.shape)) for name, mask in masks.items()}  # type: ignore[attr-defined]
