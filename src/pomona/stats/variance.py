"""How much of the variance each source makes: random-effects analysis of a factorial or of groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import chdtri

from pomona.core.errors import InputError
from pomona.stats.clusters import codes
from pomona.stats.draws import Draws
from pomona.stats.given import columns_of, level_of, whole
from pomona.stats.result import number

Floats = NDArray[np.float64]

DRAWS = 4_999


@dataclass(frozen=True)
class Component:
    """The variance that one source makes.

    Args:
        source: Column, pair of columns as ``a:b``, or ``residual``.
        levels: Number of its values; for the residual its degrees of freedom.
        variance: In squares of the outcome's unit; 0 where the estimate was negative.
        low: Lower end of its interval.
        high: Upper end.
        share: Of the sum of all components.
        share_low: Lower end of its interval.
        share_high: Upper end.
    """

    source: str
    levels: int
    variance: float
    low: float
    high: float
    share: float
    share_low: float
    share_high: float

    def __str__(self) -> str:
        return (
            f"{self.source}: {number(self.variance)} [{number(self.low)}, {number(self.high)}], share "
            f"{self.share:.3f} [{self.share_low:.3f}, {self.share_high:.3f}], {self.levels} levels"
        )


@dataclass(frozen=True)
class Components:
    """All sources of variance of an outcome. It prints as a line for each."""

    method: str
    outcome: str
    level: float
    n: int
    components: tuple[Component, ...]
    notes: tuple[str, ...] = ()

    def of(self, source: str) -> Component:
        """The component of a source.

        Raises:
            InputError: There is none.
        """
        for component in self.components:
            if component.source == source:
                return component
        raise InputError(f"no source {source!r}; known: {', '.join(c.source for c in self.components)}")

    def __str__(self) -> str:
        head = (
            f"variance of {self.outcome} by {self.method}, n = {self.n}, intervals at {100 * self.level:g} %"
        )
        return "\n  ".join([head, *map(str, self.components), *self.notes])


def variance_components(
    frame: pd.DataFrame,
    outcome: str,
    sources: Sequence[str],
    *,
    level: float = 0.95,
    seed: int = 0,
    draws: int = DRAWS,
) -> Components:
    """Estimate the variance that each source makes, every source a random effect.

    Sums of squares between the values of each source are set equal to what they are expected to be (ANOVA
    estimates for balanced data, Henderson's method 1 for others). What no source names, interactions among
    it, is the residual; without any source it is all of the variance, where one thing alone varies.

    Intervals: for balanced data from the chi-squared distributions of the sums of squares (generalised
    confidence intervals); for others from data simulated with the estimates, too short for sources of few
    levels.

    Args:
        frame: Tidy: one row for each observation.
        outcome: Column that varies.
        sources: Columns; ``a:b`` is an interaction, or b nested in a.
        level: Level of the intervals.
        seed: Of the draws.
        draws: Number of those.

    Raises:
        InputError: A column is unknown or incomplete, a source has one value only, or the sources leave
            nothing to estimate the residual from (a single row does not either).

    Source:
        Searle, Casella and McCulloch 1992, chapters 4 and 5; Henderson 1953; intervals: Weerahandi 1993 and
        Hannig, Iyer and Patterson 2006.
    """
    columns_of(frame, [outcome], "outcome")
    y = frame[outcome].to_numpy(dtype=np.float64)
    terms = [codes(frame, source) for source in sources]
    named = dict.fromkeys(
        name for source in sources for name in ([source] if source in frame else source.split(":"))
    )
    balanced = _balanced(sources, [codes(frame, name) for name in named], len(y))
    design = _design(sources, terms, len(y), balanced)
    squares = design.lowered @ _squares(y, terms)
    raw = np.asarray(np.linalg.solve(design.expected, squares), dtype=np.float64)
    found = np.maximum(raw, 0)
    if design.balanced:
        simulated = _generalised(design, squares, seed, whole(draws, "draws", 100))
    else:
        simulated = _bootstrapped(design, terms, found, seed, whole(draws, "draws", 100))
    levels = [*(int(code.max()) + 1 for code in terms), round(float(design.df[-1]))]
    components = _components([*sources, "residual"], levels, found, simulated, level_of(level))
    method = "ANOVA estimates" if design.balanced else "Henderson's method 1"
    return Components(method, outcome, level, len(y), components, _notes(design, sources, raw, levels))


@dataclass(frozen=True)
class _Design:
    """Squares are lowered: each source's sum of squares less those of the sources it contains."""

    lowered: Floats
    expected: Floats
    df: Floats
    balanced: bool


def _design(sources: Sequence[str], terms: Sequence[NDArray[np.int64]], n: int, balanced: bool) -> _Design:
    contained = [
        [i for i, other in enumerate(sources) if set(other.split(":")) < set(source.split(":"))]
        for source in sources
    ]
    lowered = np.eye(len(terms) + 1)
    for i in sorted(range(len(terms)), key=lambda i: sources[i].count(":")):
        lowered[i] -= lowered[contained[i]].sum(axis=0)
    lowered[-1] -= lowered[:-1].sum(axis=0)
    plain, df = _expectations(terms, n)
    expected, df = lowered @ plain, lowered @ df
    if df[-1] < 1 - 1e-9 or np.linalg.matrix_rank(expected) < len(expected):
        raise InputError(
            f"sources {', '.join(sources) or '(none)'} leave nothing to estimate the residual from over {n} "
            "rows: leave out an interaction, or replicate"
        )
    return _Design(lowered, expected, df, balanced)


def _expectations(terms: Sequence[NDArray[np.int64]], n: int) -> tuple[Floats, Floats]:
    """What each component adds to the expected squares between each source's values, and in all; and the df.

    The last column is the residual's: the degrees of freedom.
    """
    k = len(terms)
    sizes = [np.bincount(code).astype(np.float64) for code in terms]
    expected = np.empty((k + 1, k + 1))
    for j, column in enumerate(terms):
        common = (sizes[j] ** 2).sum() / n
        for i, row in enumerate(terms):
            joint = np.bincount(row * sizes[j].size + column, minlength=sizes[i].size * sizes[j].size)
            within = (joint.reshape(sizes[i].size, -1).astype(np.float64) ** 2).sum(axis=1)
            expected[i, j] = (within / sizes[i]).sum() - common
        expected[k, j] = n - common
    expected[:, k] = [*(size.size - 1 for size in sizes), n - 1]
    return expected, expected[:, k].copy()


def _squares(y: Floats, terms: Sequence[NDArray[np.int64]]) -> Floats:
    """Sums of squares between the values of each source, and in all. ``y`` may be (draws, rows)."""
    centred = y - y.mean(axis=-1, keepdims=True)
    found = []
    for code in terms:
        member = np.zeros((code.size, int(code.max()) + 1))
        member[np.arange(code.size), code] = 1
        found.append(((centred @ member) ** 2 / member.sum(axis=0)).sum(axis=-1))
    return np.array([*found, (centred**2).sum(axis=-1)])


def _balanced(sources: Sequence[str], columns: Sequence[NDArray[np.int64]], n: int) -> bool:
    """Whether the sums of squares are independent: every combination of values occurs equally often, and what
    two sources share is a source itself, as ``a`` of ``a:b`` and ``a:c``.
    """
    if not columns:
        return True
    named = [frozenset(source.split(":")) for source in sources]
    if any(a & b and a & b not in named for a in named for b in named):
        return False
    cells = np.unique(np.column_stack(columns), axis=0, return_counts=True)[1]
    full = int(np.prod([int(code.max()) + 1 for code in columns]))
    return len(cells) == full and bool((cells == n // full).all())


def _generalised(design: _Design, squares: Floats, seed: int, draws: int) -> Floats:
    """Components for sums of squares divided by chi-squared draws. Shape (draws, components)."""
    uniform = Draws("variance components", seed).uniform(draws, len(squares))
    mean_squares = np.maximum(squares, 0) / chdtri(design.df, uniform)
    return np.asarray(np.linalg.solve(design.expected / design.df[:, None], mean_squares.T).T)


def _bootstrapped(
    design: _Design, terms: Sequence[NDArray[np.int64]], found: Floats, seed: int, draws: int
) -> Floats:
    """Estimates from data simulated with the estimated components. Shape (draws, components)."""
    source, size = Draws("variance components", seed), terms[0].size
    simulated = source.normal(draws, size) * np.sqrt(found[-1])
    for code, variance in zip(terms, found, strict=False):
        simulated += (source.normal(draws, int(code.max()) + 1) * np.sqrt(variance))[:, code]
    return np.asarray(np.linalg.solve(design.expected, design.lowered @ _squares(simulated, terms)).T)


def _components(
    sources: Sequence[str], levels: Sequence[int], found: Floats, simulated: Floats, level: float
) -> tuple[Component, ...]:
    tails = [(1 - level) / 2, (1 + level) / 2]
    drawn = np.maximum(simulated, 0)
    totals = drawn.sum(axis=1, keepdims=True)
    ends = np.quantile(drawn, tails, axis=0)
    shares = np.quantile(drawn / np.where(totals > 0, totals, 1), tails, axis=0)
    total = found.sum() if found.sum() > 0 else 1.0
    return tuple(
        Component(
            source,
            count,
            *map(float, (found[i], ends[0, i], ends[1, i], found[i] / total, shares[0, i], shares[1, i])),
        )
        for i, (source, count) in enumerate(zip(sources, levels, strict=True))
    )


def _notes(design: _Design, sources: Sequence[str], raw: Floats, levels: Sequence[int]) -> tuple[str, ...]:
    negative = [name for name, value in zip([*sources, "residual"], raw, strict=True) if value < 0]
    few = [f"{name} ({count})" for name, count in zip(sources, levels, strict=False) if count < 5]
    notes = [f"estimates below 0 are shown as 0: {', '.join(negative)}"] if negative else []
    if few:
        notes.append(f"few levels, so wide intervals: {', '.join(few)}")
    if not design.balanced:
        notes.append("the design is not balanced: intervals from simulated data, too short for few levels")
    return tuple(notes)
