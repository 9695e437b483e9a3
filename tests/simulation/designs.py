"""Stopping rules and forecasts."""

from __future__ import annotations

import numpy as np
from scipy import stats

from pomona.stats import exact
from pomona.stats.power import (
    simulated_minimal_effect,
    simulated_power,
    t_minimal_effect,
    t_power,
    t_replicates,
    tost_power,
)

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


def _forecast(labels: tuple[object, ...], found: float, forecast: float, studies: int) -> Rate:
    return Rate(labels, found, studies, low=max(0.0, forecast - 0.03), high=min(1.0, forecast + 0.03), exact=forecast,
                slack=0.0)  # fmt: skip


def _error(given: np.ndarray, axis: int) -> np.ndarray:
    return given.std(axis=axis, ddof=1) / np.sqrt(given.shape[axis])


def _quantile(n: int) -> float:
    return float(stats.t.ppf(1 - ALPHA, n - 1))
