"""Damaged ledgers: each is opened, read in every way and run on, in a process of its own.

    python -m tests.faults.ledgers FOLDER COUNT

damages the ledger of a whole store in COUNT ways and says which did not end as they may: with work done, or in
a ``StoreError``.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pomona.core.errors import InputError, StoreError
from pomona.graph.nodes import Graph
from pomona.graph.pool import HereExecutor
from pomona.graph.retention import collect, kept_states
from pomona.graph.scheduler import Manner, Scheduler
from pomona.graph.store import LEDGER, Store
from tests.graph.conftest import ENTRY, add, make, mean, snapshot, train

from .examine import Trial

# A case takes a fraction of a second; one that takes this long stands still.
LIMIT_SECONDS = 120

_VALUES: tuple[object, ...] = (
    None,
    "",
    "x",
    "{}",
    "[]",
    "null",
    "7",
    '{"a":' * 20_000,
    '{"$step":"x"}',
    '{"$step":7}',
    '{"w":7}',
    '{"w":NaN}',
    "\x00",
    "a" * 64,
    "done",
    b"",
    b"\xff\xfe",
    0,
    -1,
    2**62,
    -(2**63),
    float("inf"),
    -1e308,
)


def graph() -> Graph:
    """States of every kind, some of which fail, and probes."""
    found = Graph()
    first = add(found, 1)
    line = [first]
    for value in range(12):
        line.append(add(found, value / 3, line[-1], first))
    run = train(found, 5, first)
    mean(found, snapshot(found, 2, run), line[3])
    mean(found, *line[:6])
    add(found, 2, make(found, "fail", {"kind": "diverged"}, first))
    make(found, "fail", {"kind": "bad input"}, first)
    return found


def larger() -> Graph:
    """The same, and some that are not done yet."""
    found = graph()
    states = list(found.states.values())
    mean(found, add(found, 20, states[3], states[5]), states[1])
    return found


def prepare(folder: Path) -> None:
    """A whole store to be damaged."""
    with Store(folder) as store:
        _run(store, graph())
        store.ledger.label("toy", [(key, "step", 0, 1, {"method": "m"}) for key in graph().states])
        store.ledger.keep_sources({"d" * 64: "def f(): pass"})
        store.ledger.note("verified", "the same bits", next(iter(graph().states)))
        store.ledger.plan(larger().states.values(), larger().probes.values())
        store.let_go([list(graph().states)[2]])


def _run(store: Store, wanted: Graph, manner: Manner | None = None) -> None:
    store.ledger.plan(wanted.states.values(), wanted.probes.values())
    number = store.ledger.start_run("toy", "", ("e" * 64, "{}"), "test", 0)
    Scheduler(store, wanted, HereExecutor(ENTRY), number, manner=manner).execute()
    store.ledger.end_run(number, "done")


def damage(path: Path, draw: random.Random) -> str:
    """Damage a ledger in one of many ways; says how."""
    ways = (_flipped, _flipped, _shortened, _pages, _pages, _values, _values, _values, _values, _tables, _log)
    return draw.choice(ways)(path, draw)


def _flipped(path: Path, draw: random.Random) -> str:
    content = bytearray(path.read_bytes())
    places = [draw.randrange(len(content)) for _ in range(draw.choice([1, 1, 3, 30]))]
    # Where the format is described, one in ten.
    places = [draw.randrange(100) if draw.random() < 0.1 else place for place in places]
    for place in places:
        content[place] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    return f"flipped a bit at {places}"


def _shortened(path: Path, draw: random.Random) -> str:
    size = path.stat().st_size
    length = draw.choice([0, 1, 100, draw.randrange(size), draw.randrange(size // 4096) * 4096])
    os.truncate(path, length)
    return f"cut to {length} of {size} bytes"


def _pages(path: Path, draw: random.Random) -> str:
    content = bytearray(path.read_bytes())
    pages = len(content) // 4096
    at, other = (draw.randrange(pages) * 4096 for _ in range(2))
    kind = draw.choice(["noise", "zeros", "another page"])
    page = {
        "noise": draw.randbytes(4096),
        "zeros": bytes(4096),
        "another page": content[other : other + 4096],
    }
    content[at : at + 4096] = page[kind]
    path.write_bytes(content)
    return f"page {at // 4096} is {kind} ({other // 4096})"


def _values(path: Path, draw: random.Random) -> str:
    """Values that the tables allow and the program never writes."""
    with _opened(path) as ledger:
        tables = [row[0] for row in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        said = []
        for _ in range(draw.choice([1, 1, 2, 8])):
            table = draw.choice([name for name in tables if not name.startswith("sqlite_")])
            columns = [row[1] for row in ledger.execute(f"PRAGMA table_info({table})")]
            column, value = draw.choice(columns), draw.choice(_VALUES)
            some = draw.choice(["", f" WHERE abs(random()) % {draw.choice([2, 5])} = 0"])
            sql = f'UPDATE OR REPLACE {table} SET "{column}" = ?{some}'
            if draw.random() < 0.1:
                sql = sql.replace("= ?", "= CAST(? AS TEXT)")
            with contextlib.suppress(sqlite3.Error):
                said.append(
                    f"{table}.{column} = {value!r:.30}{some} ({ledger.execute(sql, (value,)).rowcount} rows)"
                )
    return "; ".join(said)


def _tables(path: Path, draw: random.Random) -> str:
    with _opened(path) as ledger:
        kind, name = draw.choice(
            ledger.execute("SELECT type, name FROM sqlite_master WHERE sql != ''").fetchall()
        )
        sql = f"DROP {kind} {name}"
        if kind == "table":
            columns = [row[1] for row in ledger.execute(f"PRAGMA table_info({name})")]
            sql = draw.choice(
                [
                    sql,
                    f"DELETE FROM {name}",
                    f'ALTER TABLE {name} RENAME COLUMN "{draw.choice(columns)}" TO other',
                    f"CREATE TRIGGER t BEFORE UPDATE ON {name} BEGIN SELECT RAISE(ABORT, 'no'); END",
                    f"CREATE TRIGGER t BEFORE INSERT ON {name} BEGIN SELECT RAISE(IGNORE); END",
                ]
            )
        with contextlib.suppress(sqlite3.Error):
            ledger.execute(sql)
    return sql


def _log(path: Path, draw: random.Random) -> str:
    """What lies beside it as its log is none."""
    name = draw.choice(["-wal", "-journal", "-shm"])
    path.with_name(path.name + name).write_bytes(draw.randbytes(draw.choice([1, 32, 5000])))
    return f"noise as {name}"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as found:
        found.execute("PRAGMA ignore_check_constraints = ON")
        yield found


def use(folder: Path) -> None:
    """Read a store in every way, then run on it. What it says may be wrong, but not how it says so."""
    known = larger()
    keys = [*known.states]
    with Store(folder, create=False) as store:
        ledger = store.ledger
        ways: list[Callable[[], Any]] = [
            lambda: ledger.statuses("states"),
            lambda: ledger.statuses("probes"),
            lambda: ledger.outputs(keys),
            lambda: ledger.facts(keys),
            ledger.rates,
            ledger.durations,
            lambda: store.graph(keys, known.probes),
            lambda: kept_states(store, "last-level"),
            lambda: collect(store, "none", dry_run=True),
            *(lambda key=key: store.find(key[:10]) for key in keys),
            *(lambda key=key: ledger.state(key) for key in keys),
            *(lambda key=key: ledger.probe(key) for key in known.probes),
            *(lambda key=key: store.weights(key) for key in keys),
            *(lambda key=key: store.masks(key) for key in keys),
            lambda: _run(store, known),
            lambda: _run(
                store, known, Manner(retry_failed=True, keep=frozenset(keys[:3]), restore=(keys[2],))
            ),
            lambda: _run(
                store, known, Manner(verify=(keys[1], next(iter(known.probes))), scratch=folder / "s")
            ),
        ]
        for way in ways:
            with contextlib.suppress(StoreError, InputError):
                way()


def trial(whole: Path, seed: int) -> str:
    """Damage a copy of a store and use it; gives what is wrong with how that ended, empty where nothing is."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=whole.parent) as scratch:
        folder, said = Path(scratch) / "store", Path(scratch) / "said"
        shutil.copytree(whole, folder)
        how = damage(folder / LEDGER, draw)
        process = os.fork()
        if process == 0:
            _child(folder, said)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if status == -signal.SIGALRM:
            return f"seed {seed}, {how}: it stood still"
        if status:
            return f"seed {seed}, {how}: it ended with {status}"
        text = said.read_text()
        return f"seed {seed}, {how}: {text}" if text else ""


def _child(folder: Path, said: Path) -> None:
    signal.alarm(LIMIT_SECONDS)
    text = ""
    try:
        use(folder)
    except StoreError:
        pass
    except BaseException:
        text = traceback.format_exc()
    said.write_text(text)
    os._exit(0)


def damaged(folder: Path, count: int) -> Iterator[Trial]:
    """A store whose ledger is damaged in one way after the other."""
    whole = folder / "whole"
    prepare(whole)
    for seed in range(count):
        yield f"seed {seed}", partial(_check, whole, seed)


def _check(whole: Path, seed: int) -> None:
    fault = trial(whole, seed)
    assert not fault, fault


if __name__ == "__main__":
    for _, check in damaged(Path(sys.argv[1]), int(sys.argv[2])):
        try:
            check()
        except AssertionError as error:
            print(error, flush=True)
