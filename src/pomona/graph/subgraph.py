"""A part of a store's graph, to be drawn: some states, and the lines between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pomona.graph.query import Query
from pomona.graph.states import StateRecord, States
from pomona.graph.store import Store


@dataclass(frozen=True)
class Subgraph:
    """States by key, oldest first, each after those that it descends from.

    Args:
        states: The states.
        parents: For each the nearest states of the part that it descends from, in the recipe's order.
        ended_at: When each was done, or planned where it is not; seconds since 1970.
    """

    states: Mapping[str, StateRecord]
    parents: Mapping[str, tuple[str, ...]]
    ended_at: Mapping[str, float]


def subgraph(store: Store, query: Query | str | States | None = None) -> Subgraph:
    """Read the states that a query finds; lines go through those that it leaves out.

    Args:
        store: Where to look.
        query: Which states; all by default. Or the states themselves.
    """
    found = query if isinstance(query, States) else States(store, query)
    chosen = {state.key: state for state in found}
    links: dict[str, list[str]] = {}
    for row in store.ledger.rows("SELECT child, parent FROM parents ORDER BY child, position"):
        links.setdefault(row["child"], []).append(row["parent"])
    times = store.ledger.rows("SELECT key, COALESCE(finished_at, planned_at) AS ended FROM states")
    ended = {row["key"]: row["ended"] for row in times if row["key"] in chosen}
    parents = {key: _nearest(key, links, chosen) for key in chosen}
    return Subgraph({key: chosen[key] for key in _ordered(parents, ended)}, parents, ended)


def generations(part: Subgraph) -> dict[str, int]:
    """Edges of the longest line from a state without parents: every line goes to a higher one."""
    found: dict[str, int] = {}
    for key in part.states:
        found[key] = 1 + max((found[parent] for parent in part.parents[key]), default=-1)
    return found


def _nearest(key: str, links: Mapping[str, list[str]], chosen: Mapping[str, StateRecord]) -> tuple[str, ...]:
    """The chosen states that a line leads to without passing another chosen one."""
    found: dict[str, None] = {}
    waiting, seen = list(reversed(links.get(key, []))), {key}
    while waiting:
        parent = waiting.pop()
        if parent in seen:
            continue
        seen.add(parent)
        if parent in chosen:
            found[parent] = None
        else:
            waiting += reversed(links.get(parent, []))
    return tuple(found)


def _ordered(parents: Mapping[str, tuple[str, ...]], ended: Mapping[str, float]) -> list[str]:
    """By time, but never before a parent."""
    found: dict[str, None] = {}
    for start in sorted(parents, key=lambda key: (ended[key], key)):
        waiting = [start]
        while waiting:
            before = [parent for parent in parents[waiting[-1]] if parent not in found]
            if waiting[-1] in found or not before:
                found[waiting.pop()] = None
            else:
                waiting += reversed(before)
    return list(found)
