"""Null distributions of paired tests, for one study or for many at once.

Every function takes differences of shape (studies, pairs) and gives one p a study, so that the test a user
calls, its forecast power and its simulated error rate are the same code.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, stdtr
from scipy.stats import rankdata

from pomona.core.errors import InputError, unknown
from pomona.stats.draws import Draws, chunks
from pomona.stats.given import Alternative, level_of

Floats = NDArray[np.float64]

PAIRED = ("paired-t", "sign-flip", "wilcoxon", "sign")
ENUMERATED = 20
DRAWS = 99_999
_STEPS = 1e9


def settle(differences: Floats) -> Floats:
    """Differences as whole multiples of 1e-9 of the largest in each study.

    Accuracies of .4 - .3 and .2 - .1 differ in their last bits; they are ties. Sums of whole numbers are
    exact on every machine, and two sums that should be equal differ by the roundings of their parts alone:
    half a step for each.
    """
    largest = np.abs(differences).max(axis=-1, keepdims=True)
    return np.asarray(np.rint(differences / np.where(largest > 0, largest, 1) * _STEPS))


def varies(differences: Floats) -> NDArray[np.bool_]:
    """Whether the differences of each study spread by more than the rounding of their last bits."""
    return np.asarray(np.ptp(settle(differences), axis=-1) > 0)


def p_values(
    test: str, differences: Floats, alternative: Alternative = "two-sided", seed: int = 0, draws: int = DRAWS
) -> Floats:
    """The p of a paired test for each of many studies.

    Args:
        test: One of ``PAIRED``.
        differences: Shape (studies, pairs).
        alternative: Direction.
        seed: For the sign flips of more than 20 pairs.
        draws: Number of those.

    Returns:
        Shape (studies,). NaN where equal differences leave the t test without a spread.
    """
    if test == "paired-t":
        return _t(differences, alternative)
    if test == "sign-flip":
        up, down = _sign_flip(settle(differences), seed, draws)
    elif test == "wilcoxon":
        up, down = _wilcoxon(settle(differences))
    elif test == "sign":
        up, down = _sign(settle(differences))
    else:
        raise InputError(unknown("paired test", test, PAIRED))
    return toward(up, down, alternative)


def toward(up: Floats, down: Floats, alternative: Alternative) -> Floats:
    """The p of the alternative; two-sided is twice the smaller one-sided p, at most 1."""
    if alternative == "two-sided":
        return np.asarray(np.minimum(1.0, 2 * np.minimum(up, down)))
    return up if alternative == "greater" else down


def _t(differences: Floats, alternative: Alternative) -> Floats:
    n = differences.shape[-1]
    error = np.where(varies(differences), differences.std(axis=-1, ddof=1), np.nan) / np.sqrt(n)
    t = differences.mean(axis=-1) / error
    p = toward(stdtr(n - 1, -t), stdtr(n - 1, t), alternative)
    return np.asarray(np.where(~differences.any(axis=-1), 1.0, p))


def _sign_flip(values: Floats, seed: int, draws: int) -> tuple[Floats, Floats]:
    if values.shape[1] > ENUMERATED:
        return _drawn_flips(values, seed, draws)
    pairs = [_enumerated_flips(row) for row in values]
    return np.array([up for up, _ in pairs]), np.array([down for _, down in pairs])


def _enumerated_flips(row: Floats) -> tuple[float, float]:
    """Flipping a set of pairs leaves a sum as large as the observed one if the set sums to 0 or less.

    Every set is one of the first half of the pairs with one of the second: counting needs no list of all.
    """
    half = row.size // 2
    left, right = subset_sums(row[:half]), np.sort(subset_sums(row[half:]))
    tied = row.size / 2
    at_most = np.searchsorted(right, tied - left, side="right").sum()
    at_least = left.size * right.size - np.searchsorted(right, -tied - left, side="left").sum()
    return at_most / 2.0**row.size, at_least / 2.0**row.size


def _drawn_flips(values: Floats, seed: int, draws: int) -> tuple[Floats, Floats]:
    """The observed signs are one of the draws: (1 + count) / (draws + 1) never is 0."""
    source = Draws("sign flips", seed)
    total, tied = values.sum(axis=1), values.shape[1]
    up, down = np.ones(len(values)), np.ones(len(values))
    for size in chunks(draws, values.shape[1] + len(values)):
        sums = source.signs(size, values.shape[1]) @ values.T
        up += (sums >= total - tied).sum(axis=0)
        down += (sums <= total + tied).sum(axis=0)
    return up / (draws + 1), down / (draws + 1)


def subset_sums(values: Floats) -> Floats:
    """The sum of every subset; entry i holds the values whose bit of i is set. Shape (2^n,)."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return sums


def _wilcoxon(values: Floats) -> tuple[Floats, Floats]:
    up, down = np.empty(len(values)), np.empty(len(values))
    sizes = np.sort(np.abs(values), axis=1)
    plain = (sizes[:, 0] > 0) & (np.diff(sizes, axis=1) > 0).all(axis=1)
    if plain.any():
        # Without zeros and ties the ranks are 1 to n, doubled as below.
        ranks = 2 * (np.argsort(np.argsort(np.abs(values[plain]), axis=1), axis=1) + 1)
        below = rank_sums(tuple(range(2, 2 * values.shape[1] + 1, 2)))
        down[plain] = below[np.where(values[plain] > 0, ranks, 0).sum(axis=1)]
        up[plain] = below[np.where(values[plain] < 0, ranks, 0).sum(axis=1)]
    for i in np.flatnonzero(~plain):
        row = values[i]
        kept = row[row != 0]
        # Twice the midranks are whole numbers, also with ties.
        ranks = np.rint(2 * rankdata(np.abs(kept))).astype(np.int64)
        below = rank_sums(tuple(sorted(ranks.tolist())))
        down[i] = below[ranks[kept > 0].sum()]
        up[i] = below[ranks[kept < 0].sum()]
    return up, down


@lru_cache(maxsize=256)
def rank_sums(ranks: tuple[int, ...]) -> Floats:
    """Under the null, P(sum of the ranks with a positive sign <= s) for s = 0, 1, ...

    Each sign is positive with probability 1/2; the ranks are whole numbers, ties included.
    """
    share = np.zeros(sum(ranks) + 1)
    share[0] = 1
    for rank in ranks:
        share[rank:] += share[: share.size - rank].copy()
        share /= 2
    return np.minimum(1.0, np.cumsum(share))


def _sign(values: Floats) -> tuple[Floats, Floats]:
    wins, losses = (values > 0).sum(axis=1), (values < 0).sum(axis=1)
    pairs = wins + losses
    return bdtr(losses, pairs, 0.5), bdtr(wins, pairs, 0.5)


def bound(least: float, level: float) -> tuple[str, ...]:
    """The warning that a test cannot reach alpha = 1 - level, where it cannot."""
    alpha = 1 - level_of(level)
    if least <= alpha * (1 + 1e-9):
        return ()
    return (f"the smallest p that this test can reach here is {least:.4g}: it cannot reach {alpha:.4g}",)
