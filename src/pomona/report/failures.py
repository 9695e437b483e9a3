"""What failed in a study, and what that took with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pomona.report.evidence import Evidence


@dataclass(frozen=True)
class Failure:
    """A state or measurement that failed.

    Args:
        kind: Class of the failure.
        what: What it would have been.
        reason: What happened.
        key: Its key.
        blocked: What it blocked, in words.
    """

    kind: str
    what: str
    reason: str
    key: str
    blocked: str


@dataclass(frozen=True)
class Collapse:
    """A layer of which nothing is left: where, from which level on, and in how many replicates."""

    arm: str
    layer: str
    level: int
    replicates: int


def failed_states(evidence: Evidence) -> list[Failure]:
    """States that failed, each with what descends from it."""
    roots: dict[str, list[str]] = {}
    for lost in evidence.results.lost():
        if lost.failed is not None:
            roots.setdefault(lost.failed, []).append(lost.point.state.key)
    labels = evidence.population.labels()
    found = []
    for key, points in roots.items():
        kind, reason = _last_attempt(evidence, key)
        what = labels.get(key, evidence.population.graph.states[key].recipe)
        count = len(set(points) - {key})
        blocked = f"{count} state{'s' if count > 1 else ''} of the study" if count else "nothing else"
        found.append(_failure(evidence, kind, what, reason, key, blocked))
    return found


def failed_measurements(evidence: Evidence) -> list[Failure]:
    """Measurements that failed although their states are there."""
    probes = evidence.population.graph.probes
    status = evidence.results.store.ledger.statuses("probes")
    labels = evidence.population.labels()
    found = []
    for key in (key for key in probes if status.get(key) == "failed"):
        kind, reason = _last_attempt(evidence, key)
        shown = evidence.results.shown_key
        of = " and ".join(labels.get(state, shown(state)[:12]) for state in probes[key].states)
        what = f"{probes[key].name} of {of}"
        found.append(_failure(evidence, kind, what, reason, key, "this measurement"))
    return found


def kinds(failures: list[Failure]) -> dict[str, int]:
    """How many failures there are of each kind."""
    return dict(Counter(failure.kind for failure in failures))


def not_computed(evidence: Evidence) -> int:
    """Points of the study that nothing failed for and that are not there yet."""
    return sum(lost.failed is None for lost in evidence.results.lost())


def collapsed_layers(evidence: Evidence) -> list[Collapse]:
    """Layers that were pruned to nothing, by arm, with the first level where that was so."""
    names = {arm.place: arm.name for arm in evidence.arms}
    points = evidence.population.points
    facts = evidence.results.store.ledger.facts({point.masked.key for point in points})
    where: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for point in points:
        arm = names.get((point.step, tuple(point.arm.values())))
        for layer in facts.get(point.masked.key, {}).get("collapsed", []) if arm is not None else []:
            where.setdefault((arm or "", layer), []).append((point.level, point.replicate))
    return [
        Collapse(arm, layer, min(places)[0], len({replicate for _, replicate in places}))
        for (arm, layer), places in where.items()
    ]


def _failure(evidence: Evidence, kind: str, what: str, reason: str, key: str, blocked: str) -> Failure:
    """A failure as it may be shown."""
    results = evidence.results
    return Failure(kind, what, results.shown_text(reason), results.shown_key(key), blocked)


def _last_attempt(evidence: Evidence, key: str) -> tuple[str, str]:
    sql = "SELECT kind, reason FROM attempts WHERE node = ? AND status = 'failed' ORDER BY id DESC LIMIT 1"
    rows = evidence.results.store.ledger.rows(sql, [key])
    return (rows[0]["kind"], rows[0]["reason"]) if rows else ("error", "no attempt is on record")
