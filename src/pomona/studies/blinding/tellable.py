"""Which codes can be told apart without any outcome: by densities, or by the design."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pomona.studies.blinding.blind import STEP
from pomona.studies.points import Point

Place = tuple[str, ...]
Kept = Mapping[str, tuple[int, int]]


def told_apart(points: Sequence[Point], factors: Iterable[str], kept: Mapping[str, Kept]) -> list[str]:
    """What can be told, a sentence for each blinded factor.

    Args:
        points: Of the study, under codes.
        factors: The blinded ones.
        kept: Kept and all weights by layer, of the states that masks come from.
    """
    return [sentence for factor in factors for sentence in _of_factor(_by_code(points, factor), factor, kept)]


def _of_factor(
    where: Mapping[str, Mapping[Place, Point]], factor: str, kept: Mapping[str, Kept]
) -> Iterator[str]:
    ways: dict[str, Callable[[str, str], bool]] = {
        "The number of arms and levels": lambda a, b: where[a].keys() == where[b].keys(),
        "Densities": lambda a, b: _equal(where[a], where[b], kept),
    }
    found = {name: list(_groups(sorted(where), same)) for name, same in ways.items()}
    for name, groups in found.items():
        if len(groups) > 1:
            parted = "; ".join(" and ".join(group) for group in groups)
            yield f"{name} alone part the codes of {factor}: {parted}."
    if all(len(groups) == 1 for groups in found.values()):
        yield f"Neither densities nor the number of arms part any two codes of {factor} so far."


def _by_code(points: Iterable[Point], factor: str) -> dict[str, dict[Place, Point]]:
    """The points of each code, by what they have in common with those of the others."""
    found: dict[str, dict[Place, Point]] = {}
    for point in points:
        code = point.step if factor == STEP else point.arm.get(factor)
        if code is not None:
            rest = [f"{name} {label}" for name, label in point.arm.items() if name != factor]
            rest += [] if factor == STEP else [point.step]
            found.setdefault(code, {})[(*rest, str(point.replicate), str(point.level))] = point
    return found


def _equal(a: Mapping[Place, Point], b: Mapping[Place, Point], kept: Mapping[str, Kept]) -> bool:
    """Whether two codes keep the same number of weights in every layer wherever both are there."""
    pairs = [(kept.get(a[place].masked.key), kept.get(b[place].masked.key)) for place in a.keys() & b.keys()]
    return all(_counts(one) == _counts(other) for one, other in pairs if one and other)


def _counts(kept: Any) -> dict[str, tuple[int, int]]:
    return {layer: (counts[0], counts[1]) for layer, counts in kept.items()}


def _groups(codes: Sequence[str], same: Callable[[str, str], bool]) -> Iterator[list[str]]:
    """Codes that cannot be told apart, together."""
    left = list(codes)
    while left:
        group = [left.pop(0)]
        for code in group:  # grows while it is read
            group += [other for other in left if same(code, other)]
            left = [other for other in left if other not in group]
        yield sorted(group)
