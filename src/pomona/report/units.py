"""In what effects are written: percentage points, nats, doublings of density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pomona.report.numbers import known, plain
from pomona.studies.hypotheses.amounts import is_share
from pomona.studies.hypotheses.estimand import LINE, MASKS
from pomona.studies.hypotheses.spec import Estimand, Hypothesis

_STABILITY = ("weight-stability", "moving-stability")
_SIGNIFICANT = 3


@dataclass(frozen=True)
class Unit:
    """What the effect of a hypothesis is counted in.

    Args:
        one: What one of it is called.
        many: What several are called; empty where the number has no unit.
        scale: How many of it there are in 1 of the measure: 100 points in a share of 1.
        absolute: What a value of the measure itself, no difference, is counted in.
    """

    one: str
    many: str
    scale: float = 1.0
    absolute: str = ""

    def scaled(self, value: float) -> float:
        """A number in this unit, without what scaling does to its last digits.

        >>> POINTS.scaled(0.14)
        14.0
        """
        return round(self.scale * value, 10)

    def written(self, value: float) -> str:
        """An exact number with its unit, as somebody gave it.

        >>> POINTS.written(0.1), POINTS.written(-0.01)
        ('10 percentage points', '-1 percentage point')
        """
        shown = self.scaled(value)
        return f"{plain(shown)} {self.one if abs(shown) == 1 else self.many}".strip()

    def place(self, value: float) -> str:
        """A value of the measure itself.

        >>> POINTS.place(0.9)
        '90 %'
        """
        return f"{plain(self.scaled(value))} {self.absolute or self.many}".strip()

    def interval(self, estimate: float | None, low: float | None, high: float | None) -> str:
        """An estimate with its interval, to two digits of the interval's half.

        >>> POINTS.interval(0.1213, 0.0981, 0.1442), POINTS.interval(0.1213, None, None)
        ('12.1 [9.8, 14.4] percentage points', '12.1 percentage points')
        """
        if estimate is None or not known(estimate):
            return "–"
        ends = [self.scale * end for end in (low, high) if end is not None and math.isfinite(end)]
        digits = _decimals(self.scale * estimate, ends)
        text = self.number(estimate, digits)
        if low is not None and high is not None and known(low) and known(high):
            text += f" [{self.number(low, digits)}, {self.number(high, digits)}]"
        return f"{text} {self.many}".strip()

    def number(self, value: float, digits: int) -> str:
        """A number in this unit without its name; no minus before a zero."""
        text = f"{self.scale * value:.{digits}f}"
        return text[1:] if text.startswith("-") and not text.strip("-0.") else text


POINTS = Unit("percentage point", "percentage points", 100.0, "%")


def unit_of(hypothesis: Hypothesis) -> Unit:
    """The unit of a hypothesis' effect, expectation and margin.

    >>> of = {"measure": "accuracy", "match": "density", "slope": "all"}
    >>> unit_of(Hypothesis(claim="", contrast={"a": {}}, of=of)).many
    'percentage points per doubling of density'
    """
    of = hypothesis.of
    if of is None:
        named = f"(coefficient of {hypothesis.model.term})" if hypothesis.model is not None else ""
        return Unit(named, named)
    if of.below is not None:
        return Unit("level", "levels") if of.along == "level" else Unit("doubling", "doublings of density")
    unit = unit_of_measure(of)
    if of.slope is None:
        return unit
    per = f"per {of.step_along}"
    return Unit(f"{unit.one} {per}".strip(), f"{unit.many} {per}".strip(), unit.scale)


def unit_of_measure(of: Estimand) -> Unit:
    """The unit of what is measured, before levels become one number."""
    if is_share(of):
        return POINTS
    if of.measure == LINE:
        return Unit("nat", "nats")
    if of.measure == MASKS:
        many = "of the distance of independent masks" if of.corrected else "of Jaccard distance"
        return Unit(many, many)
    named = {"loss": ("nat", "nats"), **dict.fromkeys(_STABILITY, ("SD of the layer", "SDs of the layer"))}
    return Unit(*named.get(of.measure, ("", "")))


def _decimals(estimate: float, ends: Sequence[float]) -> int:
    """How many decimals show two digits of half the interval; three of the estimate where there is none."""
    half = (ends[1] - ends[0]) / 2 if len(ends) == 2 else 0.0
    size, digits = (half, 2) if half > 0 else (abs(estimate), _SIGNIFICANT)
    if size == 0:
        return 1
    return min(max(0, digits - 1 - math.floor(math.log10(float(f"{size:.{digits}g}")))), 8)
