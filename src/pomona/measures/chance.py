"""The distance that two masks have by chance alone: the baseline under every mask distance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln

from pomona.core.errors import InputError, unknown

# The dimension of a weight (out, in, ...) whose entries a granularity removes.
_AXES = {"weight": None, "channel-in": 1, "channel-out": 0}

# Outcomes this many standard deviations from the mean have less than 1e-40 of the mass.
_REACH = 14


def chance_distance(
    shape: Sequence[int],
    kept_a: int,
    kept_b: int,
    granularity_a: str = "weight",
    granularity_b: str = "weight",
) -> float:
    """The expected Jaccard distance of two independent masks that keep so many weights of a layer.

    Each mask is uniform among those of its granularity that keep its count. If either is of single
    weights, the intersection is hypergeometric (weights, kept_a, kept_b); if both are of the same kind of
    channel it is so over the channels; an input and an output mask always meet in the same number. The
    expectation is summed over the outcomes, for every size (only those beyond 14 standard deviations are
    left out), so no large-size formula is needed; it tends to 1 - pq/(p + q - pq) for densities p and q.

    Args:
        shape: Shape of the weight, (out, in, ...).
        kept_a: Weights that the first mask keeps; whole channels where it is of channels.
        kept_b: The same for the second.
        granularity_a: ``weight``, ``channel-in`` or ``channel-out``.
        granularity_b: The same for the second.

    Returns:
        A distance in [0, 1]; 0 where both keep nothing.

    Raises:
        InputError: An unknown granularity, a count that does not fit the layer or is not of whole channels.

    >>> round(chance_distance((100, 100), 5000, 5000), 4)
    0.6667
    """
    a = _units(shape, kept_a, granularity_a)
    b = _units(shape, kept_b, granularity_b)
    size = math.prod(shape)
    if "weight" in (granularity_a, granularity_b):
        return _expected_distance(size, kept_a, kept_b)
    if granularity_a == granularity_b:
        channels = shape[_axis(granularity_a)]
        return _expected_distance(channels, a, b)
    common = (a * kept_b) // shape[_axis(granularity_a)]
    union = kept_a + kept_b - common
    return 1 - common / union if union else 0.0


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


def _axis(granularity: str) -> int:
    axis = _AXES[granularity]
    assert axis is not None
    return axis


def _units(shape: Sequence[int], kept: int, granularity: str) -> int:
    if granularity not in _AXES:
        raise InputError(unknown("granularity", granularity, _AXES))
    size = math.prod(shape)
    if not 0 <= kept <= size:
        raise InputError(
            f"expected a kept count from 0 to the {size} weights of shape {tuple(shape)}, got {kept}"
        )
    axis = _AXES[granularity]
    if axis is None:
        return kept
    if axis >= len(shape):
        raise InputError(f"a weight of shape {tuple(shape)} has no {granularity}")
    channel = size // shape[axis]
    if kept % channel:
        raise InputError(
            f"granularity {granularity!r} of shape {tuple(shape)} keeps whole channels of {channel} weights, "
            f"got {kept} kept weights"
        )
    return kept // channel
