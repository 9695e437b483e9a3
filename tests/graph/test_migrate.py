from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pomona.core.errors import StoreError
from pomona.graph.ledger import Ledger
from pomona.graph.nodes import Graph
from pomona.graph.tables import FORMAT
from tests.graph.conftest import add, attempt

# The tables of the first format, as they were written down then.
FORMAT_1 = (Path(__file__).parent / "format-1.sql").read_text()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A ledger of the first format: a chain of three states and a join of its ends, the first one done."""
    path = tmp_path / "ledger.sqlite"
    graph = Graph()
    root = add(graph, 0)
    chain = [root, add(graph, 1, root)]
    chain.append(add(graph, 2, chain[1]))
    add(graph, 3, chain[2], root)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(f"PRAGMA journal_mode = WAL; BEGIN; {FORMAT_1} PRAGMA user_version = 1; COMMIT;")
    for state in graph.states.values():
        values = (state.key, state.recipe, 1, '{"value":0.0}', "{}", 0, "add", 1.0)
        connection.execute(
            "INSERT INTO states (key, recipe, version, params, how, work_steps, cost, planned_at)"
            " VALUES (?,?,?,?,?,?,?,?)",
            values,
        )
        for i, parent in enumerate(state.parents):
            connection.execute("INSERT INTO parents VALUES (?,?,?)", (state.key, i, parent))
    connection.execute("UPDATE states SET status = 'done' WHERE key = ?", (root.key,))
    connection.execute("INSERT INTO outputs VALUES (?, 'weights', 'abc', 12, '{}')", (root.key,))
    connection.execute("INSERT INTO measurements VALUES ('p', 'accuracy', '', -1, 0.5)")
    connection.close()
    return path


def test_a_ledger_of_the_first_format_is_migrated_and_a_copy_kept(old: Path) -> None:
    with_old = sqlite3.connect(old)
    before = list(with_old.iterdump())
    with_old.close()
    ledger = Ledger(old, create=False)
    assert ledger.rows("PRAGMA user_version")[0][0] == FORMAT
    assert [row[0] for row in ledger.rows("SELECT distance FROM states ORDER BY planned_at, rowid")] == [
        0,
        1,
        2,
        1,
    ]
    root = ledger.rows("SELECT key FROM states WHERE status = 'done'")[0]["key"]
    assert ledger.outputs([root])[root]["weights"].digest == "abc"
    assert not ledger.outputs([root])[root]["weights"].dropped
    assert ledger.rows("SELECT value FROM measurements")[0][0] == 0.5
    assert ledger.rows("SELECT kind FROM events")[0][0] == "migrated"
    backup = ledger.migrated
    assert backup == old.with_name("ledger.sqlite.format-1")
    ledger.close()
    copy = sqlite3.connect(backup)
    assert list(copy.iterdump()) == before
    copy.close()
    again = Ledger(old, create=False)
    assert again.migrated is None
    again.close()


def test_a_migrated_ledger_has_the_tables_of_a_new_one(old: Path, tmp_path: Path) -> None:
    def schema(ledger: Ledger) -> set[tuple[str, ...]]:
        tables = [row["name"] for row in ledger.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {(t, c["name"], c["type"]) for t in tables for c in ledger.rows(f"PRAGMA table_info({t})")}
        return columns | {("", row["name"], "") for row in ledger.rows("SELECT name FROM sqlite_master")}

    migrated, new = Ledger(old, create=False), Ledger(tmp_path / "new.sqlite", create=True)
    assert schema(migrated) == schema(new)
    migrated.commit_state("k", [], {}, attempt("k"), 1)
    migrated.close()
    new.close()


def test_several_processes_migrate_one_ledger_once(old: Path) -> None:
    code = "import sys; from pathlib import Path; from pomona.graph.ledger import Ledger; Ledger(Path(sys.argv[1]), False)"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(old)]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    ledger = Ledger(old, create=False)
    assert [row[0] for row in ledger.rows("SELECT distance FROM states ORDER BY rowid")] == [0, 1, 2, 1]
    ledger.close()


def test_a_ledger_that_cannot_be_copied_is_left_as_it_is(old: Path) -> None:
    old.with_name("ledger.sqlite.format-1").mkdir()  # in the place of the copy
    before = old.read_bytes()
    with pytest.raises(StoreError, match=r"ledger\.sqlite\.format-1 could not be written"):
        Ledger(old, create=False)
    assert old.read_bytes() == before
    assert {path.name for path in old.parent.iterdir()} >= {"ledger.sqlite"}


def test_a_damaged_old_ledger_is_refused(old: Path) -> None:
    connection = sqlite3.connect(old)
    connection.executescript("DROP TABLE parents;")
    connection.close()
    with pytest.raises(StoreError):
        Ledger(old, create=False)
    connection = sqlite3.connect(old)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
    connection.close()
