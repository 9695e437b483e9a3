"""The SQLite ledger of a store: it owns the truth about what was planned, tried, finished and measured."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pomona.core.errors import StoreError, StoreWriteError
from pomona.graph.chain import seal
from pomona.graph.faults import damaged, explained, wrong_format
from pomona.graph.migrate import migrate
from pomona.graph.nodes import Probe, State, from_json, to_json
from pomona.graph.tables import FORMAT, TABLES

_FAULTS = (sqlite3.Error, UnicodeDecodeError)
# How long to wait for a process that writes.
_PATIENCE_SECONDS = 60


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
    """A file that a state left: ``weights`` or ``masks``. ``dropped`` says that only its digest is kept."""

    name: str
    digest: str
    size_bytes: int
    tensors: Mapping[str, str]
    dropped: bool = False


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
        shared: Whether several threads use it, one at a time.

    Raises:
        StoreError: Not a ledger, of a newer version, or not to be opened.
    """

    def __init__(self, path: Path, create: bool, shared: bool = False) -> None:
        self.path = path
        self.migrated: Path | None = None  # the copy of a ledger that was of an earlier format
        self._depth = 0
        self._file: tuple[int, int] | None = None
        try:
            place, uri = (str(path), False) if create else _place(path)
            self.connection = sqlite3.connect(
                place, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=not shared, uri=uri
            )
            try:
                self._open(create)
            except BaseException:
                self.close()
                raise
        except _FAULTS as error:
            raise explained(path, error) from None
        except OSError as error:
            raise StoreError(f"the folder of {path} cannot be opened: {error.strerror}") from None

    def close(self) -> None:
        """Give the connection back."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the changes inside, or none of them. One inside another is part of that.

        Raises:
            StoreError: They could not be written; the ledger is as before.
        """
        if self._depth:
            yield self.connection
            return
        self._depth = 1
        try:
            self._begin()
            yield self.connection
            self.connection.execute("COMMIT")
        except _FAULTS as error:
            raise explained(self.path, error) from None
        finally:
            # SQLite has rolled back itself where the disk is full; a second time would hide that error.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            self._depth = 0

    def _begin(self) -> None:
        """Wait for the others' writes in short turns, so that Ctrl-C is heard."""
        if _identity(self.path) != self._file:
            raise StoreWriteError(f"the ledger {self.path} was removed or replaced while it was open")
        deadline = time.monotonic() + _PATIENCE_SECONDS
        self.connection.execute("PRAGMA busy_timeout = 200")
        try:
            while True:
                try:
                    self.connection.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error) or time.monotonic() > deadline:
                        raise
        finally:
            self.connection.execute(f"PRAGMA busy_timeout = {_PATIENCE_SECONDS * 1000}")

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """The rows of a query."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except _FAULTS as error:
            raise explained(self.path, error) from None

    def plan(self, states: Iterable[State], probes: Iterable[Probe]) -> None:
        """Write down what is to be computed; of what is known already only its ``how`` is renewed.

        Args:
            states: Parents before children.
            probes: Of these states.
        """
        now = time.time()
        written: dict[int, str] = {}  # states of one network share what execution needs

        def shared(how: Mapping[str, Any]) -> str:
            if id(how) not in written:
                written[id(how)] = to_json(how)
            return written[id(how)]

        states, probes = list(states), list(probes)
        with self.transaction() as write:
            known = {row["key"] for row in write.execute("SELECT key FROM states")}
            distance: dict[str, int] = {}
            new, links, moved = [], [], []
            for state in states:
                key, how = state.key, shared(state.how)
                distance[key] = 1 + min(distance.get(p, 0) for p in state.parents) if state.parents else 0
                if key not in known:
                    row = (key, state.recipe, state.version, to_json(state.params), how)
                    new.append((*row, state.work_steps, state.cost, now, distance[key]))
                    links += [(key, i, parent) for i, parent in enumerate(state.parents)]
                else:
                    # A study that was moved says anew where its files lie.
                    moved.append((how, key, how))
            write.executemany(
                "INSERT INTO states (key, recipe, version, params, how, work_steps, cost, planned_at,"
                " distance) VALUES (?,?,?,?,?,?,?,?,?)",
                new,
            )
            write.executemany("INSERT INTO parents VALUES (?,?,?)", links)
            write.executemany("UPDATE states SET how = ? WHERE key = ? AND how != ?", moved)
            known = {row["key"] for row in write.execute("SELECT key FROM probes")}
            added: list[tuple[str, str, int, str, str]] = []
            links, moved = [], []
            for probe in probes:
                key, how = probe.key, shared(probe.how)
                if key not in known:
                    added.append((key, probe.name, probe.version, to_json(probe.params), how))
                    links += [(key, i, state) for i, state in enumerate(probe.states)]
                else:
                    moved.append((how, key, how))
            sql = "INSERT INTO probes (key, name, version, params, how) VALUES (?,?,?,?,?)"
            write.executemany(sql, added)
            write.executemany("INSERT INTO probe_states VALUES (?,?,?)", links)
            write.executemany("UPDATE probes SET how = ? WHERE key = ? AND how != ?", moved)

    def commit_state(
        self, key: str, outputs: Iterable[Output], facts: Mapping[str, Any], attempt: Attempt | None, run: int
    ) -> bool:
        """A state is done: from here on it counts, in one transaction with what it left.

        One that another process has finished meanwhile stays as it is; says whether this was the first.
        """
        with self.transaction() as write:
            added = write.execute(
                "UPDATE states SET status = 'done', facts = ?, finished_at = ?"
                " WHERE key = ? AND status != 'done'",
                (to_json(facts), time.time(), key),
            ).rowcount
            if added:
                # What lies there of a state that was not done is nobody's.
                write.execute("DELETE FROM outputs WHERE state = ?", (key,))
                write.executemany(
                    "INSERT OR REPLACE INTO outputs VALUES (?,?,?,?,?,NULL)",
                    [(key, o.name, o.digest, o.size_bytes, to_json(o.tensors)) for o in outputs],
                )
                seal(write, "state", key)
            self._ended(write, key, attempt, run)
            return bool(added)

    def commit_restored(self, key: str, attempt: Attempt, run: int) -> None:
        """What a finished state had left is there again."""
        with self.transaction() as write:
            self.keep_outputs(key)
            self._ended(write, key, attempt, run)

    def commit_probe(self, key: str, values: Iterable[Measurement], attempt: Attempt, run: int) -> None:
        """A probe is done, with its numbers. One that another process has finished stays as it is."""
        with self.transaction() as write:
            sql = "UPDATE probes SET status='done', finished_at=? WHERE key=? AND status != 'done'"
            if write.execute(sql, (time.time(), key)).rowcount:
                write.execute("DELETE FROM measurements WHERE probe = ?", (key,))
                rows = [(key, v.quantity, v.layer, v.class_, v.value) for v in values]
                write.executemany("INSERT OR REPLACE INTO measurements VALUES (?,?,?,?,?)", rows)
                seal(write, "probe", key)
            self._ended(write, key, attempt, run)

    def commit_failure(self, attempt: Attempt, run: int, final: bool) -> None:
        """An attempt failed; ``final`` marks its state or probe as failed."""
        with self.transaction() as write:
            self._ended(write, attempt.node, attempt, run)
            if final:
                # What another process has finished meanwhile stays done.
                for table in ("states", "probes"):
                    sql = f"UPDATE {table} SET status = 'failed' WHERE key = ? AND status != 'done'"
                    write.execute(sql, (attempt.node,))

    def _ended(self, write: sqlite3.Connection, node: str, attempt: Attempt | None, run: int) -> None:
        """The node's lease ends with the attempt."""
        write.execute("DELETE FROM leases WHERE node = ?", (node,))
        if attempt is not None:
            add_attempt(write, attempt, run)

    def release(self, node: str, owner: int) -> None:
        """Give back the lease of a node that is not ended, unless another owner has taken it over."""
        with self.transaction() as write:
            write.execute("DELETE FROM leases WHERE node = ? AND owner = ?", (node, owner))

    def keep_outputs(self, state: str) -> None:
        """The files of a state are there: they count again."""
        with self.transaction() as write:
            write.execute("UPDATE outputs SET dropped_at = NULL WHERE state = ?", (state,))

    def drop_outputs(self, states: Iterable[str], name: str = "weights") -> None:
        """The files of finished states may go; their digests stay."""
        rows = [(time.time(), state, name) for state in states]
        with self.transaction() as write:
            sql = "UPDATE outputs SET dropped_at = ? WHERE state = ? AND name = ? AND dropped_at IS NULL"
            write.executemany(sql, rows)

    def note(self, kind: str, text: str, node: str | None = None, run: int | None = None) -> None:
        """Keep a record of something that happened to the store."""
        with self.transaction() as write:
            write.execute(
                "INSERT INTO events (run, at, kind, node, text) VALUES (?,?,?,?,?)",
                (run, time.time(), kind, node, text),
            )

    def keep_sources(self, texts: Mapping[str, str]) -> None:
        """Keep the normalised text of users' functions by its digest."""
        with self.transaction() as write:
            write.executemany("INSERT OR IGNORE INTO sources VALUES (?,?)", texts.items())

    def reopen(self, keys: Iterable[str]) -> None:
        """Take states and probes back to planned, so that they are tried again."""
        rows = [(key,) for key in keys]
        with self.transaction() as write:
            for table in ("states", "probes"):
                # What another process has finished meanwhile stays done.
                sql = f"UPDATE {table} SET status = 'planned' WHERE key = ? AND status = 'failed'"
                write.executemany(sql, rows)

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

    def unfinished(self) -> dict[str, str]:
        """Status by key of all states and probes that are not done."""
        sql = " UNION ALL ".join(
            f"SELECT key, status FROM {table} WHERE status != 'done'" for table in ("states", "probes")
        )
        return {row["key"]: row["status"] for row in self.rows(sql)}

    def state(self, key: str) -> State:
        """A state as it was planned.

        Raises:
            StoreError: It is not here, or what is written of it does not give its key.
        """
        found = self.rows("SELECT * FROM states WHERE key = ?", [key])
        if not found:
            raise StoreError(f"the ledger {self.path} has no state {key[:12]}")
        row = found[0]
        parents = self.rows("SELECT parent FROM parents WHERE child = ? ORDER BY position", [key])
        what = f"state {key[:12]}"
        params, how = self._read(row["params"], what), self._read(row["how"], what)
        before = tuple(parent["parent"] for parent in parents)
        try:
            state = State(row["recipe"], row["version"], params, before, how, row["work_steps"], row["cost"])
        except (TypeError, ValueError):
            state = None
        if state is None or state.key != key:
            raise StoreError(f"the ledger {self.path} is damaged: what it says of {what} has another key")
        return state

    def probe(self, key: str) -> Probe:
        """A probe as it was planned.

        Raises:
            StoreError: It is not here, or what is written of it does not give its key.
        """
        found = self.rows("SELECT * FROM probes WHERE key = ?", [key])
        if not found:
            raise StoreError(f"the ledger {self.path} has no probe {key[:12]}")
        row = found[0]
        states = self.rows("SELECT state FROM probe_states WHERE probe = ? ORDER BY position", [key])
        what = f"probe {key[:12]}"
        params, how = self._read(row["params"], what), self._read(row["how"], what)
        measured = tuple(state["state"] for state in states)
        try:
            probe = Probe(row["name"], row["version"], params, measured, how)
        except (TypeError, ValueError):
            probe = None
        if probe is None or probe.key != key:
            raise StoreError(f"the ledger {self.path} is damaged: what it says of {what} has another key")
        return probe

    def outputs(self, keys: Iterable[str]) -> dict[str, dict[str, Output]]:
        """Outputs by state and name."""
        found: dict[str, dict[str, Output]] = {}
        for chunk in _chunks(list(keys)):
            marks = ",".join("?" * len(chunk))
            for row in self.rows(f"SELECT * FROM outputs WHERE state IN ({marks})", chunk):
                tensors = self._read(row["tensors"], f"outputs of {row['state'][:12]}")
                if not isinstance(row["name"], str) or not isinstance(row["digest"], str):
                    raise StoreError(
                        f"the ledger {self.path} is damaged: outputs of {row['state'][:12]} cannot be read"
                    )
                dropped = row["dropped_at"] is not None
                output = Output(row["name"], row["digest"], row["size_bytes"], tensors, dropped)
                found.setdefault(row["state"], {})[row["name"]] = output
        return found

    def facts(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What the recipes said about states that are done."""
        found: dict[str, dict[str, Any]] = {}
        for chunk in _chunks(list(keys)):
            marks = ",".join("?" * len(chunk))
            for row in self.rows(f"SELECT key, facts FROM states WHERE key IN ({marks})", chunk):
                found[row["key"]] = self._read(row["facts"], f"facts of {row['key'][:12]}")
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

    def _read(self, text: object, what: str) -> dict[str, Any]:
        try:
            found = from_json(text) if isinstance(text, str) else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise StoreError(f"the ledger {self.path} is damaged: {what} cannot be read")
        return found

    def _open(self, create: bool) -> None:
        self.connection.row_factory = sqlite3.Row
        self._file = _identity(self.path)
        # What a ledger holds is data; no function of its schema is to be trusted.
        self.connection.execute("PRAGMA trusted_schema = OFF")
        if self._version() != FORMAT:
            with _alone(self.path.parent):
                self._settle(create)
        self._check()
        self.connection.execute("PRAGMA synchronous = FULL")

    def _settle(self, create: bool) -> None:
        """Make the tables where there are none; bring those of an earlier format to this one."""
        found = self._version()
        if found == 0 and create and not self._has_tables():
            self._create()
        elif 0 < found < FORMAT and self._is_ledger():
            self.migrated = migrate(self.connection, self.path, found)
            self.note("migrated", f"from format {found} to {FORMAT}; the ledger as it was: {self.migrated}")

    def _version(self) -> int:
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])

    def _check(self) -> None:
        """Refuse what is no ledger of this format."""
        found = self._version()
        if found != FORMAT or not self._is_ledger():
            raise StoreError(wrong_format(self.path, found))
        lacks = min(_expected_columns() - _columns(self.connection), default=None)
        if lacks is not None:
            raise StoreError(damaged(self.path, f"the column {lacks[0]}.{lacks[1]} is missing"))
        if self.connection.execute(
            "SELECT 1 FROM sqlite_master WHERE type IN ('trigger', 'view')"
        ).fetchall():
            raise StoreError(damaged(self.path, "it has triggers or views, which none of ours has"))

    def _has_tables(self) -> bool:
        return bool(self.connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall())

    def _is_ledger(self) -> bool:
        sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'states'"
        return bool(self.connection.execute(sql).fetchall())

    def _create(self) -> None:
        """Make the tables."""
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("BEGIN EXCLUSIVE")
        for statement in filter(str.strip, TABLES.split(";")):
            self.connection.execute(statement)
        self.connection.execute(f"PRAGMA user_version = {FORMAT}")
        self.connection.execute("COMMIT")


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one that came to lie in its place."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _place(path: Path) -> tuple[str, bool]:
    """How to open a ledger to read it; whether that is an URI.

    Raises:
        StoreError: Its folder cannot be written, and without that what was written last cannot be read.
    """
    if os.access(path.parent, os.W_OK):
        return str(path), False
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise StoreError(
            f"{path} cannot be read where it lies: its folder is not writable, and the process that wrote "
            "last has not closed it; copy the store to a folder that is"
        )
    return f"{path.absolute().as_uri()}?immutable=1", True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: several may begin with a store that is new, or of an earlier format."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _columns(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    """Table and name of every column."""
    sql = "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'"
    return {(table, column) for table, column in connection.execute(sql)}


@cache
def _expected_columns() -> set[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as empty:
        empty.executescript(TABLES)
        return _columns(empty)


def _chunks(keys: list[str], size: int = 500) -> Iterator[list[str]]:
    return (keys[i : i + size] for i in range(0, len(keys), size))


def add_attempt(write: sqlite3.Connection, attempt: Attempt, run: int | None) -> None:
    """Write down one try."""
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
