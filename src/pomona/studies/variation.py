"""Sources of variation: how much of the spread of an outcome each seed stream and each nuisance factor makes.

What is drawn (streams, replicates) makes the statistical error, which more draws make smaller. What is chosen
and ought not to matter (a learning rate) makes the systematic error, which they do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pomona.core.errors import InputError
from pomona.stats.power import t_replicates
from pomona.stats.variance import DRAWS, Component, Components, variance_components
from pomona.studies.hypotheses.cells import Cell, cells, pilot_cells
from pomona.studies.hypotheses.spec import Variation
from pomona.studies.hypotheses.values import value_of
from pomona.studies.results import Results
from pomona.studies.roles import REPLICATE, Roles, as_hypothesis, roles_of
from pomona.studies.varied import drawn_streams

if TYPE_CHECKING:
    import pandas as pd

VALUE = "value"
INTERACTIONS = "interactions"
POWER, ALPHA = 0.8, 0.05
Row = tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """One source of variation.

    Args:
        name: A stream, ``replicate``, a systematic factor, or ``interactions`` of these.
        kind: ``random`` or ``systematic``; interactions are random.
        component: Its variance and its share of the whole.
        draws: Independent values that the mean is taken over; of unequal counts the effective number.
    """

    name: str
    kind: str
    component: Component
    draws: float

    @property
    def sd(self) -> float:
        """In the unit of the outcome."""
        return math.sqrt(self.component.variance)


@dataclass(frozen=True)
class Systematic:
    """What the choice of a factor does to the mean.

    Args:
        factor: The factor.
        means: Mean of the outcome by label, over all that is drawn.
    """

    factor: str
    means: Mapping[str, float]

    @property
    def sd(self) -> float | None:
        """Sample SD of the means; None for a single label."""
        return float(np.std(list(self.means.values()), ddof=1)) if len(self.means) > 1 else None

    @property
    def ends(self) -> tuple[str, str]:
        """Labels of the lowest and the highest mean."""
        ordered = sorted(self.means, key=lambda label: self.means[label])
        return ordered[0], ordered[-1]


@dataclass(frozen=True)
class Sources:
    """Where the spread of one outcome comes from.

    Args:
        number: From 1, as in the study.
        variation: What was asked.
        frame: A row for each value: replicate, streams, systematic factors, ``value``.
        mean: Of all values; None where there is none.
        sources: By source; empty where they cannot be told apart.
        error: Statistical error of the mean: square root of the sum of variance / draws over what is drawn.
        spread: SD of a single value when all that is drawn is drawn anew.
        systematic: What each choice does.
        replicates: Replicates of a t test with 80 % power at .05 against ``effect``.
        followers: Streams that follow the replicate: they neither vary on their own nor are held.
        lost: What is missing and why, one line each.
        notes: What to know about the numbers.
    """

    number: int
    variation: Variation
    frame: pd.DataFrame
    mean: float | None
    sources: tuple[Source, ...]
    error: float | None
    spread: float | None
    systematic: tuple[Systematic, ...]
    replicates: int | None
    followers: tuple[str, ...]
    lost: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def systematic_error(self) -> float | None:
        """The SDs of all choices in quadrature: as if the choices had nothing to do with one another."""
        found = [one.sd for one in self.systematic if one.sd is not None]
        return math.sqrt(sum(sd**2 for sd in found)) if found else None

    @property
    def total(self) -> float | None:
        """SD of a single value when all is drawn anew and chosen anew."""
        if not self.sources:
            return None
        return math.sqrt(sum(source.component.variance for source in self.sources))


def sources_of_variation(results: Results) -> list[Sources]:
    """The sources of every variation that a study asks for, from what a store holds."""
    spec = results.study.spec
    return [_sources(results, number, one) for number, one in enumerate(spec.variation, 1)]


def _sources(results: Results, number: int, variation: Variation) -> Sources:
    roles = roles_of(variation, results.study.spec)
    found = _cells(results, variation, roles)
    frame, lost = _outcomes(results, found, variation, roles)
    sources, notes = decompose(frame, roles)
    drawn = [source for source in sources if source.kind == "random"]
    spread = math.sqrt(sum(source.component.variance for source in drawn)) if drawn else None
    error = math.sqrt(sum(source.component.variance / source.draws for source in drawn)) if drawn else None
    replicates, why = _replicates(variation.effect, spread)
    followers = _followers(results, found)
    return Sources(
        number,
        variation,
        frame,
        float(frame[VALUE].mean()) if len(frame) else None,
        sources,
        error,
        spread,
        tuple(_marginal(frame, factor, roles) for factor in roles.systematic),
        replicates,
        followers,
        tuple(lost),
        (*notes, *_constant(results, followers, variation), *why),
    )


def _cells(results: Results, variation: Variation, roles: Roles) -> list[Cell]:
    """The lineages of both arms, with those of the pilot, which is in no test but spreads as any other."""
    asked, population = as_hypothesis(variation), results.population
    found = [*pilot_cells(population, asked), *cells(population, asked)]
    only = str(variation.fix[REPLICATE]) if REPLICATE in variation.fix else None
    return [c for c in found if c.side in ("a", "b") and only in (None, str(c.replicate))]


def _outcomes(
    results: Results, found: Sequence[Cell], variation: Variation, roles: Roles
) -> tuple[pd.DataFrame, list[str]]:
    """A row for each combination of what is drawn and chosen; averaged over the rest; b subtracted."""
    import pandas as pd

    names = [*roles.random, *roles.systematic]
    values: dict[Row, dict[str, list[float]]] = {}
    lost: dict[Row, str] = {}
    for cell in found:
        place = tuple(_label(cell, name) for name in names)
        value, why = value_of(results, cell.points, variation.of, cell.probes)
        if value is None:
            lost.setdefault(place, why)
        else:
            values.setdefault(place, {}).setdefault(cell.side, []).append(value)
    sides = ("a",) if variation.b is None else ("a", "b")
    rows = []
    for place, by_side in values.items():
        if place not in lost and all(side in by_side for side in sides):
            means = [float(np.mean(by_side[side])) for side in sides]
            rows.append((*place, means[0] - sum(means[1:])))
        else:
            lost.setdefault(place, "the other arm has no such combination")
    told = [f"{_spoken(names, place)}: {why}" for place, why in lost.items()]
    return pd.DataFrame(rows, columns=[*names, VALUE]), told


def _label(cell: Cell, name: str) -> str:
    return str(cell.replicate) if name == REPLICATE else cell.labels.get(name, "")


def _spoken(names: Sequence[str], place: Row) -> str:
    return ", ".join(f"{name} {label}" for name, label in zip(names, place, strict=True)) or "the outcome"


def decompose(
    frame: pd.DataFrame, roles: Roles, draws: int = DRAWS
) -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """Variance components of what is drawn and what is chosen, from one row a combination.

    A stream has other seeds in every replicate, so it lies within the replicate: the variance of a replicate
    itself is that of the streams that do not vary on their own. Choices are the same in all replicates. A
    source with a value of its own in each row is what the others leave; where there is none, that is the
    interactions, for given its seeds a training is exact.

    Args:
        frame: A row for each combination: a column for each role, and ``value``.
        roles: What is drawn and what is chosen.
        draws: Behind the intervals.

    Returns:
        The sources, in the order of the roles, and notes; none where they cannot be told apart.
    """
    varying = [name for name in (*roles.random, *roles.systematic) if frame[name].nunique() > 1]
    within = REPLICATE in varying
    columns = {
        name: f"{REPLICATE}:{name}" if within and name in roles.random and name != REPLICATE else name
        for name in varying
    }
    single = [name for name, column in columns.items() if not frame.duplicated(column.split(":")).any()]
    if any(name in roles.systematic for name in single):
        return (), (f"one value for each {' and '.join(single)}: chance cannot be told from the choice",)
    try:
        own = [column for name, column in columns.items() if name not in single]
        found = variance_components(frame, VALUE, own, draws=draws)
    except InputError as error:
        return (), (str(error),)
    rest = " and ".join(single) or INTERACTIONS
    made = [_source(name, found, columns[name], frame, roles) for name in varying if name not in single]
    made.append(Source(rest, "random", found.components[-1], float(len(frame))))
    return tuple(made), _notes(found, {**{c: n for n, c in columns.items()}, "residual": rest})


def _source(name: str, found: Components, column: str, frame: pd.DataFrame, roles: Roles) -> Source:
    kind = "systematic" if name in roles.systematic else "random"
    shares = frame.groupby(column.split(":"), sort=False).size() / len(frame)
    return Source(name, kind, found.of(column), float(1 / (shares**2).sum()))


def _notes(found: Components, names: Mapping[str, str]) -> tuple[str, ...]:
    """Notes of the components, with the sources called as here."""
    told = []
    for note in found.notes:
        for column in sorted(names, key=len, reverse=True):
            note = note.replace(column, names[column])
        told.append(note)
    return tuple(told)


def _marginal(frame: pd.DataFrame, factor: str, roles: Roles) -> Systematic:
    """Means by label over the rows that have all labels: what is lost with one label would look like it."""
    rest = [name for name in (*roles.random, *roles.systematic) if name != factor]
    labels = frame[factor].nunique()
    whole = frame
    if rest and len(frame):
        whole = frame[frame.groupby(rest)[factor].transform("nunique") == labels]
    means = whole.groupby(factor, sort=False)[VALUE].mean()
    return Systematic(factor, {str(label): float(mean) for label, mean in means.items()})


def _replicates(effect: float | None, spread: float | None) -> tuple[int | None, tuple[str, ...]]:
    """How many replicates would show the effect, or why that cannot be said."""
    if effect is None or spread is None:
        return None, ()
    if spread == 0:
        return None, ("nothing varies, so any number of replicates shows the effect",)
    try:
        return t_replicates(effect / spread, power=POWER, alpha=ALPHA), ()
    except InputError as error:
        return None, (str(error),)


def _followers(results: Results, found: Sequence[Cell]) -> tuple[str, ...]:
    """Streams that the outcome draws from and that follow the replicate: neither varied nor held."""
    spec, graph = results.study.spec, results.population.graph
    keys = dict.fromkeys(point.state.key for cell in found for point in cell.points)
    lines = {state.key: state for key in keys for state in graph.ancestors(key)}
    return tuple(sorted(drawn_streams(lines.values()) - {*spec.vary, *spec.hold}))


def _constant(results: Results, followers: Sequence[str], variation: Variation) -> tuple[str, ...]:
    """What the numbers leave out: streams that are the same throughout."""
    spec = results.study.spec
    roles = roles_of(variation, spec)
    settled = {*roles.random, *roles.average, *variation.a, *(variation.b or {})}
    same = [*spec.hold, *(stream for stream in spec.vary if stream not in settled)]
    same += [] if REPLICATE in settled else followers
    return (f"the same throughout, so not in these numbers: {', '.join(same)}",) if same else ()
