"""The tested term of a regression over results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pomona.core.errors import InputError
from pomona.stats.result import Result
from pomona.studies.hypotheses.spec import LINEAGE, Alternative, Hypothesis, Regression
from pomona.studies.hypotheses.tables import Counts, rows_of
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
        lost: What is missing or left out, a line for each reason.
        why: Why there is no result.
        refusal: Why there is no answer, whatever the numbers; empty where there is one.
    """

    result: Result | None
    p: float | None
    reverse: float | None
    lost: tuple[str, ...]
    why: str
    refusal: str


def regressed(
    results: Results, hypothesis: Hypothesis, replicates: Sequence[int] | None = None, pilot: bool = False
) -> Regressed:
    """Fit the model of a hypothesis and read the term that it tests."""
    from pomona.stats.regression import ols

    model = hypothesis.model
    assert model is not None
    frame = rows_of(results, model, replicates, pilot, hypothesis.exclude)
    counts = Counts(**frame.attrs)
    lost, refusal = _lost(model, counts), _refusal(model, counts)
    if not len(frame):
        what = (
            "no lineage has a number in every column yet" if model.columns else "no row has an accuracy yet"
        )
        return Regressed(None, None, None, lost, what, what)
    try:
        errors = errors_of(model, frame)
        fitted = ols(frame, model.formula, errors=errors, cluster=model.cluster, level=1 - hypothesis.alpha)
        term = fitted.term(model.term)
    except InputError as error:
        return Regressed(None, None, None, lost, str(error), refusal or str(error))
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
    return Regressed(result, p, reverse, lost, "", refusal)


def _lost(model: Regression, counts: Counts) -> tuple[str, ...]:
    """What is missing and what a rule leaves out, a line for each reason."""
    what = LINEAGE if model.rows == LINEAGE else "state"
    lines = [f"{_many(n, what)}: {why}" for why, n in counts.why.most_common()]
    if counts.lost > counts.why.total():
        lines.append(f"{_many(counts.lost, what)} without an accuracy")
    return *lines, *(f"{_many(n, what)} left out by the rule {rule}" for rule, n in counts.excluded.items())


def _refusal(model: Regression, counts: Counts) -> str:
    """Why the rows give no answer: most are at chance, or have numbers that are only bounds."""
    what = "lineages" if model.rows == LINEAGE else "states"
    if 2 * counts.at_chance > counts.there:
        return (
            f"{counts.at_chance / counts.there:.0%} of the {what} are at chance: neither equal nor different"
        )
    if 2 * counts.bounds > counts.there:
        return (
            f"{counts.bounds / counts.there:.0%} of the {what} never fall below the value: these are bounds"
        )
    return ""


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


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
