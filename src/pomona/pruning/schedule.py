"""How density falls from 1 to a target, level by level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pomona.core.errors import InputError, unknown


@dataclass(frozen=True)
class Schedule:
    """A way down.

    Args:
        name: As it is written in a study.
        density: From (target density, share of the way in (0, 1]) to the density there.
        formula: The density at level k of n, for the target d.
        source: Where it comes from.
    """

    name: str
    density: Callable[[float, float], float]
    formula: str
    source: str


SCHEDULES: dict[str, Schedule] = {
    "exponential": Schedule(
        name="exponential",
        density=lambda target, way: float(target**way),
        formula="d^(k/n): every level keeps the same share of what remains",
        source="Han et al. 2015, arXiv:1506.02626; Tanaka et al. 2020, arXiv:2006.05467",
    ),
    "cubic": Schedule(
        name="cubic",
        density=lambda target, way: 1.0 - (1.0 - target) * (1.0 - (1.0 - way) ** 3),
        formula="1 - (1 - d)(1 - (1 - k/n)^3): much at first, little at the end",
        source="Zhu and Gupta 2017, arXiv:1710.01878",
    ),
    "linear": Schedule(
        name="linear",
        density=lambda target, way: 1.0 - (1.0 - target) * way,
        formula="1 - (1 - d) k/n: every level prunes the same number",
        source="the plain comparison for the two others",
    ),
}


def density_at(schedule: str, target: float, way: float) -> float:
    """The density at a share of the way; at 1 it is the target, to the bit.

    Args:
        schedule: One of ``SCHEDULES``.
        target: Density at the end, above 0 for ``exponential``, at most 1.
        way: In [0, 1].

    Raises:
        InputError: An unknown schedule, or a target that it cannot reach.

    >>> density_at("linear", 0.5, 0.5)
    0.75
    """
    if schedule not in SCHEDULES:
        raise InputError(unknown("schedule", schedule, SCHEDULES))
    if not 0 <= target <= 1 or (target == 0 and schedule == "exponential"):
        raise InputError(
            f"schedule {schedule!r}: expected a target density above 0 and up to 1, got {target!r}"
        )
    # To twelve digits: the power of another machine may differ in the last bit, and a key must not.
    return target if way == 1 else float(f"{SCHEDULES[schedule].density(target, way):.12g}")


def densities(schedule: str, target: float, levels: int) -> list[float]:
    """The density after each of so many levels. See ``density_at``.

    >>> densities("linear", 0.5, 2)
    [0.75, 0.5]
    """
    return [density_at(schedule, target, level / levels) for level in range(1, levels + 1)]
