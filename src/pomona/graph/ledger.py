"""The SQLite ledger of a store: it owns the truth about what was planned, tried, finished and measured."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pomona.core.errors import StoreError
from pomona.graph.faults import explained, wrong_format
from pomona.graph.nodes import Probe, State, from_json, to_json
from pomona.graph.tables import FORMAT, TABLES


@dataclass(frozen=True)
class Attempt:
    """One try at a state or a probe."""

    node: str
    worker: str
    started_at: float
    seconds: float
    status: str
    kind: str | None = None
    reason: str | None = None
    traceback: str | None = None
    work_steps: int = 0
    cost: str = ""


@dataclass(frozen=True)
class Output:
    """A file that a state left: ``weights`` or ``masks``."""

    name: str
    digest: str
    size_bytes: int
    tensors: Mapping[str, str]


@dataclass(frozen=True)
class Measurement:
    """One number of a probe. ``layer`` is empty and ``class_`` is -1 where they do not apply."""

    quantity: str
    value: float | None
    layer: str = ""
    class_: int = -1


class Ledger:
    """One connection to the ledger of a store.

    Args:
        path: The database file.
        create: Make it where there is none.

    Raises:
        StoreError: Not a ledger, of a newer version, or not to be opened.
    """

    def __init__(self, path: Path, create: bool) -> None:
        self.path = path
        try:
            self.connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            try:
                self._open(create)
            except BaseException:
                self.close()
                raise
        except sqlite3.Error as error:
            raise explained(path, error) from None

    def close(self) -> None:
        """Give the connection back."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the changes inside, or none of them.

        Raises:
            StoreError: They could not be written; the ledger is as before.
        """
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:
                # SQLite has rolled back itself where the disk is full; a second time would hide that error.
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise explained(self.path, error) from None

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """The rows of a query."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise explained(self.path, error) from None

    def plan(self, states: Iterable[State], probes: Iterable[Probe]) -> None:
        """Write down what is to be computed; of what is known already only its ``how`` is renewed."""
        now = time.time()
        with self.transaction() as write:
            for state in states:
                row = (
                    state.key,
                    state.recipe,
                    state.version,
                    to_json(state.params),
                    to_json(state.how),
                    state.work_steps,
                    state.cost,
                    now,
                )
                added = write.execute(
                    "INSERT OR IGNORE INTO states (key, recipe, version, params, how, work_steps, cost,"
                    " planned_at) VALUES (?,?,?,?,?,?,?,?)",
                    row,
                ).rowcount
                if added:
                    links = [(state.key, i, parent) for i, parent in enumerate(state.parents)]
                    write.executemany("INSERT INTO parents VALUES (?,?,?)", links)
                else:
                    # A study that was moved says anew where its files lie.
                    moved = "UPDATE states SET how = ? WHERE key = ? AND how != ?"
                    write.execute(moved, (row[4], state.key, row[4]))
            for probe in probes:
                added = write.execute(
                    "INSERT OR IGNORE INTO probes (key, name, version, params, how) VALUES (?,?,?,?,?)",
                    (probe.key, probe.name, probe.version, to_json(probe.params), to_json(probe.how)),
                ).rowcount
                if added:
                    links = [(probe.key, i, state) for i, state in enumerate(probe.states)]
                    write.executemany("INSERT INTO probe_states VALUES (?,?,?)", links)

    def commit_state(
        self, key: str, outputs: Iterable[Output], facts: Mapping[str, Any], attempt: Attempt | None, run: int
    ) -> None:
        """A state is done: from here on it counts, in one transaction with what it left."""
        with self.transaction() as write:
            write.executemany(
                "INSERT OR REPLACE INTO outputs VALUES (?,?,?,?,?)",
                [(key, o.name, o.digest, o.size_bytes, to_json(o.tensors)) for o in outputs],
            )
            write.execute(
                "UPDATE states SET status = 'done', facts = ?, finished_at = ? WHERE key = ?",
                (to_json(facts), time.time(), key),
            )
            if attempt is not None:
                _add_attempt(write, attempt, run)

    def commit_probe(self, key: str, values: Iterable[Measurement], attempt: Attempt, run: int) -> None:
        """A probe is done, with its numbers."""
        with self.transaction() as write:
            write.executemany(
                "INSERT OR REPLACE INTO measurements VALUES (?,?,?,?,?)",
                [(key, v.quantity, v.layer, v.class_, v.value) for v in values],
            )
            write.execute("UPDATE probes SET status='done', finished_at=? WHERE key=?", (time.time(), key))
            _add_attempt(write, attempt, run)

    def commit_failure(self, attempt: Attempt, run: int, final: bool) -> None:
        """An attempt failed; ``final`` marks its state or probe as failed."""
        with self.transaction() as write:
            _add_attempt(write, attempt, run)
            if final:
                # What another process has finished meanwhile stays done.
                for table in ("states", "probes"):
                    sql = f"UPDATE {table} SET status = 'failed' WHERE key = ? AND status != 'done'"
                    write.execute(sql, (attempt.node,))

    def reopen(self, keys: Iterable[str]) -> None:
        """Take states and probes back to planned, so that they are tried again."""
        rows = [(key,) for key in keys]
        with self.transaction() as write:
            for table in ("states", "probes"):
                write.executemany(f"UPDATE {table} SET status = 'planned' WHERE key = ?", rows)

    def label(self, study: str, rows: Iterable[tuple[str, str, int, int, Mapping[str, str]]]) -> None:
        """Say which states stand for which arm of a study: (state, step, replicate, level, arm) each."""
        with self.transaction() as write:
            write.executemany(
                "INSERT OR IGNORE INTO labels VALUES (?,?,?,?,?,?)",
                [(study, state, step, rep, level, to_json(arm)) for state, step, rep, level, arm in rows],
            )

    def start_run(
        self, study: str, document: str, environment: tuple[str, str], command: str, workers: int
    ) -> int:
        """Open the record of a run; gives its number."""
        digest, described = environment
        with self.transaction() as write:
            write.execute("INSERT OR IGNORE INTO environments VALUES (?,?)", (digest, described))
            added = write.execute(
                "INSERT INTO runs (study, document, environment, command, workers, started_at)"
                " VALUES (?,?,?,?,?,?)",
                (study, document, digest, command, workers, time.time()),
            )
            return int(added.lastrowid or 0)

    def end_run(self, run: int, outcome: str) -> None:
        """Close the record of a run."""
        with self.transaction() as write:
            write.execute(
                "UPDATE runs SET ended_at = ?, outcome = ? WHERE id = ?", (time.time(), outcome, run)
            )

    def statuses(self, table: str) -> dict[str, str]:
        """Status by key of all ``states`` or ``probes``."""
        return {row["key"]: row["status"] for row in self.rows(f"SELECT key, status FROM {table}")}

    def outputs(self, keys: Iterable[str]) -> dict[str, dict[str, Output]]:
        """Outputs by state and name."""
        found: dict[str, dict[str, Output]] = {}
        for chunk in _chunks(list(keys)):
            marks = ",".join("?" * len(chunk))
            for row in self.rows(f"SELECT * FROM outputs WHERE state IN ({marks})", chunk):
                output = Output(row["name"], row["digest"], row["size_bytes"], from_json(row["tensors"]))
                found.setdefault(row["state"], {})[row["name"]] = output
        return found

    def facts(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What the recipes said about states that are done."""
        found: dict[str, dict[str, Any]] = {}
        for chunk in _chunks(list(keys)):
            marks = ",".join("?" * len(chunk))
            for row in self.rows(f"SELECT key, facts FROM states WHERE key IN ({marks})", chunk):
                found[row["key"]] = from_json(row["facts"])
        return found

    def rates(self) -> dict[str, float]:
        """Measured optimizer steps a second of one worker, by class of cost."""
        sql = (
            "SELECT cost, SUM(work_steps) AS work, SUM(seconds) AS time FROM attempts"
            " WHERE status = 'done' AND work_steps > 0 GROUP BY cost"
        )
        return {row["cost"]: row["work"] / row["time"] for row in self.rows(sql) if row["time"] > 0}

    def durations(self) -> dict[str, float]:
        """Mean seconds of work that takes no optimizer steps, by class of cost."""
        sql = (
            "SELECT cost, AVG(seconds) AS mean FROM attempts"
            " WHERE status = 'done' AND work_steps = 0 AND cost != '' GROUP BY cost"
        )
        return {row["cost"]: row["mean"] for row in self.rows(sql)}

    def _open(self, create: bool) -> None:
        self.connection.row_factory = sqlite3.Row
        found = self.connection.execute("PRAGMA user_version").fetchone()[0]
        if found == 0 and create and not self._has_tables():
            self._create()
        elif found != FORMAT:
            raise StoreError(wrong_format(self.path, found))
        self.connection.execute("PRAGMA synchronous = FULL")

    def _has_tables(self) -> bool:
        return bool(self.connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall())

    def _create(self) -> None:
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")


def _chunks(keys: list[str], size: int = 500) -> Iterator[list[str]]:
    return (keys[i : i + size] for i in range(0, len(keys), size))


def _add_attempt(write: sqlite3.Connection, attempt: Attempt, run: int) -> None:
    write.execute(
        "INSERT INTO attempts (node, run, worker, started_at, seconds, status, kind, reason, traceback,"
        " work_steps, cost) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        (
            attempt.node,
            run,
            attempt.worker,
            attempt.started_at,
            attempt.seconds,
            attempt.status,
            attempt.kind,
            attempt.reason,
            attempt.traceback,
            attempt.work_steps,
            attempt.cost,
        ),
    )
