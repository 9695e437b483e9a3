"""Processes that open one store at the same moment, where there is none yet or one of an earlier format.

    python -m tests.faults.together FOLDER ROUNDS

prints a line for each that could not.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pomona.graph.store import LEDGER, Store
from pomona.graph.tables import FORMAT

FORMAT_1 = Path(__file__).parents[1] / "graph" / "format-1.sql"
PROCESSES = 8


def make_old(store: Path) -> None:
    """A store of the first format, in which nothing was planned yet."""
    store.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(store / LEDGER)) as ledger:
        sql = FORMAT_1.read_text()
        ledger.executescript(f"PRAGMA journal_mode = WAL; BEGIN; {sql} PRAGMA user_version = 1; COMMIT;")


def round_of(folder: Path, old: bool) -> list[str]:
    """Let processes open a new store, or an old one, at once; gives what went wrong."""
    folder.mkdir(parents=True)
    store = folder / "store"
    if old:
        make_old(store)
    start = time.monotonic() + 0.02
    processes = []
    for number in range(PROCESSES):
        processes.append(os.fork())
        if processes[-1] == 0:
            _child(store, start, folder / str(number))
    for process in processes:
        os.waitpid(process, 0)
    said = [text for number in range(PROCESSES) if (text := (folder / str(number)).read_text())]
    return said + (_backups(store) if old and not said else [])


def _child(store: Path, start: float, said: Path) -> None:
    text = ""
    while time.monotonic() < start:
        pass
    try:
        with Store(store) as opened:
            version = opened.ledger.rows("PRAGMA user_version")[0][0]
            assert version == FORMAT, f"it is of format {version}"
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
    said.write_text(text)
    os._exit(0)


def _backups(store: Path) -> list[str]:
    """The ledger as it was must have been kept, by the one that changed it."""
    kept = list(store.glob(f"{LEDGER}.format-*"))
    if [path.name for path in kept] != [f"{LEDGER}.format-1"]:
        return [f"kept: {kept}"]
    with contextlib.closing(sqlite3.connect(kept[0])) as copy:
        version = copy.execute("PRAGMA user_version").fetchone()[0]
    return [] if version == 1 else [f"the copy of the earlier ledger is of format {version}"]


def together(folder: Path, rounds: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Rounds of both kinds."""
    for number, old in itertools.product(range(rounds), (False, True)):
        name = f"round {number}, {'an old' if old else 'a new'} store"
        yield name, partial(_check, name, folder / f"{number}-{old}", old)


def _check(name: str, folder: Path, old: bool) -> None:
    said = round_of(folder, old)
    assert not said, f"{name}: {said}"


if __name__ == "__main__":
    for _, check in together(Path(sys.argv[1]), int(sys.argv[2])):
        try:
            check()
        except AssertionError as error:
            print(error, flush=True)
