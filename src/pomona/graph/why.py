"""Why a state is what it is: its status, its identity, and what stood at its place before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pomona.graph.fields import flat
from pomona.graph.lineage import Code, Lineages, Parting
from pomona.graph.reading import read
from pomona.graph.states import Place, StateRecord, States
from pomona.graph.store import Store
from pomona.graph.working import work_on

_OTHERS = 3
_COMPARED = 300


@dataclass(frozen=True)
class Other:
    """Another state at the same place of a study.

    Args:
        state: The other.
        place: The place; None where nothing stands at one, and this is the most alike planned before.
        earlier: Whether it was planned before.
        partings: Where the lineages part, from the other (a) to the one asked for (b); the causes first.
        code: Users' functions that differ at each parting.
    """

    state: StateRecord
    place: Place | None
    earlier: bool
    partings: tuple[Parting, ...]
    code: tuple[tuple[Code, ...], ...]


@dataclass(frozen=True)
class Explanation:
    """The answer.

    Args:
        state: What was asked for.
        reasons: Why it has its status, one line each.
        identity: Every field that its key is made of.
        others: What else stands at its places, the latest first.
        left_out: How many more there are.
    """

    state: StateRecord
    reasons: tuple[str, ...]
    identity: dict[str, str]
    others: tuple[Other, ...]
    left_out: int


def explain(store: Store, key: str) -> Explanation:
    """Explain a state.

    Args:
        store: Where it is.
        key: Its key.
    """
    state = States.of(store, [key])[0]
    lineages = Lineages(store.ledger, [key])
    found = _others(store, key) or _alike(store, state, lineages)
    lineages.read(other for other, _, _ in found[:_OTHERS])
    own = lineages.states[key]
    parents = {
        f"parents[{i}]": f"{parent[:12]} ({lineages.states[parent].recipe})"
        for i, parent in enumerate(own.parents)
    }
    others = []
    for other, place, earlier in found[:_OTHERS]:
        partings = lineages.partings(other, key)
        codes = tuple(tuple(lineages.code(parting)) for parting in partings)
        others.append(Other(States.of(store, [other])[0], place, earlier, tuple(partings), codes))
    return Explanation(
        state,
        tuple(_reasons(store, state, lineages)),
        {**flat(own.identity), **parents},
        tuple(others),
        max(0, len(found) - _OTHERS),
    )


def _others(store: Store, key: str) -> list[tuple[str, Place | None, bool]]:
    """Other states at the same places, once each: the latest planned first, and whether it was before."""
    rows = store.ledger.rows(
        "SELECT o.*, s.planned_at < me.planned_at AS earlier FROM labels l JOIN labels o ON o.study = l.study"
        " AND o.step = l.step AND o.replicate = l.replicate AND o.level = l.level AND o.arm = l.arm"
        " JOIN states s ON s.key = o.state JOIN states me ON me.key = l.state"
        " WHERE l.state = ? AND o.state != l.state ORDER BY s.planned_at DESC, s.key, LENGTH(o.arm), o.arm",
        [key],
    )
    found: dict[str, tuple[str, Place | None, bool]] = {}
    for row in rows:
        arm = read(store.ledger, row["arm"], f"a label of {row['state'][:12]}")
        place = Place(row["study"], row["step"], row["replicate"], row["level"], arm)
        found.setdefault(row["state"], (row["state"], place, bool(row["earlier"])))
    return list(found.values())


def _alike(store: Store, state: StateRecord, lineages: Lineages) -> list[tuple[str, Place | None, bool]]:
    """Of the states of the same recipe that were planned before, the one whose lineage differs least."""
    rows = store.ledger.rows(
        "SELECT s.key FROM states s JOIN states me ON me.key = ? WHERE s.recipe = me.recipe"
        " AND s.planned_at < me.planned_at ORDER BY s.distance = me.distance DESC, s.planned_at DESC, s.key"
        " LIMIT ?",
        [state.key, _COMPARED],
    )
    lineages.read(row["key"] for row in rows)

    def apart(key: str) -> int:
        return sum(len(parting.fields) for parting in lineages.partings(key, state.key))

    nearest = min((row["key"] for row in rows), key=apart, default=None)
    return [] if nearest is None else [(nearest, None, True)]


def _reasons(store: Store, state: StateRecord, lineages: Lineages) -> list[str]:
    tries = store.ledger.rows("SELECT * FROM attempts WHERE node = ? ORDER BY id", [state.key])
    last = tries[-1] if tries else None
    if state.status == "done":
        by = next((row for row in reversed(tries) if row["status"] == "done"), None)
        if by is None:
            return ["it is done; no attempt is on record"]
        return [f"it is done: run {by['run']} computed it in {by['seconds']:.3g} s"]
    if state.status == "failed":
        if last is None:
            return ["it failed; no attempt is on record"]
        return [f"it failed {_times(len(tries))}: {last['kind']}: {last['reason']}"]
    now = work_on(store, state.key)
    if now:
        return [now]
    return _waiting(store, state, lineages) or ["it is planned: nothing is in its way; run its study again"]


def _waiting(store: Store, state: StateRecord, lineages: Lineages) -> list[str]:
    above = lineages.above(state.key)
    lines = []
    for key in (key for key in above if lineages.states[key].status == "failed"):
        rows = store.ledger.rows(
            "SELECT kind, reason FROM attempts WHERE node = ? AND status = 'failed' ORDER BY id DESC LIMIT 1",
            [key],
        )
        reason = f"{rows[0]['kind']}: {rows[0]['reason']}" if rows else "no attempt is on record"
        lines.append(f"it descends from {key[:12]} ({lineages.states[key].recipe}), which failed: {reason}")
    missing = [key for key in above if lineages.states[key].status == "planned"]
    if missing and not lines:
        shown = [f"{key[:12]} ({lineages.states[key].recipe})" for key in state.parents if key in missing]
        rest = len(missing) - len(shown)
        more = f", and {rest} more that these descend from" if rest else ""
        lines.append(f"it is planned and waits for {' and '.join(shown)}{more}")
    return lines


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def same_causes(partings: Sequence[Parting]) -> list[tuple[int, int]]:
    """Each different set of changes once: index of its first parting, and how many have it."""
    first: dict[tuple[object, ...], int] = {}
    count: dict[int, int] = {}
    for i, parting in enumerate(partings):
        at = first.setdefault(tuple(parting.fields), i)
        count[at] = count.get(at, 0) + 1
    return list(count.items())
