"""Who computes a state or a probe at this moment."""

from __future__ import annotations

import time

from pomona.graph.leases import living_runs
from pomona.graph.store import Store


def work_on(store: Store, node: str) -> str:
    """A sentence on the process that holds a node's lease; empty where none does."""
    rows = store.ledger.rows(
        "SELECT l.taken_at, o.pid, o.run FROM leases l JOIN owners o ON o.id = l.owner WHERE l.node = ?",
        [node],
    )
    if not rows:
        return ""
    who = f"process {rows[0]['pid']} (run {rows[0]['run']})"
    if (rows[0]["run"], rows[0]["pid"]) not in living_runs(store.folder, store.ledger):
        return f"{who} was computing it when it ended; the next run computes it anew"
    return f"{who} has been computing it for {time.time() - rows[0]['taken_at']:.0f} s"
