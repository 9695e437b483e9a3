"""What a run finds in a store before it begins: traces of killed processes, and files that are gone."""

from __future__ import annotations

from pomona.graph.leases import sweep_owners
from pomona.graph.nodes import Graph
from pomona.graph.store import Store


def clear_away(store: Store) -> str:
    """Remove what processes left that were killed; says what, if there was anything."""
    sweep_owners(store.folder, store.ledger)
    removed = store.blobs.sweep()
    return (
        f"removed {removed} half-written file{'s' if removed > 1 else ''} of a killed process"
        if removed
        else ""
    )


def damaged_states(store: Store, graph: Graph) -> list[str]:
    """States of a graph that should have files and have not, or not of the size on record."""
    there = store.blobs.scan()
    rows = store.ledger.rows("SELECT state, digest, size_bytes FROM outputs WHERE dropped_at IS NULL")
    lost = (row["state"] for row in rows if there.get(row["digest"]) != row["size_bytes"])
    return list(dict.fromkeys(state for state in lost if state in graph.states))
