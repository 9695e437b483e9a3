"""Whether standard errors fit data whose rows are not independent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import statsmodels.api as sm

from pomona.stats import regression, wild
from pomona.stats.clusters import Codes

from .page import Rate, Table, rng

_WITHIN = 0.03
_WILD = 399


def contrast(studies: int) -> Table:
    """An arm that is constant within each lineage."""
    rates: list[Rate] = []
    for lineages in (6, 10, 20):
        rates += _contrast(studies, lineages)
    return Table(
        "A contrast between lineages",
        f"{studies} studies. Each lineage has one arm, 15 levels, an effect of its own (SD 1) and errors (SD 1) with "
        f"correlation .7 from level to level. Coverage of the contrast; for the wild bootstrap one less its error rate.",
        ("errors", "lineages"),
        rates,
    )


def _contrast(studies: int, lineages: int) -> Iterator[Rate]:
    draw, levels = rng(40, lineages), 15
    lineage, level = np.repeat(np.arange(lineages), levels), np.tile(np.arange(levels), lineages)
    exog = np.column_stack([np.ones(lineage.size), lineage % 2, level])
    lower = np.linalg.cholesky(0.7 ** np.abs(np.subtract.outer(np.arange(levels), np.arange(levels))))

    def outcome() -> np.ndarray:
        errors = draw.normal(size=(lineages, levels)) @ lower.T
        return (errors + draw.normal(size=(lineages, 1))).ravel()

    methods = {
        "classical": lambda m: regression._usual(m, "classical"),
        "HC3": lambda m: regression._usual(m, "hc3"),
        "HAC": lambda m: regression._hac(m, None),
        "one way, by level": lambda m: regression._clustered(m, [level]),
        "one way, by lineage": lambda m: regression._clustered(m, [lineage]),
        "CR2, by lineage": lambda m: regression._cr2(m, lineage),
    }
    hits = covered(exog, outcome, methods, studies, lineage)
    for name, rate in hits.items():
        if "lineage" in name:
            yield Rate((name, lineages), rate, studies, low=0.95 - _WITHIN, high=0.95 + _WITHIN)
        else:
            yield Rate((name, lineages), rate, studies, high=0.95 - _WITHIN, slack=0)


def covariate(studies: int) -> Table:
    """A covariate that is constant within a class of a data set."""
    rates: list[Rate] = []
    for spread in (0.2, 0.5, 1.0):
        rates += _covariate(studies, spread)
    return Table(
        "A covariate that is constant within a class",
        f"{studies} studies of 10 lineages x 3 data sets x 10 classes: effects of lineages (SD .3), of classes within "
        f"data sets (SD as named) and errors (SD .5). Coverage of the slope of the covariate.",
        ("errors", "SD of classes"),
        rates,
    )


def _covariate(studies: int, spread: float) -> Iterator[Rate]:
    draw = rng(41, int(10 * spread))
    lineage, cell = np.repeat(np.arange(10), 30), np.tile(np.arange(30), 10)
    exog = np.column_stack([np.ones(300), draw.normal(size=30)[cell]])

    def outcome() -> np.ndarray:
        return (draw.normal(0, 0.3, 10)[lineage] + draw.normal(0, spread, 30)[cell] + draw.normal(0, 0.5, 300))  # fmt: skip

    methods = {
        "classical": lambda m: regression._usual(m, "classical"),
        "HAC": lambda m: regression._hac(m, None),
        "one way, by lineage": lambda m: regression._clustered(m, [lineage]),
        "one way, by class": lambda m: regression._clustered(m, [cell]),
        "two ways, lineage x class": lambda m: regression._clustered(m, [lineage, cell]),
    }
    for name, rate in covered(exog, outcome, methods, studies, None).items():
        if name.startswith("two ways"):
            yield Rate((name, spread), rate, studies, low=0.95 - _WITHIN, high=0.95 + _WITHIN)
        elif name == "one way, by class":
            yield Rate((name, spread), rate, studies)
        else:
            yield Rate((name, spread), rate, studies, high=0.95 - _WITHIN, slack=0)


def quantiles(studies: int) -> Table:
    """z against t of clusters less one."""
    rates = []
    for clusters in (5, 10, 20):
        draw, lineage = rng(42, clusters), np.repeat(np.arange(clusters), 20)
        z = t = 0
        for _ in range(studies):
            x = draw.normal(size=clusters)[lineage] * 0.5 + draw.normal(size=lineage.size)
            y = draw.normal(size=clusters)[lineage] * 0.5 + draw.normal(size=lineage.size)
            found = regression._clustered(sm.OLS(y, np.column_stack([np.ones(y.size), x])), [lineage])
            term = regression.terms_of(found, ["Intercept", "x"], 0.95)[1]
            z, t = z + (abs(term.estimate / term.error) > 1.959964), t + (term.p <= 0.05)
        rates.append(Rate(("z, statsmodels' default", clusters), z / studies, studies))
        rates.append(Rate(("t, clusters - 1", clusters), t / studies, studies, high=0.05 + _WITHIN))
    return Table(
        "Clusters with z or with t",
        f"{studies} studies: 20 rows a cluster, covariate and outcome with effects of clusters (SD .5). Type-I error at .05.",
        ("quantile", "clusters"),
        rates,
    )


def covered(exog: np.ndarray, outcome: Callable[[], np.ndarray], methods: dict[str, Callable[..., regression.Fit]],
            studies: int, bootstrapped: Codes | None) -> dict[str, float]:  # fmt: skip
    """Share of studies in which the interval of the second term holds its true value of 0."""
    hits = dict.fromkeys(methods, 0)
    wild_hits = 0
    for study in range(studies):
        y = outcome()
        model = sm.OLS(y, exog)
        for name, method in methods.items():
            term = regression.terms_of(method(model), ["Intercept", "x", "level"][: exog.shape[1]], 0.95)[1]
            hits[name] += term.low <= 0 <= term.high
        if bootstrapped is not None:
            count = int(bootstrapped.max()) + 1
            drawn = wild._weights(wild.kind("auto", count), count, study, _WILD)
            wild_hits += wild._test(exog, y, bootstrapped, 1, drawn)(0.0) > 0.05
    found = {name: count / studies for name, count in hits.items()}
    return found if bootstrapped is None else found | {"wild bootstrap, by lineage": wild_hits / studies}
