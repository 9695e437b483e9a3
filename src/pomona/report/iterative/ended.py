"""Arms of a figure that end before their last level, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pomona.report.iterative.lines import Curve
    from pomona.report.iterative.selection import Selection
    from pomona.studies.results import LostPoint


def ended(selection: Selection, curves: Sequence[Curve]) -> str:
    """Which arms failed at which level, in how many replicates and how; empty where none did.

    What was only not computed yet has not ended.
    """
    texts: list[str] = []
    reasons: dict[str, str] = {}
    for curve in curves:
        lost = _ends(selection, curve)
        for one in lost:
            reasons.setdefault(one.kind, _reason(one))
        if lost:
            texts.append(f"{curve.name}: {_where(lost)} of {len(curve.lineages)} replicates")
    examples = "; ".join(f"{kind}: {reason}" for kind, reason in reasons.items())
    return f" Arms that ended: {'; '.join(texts)}. For example, {examples}." if texts else ""


def _ends(selection: Selection, curve: Curve) -> list[LostPoint]:
    """The first network of each replicate that a failure took, its own or one before it."""
    lost = selection.results.lost_states
    found = []
    for points in curve.lineages.values():
        gone = (lost[point.state.key] for point in points if point.state.key in lost)
        found.extend([one for one in gone if one.failed is not None][:1])
    return found


def _where(lost: Sequence[LostPoint]) -> str:
    counts = Counter((one.point.level, one.kind) for one in lost)
    return ", ".join(f"{kind} at level {level} in {count}" for (level, kind), count in sorted(counts.items()))


def _reason(one: LostPoint) -> str:
    """What happened, without the key of a state, the class of the failure and what may help."""
    own = one.reason.removeprefix(f"it descends from {(one.failed or '')[:12]}: ")
    return own.removeprefix(f"{one.kind}: ").partition(";")[0]
