"""Compute again what a store has: to restore weights that were let go, or to verify its bits."""

from __future__ import annotations

import math
import secrets
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pomona.core.errors import InputError
from pomona.graph.again import Verdict
from pomona.graph.scheduler import Failure, Manner, Scheduler, Tally
from pomona.graph.store import DEFAULT_STORE, Store
from pomona.studies.drive import Order, drive
from pomona.studies.run import check_device


def restore(
    keys: Sequence[str],
    store: Store | Path | str = DEFAULT_STORE,
    *,
    workers: int | None = None,
    device: str = "cpu",
    on_change: Callable[[Tally], None] = lambda tally: None,
) -> list[Failure]:
    """Have the weights of finished states on disk, computed again from their lineage where they were let go.

    They count only if their digests are those on record.

    Args:
        keys: Keys of states, or their beginnings.
        store: The store or its folder.
        workers: Threads or processes; one per core by default. 0 computes in this process.
        device: Where they were computed: ``cpu`` or ``cuda``.
        on_change: Told how far it is.

    Returns:
        What could not be restored, and why.
    """
    check_device(device)
    opened = store if isinstance(store, Store) else Store(store, create=False)
    found = [opened.find(key) for key in keys]
    status = opened.ledger.statuses("states")
    for key in found:
        if status[key] != "done":
            raise InputError(f"state {key[:12]} cannot be restored: it is {status[key]}, not done")
    graph = opened.graph(found)
    manner = Manner(restore=tuple(found))
    return drive(Order(graph, "restore", manner=manner), opened, workers, device, on_change).failures


def verify(
    store: Store | Path | str = DEFAULT_STORE,
    fraction: float = 0.02,
    *,
    workers: int | None = None,
    device: str = "cpu",
    on_change: Callable[[Tally], None] = lambda tally: None,
    report: Callable[[str], None] = lambda text: None,
) -> list[Verdict]:
    """Compute a random sample of finished states and probes once more and compare the bits.

    Nothing of the store is changed but for the weights of their parents, where these were let go: they are
    restored for it, and let go again.

    Args:
        store: The store or its folder.
        fraction: Share of the states and of the probes; at least one of each where there is any.
        workers: Threads or processes; one per core by default. 0 computes in this process.
        device: Where they were computed: ``cpu`` or ``cuda``.
        on_change: Told how far it is.
        report: Told about data that has to be fetched.

    Raises:
        InputError: The fraction is not between 0 and 1.
    """
    if not 0 <= fraction <= 1:
        raise InputError(f"fraction: expected a number from 0 to 1, got {fraction}")
    check_device(device)
    opened = store if isinstance(store, Store) else Store(store, create=False)
    states, probes = (_sample(opened, table, fraction) for table in ("states", "probes"))
    graph = opened.graph(states, probes)
    dropped = {
        row["state"] for row in opened.ledger.rows("SELECT state FROM outputs WHERE dropped_at NOT NULL")
    }
    restored: list[str] = []

    def started(scheduler: Scheduler) -> None:
        nonlocal restored
        restored = scheduler.restored

    try:
        with tempfile.TemporaryDirectory(prefix="pomona-verify-") as scratch:
            manner = Manner(verify=(*states, *probes), scratch=Path(scratch))
            order = Order(graph, "verify", manner=manner)
            scheduler = drive(order, opened, workers, device, on_change, report, started)
    finally:
        # Only what was let go before and was brought back for this.
        opened.let_go([state for state in restored if state in dropped])
    found = scheduler.verdicts
    same = sum(verdict.same for verdict in found)
    opened.ledger.note("verified", f"{len(found)} computed again, {same} with the same bits")
    return found


def broken_files(store: Store) -> list[str]:
    """Read every file that a state keeps, and say of those that are not whole what is wrong.

    They are removed: nothing can be made of them, and the next run sees that they are gone.
    """
    rows = store.ledger.rows("SELECT DISTINCT digest FROM outputs WHERE dropped_at IS NULL ORDER BY digest")
    faults = []
    for row in rows:
        if store.blobs.check(row["digest"]) is None:
            continue
        # Once more while nobody commits or removes: a run may have let it go or repaired it meanwhile.
        with store.ledger.transaction() as write:
            sql = "SELECT 1 FROM outputs WHERE digest = ? AND dropped_at IS NULL LIMIT 1"
            kept = write.execute(sql, (row["digest"],)).fetchone() is not None
            fault = store.blobs.check(row["digest"])
            if kept and fault is not None:
                faults.append(fault)
                store.blobs.remove(row["digest"])
    return faults


def _sample(store: Store, table: str, fraction: float) -> list[str]:
    done = [key for key, status in store.ledger.statuses(table).items() if status == "done"]
    # Another sample at every call, so that in time all is seen.
    return secrets.SystemRandom().sample(done, min(len(done), math.ceil(fraction * len(done))))
