"""The smallest p that the test of a hypothesis can reach, alone and in its family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pomona.core.errors import InputError
from pomona.stats import wild
from pomona.stats.reach import Correction, replicates_to_reach, smallest_corrected_p, smallest_p
from pomona.studies.design.detect import NAMES
from pomona.studies.hypotheses.cells import Cell
from pomona.studies.hypotheses.spec import Hypothesis, Regression

_WEBB = 6  # values that a weight of Webb's may have
_MOST = 1_000


@dataclass(frozen=True)
class Reach:
    """What p a test can reach.

    Args:
        test: What its p comes from: as ``pomona.stats`` names it, ``regression``, ``wild`` or ``max-t``.
        n: Replicates that are tested.
        comparisons: Hypotheses of its family.
        correction: Of their p-values.
        alpha: What its own p has to pass in the worst case: of Holm the first step.
        smallest_p: The smallest p; 0 where nothing bounds it.
        corrected_smallest_p: The same after the correction, where no other claim of the family is true.
        reaches: Whether that is at most the alpha of the hypothesis.
        replicates_to_reach: The fewest replicates that can reach it; None where no number can.
    """

    test: str
    n: int
    comparisons: int
    correction: Correction
    alpha: float
    smallest_p: float
    corrected_smallest_p: float
    reaches: bool
    replicates_to_reach: int | None


def reach(
    hypothesis: Hypothesis, n: int, comparisons: int, correction: Correction, found: Sequence[Cell] = ()
) -> Reach:
    """What p the test of a hypothesis can reach.

    Args:
        hypothesis: As written.
        n: Replicates that are tested.
        comparisons: Hypotheses of its family.
        correction: Of their p-values.
        found: Its cells, of which a wild bootstrap counts its clusters.
    """
    test = _test(hypothesis, correction)
    stepwise = correction in ("holm", "benjamini-hochberg")
    counter = _counter(hypothesis, found, n)
    bound = _Bound(test, hypothesis, comparisons if stepwise else 1, correction, counter)
    alone, corrected = bound.at(n)
    return Reach(
        test,
        n,
        comparisons,
        correction,
        hypothesis.alpha / comparisons if stepwise else hypothesis.alpha,
        alone,
        corrected,
        bound.passes(n),
        bound.fewest(),
    )


def _test(hypothesis: Hypothesis, correction: Correction) -> str:
    """What the p comes from. Under max-T it is joint sign flips, whatever the paired test."""
    if hypothesis.model is not None:
        return "wild" if hypothesis.model.errors == "wild" else "regression"
    if correction == "max-t" and hypothesis.test_name != "equivalence":
        return "max-t"
    return NAMES[hypothesis.test_name]


@dataclass(frozen=True)
class _Bound:
    test: str
    hypothesis: Hypothesis
    factor: int  # that the smallest p of the family is multiplied by
    correction: Correction
    clusters: Callable[[int], int | None]

    @property
    def least(self) -> int:
        """The fewest replicates that give a p at all."""
        return 1 if self.test in ("regression", "wild") else 2

    def at(self, n: int) -> tuple[float, float]:
        """The smallest p with n replicates, alone and corrected."""
        side = self.hypothesis.alternative
        if n < self.least:
            return 1.0, 1.0
        if self.test in ("regression", "equivalence"):
            return 0.0, 0.0
        if self.test == "wild":
            alone = _of_wild(self.clusters(n))
            # The p of a direction is half of the two-sided one.
            alone *= 1.0 if side == "two-sided" else 0.5
            return alone, min(1.0, self.factor * alone)
        alone = smallest_p(self.test, n, side)
        return alone, smallest_corrected_p(self.test, n, self.factor, self.correction, side)

    def passes(self, n: int) -> bool:
        return n >= self.least and self.at(n)[1] <= self.hypothesis.alpha * (1 + 1e-9)

    def fewest(self) -> int | None:
        if self.test in ("regression", "equivalence", "wild"):
            return next((n for n in range(self.least, _MOST) if self.passes(n)), None)
        given = self.hypothesis.alpha, self.factor, self.correction, self.hypothesis.alternative
        try:
            return replicates_to_reach(self.test, *given)
        except InputError:
            return None


def _of_wild(clusters: int | None) -> float:
    """The smallest two-sided p of a wild bootstrap.

    The observed pattern is one of those that are drawn. Patterns of equal weights leave the data as they are:
    two of all signs, and one in 6^(clusters - 1) of Webb's, so that with few clusters they come up again.
    """
    drawn = 1 / (wild.DRAWS + 1)
    if clusters is None:
        return drawn
    if wild.kind("auto", clusters) == "webb":
        return max(drawn, float(_WEBB) ** (1 - max(clusters, 1)))
    return 2.0 / 2**clusters if 2**clusters <= wild.DRAWS else drawn


def _counter(hypothesis: Hypothesis, found: Sequence[Cell], n: int) -> Callable[[int], int | None]:
    """Clusters of a wild bootstrap by the number of replicates; None where only the data tell."""
    model = hypothesis.model
    if model is None or len(model.cluster) != 1 or not found:
        return lambda replicates: None
    try:
        count = len({_cluster(cell, model) for cell in found if cell.points})
    except KeyError:
        return lambda replicates: None
    if {"replicate", "lineage"} & set(model.cluster[0].split(":")):
        return lambda replicates: count * replicates // n
    return lambda replicates: count


def _cluster(cell: Cell, model: Regression) -> tuple[object, ...]:
    point = cell.points[-1]
    known: dict[str, object] = {
        **cell.labels,
        "replicate": cell.replicate,
        "lineage": (point.step, *cell.labels.items(), cell.replicate),
        "step": point.step,
        "level": point.level,
        "dataset": point.data.name if point.data is not None else "",
    }
    return tuple(known[column] for column in model.cluster[0].split(":"))
