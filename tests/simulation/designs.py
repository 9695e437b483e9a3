"""Stopping rules and forecasts."""

from __future__ import annotations

import numpy as np
from scipy import stats

from pomona.stats import exact
from pomona.stats.equivalence import tost
from pomona.stats.multiplicity import adjust
from pomona.stats.power import (
    simulated_minimal_effect,
    simulated_power,
    t_minimal_effect,
    t_power,
    t_replicates,
    tost_power,
)
from pomona.studies.design.designs import Design, design
from pomona.studies.design.detect import NAMES
from pomona.studies.expand import expand
from pomona.studies.study import parse_study

from .null import ALPHA, SIZES, rejected
from .page import Rate, Table, rng


def peeking(studies: int) -> Table:
    """Testing after every replicate against one fixed number of them."""
    given = rng(30).normal(size=(studies, 20))
    rates = []
    for test in exact.PAIRED:
        each = np.array([exact.p_values(test, given[:, :n], draws=1999) <= ALPHA for n in range(3, 21)])
        peek = float(each.any(axis=0).mean())
        # About 24 % for t, within 2 points. The exact tests are coarser, so their rate is shown.
        low, high = (0.22, 0.26) if test == "paired-t" else (None, None)
        rates.append(Rate((test, "after every replicate, 3 to 20"), peek, studies, low=low, high=high))
        rates.append(Rate((test, "once, at 20"), float(each[-1].mean()), studies, high=ALPHA))
    return Table(
        "Peeking",
        "Normal differences without an effect: share of studies that claim one at .05 at any look.",
        ("test", "looks"),
        rates,
    )


def power(studies: int) -> Table:
    """Forecast against what other random numbers give; within three points."""
    rates = []
    for n in SIZES:
        effect = t_minimal_effect(n)
        given = rng(31, n).normal(effect, 1, (studies, n))
        for side in ("two-sided", "greater"):
            found = rejected(exact.p_values("paired-t", given, side))
            rates.append(
                _forecast(
                    ("paired-t", side, n, f"{effect:.3f}"),
                    found,
                    t_power(effect, n, alternative=side),
                    studies,
                )
            )
        for test in ("sign-flip", "wilcoxon", "sign"):
            effect = simulated_minimal_effect(test, n, studies=studies) or 2.0
            forecast = simulated_power(test, effect, n, studies=studies)
            found = rejected(exact.p_values(test, rng(32, n).normal(effect, 1, (studies, n))))
            rates.append(_forecast((test, "two-sided", n, f"{effect:.3f}"), found, forecast, studies))
        mean, error = (f(rng(33, n).normal(0, 1, (studies, n)), axis=1) for f in (np.mean, _error))
        inside = (mean + _quantile(n) * error < 1) & (mean - _quantile(n) * error > -1)
        rates.append(
            _forecast(
                ("TOST, margin 1 SD", "no effect", n, "0"), float(inside.mean()), tost_power(n, 1.0), studies
            )
        )
    for wanted in (0.5, 1.0, 1.5):
        n = t_replicates(wanted)
        found = rejected(exact.p_values("paired-t", rng(34, n).normal(wanted, 1, (studies, n))))
        rates.append(
            Rate(("paired-t, n from t_replicates", "two-sided", n, f"{wanted}"), found, studies, low=0.8)
        )
    return Table(
        "Power against its forecast",
        "At the minimal detectable effect in standard deviations (2 where a test cannot reach alpha). Theory is the "
        "forecast; it must be met within three points.",
        ("test", "alternative", "n", "effect"),
        rates,
    )


STUDY = """
study: planned
let:
  data: {d: {name: digits}}
  train: {t: {optimizer: {sgd: {lr: 0.1}}, batch_size: 32, duration: 1ep}}
factors: {method: [l1-unstructured, random-unstructured]}
steps:
  dense: {init: {name: fc, options: {hidden: 12-8}}, on: d, train: t}
  ticket: {from: dense, repeat: 2, prune: {method: $method}, treat: rewind, on: d, train: t}
"""
CLAIM = """
  - claim: One of three.
    contrast: {a: {method: l1-unstructured}, b: {method: random-unstructured}}
    of: {measure: accuracy, match: level, value: 2}
    assume: {sd: 2pp}
"""


def planned(studies: int) -> Table:
    """What `pomona plan` forecasts of a family under Holm, against that family in simulated studies."""
    rates = []
    for number, (test, n, effect) in enumerate(
        [("paired-t", 5, 0.04), ("paired-t", 10, 0.025), ("permutation", 8, 0.035), ("permutation", 10, 0.025),
         ("wilcoxon", 10, 0.025), ("sign", 12, 0.03)]
    ):  # fmt: skip
        found = _designed(f"test: {{{test}: two-sided}}\n    expect: {{effect: {100 * effect:g}pp}}", n)
        given = rng(35, number).normal(0, 0.02, (3, studies, n))
        for name, true, forecast in (
            ("expected", effect, found.power),
            ("minimal", found.minimal_effect, 0.8),
        ):
            # The minimal effect of an exact test is itself simulated, with few studies.
            if name == "minimal" and test != "paired-t":
                continue
            moved = given + np.array([true, 0, 0])[:, None, None]
            p = np.array([exact.p_values(NAMES[test], row) for row in moved])
            rates.append(_forecast((test, name, n, f"{100 * true:.3g} points"), _holm(p), forecast, studies))
    for n, margin in ((8, 0.03), (20, 0.02)):
        found = _designed(f"test: equivalence\n    margin: {100 * margin:g}pp", n)
        given = rng(36, n).normal(0, 0.02, (3, studies, n))
        for name, wide, forecast in (
            ("registered", margin, found.power),
            ("minimal", found.minimal_effect, 0.8),
        ):
            # The first is equal, the others differ by the margin.
            moved = given + np.array([0, wide, wide])[:, None, None]
            p = np.array([[tost(d, margin=wide).p for d in row] for row in moved], dtype=float)
            labels = ("equivalence", f"{name} margin", n, f"{100 * wide:.3g} points")
            rates.append(_forecast(labels, _holm(p), forecast, studies))
    return Table(
        "Designs of a family against simulated studies",
        "Three hypotheses of one family under Holm, of which one is true, with an assumed SD of 2 points: how often "
        "the true one passes. Theory is what the design says; it must be met within three points.",
        ("test", "effect", "n", "size"),
        rates,
    )


def _designed(claim: str, n: int) -> Design:
    """The first of three equal hypotheses, as it is planned."""
    text = f"{STUDY}replicates: {n}\nhypotheses:" + 3 * f"{CLAIM}    {claim}\n"
    study = parse_study(text, "planned.yaml")
    return design(study, expand(study), None)[0]


def _holm(p: np.ndarray) -> float:
    """Share of studies in which the first of three passes. p has shape (3, studies)."""
    order = np.argsort(p, axis=0, kind="stable")
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=0) * [[3], [2], [1]], axis=0)
    corrected = np.minimum(1.0, stepped[np.argmin(order, axis=0), np.arange(p.shape[1])])
    # The library's, which is slow for thousands of studies, says the same.
    for study in range(5):
        assert np.isclose(corrected[study], adjust(p[:, study], "holm")[0])
    return rejected(corrected)


def _forecast(labels: tuple[object, ...], found: float, forecast: float, studies: int) -> Rate:
    return Rate(labels, found, studies, low=max(0.0, forecast - 0.03), high=min(1.0, forecast + 0.03), exact=forecast,
                slack=0.0)  # fmt: skip


def _error(given: np.ndarray, axis: int) -> np.ndarray:
    return given.std(axis=axis, ddof=1) / np.sqrt(given.shape[axis])


def _quantile(n: int) -> float:
    return float(stats.t.ppf(1 - ALPHA, n - 1))
