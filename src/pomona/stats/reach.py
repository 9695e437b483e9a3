"""The smallest p a test can reach with n replicates, known before any run."""

from __future__ import annotations

import math
from typing import Literal

from pomona.core.errors import InputError, unknown
from pomona.stats.exact import DRAWS, ENUMERATED, PAIRED
from pomona.stats.given import Alternative, alternative_of, bounded, whole
from pomona.stats.multiplicity import MAX_T_LISTED

UNPAIRED = ("welch", "permutation")
TESTS = (*PAIRED, *UNPAIRED, "max-t", "mcnemar")
_UNBOUNDED = ("paired-t", "welch")
Correction = Literal["none", "holm", "benjamini-hochberg", "max-t"]
CORRECTIONS: tuple[Correction, ...] = ("none", "holm", "benjamini-hochberg", "max-t")
_MOST = 10_000


def smallest_p(
    test: str, n: int, alternative: Alternative = "two-sided", *, other: int | None = None, draws: int = DRAWS
) -> float:
    """The smallest p of a test with n pairs: 0 for the t tests, which have no bound.

    Five pairs two-sided: .0625 for every exact test, so "significant at .05" cannot be said.

    Args:
        test: One of ``TESTS``.
        n: Pairs; for ``mcnemar`` examples on which the two differ; for unpaired tests replicates of
            one arm.
        alternative: Direction.
        other: Replicates of the other arm in an unpaired test; n if not given.
        draws: Number of drawn patterns where there are too many to list.

    Raises:
        InputError: Unknown test, or n below 2 (below 1 for exact tests).
    """
    if test not in TESTS:
        raise InputError(unknown("test", test, TESTS))
    sides = 2 if alternative_of(alternative) == "two-sided" else 1
    if test in _UNBOUNDED:
        whole(n, "n", 2)
        return 0.0
    patterns, drawn = _patterns(test, whole(n, "n", 1), other)
    # Drawn patterns of max-T count both tails at once, the others one tail, doubled.
    floor = (1 if test == "max-t" else sides) / (draws + 1) if drawn else 0.0
    return min(1.0, max(sides / patterns, floor))


def _patterns(test: str, n: int, other: int | None) -> tuple[int, bool]:
    """Equally likely patterns under the null, and whether they are too many to list."""
    if test == "permutation":
        patterns = math.comb(n + whole(n if other is None else other, "other", 1), n)
        return patterns, patterns > 2**ENUMERATED
    listed = {"sign-flip": ENUMERATED, "max-t": MAX_T_LISTED}
    return 2**n, n > listed.get(test, n)


def smallest_corrected_p(
    test: str,
    n: int,
    comparisons: int = 1,
    correction: Correction = "holm",
    alternative: Alternative = "two-sided",
    *,
    other: int | None = None,
) -> float:
    """The smallest p that one claim among several can reach after correction, alone in being true.

    Holm and Benjamini-Hochberg multiply the smallest p of a family by its size; max-T does not.
    """
    if correction not in CORRECTIONS:
        raise InputError(unknown("correction", correction, CORRECTIONS))
    alone = smallest_p(test, n, alternative, other=other)
    factor = whole(comparisons, "comparisons", 1) if correction in ("holm", "benjamini-hochberg") else 1
    return min(1.0, factor * alone)


def replicates_to_reach(
    test: str,
    alpha: float = 0.05,
    comparisons: int = 1,
    correction: Correction = "holm",
    alternative: Alternative = "two-sided",
) -> int:
    """The fewest replicates (of each arm) with which a test can reach alpha after correction.

    Raises:
        InputError: No number of replicates reaches it, because the drawn patterns are too few.
    """
    alpha = bounded(alpha, "alpha", 0, 1)
    for n in range(2, _MOST):
        reached = smallest_corrected_p(test, n, comparisons, correction, alternative)
        if reached <= alpha * (1 + 1e-9):
            return n
    raise InputError(f"no number of replicates lets {test} reach {alpha:g} over {comparisons} comparisons")
