"""Comparisons of networks example by example.

The unit is the example: they speak of these very networks. A claim about a method needs replicates
(``paired``), or both (``bootstrap.two_level``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from statsmodels.stats.contingency_tables import cochrans_q as _cochrans_q
from statsmodels.stats.contingency_tables import mcnemar as _mcnemar
from statsmodels.stats.inter_rater import cohens_kappa as _cohens_kappa
from statsmodels.stats.inter_rater import fleiss_kappa as _fleiss_kappa

from pomona.core.errors import InputError
from pomona.stats.draws import Draws, chunks
from pomona.stats.given import level_of, sample, table, whole
from pomona.stats.reach import smallest_p
from pomona.stats.result import Result

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Agreement beyond chance, with the raw agreement it comes from.

    Args:
        kappa: Its result.
        raw: Share of examples (of pairs of raters, for several) on which they agree.
        expected: The same if they rated independently with their own shares of the classes.
    """

    kappa: Result
    raw: float
    expected: float

    def __str__(self) -> str:
        return f"{self.kappa}\n  raw agreement {self.raw:.4g}, by chance {self.expected:.4g}"


def mcnemar(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Result:
    """Test whether two networks differ in accuracy on these examples, exactly.

    Only the examples on which they differ count.

    Args:
        a: Right (1, True) or wrong for each example. Shape (examples,).
        b: The other network, the same examples.

    Returns:
        The difference of the accuracies with its interval and the exact two-sided p.

    Source:
        McNemar 1947; ``statsmodels`` ``mcnemar(exact=True)``. Interval: Bonett and Price 2012, Journal of
        Educational and Behavioral Statistics 37 (adjusted Wald).
    """
    left, right = _flags(a, "a"), _flags(b, "b")
    _alike(left, right)
    n = left.size
    only_a, only_b = int((left & ~right).sum()), int((right & ~left).sum())
    both = int((left & right).sum())
    p = float(_mcnemar([[both, only_a], [only_b, n - both - only_a - only_b]], exact=True).pvalue)
    wins, losses = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    error = np.sqrt((wins + losses - (wins - losses) ** 2) / (n + 2))
    half = float(-ndtri((1 - level_of(level)) / 2) * error)
    apart = only_a + only_b
    least = smallest_p("mcnemar", apart) if apart else 1.0
    return Result(
        "McNemar, exact",
        (only_a - only_b) / n,
        wins - losses - half,
        wins - losses + half,
        level,
        min(1.0, p),
        n,
        float(min(only_a, only_b)),
        None,
        "two-sided",
        least,
        (f"they differ on {apart} examples: {only_a} right only in a, {only_b} only in b",),
    )


def cochrans_q(correct: ArrayLike) -> Result:
    """Test whether several networks differ in accuracy on these examples.

    Args:
        correct: Right (1) or wrong (0). Shape (examples, networks).

    Returns:
        The range of the accuracies as estimate, Q as statistic, p by chi-squared with networks - 1 df.

    Source:
        Cochran 1950; ``statsmodels`` ``cochrans_q``.
    """
    given = table(correct, "correct", "examples", "networks")
    if given.shape[1] < 2 or not np.isin(given, (0, 1)).all():
        raise InputError(f"correct: expected 0 and 1 for at least 2 networks, got shape {given.shape}")
    shares = given.mean(axis=0)
    mixed = int((given.min(axis=1) < given.max(axis=1)).sum())
    notes: tuple[str, ...] = (f"the networks differ on {mixed} of {len(given)} examples",)
    if not mixed:
        return Result(
            "Cochran's Q", 0.0, None, None, 0.95, 1.0, len(given), 0.0, given.shape[1] - 1, notes=notes
        )
    found = _cochrans_q(given)
    if mixed * given.shape[1] < 24:
        notes += ("too few of them for the chi-squared distribution",)
    return Result(
        "Cochran's Q",
        float(np.ptp(shares)),
        None,
        None,
        0.95,
        float(found.pvalue),
        len(given),
        float(found.statistic),
        float(found.df),
        notes=notes,
    )


def cohens_kappa(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Agreement:
    """Agreement of two networks' predicted classes beyond chance.

    Args:
        a: Predicted class of each example. Shape (examples,).
        b: Of the other network.

    Source:
        Cohen 1960; interval: Fleiss, Cohen and Everitt 1969; ``statsmodels`` ``cohens_kappa``.
    """
    left, right = sample(a, "a"), sample(b, "b")
    _alike(left, right)
    classes, codes = np.unique(np.concatenate([left, right]), return_inverse=True)
    n, k = left.size, classes.size
    counts = np.bincount(codes[:n] * k + codes[n:], minlength=k * k).reshape(k, k)
    raw = float(np.trace(counts) / n)
    expected = float(counts.sum(axis=0) @ counts.sum(axis=1) / n**2)
    name = "Cohen's kappa"
    if k == 1:
        note = "both name one and the same class for every example: kappa is 0 / 0"
        return Agreement(
            Result(name, None, None, None, level_of(level), None, n, notes=(note,)), raw, expected
        )
    found = _cohens_kappa(counts.astype(float))
    half = -float(ndtri((1 - level_of(level)) / 2)) * float(found.std_kappa)
    kappa = float(found.kappa)
    return Agreement(Result(name, kappa, kappa - half, min(1.0, kappa + half), level, None, n), raw, expected)


def fleiss_kappa(
    predictions: ArrayLike, *, level: float = 0.95, seed: int = 0, draws: int = 1_999
) -> Agreement:
    """Agreement of several networks' predicted classes beyond chance.

    The interval is the percentile bootstrap over examples.

    Args:
        predictions: Predicted classes. Shape (examples, networks).

    Source:
        Fleiss 1971; ``statsmodels`` ``fleiss_kappa``.
    """
    given = table(predictions, "predictions", "examples", "networks")
    n, raters = given.shape
    if raters < 2:
        raise InputError(f"predictions: expected at least 2 networks, got shape {given.shape}")
    classes, codes = np.unique(given, return_inverse=True)
    k = classes.size
    flat = codes.reshape(given.shape) + k * np.arange(n)[:, None]
    counts = np.bincount(flat.ravel(), minlength=n * k).reshape(n, k).astype(np.float64)
    agree = ((counts**2).sum(axis=1) - raters) / (raters * (raters - 1))
    raw, expected = float(agree.mean()), float((counts.mean(axis=0) ** 2).sum() / raters**2)
    name = "Fleiss' kappa"
    if k == 1:
        note = "all name one and the same class for every example: kappa is 0 / 0"
        return Agreement(
            Result(name, None, None, None, level_of(level), None, n, notes=(note,)), raw, expected
        )
    resampled = _fleiss_resamples(np.column_stack([agree, counts / raters]), seed, draws)
    low, high = np.quantile(resampled, [(1 - level_of(level)) / 2, (1 + level) / 2])
    found = Result(name, float(_fleiss_kappa(counts)), float(low), float(high), level, None, n)
    return Agreement(found, raw, expected)


def _fleiss_resamples(rows: Floats, seed: int, draws: int) -> Floats:
    """Kappa of resampled examples; ``rows`` holds the agreement and the class shares of each."""
    source, n, found = Draws("kappa", seed), len(rows), []
    for size in chunks(whole(draws, "draws", 100), n):
        picked = source.indices(n, size, n) + n * np.arange(size)[:, None]
        weights = np.bincount(picked.ravel(), minlength=size * n).reshape(size, n) / n
        means = weights @ rows
        chance = (means[:, 1:] ** 2).sum(axis=1)
        found.append(np.where(chance < 1, (means[:, 0] - chance) / np.where(chance < 1, 1 - chance, 1), 1.0))
    return np.concatenate(found)


def _flags(values: ArrayLike, what: str) -> NDArray[np.bool_]:
    given = sample(values, what, 1)
    if not np.isin(given, (0, 1)).all():
        raise InputError(
            f"{what}: expected right (1) or wrong (0) for each example, got {np.unique(given)[:5]}"
        )
    return given.astype(bool)


def _alike(a: NDArray[np.generic], b: NDArray[np.generic]) -> None:
    if a.size != b.size:
        raise InputError(
            f"a has {a.size} examples and b {b.size}: both need the same examples in the same order"
        )
