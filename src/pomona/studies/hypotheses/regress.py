"""The tested term of a regression over results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pomona.core.errors import InputError
from pomona.stats.result import Result
from pomona.studies.hypotheses.observe import rows_of
from pomona.studies.hypotheses.spec import Alternative, Hypothesis, Regression
from pomona.studies.results import Results

if TYPE_CHECKING:
    import pandas as pd

_FEW = 10


@dataclass(frozen=True)
class Regressed:
    """A regression's tested term.

    Args:
        result: The coefficient with its two-sided interval; None where the model cannot be fitted.
        p: Of the registered direction.
        reverse: Of the opposite one.
        lost: States without an accuracy.
        at_chance: Share of the states that are at chance.
        why: Why there is no result.
    """

    result: Result | None
    p: float | None
    reverse: float | None
    lost: int
    at_chance: float
    why: str


def regressed(
    results: Results, hypothesis: Hypothesis, replicates: Sequence[int] | None = None, pilot: bool = False
) -> Regressed:
    """Fit the model of a hypothesis and read the term that it tests."""
    from pomona.stats.regression import ols

    model = hypothesis.model
    assert model is not None
    frame = rows_of(results, model, replicates, pilot)
    lost, states = int(frame.attrs["lost"]), int(frame.attrs["states"])
    if not len(frame):
        return Regressed(None, None, None, lost, 0.0, "no row has an accuracy yet")
    chance = frame.attrs["at_chance"] / states
    try:
        errors = errors_of(model, frame)
        fitted = ols(frame, model.formula, errors=errors, cluster=model.cluster, level=1 - hypothesis.alpha)
        term = fitted.term(model.term)
    except InputError as error:
        return Regressed(None, None, None, lost, chance, str(error))
    t = term.estimate / term.error if term.error > 0 else None
    result = Result(
        f"{fitted.method}, term {model.term}",
        term.estimate,
        term.low,
        term.high,
        1 - hypothesis.alpha,
        term.p,
        int(frame["replicate"].nunique()),
        t,
        term.df,
        notes=(f"{fitted.n} rows of {frame['replicate'].nunique()} replicates", *fitted.notes),
    )
    p = _directed(term.p, term.estimate, hypothesis.alternative)
    opposite: Alternative = "less" if hypothesis.alternative == "greater" else "greater"
    reverse = None if hypothesis.alternative == "two-sided" else _directed(term.p, term.estimate, opposite)
    return Regressed(result, p, reverse, lost, chance, "")


def errors_of(model: Regression, frame: pd.DataFrame) -> str:
    """The kind of standard errors: what the study says, or what the clusters call for."""
    if model.errors != "auto":
        return model.errors
    if not model.cluster:
        return "hc3"
    if len(model.cluster) > 1:
        return "cluster"
    (way,) = model.cluster
    groups = frame[[name for name in way.split(":") if name in frame.columns]].drop_duplicates()
    return "cr2" if len(groups) < _FEW else "cluster"


def _directed(p: float | None, estimate: float, alternative: Alternative) -> float | None:
    """The p of a direction from the two-sided one of a symmetric distribution."""
    if p is None or alternative == "two-sided":
        return p
    agrees = estimate > 0 if alternative == "greater" else estimate < 0
    return p / 2 if agrees else 1 - p / 2
