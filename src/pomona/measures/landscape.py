"""Errors along the straight line between two networks to numbers: how high the barrier between them is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError, unknown

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Crossing:
    """What a path between two networks climbs over, in the unit of the errors (or losses) along it.

    Both numbers are at least 0, the same in both directions, and exactly 0 where all errors are equal.

    Args:
        barrier: Largest error above the line between the errors of the two ends.
        instability: Largest error above the mean of the errors of the two ends; with ends of unequal error it
            is at least half of their difference, also on a path that climbs over nothing.
        at: Where on the path the barrier is, from 0 (first end) to 1; the first of several places.

    Source:
        Frankle et al. 2020, arXiv:1912.05671: the instability. The barrier is the same where both ends have
        one error; the line as reference is that of Entezari et al. 2022, arXiv:2110.06296.
    """

    barrier: float
    instability: float
    at: float


def places(points: int) -> list[float]:
    """Evenly spaced places on a path, both ends included.

    >>> places(5)
    [0.0, 0.25, 0.5, 0.75, 1.0]

    Raises:
        InputError: Fewer than two.
    """
    if points < 2:
        raise InputError(f"a path has two ends, so at least 2 points, got {points}")
    return [place / (points - 1) for place in range(points)]


def crossing(errors: Sequence[float]) -> Crossing | None:
    """The barrier between two networks.

    >>> crossing([0.25, 0.75, 0.5])
    Crossing(barrier=0.375, instability=0.375, at=0.5)

    Args:
        errors: Error or loss at evenly spaced places from one end to the other.

    Returns:
        The barrier; None where an error is not finite.

    Raises:
        InputError: Fewer than two errors.
    """
    found = np.asarray(errors, dtype=np.float64)
    to = np.array(places(len(found)))
    if not np.isfinite(found).all():
        return None
    # Written as differences, so that equal errors give zeros to the bit; with `to` counted from each end,
    # so that both directions do.
    above = to[::-1] * (found - found[0]) + to * (found - found[-1])
    highest = int(np.argmax(above))
    instability = np.max(found) - (found[0] + found[-1]) / 2
    return Crossing(float(above[highest]), float(instability), float(to[highest]))


def between(a: Weights, b: Weights, place: float, held: Collection[str] = ()) -> dict[str, NDArray[Any]]:
    """The network at a place on the straight line between two: (1 - place) a + place b.

    A weight that only one of them keeps goes linearly to zero, so what is kept on the way is the union of
    both masks.

    Args:
        a: Weights by name, any shapes.
        b: Weights of the same names and shapes.
        place: From 0 (``a``) to 1 (``b``); at the ends the weights are theirs to the bit.
        held: Names of what no training moves on a line, such as buffers.

    Returns:
        Weights in the types of ``a``, computed in double precision and rounded once.

    Raises:
        InputError: Names or shapes differ, a held tensor is not the same in both, or the place is not on the
            path.
    """
    if not 0 <= place <= 1:
        raise InputError(f"expected a place on the path, from 0 to 1, got {place}")
    for name in [*a, *b]:
        if name not in a or name not in b:
            raise InputError(unknown("tensor", name, a if name in b else b))
        if np.shape(a[name]) != np.shape(b[name]):
            raise InputError(f"{name}: expected one shape, got {np.shape(a[name])} and {np.shape(b[name])}")
    moved = [name for name in held if not np.array_equal(a[name], b[name])]
    if moved:
        raise InputError(
            f"{moved[0]} is a buffer with other values in the two networks, as the running statistics of "
            "batch norm: what it would hold between them is not on the line between its values"
        )
    if place in (0, 1):
        return dict(b if place else a)
    return {name: a[name] if name in held else _mean(a[name], b[name], place) for name in a}


def _mean(a: NDArray[Any], b: NDArray[Any], place: float) -> NDArray[Any]:
    found = (1 - place) * a.astype(np.float64) + place * b.astype(np.float64)
    return found.astype(a.dtype)
