"""How often a test rejects where nothing is to be found."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy import stats

from pomona.stats import exact
from pomona.stats.effects import superiority_unpaired
from pomona.stats.equivalence import tost
from pomona.stats.examples import cochrans_q, mcnemar
from pomona.stats.mixed import mixed
from pomona.stats.multiplicity import adjust, max_t
from pomona.stats.reach import smallest_p
from pomona.stats.trends import trend
from pomona.stats.unpaired import permutation_p, welch

from .page import Rate, Table, rng

SIZES = (3, 5, 6, 10, 20)
ALPHA = 0.05

Shape = Callable[[Generator, tuple[int, int]], np.ndarray]
SHAPES: dict[str, Shape] = {
    "normal": lambda draw, size: draw.normal(size=size),
    "heavy tails (t, 3 df)": lambda draw, size: draw.standard_t(3, size=size),
    "coarse (ties, zeros)": lambda draw, size: np.round(draw.normal(size=size)),
    "skewed, mean 0": lambda draw, size: draw.exponential(size=size) - 1,
    "skewed, median 0": lambda draw, size: draw.exponential(size=size) - np.log(2),
}
# Shapes for which a test is right. The sign test needs a median of 0 and nothing else.
ASSUMES = {
    "paired-t": {"normal"},
    "sign-flip": {"normal", "heavy tails (t, 3 df)", "coarse (ties, zeros)"},
    "wilcoxon": {"normal", "heavy tails (t, 3 df)", "coarse (ties, zeros)"},
    "sign": {"normal", "heavy tails (t, 3 df)", "coarse (ties, zeros)", "skewed, median 0"},
}


def rejected(p: np.ndarray) -> float:
    """Share of p at most alpha; where there is no p nothing is rejected."""
    return float((np.nan_to_num(p, nan=1.0) <= ALPHA * (1 + 1e-9)).mean())


def paired_tests(studies: int, sizes: tuple[int, ...] = SIZES) -> Table:
    """Every paired test on differences around 0."""
    return Table(
        "Type-I error of the paired tests",
        "Independent differences around 0, alpha .05. Where a test assumes the shape it must reject at most 5 %; "
        "where it does not, the rate is for comparison. Theory: for t on normal data .05, for exact tests the "
        "largest attainable level (of the sign test and of untied ranks and sums).",
        ("test", "shape", "alternative", "n"),
        list(_paired(studies, sizes)),
    )


def _paired(studies: int, sizes: tuple[int, ...]) -> Iterator[Rate]:
    for k, (shape, made) in enumerate(SHAPES.items()):
        for n in sizes:
            given = made(rng(1, k, n), (studies, n))
            for test in exact.PAIRED:
                for side in ("two-sided", "greater"):
                    rate = rejected(exact.p_values(test, given, side))
                    high = ALPHA if shape in ASSUMES[test] else None
                    theory = _attainable(test, n, side) if shape == "normal" else None
                    yield Rate((test, shape, side, n), rate, studies, high=high, exact=theory)


def _attainable(test: str, n: int, side: str) -> float:
    """The level that a test has when its nominal level is alpha, for differences without ties."""
    sides = 2 if side == "two-sided" else 1
    if test == "paired-t":
        return ALPHA
    if test == "sign-flip":
        return sides * np.floor(ALPHA / sides * 2**n + 1e-9) / 2**n
    ranks = tuple(range(1, n + 1))
    below = exact.rank_sums(ranks) if test == "wilcoxon" else stats.binom.cdf(np.arange(n + 1), n, 0.5)
    reached = below[below <= ALPHA / sides + 1e-12]
    return float(sides * reached[-1]) if reached.size else 0.0


def unpaired_tests(studies: int, sizes: tuple[int, ...] = SIZES) -> Table:
    """Tests of two arms that are not paired."""
    rates = []
    for n in sizes:
        a, b = rng(2, n).normal(size=(2, studies, n))
        rates.append(
            Rate(("permutation", "equal", n), rejected(permutation_p(a, b, draws=1999)), studies, high=ALPHA)
        )
        p = np.array([welch(x, y).p for x, y in zip(a, b, strict=True)])
        rates.append(Rate(("welch", "equal", n), rejected(p), studies, high=ALPHA))
        p = np.array([welch(x, 4 * y).p for x, y in zip(a, b, strict=True)])
        rates.append(Rate(("welch", "1 : 4", n), rejected(p), studies, high=ALPHA))
        if superiority_unpaired(a[0], b[0]).p is not None:  # it has a p from 20 replicates on
            p = np.array([superiority_unpaired(x, y).p for x, y in zip(a, b, strict=True)], dtype=float)
            rates.append(Rate(("Brunner-Munzel", "equal", n), rejected(p), studies, high=ALPHA))
    return Table(
        "Type-I error of the unpaired tests",
        "Two arms of n normal values each, with equal or unequal standard deviations. Welch's t and Brunner and "
        "Munzel's are approximations; permutations assume equal distributions.",
        ("test", "standard deviations", "n an arm"),
        rates,
    )


def families(studies: int, sizes: tuple[int, ...] = SIZES) -> Table:
    """Any false claim among five."""
    rates = []
    for n in sizes:
        draw = rng(3, n)
        given = np.sqrt(0.5) * (draw.normal(size=(studies, n, 1)) + draw.normal(size=(studies, n, 5)))
        flips = exact.p_values("sign-flip", given.transpose(0, 2, 1).reshape(-1, n)).reshape(-1, 5)
        t = exact.p_values("paired-t", given.transpose(0, 2, 1).reshape(-1, n)).reshape(-1, 5)
        # Holm's first step decides whether there is any claim; the table of the first study checks it.
        assert (adjust(t[0], "holm").min() <= ALPHA) == (5 * t[0].min() <= ALPHA)
        rates += [
            Rate(("max-T", n), rejected(np.array([max_t(d, draws=999).min() for d in given])), studies, high=ALPHA),
            Rate(("Holm over sign flips", n), rejected(5 * flips.min(axis=1)), studies, high=ALPHA),
            Rate(("Holm over t", n), rejected(5 * t.min(axis=1)), studies, high=ALPHA),
            Rate(("Benjamini-Hochberg over t", n),
                 rejected(np.array([adjust(p, "benjamini-hochberg").min() for p in t])), studies, high=ALPHA),
            Rate(("no correction, t", n), rejected(t.min(axis=1)), studies),
        ]  # fmt: skip
    return Table(
        "Any false claim among five correlated contrasts",
        "Five contrasts of the same n replicates, correlation .5, all null; share of studies with any claim at .05.",
        ("correction", "n"),
        rates,
    )


def other_tests(studies: int, sizes: tuple[int, ...] = SIZES) -> Table:
    """Equivalence at its margin, example-wise tests, trends, mixed models."""
    rates = []
    for n in sizes:
        given = rng(4, n).normal(1, 1, (studies, n))
        p = np.array([tost(d, margin=1.0).p for d in given])
        rates.append(Rate(("TOST at its margin of 1 SD", f"n = {n}"), rejected(p), studies, high=ALPHA))
    correct = rng(5).random((studies, 200, 4)) < rng(6).uniform(0.5, 1, (studies, 200, 1))
    p = np.array([mcnemar(c[:, 0], c[:, 1]).p for c in correct])
    rates.append(Rate(("McNemar, exact", "200 examples"), rejected(p), studies, high=ALPHA))
    p = np.array([cochrans_q(c).p for c in correct])
    rates.append(Rate(("Cochran's Q", "200 examples, 4 networks"), rejected(p), studies, high=ALPHA))
    few = max(100, studies // 5)
    for n in (5, 10):
        p = np.array([trend(frame, "y", "density").p for frame in lineages(rng(7, n), few, n)])
        rates.append(Rate(("trend, t over lineages", f"n = {n}"), rejected(p), few, high=ALPHA))
    fitted = (mixed(frame, "y ~ arm", "replicate").term("arm") for frame in lineages(rng(8), few, 10))
    p = np.array([np.nan if term.p is None else term.p for term in fitted])
    rates.append(Rate(("mixed model, arm between lineages", "n = 10"), rejected(p), few, high=ALPHA))
    return Table(
        "Type-I error of the other tests",
        f"Trends and the mixed model from {few} studies: lineages of 8 levels with an intercept and a slope of "
        f"their own.",
        ("test", "size"),
        rates,
    )


def lineages(draw: Generator, studies: int, n: int) -> Iterator[pd.DataFrame]:
    """Lineages with their own intercept and slope along density, both without effect on average."""
    density = np.tile(0.8 ** np.arange(8), n)
    replicate = np.repeat(np.arange(n), 8)
    for _ in range(studies):
        y = (
            draw.normal(size=n)[replicate]
            + draw.normal(size=n)[replicate] * np.log2(density)
            + draw.normal(size=8 * n)
        )
        yield pd.DataFrame({"replicate": replicate, "density": density, "arm": replicate % 2, "y": y})


def bounds_of_p(studies: int) -> Table:
    """The smallest p is reached and never undercut."""
    rates = []
    for n in SIZES:
        for test in ("sign-flip", "wilcoxon", "sign"):
            given = rng(9, n).normal(3, 1, (studies, n))
            below = float((exact.p_values(test, given) < smallest_p(test, n) * (1 - 1e-9)).mean())
            rates.append(Rate((test, n, f"{smallest_p(test, n):.3g}"), below, studies, high=0.0, exact=0.0))
    return Table(
        "p below the smallest that a test can reach",
        "Effects of three standard deviations: share of studies with a two-sided p below 2 / 2^n. With n = 3 and 5 "
        "no such study reaches .05, however large its effect.",
        ("test", "n", "smallest p"),
        rates,
    )
