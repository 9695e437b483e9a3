"""The distance that two masks have by chance alone: the baseline under every mask distance."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, roots_laguerre
from scipy.stats import hypergeom

from pomona.core.errors import InputError, unknown
from pomona.measures.layout import Layout
from pomona.measures.masks import Mask

_BLOCK = re.compile(r"block-([1-9][0-9]*)x([1-9][0-9]*)")
_GROUP = re.compile(r"([1-9][0-9]*):([1-9][0-9]*)")
_NAMES = ("weight", "channel-in", "channel-out", "kernel", "block-RxC", "N:M")

# Outcomes this many standard deviations from the mean have less than 1e-40 of the mass.
_REACH = 14

# More points change nothing in the 14th digit, also for a single group.
_POINTS = 48


def chance_distance(
    shape: Sequence[int],
    kept_a: int,
    kept_b: int,
    granularity_a: str = "weight",
    granularity_b: str = "weight",
    layout: Layout | None = None,
) -> float:
    """The expected Jaccard distance of two independent masks that keep so many weights of a layer.

    Each mask is uniform among those of its granularity that keep its count. The expectation is exact, for
    every size, where it has a closed form:

    - The units of one granularity are made of whole units of the other, of which all have one size: the
      intersection is hypergeometric over the smaller units. So it is for one granularity against itself,
      single weights against anything, and kernels against channels and blocks.
    - The units of one span all inputs and those of the other all outputs, as channels of either side of one
      group do: they always meet in the same number.
    - N:M against N:M of the same M: hypergeometric in every group, short ones at the edge too. The mean over
      the sum of all groups comes from its generating function G: E[1 / (T - X)] is the integral of
      exp(-tT) G(exp t) over t > 0, for the intersection X of masks that keep T weights together.

    For densities p and q of many small units the distance tends to 1 - pq/(p + q - pq).

    Args:
        shape: Shape of the weight.
        kept_a: Weights that the first mask keeps; of whole units where it is of units.
        kept_b: The same for the second.
        granularity_a: ``weight``, ``channel-in``, ``channel-out``, ``kernel``, ``block-4x4`` or ``2:4``.
        granularity_b: The same for the second.
        layout: Where outputs and inputs lie; (out, in, ...) of one group by default.

    Returns:
        A distance in [0, 1]; 0 where both keep nothing.

    Raises:
        InputError: An unknown granularity, a count that does not fit the layer or is not of whole units, or
            two granularities without a closed form (blocks that do not fill the layer, N:M and channels).

    >>> round(chance_distance((100, 100), 5000, 5000), 4)
    0.6667
    """
    layout = layout or Layout()
    size = math.prod(shape)
    for kept in (kept_a, kept_b):
        if not 0 <= kept <= size:
            raise InputError(
                f"expected a kept count from 0 to the {size} weights of shape {tuple(shape)}, got {kept}"
            )
    a, b = (_read(shape, granularity, layout) for granularity in (granularity_a, granularity_b))
    for cut, kept in ((a, kept_a), (b, kept_b)):
        if cut.equal and not cut.groups:
            cut.units(shape, kept)
    if a.groups and b.groups:
        _check_groups(shape, (a, kept_a), (b, kept_b))
        return _grouped_distance(a, b)
    if a.made_of(b):
        return _expected_distance(size // b.size, b.units(shape, kept_a), b.units(shape, kept_b))
    if b.made_of(a):
        return _expected_distance(size // a.size, a.units(shape, kept_a), a.units(shape, kept_b))
    if a.crosses(b) or b.crosses(a):
        common = kept_a * kept_b // size
        union = kept_a + kept_b - common
        return 1 - common / union if union else 0.0
    raise InputError(
        f"granularities {granularity_a!r} and {granularity_b!r} of shape {tuple(shape)}: independent masks "
        f"have no distance in closed form"
    )


def chance_distance_of_all(masks_a: Mapping[str, Mask], masks_b: Mapping[str, Mask]) -> float:
    """The Jaccard distance of independent masks of several layers, taken as one long mask.

    Each layer keeps its counts. A weight is in both masks with the product of their densities, whatever the
    granularities, so the expected intersection and union are exact; the distance is one less their ratio. The
    expected ratio differs from the ratio of expectations by about one part in the number of kept units.

    Args:
        masks_a: By parameter name.
        masks_b: Of the same layers.

    Returns:
        A distance in [0, 1]; 0 where both keep nothing.

    >>> half = np.arange(8) < 4
    >>> round(chance_distance_of_all({"a": half, "b": half}, {"a": half, "b": half}), 4)
    0.6667
    """
    kept = [(int(mask.sum()), int(masks_b[name].sum()), mask.size) for name, mask in masks_a.items()]
    common = sum(a * b / size for a, b, size in kept)
    union = sum(a + b for a, b, _ in kept) - common
    return 1 - common / union if union else 0.0


@dataclass(frozen=True)
class _Cut:
    """How a granularity cuts a layer.

    Args:
        name: As it is written.
        rows: Outputs of a unit.
        columns: Inputs of a unit.
        places: Places of the kernel in a unit.
        equal: Whether all units have this size; at the edge of a layer a block may be cut.
        across: Whether a unit has all inputs of the layer.
        along: Whether it has all outputs.
        groups: Of N:M, (how many groups, their size, what each keeps); empty for anything else.
    """

    name: str
    rows: int = 1
    columns: int = 1
    places: int = 1
    equal: bool = True
    across: bool = False
    along: bool = False
    groups: tuple[tuple[int, int, int], ...] = ()

    @property
    def size(self) -> int:
        return self.rows * self.columns * self.places

    def made_of(self, other: _Cut) -> bool:
        """Whether each of its units is a whole number of the other's, which are of one size."""
        if other.groups or not other.equal:
            return False
        sides = ((self.rows, other.rows), (self.columns, other.columns), (self.places, other.places))
        # What is drawn in groups is a set of weights as any other where the other draws single weights.
        return other.size == 1 or (not self.groups and all(mine % its == 0 for mine, its in sides))

    def crosses(self, other: _Cut) -> bool:
        """Whether any of its units meets any of the other's in as many weights."""
        return self.across and other.along

    def units(self, shape: Sequence[int], kept: int) -> int:
        """How many of its units so many weights are."""
        if kept % self.size:
            word = self.name.partition("-")[0]
            raise InputError(
                f"granularity {self.name!r} of shape {tuple(shape)} keeps whole {word}s of {self.size} "
                f"weights, got {kept} kept weights"
            )
        return kept // self.size


def _read(shape: Sequence[int], granularity: str, layout: Layout) -> _Cut:
    """A granularity of a layer.

    Raises:
        InputError: It is none, or none of this shape.
    """
    if granularity == "weight":
        return _Cut(granularity)
    block, group = _BLOCK.fullmatch(granularity), _GROUP.fullmatch(granularity)
    if granularity not in _NAMES[1:4] and not block and not group:
        raise InputError(unknown("granularity", granularity, _NAMES))
    if len(shape) < 2:
        raise InputError(f"a weight of shape {tuple(shape)} has no {granularity}")
    groups, outputs, inputs, places = layout.sizes(shape)
    if group:
        return _Cut(granularity, groups=_groups(shape, int(group[1]), int(group[2]), layout))
    rows, columns = {"channel-in": (outputs, 1), "channel-out": (1, inputs)}.get(granularity, (1, 1))
    if block:
        rows, columns = min(int(block[1]), outputs), min(int(block[2]), inputs)
    return _Cut(
        granularity,
        rows,
        columns,
        places,
        equal=outputs % rows == 0 and inputs % columns == 0,
        across=groups == 1 and columns == inputs,
        along=groups == 1 and rows == outputs,
    )


def _groups(shape: Sequence[int], keep: int, size: int, layout: Layout) -> tuple[tuple[int, int, int], ...]:
    """The groups of N:M along the inputs: the full ones and those at the end of each line."""
    inputs = shape[layout.inputs]
    lines = math.prod(shape) // inputs
    full, short = divmod(inputs, size)
    return (lines * full, size, min(keep, size)), (lines, short, min(keep, short))


def _check_groups(shape: Sequence[int], *masks: tuple[_Cut, int]) -> None:
    for cut, kept in masks:
        full = sum(count * keep for count, _, keep in cut.groups)
        if kept != full:
            raise InputError(
                f"granularity {cut.name!r} of shape {tuple(shape)} keeps {full} weights, got {kept}"
            )
    if len({cut.groups[0][1] for cut, _ in masks}) > 1:
        names = " and ".join(repr(cut.name) for cut, _ in masks)
        raise InputError(
            f"granularities {names}: independent masks of groups of different sizes have no distance in "
            f"closed form"
        )


def _grouped_distance(a: _Cut, b: _Cut) -> float:
    """Of two masks that keep so many weights of every group of the same size."""
    both = sum(count * keep for cut in (a, b) for count, _, keep in cut.groups)
    if both == 0:
        return 0.0
    kinds = [
        (count, size, keep, other)
        for (count, size, keep), (_, _, other) in zip(a.groups, b.groups, strict=True)
        if count and size
    ]
    rest = both - sum(count * keep * other / size for count, size, keep, other in kinds)
    points, weights = roots_laguerre(_POINTS)
    t = points / rest
    log_mean = np.zeros_like(t)
    for count, size, keep, other in kinds:
        common = np.arange(min(keep, other) + 1)
        mass = hypergeom.pmf(common, size, keep, other)
        # Around the mean, so that millions of groups add up to a number near 0.
        apart = np.expm1(np.outer(t, common - keep * other / size))
        log_mean += count * np.log1p(apart @ mass)
    return float(2 - both / rest * np.sum(weights * np.exp(log_mean)))


def _expected_distance(units: int, a: int, b: int) -> float:
    if a + b == 0:
        return 0.0
    low, high = max(0, a + b - units), min(a, b)
    mean = a * b / units
    spread = math.sqrt(mean * (1 - a / units) * (1 - b / units))
    low = max(low, math.floor(mean - _REACH * spread - _REACH))
    high = min(high, math.ceil(mean + _REACH * spread + _REACH))
    common = np.arange(low, high + 1, dtype=np.float64)
    # The hypergeometric mass up to a factor; dividing by its sum also takes out gammaln's common error.
    log_mass = -(
        gammaln(common + 1)
        + gammaln(a - common + 1)
        + gammaln(b - common + 1)
        + gammaln(units - a - b + common + 1)
    )
    mass = np.exp(log_mass - log_mass.max())
    return float(np.sum(mass * (1 - common / (a + b - common))) / np.sum(mass))
