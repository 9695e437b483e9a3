"""p-values corrected in the registered family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pomona.stats.multiplicity import adjust, max_t
from pomona.stats.reach import Correction, smallest_corrected_p
from pomona.studies.hypotheses.observe import Observed
from pomona.studies.hypotheses.spec import Hypothesis
from pomona.studies.hypotheses.tested import PAIRED

_NAMES = {"holm": "Holm", "benjamini-hochberg": "Benjamini-Hochberg", "max-t": "max-T"}
# A member of the family: its p, and what was observed of it. None for one that is not among the results.
Member = tuple[float | None, Observed | None] | None


def corrected(own: int, members: Sequence[Member], family: Sequence[Hypothesis], correction: str) -> float:
    """The corrected p of one member that has a p.

    A member without a p counts as one of 1. Max-T is a joint test of all: where one is missing, it is Holm's.

    Args:
        own: Place of the member.
        members: Of the whole family.
        family: The same as they are written.
        correction: As registered.
    """
    if correction == "max-t" and all(member is not None and member[0] is not None for member in members):
        return _max_t(own, [member[1] for member in members if member is not None], family[own])
    p = [1.0 if member is None or member[0] is None else member[0] for member in members]
    return float(adjust(p, "holm" if correction == "max-t" else correction)[own])


def said(correction: str, family: Sequence[Hypothesis], members: Sequence[Member], name: str) -> str:
    """How a p was corrected, in words."""
    size = len(family)
    if size == 1:
        return "alone in its family"
    if correction == "none":
        return f"not corrected, one of {size} in family {name}"
    missing = sum(member is None or member[0] is None for member in members)
    if correction == "max-t" and missing:
        return f"Holm over {size} in family {name}: max-T needs all of them, {missing} have no p"
    return f"{_NAMES[correction]} over {size} in family {name}"


def smallest(hypothesis: Hypothesis, n: int, size: int, correction: str) -> tuple[float | None, float | None]:
    """The smallest p of an exact test of n replicates, alone and corrected; None where nothing bounds it."""
    test = PAIRED.get(hypothesis.test_name)
    if test is None or test == "paired-t":
        return None, None
    side = hypothesis.alternative
    alone = smallest_corrected_p(test, n, 1, "none", side)
    if correction == "max-t":
        return alone, smallest_corrected_p("max-t", n, size, "max-t", side)
    kind: Correction = "none" if correction == "none" else "holm"
    return alone, smallest_corrected_p(test, n, size, kind, side)


def _max_t(own: int, members: Sequence[Observed | None], hypothesis: Hypothesis) -> float:
    """Over all replicates of any member; where one lacks a replicate, a flip changes nothing of it."""
    rows: list[Mapping[int, float]] = [
        {row.replicate: row.difference for row in member.complete if row.difference is not None}
        if member is not None
        else {}
        for member in members
    ]
    every = sorted(set().union(*rows))
    table = np.array([[row.get(replicate, 0.0) for row in rows] for replicate in every])
    return float(max_t(table, alternative=hypothesis.alternative)[own])
