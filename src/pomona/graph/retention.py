"""Which weights a store keeps, and what can be freed because it can be computed again."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from pomona.core.errors import InputError, StoreError, StoreWriteError, unknown
from pomona.graph.growth import is_current
from pomona.graph.leases import living_runs
from pomona.graph.nodes import from_json
from pomona.graph.query import Query
from pomona.graph.states import States
from pomona.graph.store import Store

ALL, LAST_LEVEL, NONE = "all", "last-level", "none"


@dataclass(frozen=True)
class Freed:
    """What was freed, or would be.

    Args:
        states: States whose weights were let go.
        weights: Files of weights that nothing keeps any more.
        orphans: Files that no state refers to.
        checkpoints: Checkpoints of states that are done or not known.
        drafts: Half-written files of processes that are gone.
        size_bytes: All of them together.
    """

    states: int
    weights: int
    orphans: int
    checkpoints: int
    drafts: int
    size_bytes: int


def check_policy(policy: str) -> None:
    """Refuse what is not a policy, as far as that can be seen without a store.

    Raises:
        InputError: It is neither a word of this module nor a query.
    """
    if policy in (ALL, LAST_LEVEL, NONE):
        return
    word = policy.strip().isidentifier() or policy.replace("-", "").isalnum()
    try:
        if word:
            raise InputError(unknown("policy", policy, (ALL, LAST_LEVEL, NONE)))
        Query(policy)
    except InputError as error:
        raise InputError(f"expected {ALL}, {LAST_LEVEL}, {NONE} or a query: {error}") from None


def kept_states(store: Store, policy: str) -> set[str] | None:
    """States whose weights a policy keeps; None for all.

    Args:
        store: With the labels of the studies that it speaks of.
        policy: ``all``; ``last-level``: of each step, replicate and arm the states of the highest level;
            ``none``; or a query.

    Raises:
        InputError: It is none of these.
    """
    check_policy(policy)
    if policy == ALL:
        return None
    if policy == NONE:
        return set()
    if policy == LAST_LEVEL:
        rows = store.ledger.rows(
            "SELECT DISTINCT l.state FROM labels l JOIN"
            " (SELECT study, step, replicate, arm, MAX(level) AS last FROM labels"
            "  GROUP BY study, step, replicate, arm) m"
            " ON l.study = m.study AND l.step = m.step AND l.replicate = m.replicate AND l.arm = m.arm"
            " AND l.level = m.last"
        )
        return {row["state"] for row in rows}
    return set(States(store, Query(policy)).keys())


def collect(store: Store, policy: str = ALL, dry_run: bool = False) -> Freed:
    """Free what a policy does not keep, and what nothing refers to. Digests, masks and results stay.

    So do the weights of states that cannot be computed again, since a user's source or file has changed.

    Args:
        store: The store.
        policy: As ``kept_states``.
        dry_run: Only say what would be freed.

    Raises:
        InputError: The policy is none.
        StoreError: A run is under way, which may need any of it.
    """
    kept = kept_states(store, policy)
    if kept is not None:
        kept |= unrepeatable_states(store)
    if not dry_run:
        for run, pid in living_runs(store.folder, store.ledger):
            raise StoreError(
                f"run {run} of process {pid} is under way in {store.folder}; free space when it has ended"
            )
    there = store.blobs.scan()
    rows = store.ledger.rows("SELECT state, name, digest FROM outputs WHERE dropped_at IS NULL")
    gone = [row for row in rows if kept is not None and row["name"] == "weights" and row["state"] not in kept]
    states = {row["state"] for row in gone}
    needed = {row["digest"] for row in rows if row["name"] != "weights" or row["state"] not in states}
    weights = {row["digest"] for row in gone} - needed
    orphans = there.keys() - needed - weights
    checkpoints = _needless_checkpoints(store)
    size = sum(there.get(digest, 0) for digest in weights | orphans)
    size += sum(_size(path) for path in checkpoints)
    drafts = store.blobs.drafts()
    freed = Freed(
        len(states), len(weights), len(orphans), len(checkpoints), len(drafts), size + sum(drafts.values())
    )
    if not dry_run:
        try:
            store.ledger.drop_outputs(states)
        except StoreWriteError:
            # On a full disk even that cannot be written. These files go in any case, and make room for it.
            for digest in weights:
                store.blobs.remove(digest)
            store.ledger.drop_outputs(states)
        store.remove(weights | orphans)
        for path in checkpoints:
            path.unlink(missing_ok=True)
        store.blobs.sweep()
        if freed.size_bytes:
            store.ledger.note(
                "freed", f"{freed.size_bytes:,} bytes, keep {policy}; weights of {len(states)} states"
            )
    return freed


def unrepeatable_states(store: Store) -> set[str]:
    """States that cannot be computed again: they rest on a user's source or file that has changed since."""
    rows = store.ledger.rows(
        "SELECT DISTINCT how FROM states WHERE how LIKE '%.py:%' OR how LIKE '%\"files\":%'"
    )
    changed = {row["how"] for row in rows if not is_current(from_json(row["how"]))}
    if not changed:
        return set()
    found = {r["key"] for r in store.ledger.rows("SELECT key, how FROM states") if r["how"] in changed}
    children: dict[str, list[str]] = {}
    for row in store.ledger.rows("SELECT child, parent FROM parents"):
        children.setdefault(row["parent"], []).append(row["child"])
    waiting = list(found)
    while waiting:
        new = [child for child in children.get(waiting.pop(), ()) if child not in found]
        found.update(new)
        waiting += new
    return found


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):  # a run has removed it meanwhile
        return path.stat().st_size
    return 0


def _needless_checkpoints(store: Store) -> list[Path]:
    """Those of states that are done or not known."""
    statuses = store.ledger.statuses("states")
    found = store.files.checkpoints.glob("*.safetensors")
    return [path for path in found if statuses.get(path.name.partition(".")[0], "done") == "done"]
