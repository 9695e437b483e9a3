"""p-values of several claims, corrected together. The family is the whole registration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pomona.core.errors import InputError
from pomona.stats.draws import Draws, chunks
from pomona.stats.exact import DRAWS
from pomona.stats.given import Alternative, alternative_of, one_of, sample, table, whole

Floats = NDArray[np.float64]

_METHODS = ("none", "holm", "benjamini-hochberg", "bonferroni")
# Up to so many pairs all sign patterns are listed.
MAX_T_LISTED = 15


def adjust(p: Sequence[float] | ArrayLike, method: str = "holm") -> Floats:
    """Corrected p-values, in the order given. A claim is accepted where its corrected p is at most alpha.

    Args:
        p: One for every claim of the family.
        method: ``holm`` (no false claim in the family), ``bonferroni``, ``benjamini-hochberg`` (the share
            of false claims among those accepted) or ``none``.

    Raises:
        InputError: Unknown method, or a p outside 0 to 1.

    Source:
        Holm 1979; Benjamini and Hochberg 1995. Own code; oracle: ``statsmodels`` ``multipletests``.
    """
    given = sample(p, "p", 1)
    if given.min() < 0 or given.max() > 1:
        raise InputError(f"p: expected numbers from 0 to 1, got {given.min():g} to {given.max():g}")
    one_of(method, "correction", _METHODS)
    if method == "none":
        return given
    m, order = given.size, np.argsort(given, kind="stable")
    # Of the smallest p first; a later step is no easier than the one before it.
    if method == "holm":
        steps = np.maximum.accumulate(given[order] * np.arange(m, 0, -1))
    elif method == "benjamini-hochberg":
        steps = np.minimum.accumulate((given[order] * m / np.arange(1, m + 1))[::-1])[::-1]
    else:
        steps = given[order] * m
    corrected = np.empty(m)
    corrected[order] = np.minimum(1.0, steps)
    return corrected


def max_t(
    differences: ArrayLike, *, alternative: Alternative = "two-sided", seed: int = 0, draws: int = DRAWS
) -> Floats:
    """Corrected p of several paired contrasts of the same replicates: step-down max-T over joint sign flips.

    A replicate's differences are flipped together, so that the dependence between contrasts is used. With n
    pairs no p is below 2 / 2^n two-sided, whatever the number of contrasts.

    Args:
        differences: Shape (replicates, contrasts). A contrast without any difference has p = 1.
        alternative: Direction, one for all.
        seed: For drawn flips, above 15 pairs.
        draws: Number of those; the observed pattern is one more.

    Raises:
        InputError: No table of at least two replicates, or a number that is not finite.

    Source:
        Westfall and Young 1993, Algorithm 4.1; Romano and Wolf 2005. Own code; tested against enumeration.
    """
    given = table(differences, "differences", "replicates", "contrasts")
    side = alternative_of(alternative)
    # Flips keep the sum of squares, and t rises with sum / root of sum of squares.
    squares = (given**2).sum(axis=0)
    scaled = given / np.sqrt(np.where(squares > 0, squares, 1))
    seen = _directed(scaled.sum(axis=0), side)
    order = np.argsort(-seen, kind="stable")
    exceeded, total = _exceedances(scaled[:, order], seen[order], side, seed, whole(draws, "draws", 100))
    corrected = np.empty(seen.size)
    corrected[order] = np.maximum.accumulate(exceeded / total)
    return np.where(scaled.any(axis=0), corrected, 1.0)


def _directed(sums: Floats, side: Alternative) -> Floats:
    return np.abs(sums) if side == "two-sided" else sums if side == "greater" else -sums


def _exceedances(
    scaled: Floats, seen: Floats, side: Alternative, seed: int, draws: int
) -> tuple[Floats, int]:
    """For each contrast, patterns in which the largest among it and those after it reaches what was seen."""
    n = len(scaled)
    listed = n <= MAX_T_LISTED
    count, total = (2**n, 2**n) if listed else (draws, draws + 1)
    exceeded = np.zeros(seen.size) if listed else np.ones(seen.size)
    source, start = Draws("max-t", seed), 0
    for size in chunks(count, n + scaled.shape[1]):
        signs = _patterns(start, size, n) if listed else source.signs(size, n)
        largest = np.maximum.accumulate(_directed(signs @ scaled, side)[:, ::-1], axis=1)[:, ::-1]
        exceeded += (largest >= seen - 1e-8).sum(axis=0)
        start += size
    return exceeded, total


def _patterns(start: int, size: int, n: int) -> Floats:
    """Sign patterns number ``start`` to ``start + size``: the bits of the number."""
    bits = (np.arange(start, start + size)[:, None] >> np.arange(n)) & 1
    return np.asarray(1.0 - 2.0 * bits, dtype=np.float64)
