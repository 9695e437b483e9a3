"""Which process computes what: leases with heartbeats, so that several on one store do nothing twice.

A lease ends with its owner. That is seen at once where the owner has died, since the kernel gives up the
lock on its file, and after ``EXPIRY_SECONDS`` without a heartbeat where it hangs or is stopped. Nobody ever
has to unlock anything.

Only processes of one host may share a store. Leases need not outlive a power failure, so taking one does not
wait for the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pomona.core.errors import StoreError
from pomona.graph.ledger import Attempt, Ledger, add_attempt
from pomona.graph.writing import write_error

BEAT_SECONDS = 3.0
EXPIRY_SECONDS = 60.0


@dataclass(frozen=True)
class Claim:
    """What came of asking for some nodes, in order of preference.

    Args:
        mine: The one that the caller may compute now; None where all are taken or ended.
        held: Those that others compute.
        ended: Those that others have ended meanwhile, done or failed.
    """

    mine: str | None
    held: tuple[str, ...]
    ended: tuple[str, ...]


class Leases:
    """One run's part in a store. While it is open, a thread says every few seconds that it is alive.

    Args:
        folder: The store.
        ledger: Path of its ledger.
        run: Number of the run.
    """

    def __init__(self, folder: Path, ledger: Path, run: int) -> None:
        self.run = run
        self._folder = folder / "owners"
        # Its own connection: a heartbeat must not wait for what the run does with its own.
        self._ledger = Ledger(ledger, create=False, shared=True)
        self._ledger.connection.execute("PRAGMA synchronous = NORMAL")
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._lock: IO[bytes] | None = None
        self.owner = 0
        try:
            self._register()
        except OSError as error:
            self._ledger.close()
            raise write_error(self._folder, error) from None
        except BaseException:
            self._ledger.close()
            raise
        self._heart = threading.Thread(target=self._beat, name="pomona-heartbeat", daemon=True)
        self._heart.start()

    def claim(self, nodes: Sequence[str], worker: str, again: AbstractSet[str] = frozenset()) -> Claim:
        """Take the lease of the first of some nodes that is neither ended nor held by a living owner.

        Args:
            nodes: Keys of states and probes, the most wanted first.
            worker: Who will compute it.
            again: Those of them that may be taken although they are done, to be computed once more.
        """
        marks = ",".join("?" * len(nodes))
        with self._guard, self._ledger.transaction() as write:
            found = write.execute(
                f"SELECT key, status FROM states WHERE key IN ({marks})"
                f" UNION ALL SELECT key, status FROM probes WHERE key IN ({marks})",
                [*nodes, *nodes],
            )
            status = {row["key"]: row["status"] for row in found}
            leases = write.execute(f"SELECT * FROM leases WHERE node IN ({marks})", nodes).fetchall()
            living = self._living(write, {row["owner"] for row in leases})
            lease = {row["node"]: row for row in leases}
            held, ended = [], []
            for node in nodes:
                taken = lease.get(node)
                if taken is not None and taken["owner"] in living:
                    held.append(node)
                elif status.get(node, "planned") != "planned" and node not in again:
                    ended.append(node)
                else:
                    if taken is not None:
                        self._note_lost(write, taken)
                    row = (node, self.owner, worker, time.time())
                    write.execute("INSERT OR REPLACE INTO leases VALUES (?,?,?,?)", row)
                    return Claim(node, tuple(held), tuple(ended))
        return Claim(None, tuple(held), tuple(ended))

    def release(self, node: str) -> None:
        """Give a lease back before its time. The commit of a result does so itself."""
        with self._guard, self._ledger.transaction() as write:
            write.execute("DELETE FROM leases WHERE node = ? AND owner = ?", (node, self.owner))

    def close(self) -> None:
        """Give everything back."""
        self._ended.set()
        self._heart.join()
        with self._guard:
            # A full disk must not hide what ended the run; the lock tells the others all the same.
            with contextlib.suppress(StoreError), self._ledger.transaction() as write:
                write.execute("DELETE FROM leases WHERE owner = ?", (self.owner,))
                write.execute("DELETE FROM owners WHERE id = ?", (self.owner,))
                # Inside: the number may be given to another run as soon as this is committed.
                self._path(self.owner).unlink(missing_ok=True)
            self._ledger.close()
        assert self._lock is not None
        self._lock.close()

    def __enter__(self) -> Leases:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _path(self, owner: int) -> Path:
        return self._folder / f"{owner}.lock"

    def _register(self) -> None:
        self._folder.mkdir(exist_ok=True)
        now = time.time()
        with self._ledger.transaction() as write:
            # One that ended without a word leaves its row; its number is not given away again while it has
            # leases, and its file tells that it is gone.
            number = write.execute("SELECT COALESCE(MAX(id), 0) + 1 FROM owners").fetchone()[0]
            lock = open(self._path(number), "wb")  # noqa: SIM115 - held as long as the run lasts
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                write.execute(
                    "INSERT INTO owners VALUES (?,?,?,?,?)", (number, self.run, os.getpid(), now, now)
                )
            except BaseException:
                lock.close()
                raise
        self.owner, self._lock = number, lock

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with self._guard, contextlib.suppress(StoreError), self._ledger.transaction() as write:
                write.execute("UPDATE owners SET beat_at = ? WHERE id = ?", (time.time(), self.owner))

    def _living(self, write: sqlite3.Connection, owners: Iterable[int]) -> set[int]:
        """Those of some owners that still work."""
        found = set()
        for owner in owners:
            if owner == self.owner:
                found.add(owner)
                continue
            # In SQL, where a time that was damaged is one long ago.
            sql = "SELECT 1 FROM owners WHERE id = ? AND abs(? - beat_at) < ?"
            fresh = write.execute(sql, (owner, time.time(), EXPIRY_SECONDS)).fetchone()
            if fresh and _is_locked(self._path(owner)):
                found.add(owner)
        return found

    def _note_lost(self, write: sqlite3.Connection, lease: sqlite3.Row) -> None:
        """What a lost owner was at is one attempt that failed."""
        sql = "SELECT pid, run, COALESCE(max(0.0, beat_at - ?), 0.0) AS seconds FROM owners WHERE id = ?"
        owner = write.execute(sql, (lease["taken_at"], lease["owner"])).fetchone()
        who = f"process {owner['pid']}" if owner else "a process"
        lost = Attempt(
            node=lease["node"],
            worker=lease["worker"],
            started_at=lease["taken_at"],
            seconds=owner["seconds"] if owner else 0.0,
            status="failed",
            kind="lost worker",
            reason=f"{who} ended, or said nothing for {EXPIRY_SECONDS:g} seconds, while it computed this",
        )
        add_attempt(write, lost, owner["run"] if owner else None)


def sweep_owners(folder: Path, ledger: Ledger) -> None:
    """Forget owners that are gone and hold nothing, and end the records of their runs."""
    with ledger.transaction() as write:
        for row in write.execute("SELECT id, run, beat_at FROM owners").fetchall():
            path = folder / "owners" / f"{row['id']}.lock"
            if _is_locked(path):
                continue
            sql = "UPDATE runs SET ended_at = ?, outcome = 'lost' WHERE id = ? AND ended_at IS NULL"
            write.execute(sql, (row["beat_at"], row["run"]))
            if write.execute("SELECT 1 FROM leases WHERE owner = ? LIMIT 1", (row["id"],)).fetchone() is None:
                write.execute("DELETE FROM owners WHERE id = ?", (row["id"],))
                path.unlink(missing_ok=True)


def living_runs(folder: Path, ledger: Ledger) -> list[tuple[int, int]]:
    """Number and process of every run that is under way."""
    rows = ledger.rows("SELECT id, run, pid FROM owners ORDER BY id")
    return [(row["run"], row["pid"]) for row in rows if _is_locked(folder / "owners" / f"{row['id']}.lock")]


def _is_locked(path: Path) -> bool:
    """Whether a living process holds the lock of a file."""
    try:
        with open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
    except OSError:
        return False
