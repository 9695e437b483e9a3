"""The arms that a report shows: how each is called and drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pomona.studies.points import Point, Population

Place = tuple[str, tuple[str, ...]]

# Okabe and Ito's colours, told apart by colour-blind readers and in print; wine in place of their yellow,
# which is too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")
SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-left",
    "triangle-right",
)
_LONGEST = 44
_MOST_PANELS = 8


@dataclass(frozen=True)
class Arm:
    """One curve of a figure: a step with labels for its factors.

    Args:
        step: Name of the step.
        labels: Label by factor, of the factors that the step reaches.
        name: What figures and tables call it: only what tells it from the others, and not too long.
        full: What ``Results.distances`` calls it: all of its labels.
        colour: Of its curve; arms of one panel differ in it.
        shape: Of its points; the same.
        panel: Title of the panel that it is drawn in; empty where one panel holds all arms.
        short: What the legend of its panel calls it.
    """

    step: str
    labels: Mapping[str, str]
    name: str
    full: str
    colour: str
    shape: str
    panel: str
    short: str

    @property
    def place(self) -> Place:
        """Step and labels, as a key."""
        return place_of(self.step, self.labels)


def place_of(step: str, labels: Mapping[str, str]) -> Place:
    """Step and labels of an arm, as a key."""
    return step, tuple(labels.values())


def shown_arms(population: Population) -> list[Arm]:
    """The arms of a study in its order, less those whose states are all the start of other arms.

    The dense network that every arm is pruned from is level 0 of each of them, and no arm of its own. Of seed
    streams that vary on their own the first value is shown: the rest is spread, no other arm.
    """
    groups: dict[Place, list[Point]] = {}
    first: dict[Place, Place] = {}
    for point in population.points:
        place = place_of(point.step, point.arm)
        plain = {name: label for name, label in point.arm.items() if name not in population.study.spec.vary}
        if first.setdefault(place_of(point.step, plain), place) == place:
            groups.setdefault(place, []).append(point)
    chosen = [group[0] for group in groups.values() if not _starts_others(group, population.points)]
    names = _names(chosen)
    return [
        Arm(point.step, dict(point.arm), name, " ".join(point.arm.values()) or point.step, *style)
        for point, name, style in zip(chosen, names, _styles(chosen, names), strict=True)
    ]


def varying(arms: Iterable[Mapping[str, str]]) -> list[str]:
    """Factors that have more than one label among some arms."""
    labels: dict[str, set[str]] = {}
    for arm in arms:
        for factor, label in arm.items():
            labels.setdefault(factor, set()).add(label)
    return [factor for factor, found in labels.items() if len(found) > 1]


def shorten(names: Sequence[str], longest: int = _LONGEST) -> list[str]:
    """Different names with the middle of long ones left out, and still all different.

    >>> shorten(["a" * 30 + "b" * 30, "short"], 11)
    ['aaaaaa…bbbb', 'short']
    """
    seen: Counter[str] = Counter()
    found = []
    for name in shorten_each(names, longest):
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return found


def shorten_each(names: Sequence[str], longest: int = _LONGEST) -> list[str]:
    """Names with the middle of long ones left out."""
    head, tail = longest - longest // 2, longest // 2 - 1
    return [n if len(n) <= longest else f"{n[:head]}…{n[len(n) - tail :]}" for n in names]


def _starts_others(group: Sequence[Point], points: Sequence[Point]) -> bool:
    step = group[0].step
    elsewhere = {p.state.key for p in points if p.step != step}
    return all(point.level == 0 and point.state.key in elsewhere for point in group)


def _names(points: Sequence[Point]) -> list[str]:
    several_steps = len({point.step for point in points}) > 1
    factors = varying(point.arm for point in points)
    found = []
    for point in points:
        # A step that lacks a factor of the others is told apart by its name.
        labels = ", ".join(label for factor, label in point.arm.items() if factor in factors)
        found.append(": ".join(part for part in (point.step if several_steps else "", labels) if part))
    return shorten([name or point.step for name, point in zip(found, points, strict=True)])


def _styles(points: Sequence[Point], names: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Colour, shape, panel and short name: one colour an arm while there are enough, and panels beyond."""
    most, count = len(PALETTE), len(points)
    if count <= most:
        return [_style(i, "", name) for i, name in enumerate(names)]
    labels = {
        f: list(dict.fromkeys(p.arm.get(f, "") for p in points)) for f in varying(p.arm for p in points)
    }
    # Arms that share the factor of the colours stay comparable across panels.
    for factor in sorted(labels, key=lambda f: len(labels[f]), reverse=True):
        own = [point.arm.get(factor, "") for point in points]
        rests = shorten_each([_rest(point, factor, labels) for point in points])
        unique = len(set(zip(own, rests, strict=True))) == count
        if unique and len(labels[factor]) <= most and len(set(rests)) <= _MOST_PANELS:
            called = dict(zip(labels[factor], shorten(labels[factor]), strict=True))
            indices = [labels[factor].index(label) for label in own]
            return [
                _style(i, rest, called[label] or rest)
                for i, rest, label in zip(indices, rests, own, strict=True)
            ]
    panels = [f"arms {i // most * most + 1} to {min(count, i // most * most + most)}" for i in range(count)]
    return [_style(i % most, panels[i], names[i]) for i in range(count)]


def _style(index: int, panel: str, short: str) -> tuple[str, str, str, str]:
    return PALETTE[index], SHAPES[index], panel, short


def _rest(point: Point, factor: str, varied: Iterable[str]) -> str:
    labels = [f"{name}: {point.arm[name]}" for name in varied if name != factor and name in point.arm]
    return ", ".join(labels) or point.step
