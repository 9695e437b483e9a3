"""What the data say of one hypothesis by itself: interval, and p of claim, opposite and equivalence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pomona.stats.equivalence import tost
from pomona.stats.given import Alternative
from pomona.stats.paired import paired
from pomona.stats.result import Result
from pomona.studies.hypotheses.observe import Observed, Replicate
from pomona.studies.hypotheses.spec import Hypothesis

# The names of paired tests in ``pomona.stats``.
PAIRED = {"paired-t": "paired-t", "permutation": "sign-flip", "wilcoxon": "wilcoxon", "sign": "sign"}
_OPPOSITE: dict[Alternative, Alternative] = {"greater": "less", "less": "greater"}


@dataclass(frozen=True)
class Tested:
    """p-values before any correction; None where there is none.

    Args:
        claim: Of the registered test.
        opposite: Of the other direction; of an equivalence that of a difference beyond the margin.
        within: That the difference lies within the margin, of a claim that has one.
    """

    claim: float | None = None
    opposite: float | None = None
    within: float | None = None


def interval(hypothesis: Hypothesis, observed: Observed) -> Result:
    """The estimate with the two-sided interval that belongs to the test."""
    given = observed.differences
    if hypothesis.test_name == "equivalence":
        assert hypothesis.margin is not None
        return tost(given, margin=hypothesis.margin, alpha=hypothesis.alpha)
    return paired(PAIRED[hypothesis.test_name], given, level=1 - hypothesis.alpha)


def tested(hypothesis: Hypothesis, rows: Sequence[Replicate]) -> Tested:
    """The test of a claim and its second looks, over complete replicates."""
    given = np.array([row.difference for row in rows], dtype=np.float64)
    margin, side = hypothesis.margin, hypothesis.alternative
    within = tost(given, margin=margin, alpha=hypothesis.alpha).p if margin is not None else None
    if hypothesis.test_name == "equivalence":
        assert margin is not None
        beyond = [
            paired("paired-t", given, margin, alternative="greater").p,
            paired("paired-t", given, -margin, alternative="less").p,
        ]
        known = [p for p in beyond if p is not None]
        return Tested(within, min(1.0, 2 * min(known)) if known else None)
    test = PAIRED[hypothesis.test_name]
    claim = paired(test, given, alternative=side).p
    opposite = paired(test, given, alternative=_OPPOSITE[side]).p if side != "two-sided" else None
    return Tested(claim, opposite, within)
