"""Stores of earlier formats: the ledger is copied first, then changed in one transaction."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path

from pomona.graph.chain import adopt
from pomona.graph.tables import FORMAT, NEW_IN_2, NEW_IN_3
from pomona.graph.writing import sync_folder


def migrate(connection: sqlite3.Connection, path: Path, found: int) -> Path:
    """Bring a ledger to the present format; gives the copy of it as it was.

    Several processes may try at once: one does it, the others find it done.
    """
    backup = path.with_name(f"{path.name}.format-{found}")
    _copy(connection, backup)
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        for step in range(version, FORMAT):
            _STEPS[step](connection)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return backup


def _copy(connection: sqlite3.Connection, target: Path) -> None:
    """The whole database at one moment, under its name only when it is whole."""
    draft = target.with_name(f"{target.name}.draft")
    try:
        # Of a process that was killed; nobody else is at it, since one at a time opens a ledger.
        draft.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(draft)) as copy:
            copy.execute("PRAGMA journal_mode = OFF")
            connection.backup(copy)
        handle = os.open(draft, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(draft, target)
        sync_folder(target.parent)
    except OSError as error:
        # As SQLite says it, so that the user is told the same.
        raise sqlite3.OperationalError(f"{target} could not be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)


def _from_1_to_2(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE states ADD COLUMN distance INTEGER NOT NULL DEFAULT 0")
    connection.execute("ALTER TABLE outputs ADD COLUMN dropped_at REAL")
    _execute(connection, NEW_IN_2)
    children: dict[str, list[str]] = {}
    for child, parent in connection.execute("SELECT child, parent FROM parents"):
        children.setdefault(parent, []).append(child)
    roots = "SELECT key FROM states WHERE key NOT IN (SELECT child FROM parents)"
    distance = {key: 0 for (key,) in connection.execute(roots)}
    waiting = deque(distance)
    while waiting:
        key = waiting.popleft()
        for child in children.get(key, ()):
            if child not in distance:
                distance[child] = distance[key] + 1
                waiting.append(child)
    rows = [(found, key) for key, found in distance.items()]
    connection.executemany("UPDATE states SET distance = ? WHERE key = ?", rows)


def _from_2_to_3(connection: sqlite3.Connection) -> None:
    _execute(connection, NEW_IN_3)
    adopt(connection)


def _execute(connection: sqlite3.Connection, statements: str) -> None:
    # One at a time: a script would end the transaction.
    for statement in filter(str.strip, statements.split(";")):
        connection.execute(statement)


_STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _from_1_to_2, 2: _from_2_to_3}
