"""Ordinary least squares by formula, with standard errors for data that are not independent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from pomona.core.errors import InputError, unknown
from pomona.stats import clusters, wild
from pomona.stats.formula import model_of
from pomona.stats.given import columns_of, level_of, one_of, whole
from pomona.stats.result import defined, number, p_text

Floats = NDArray[np.float64]

ERRORS = ("classical", "hc3", "hac", "cluster", "cr2", "wild")
FEW_CLUSTERS = 10


@dataclass(frozen=True)
class Term:
    """One coefficient.

    Args:
        name: As the formula makes it.
        estimate: The coefficient, in the unit of the outcome per unit of the term.
        error: Its standard error.
        low: Lower end of its interval; infinite where nothing bounds it.
        high: Upper end.
        p: Two-sided p of "it is 0"; None where it was not tested.
        df: Degrees of freedom of its t.
    """

    name: str
    estimate: float
    error: float
    low: float
    high: float
    p: float | None
    df: float | None

    def __str__(self) -> str:
        p = "" if self.p is None else f", p {p_text(self.p)}"
        df = "" if self.df is None else f", df {self.df:.4g}"
        return f"{self.name}: {number(self.estimate)} [{number(self.low)}, {number(self.high)}]{p}{df}"


@dataclass(frozen=True)
class Regression:
    """A fitted model. It prints as a line for each term.

    Args:
        method: Model and kind of standard errors in words.
        formula: As given.
        level: Level of the intervals.
        n: Rows.
        terms: In the order of the formula.
        clusters: Number of clusters of each way.
        variances: Components of variance of a mixed model, with the residual.
        notes: Warnings.
    """

    method: str
    formula: str
    level: float
    n: int
    terms: tuple[Term, ...]
    clusters: Mapping[str, int]
    variances: Mapping[str, float]
    notes: tuple[str, ...] = ()

    def term(self, name: str) -> Term:
        """A term by name.

        Raises:
            InputError: There is none (the nearest is named).
        """
        for term in self.terms:
            if term.name == name:
                return term
        raise InputError(unknown("term", name, [term.name for term in self.terms]))

    def __str__(self) -> str:
        ways = "".join(f", {count} {name}" for name, count in self.clusters.items())
        head = f"{self.formula} by {self.method}, n = {self.n}{ways}, intervals at {100 * self.level:g} %"
        return "\n  ".join([head, *map(str, self.terms), *self.notes])


def ols(
    frame: pd.DataFrame,
    formula: str,
    *,
    errors: str = "hc3",
    cluster: str | Sequence[str] = (),
    lags: int | None = None,
    order: str | None = None,
    level: float = 0.95,
    seed: int = 0,
    draws: int = wild.DRAWS,
    weights: str = "auto",
) -> Regression:
    """Least squares with the standard errors that the design calls for.

    Rows of one replicate are not independent, for its arms share seeds and begin as one network: cluster by
    replicate; by lineage only where each replicate has one arm. A covariate that is constant within a class
    of a data set needs clusters by that as well: ``cluster=["replicate", "dataset:class"]``.

    Args:
        frame: Tidy: one row for each observation.
        formula: As in ``accuracy ~ log(density) * method``. It sees the columns and ``formula.FUNCTIONS``.
        errors: ``classical``; ``hc3`` (unequal variances); ``hac`` (rows in order of time); ``cluster`` (one
            or two ways, t with the smaller number of clusters - 1); ``cr2`` (one way, few clusters); ``wild``
            (one way, few clusters; bootstrap with the null imposed).
        cluster: Columns; ``a:b`` is the pair of two columns.
        lags: Of ``hac``; 4 (n / 100)^(2/9) if not given.
        order: Column by which ``hac`` orders the rows; as they stand if not given.
        level: Level of the intervals.
        seed: Of the wild bootstrap.
        draws: Of the wild bootstrap.
        weights: Of the wild bootstrap: ``webb``, ``rademacher``, or ``auto``: Webb's for up to 12 clusters.

    Raises:
        InputError: A column is unknown or has missing values, the formula cannot be read, terms are
            collinear, or clusters and kind of errors do not fit.

    Source:
        ``statsmodels`` OLS; MacKinnon and White 1985 (HC3); Newey and West 1987 (HAC); Liang and Zeger 1986
        and Cameron, Gelbach and Miller 2011 (one and two ways); Bell and McCaffrey 2002 (CR2); Cameron,
        Gelbach and Miller 2008 (wild bootstrap).
    """
    one_of(errors, "kind of standard errors", ERRORS)
    ways = [cluster] if isinstance(cluster, str) else list(cluster)
    _fitting(errors, ways)
    if order is not None:
        columns_of(frame, [order])
        frame = frame.sort_values(order, kind="stable")
    codes = [clusters.codes(frame, way) for way in ways]
    model = model_of(smf.ols, frame, formula)
    sizes = {way: int(code.max()) + 1 for way, code in zip(ways, codes, strict=True)}
    build: Callable[[], Fit] = {
        "cluster": lambda: _clustered(model, codes),
        "cr2": lambda: _cr2(model, codes[0]),
        "wild": lambda: _clustered(model, codes),
        "hac": lambda: _hac(model, lags),
    }.get(errors, lambda: _usual(model, errors))
    fit = build()
    terms = terms_of(fit, list(model.exog_names), level_of(level))
    if errors == "wild":
        terms = wild.retested(model.exog, model.endog, codes[0], terms, level, seed, draws, weights)
        fit = fit.called(f"OLS, wild cluster bootstrap ({wild.kind(weights, max(sizes.values()))} weights)")
    return Regression(
        fit.method,
        formula,
        level,
        int(model.exog.shape[0]),
        terms,
        sizes,
        {},
        fit.notes + _few(errors, sizes),
    )


@dataclass(frozen=True)
class Fit:
    """Coefficients, their standard errors and degrees of freedom, before they are terms."""

    method: str
    estimates: Floats
    errors: Floats
    df: Floats
    notes: tuple[str, ...] = ()

    def called(self, method: str) -> Fit:
        """The same by another name."""
        return Fit(method, self.estimates, self.errors, self.df, self.notes)


def _usual(model: Any, errors: str) -> Fit:
    found = model.fit() if errors == "classical" else model.fit(cov_type="HC3", use_t=True)
    return _fit(f"OLS, {errors if errors == 'classical' else 'HC3'} errors", found, found.df_resid)


def _hac(model: Any, lags: int | None) -> Fit:
    n = model.exog.shape[0]
    most = whole(math.floor(4 * (n / 100) ** (2 / 9)) if lags is None else lags, "lags", 0)
    found = model.fit(cov_type="HAC", cov_kwds={"maxlags": most, "use_correction": True}, use_t=True)
    return _fit(f"OLS, HAC errors over {most} lags", found, found.df_resid)


def _clustered(model: Any, codes: Sequence[NDArray[np.int64]]) -> Fit:
    groups = codes[0] if len(codes) == 1 else np.column_stack(codes)
    with np.errstate(invalid="ignore"):
        found = model.fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
        fewest = min(int(code.max()) + 1 for code in codes)
        ways = "one way" if len(codes) == 1 else "two ways"
        fit = _fit(f"OLS, errors clustered {ways}, t with {fewest - 1} df", found, fewest - 1)
    if len(codes) == 1:
        return fit
    # A two-way estimate may be below that of a single way, even below 0: then the larger single way stands.
    single = np.max([_clustered(model, [code]).errors for code in codes], axis=0)
    lower = ~(fit.errors >= single)
    notes = ("where two ways give a smaller error than one way alone, the larger single one stands",)
    return Fit(
        fit.method, fit.estimates, np.where(lower, single, fit.errors), fit.df, notes * bool(lower.any())
    )


def _cr2(model: Any, codes: NDArray[np.int64]) -> Fit:
    found = model.fit()
    errors, df = clusters.cr2(model.exog, np.asarray(found.resid), codes)
    return Fit("OLS, CR2 errors with Satterthwaite df", np.asarray(found.params), errors, df)


def _fit(method: str, found: Any, df: float) -> Fit:
    estimates = np.asarray(found.params, dtype=np.float64)
    return Fit(method, estimates, np.sqrt(np.diag(found.cov_params())), np.full(estimates.size, float(df)))


def terms_of(fit: Fit, names: Sequence[str], level: float) -> tuple[Term, ...]:
    """Coefficients as terms, with t intervals and two-sided p."""
    half = stdtrit(fit.df, (1 + level) / 2) * fit.errors
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(fit.df, -np.abs(fit.estimates / fit.errors))
    ends = fit.estimates - half, fit.estimates + half
    rows = zip(names, fit.estimates, fit.errors, *ends, p, fit.df, strict=True)
    return tuple(
        Term(str(name), float(b), float(e), float(low), float(high), defined(float(chance)), float(freedom))
        for name, b, e, low, high, chance, freedom in rows
    )


def _fitting(errors: str, ways: Sequence[str]) -> None:
    most = {"cluster": 2, "cr2": 1, "wild": 1}.get(errors, 0)
    if len(ways) > most or (most and not ways):
        wanted = {0: "no cluster", 1: "one cluster column", 2: "one or two cluster columns"}[most]
        raise InputError(f"errors {errors!r} take {wanted}, got {list(ways)}")


def _few(errors: str, sizes: Mapping[str, int]) -> tuple[str, ...]:
    few = [f"{count} {way}" for way, count in sizes.items() if count < FEW_CLUSTERS]
    if errors != "cluster" or not few:
        return ()
    return (f"few clusters ({', '.join(few)}): compare errors='cr2' or 'wild'",)
