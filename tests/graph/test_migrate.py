from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pomona.core.errors import StoreError
from pomona.graph.chain import append, check, entries
from pomona.graph.ledger import Ledger
from pomona.graph.nodes import Graph
from pomona.graph.store import LEDGER, Store
from pomona.graph.tables import FORMAT
from tests.graph.conftest import add, attempt, mean, run, snapshot, train

# The tables of the first format, as they were written down then; and a whole ledger of the second, as a run
# of that time left it.
FORMAT_1 = (Path(__file__).parent / "format-1.sql").read_text()
FORMAT_2 = (Path(__file__).parent / "format-2.sql").read_text()


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
    connection.execute(
        "INSERT INTO probes (key, name, version, params, how, status) VALUES ('p', 'accuracy', 1, '{}', '{}', 'done')"
    )
    connection.execute("INSERT INTO measurements VALUES ('p', 'accuracy', '', -1, 0.5)")
    connection.close()
    return path


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """A store of the second format: its ledger, and none of its files."""
    folder = tmp_path / "second"
    folder.mkdir()
    connection = sqlite3.connect(folder / LEDGER, isolation_level=None)
    connection.executescript("PRAGMA journal_mode = WAL;" + FORMAT_2 + "PRAGMA user_version = 2;")
    connection.close()
    return folder


def finished(ledger: Ledger) -> list[str]:
    sql = "SELECT key FROM {} WHERE status = 'done'"
    return sorted(row["key"] for table in ("states", "probes") for row in ledger.rows(sql.format(table)))


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


@pytest.mark.parametrize("which", ["old", "second"])
def test_a_migrated_ledger_has_the_tables_of_a_new_one(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def schema(ledger: Ledger) -> set[tuple[str, ...]]:
        tables = [row["name"] for row in ledger.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {(t, c["name"], c["type"]) for t in tables for c in ledger.rows(f"PRAGMA table_info({t})")}
        return columns | {("", row["name"], "") for row in ledger.rows("SELECT name FROM sqlite_master")}

    found: Path = request.getfixturevalue(which)
    path = found / LEDGER if found.is_dir() else found
    migrated, new = Ledger(path, create=False), Ledger(tmp_path / "new.sqlite", create=True)
    assert schema(migrated) == schema(new)
    migrated.commit_state("k", [], {}, attempt("k"), 1)
    migrated.close()
    new.close()


def test_the_chain_of_an_old_ledger_begins_with_what_is_done_in_it(old: Path) -> None:
    ledger = Ledger(old, create=False)
    found = entries(ledger)
    assert [(entry.number, entry.kind) for entry in found] == [(1, "adopted"), (2, "adopted")]
    assert sorted(entry.subject for entry in found) == finished(ledger)
    assert check(ledger) == []
    with ledger.transaction() as write:
        write.execute("UPDATE measurements SET value = 0.6")
    assert [found.what for found in check(ledger)] == [
        "accuracy of probe p (accuracy) was changed after it was measured"
    ]
    ledger.close()


def test_a_ledger_of_the_second_format_keeps_all_that_it_held(second: Path) -> None:
    def held(connection: sqlite3.Connection) -> set[str]:
        # By a cursor of its own: the dump makes its own names of rows.
        lines = {line for line in connection.iterdump() if line.startswith("INSERT")}
        return {
            line for line in lines if not line.startswith(('INSERT INTO "chain"', 'INSERT INTO "events"'))
        }

    connection = sqlite3.connect(second / LEDGER)
    before = held(connection)
    connection.close()
    with Store(second) as store:
        assert store.ledger.migrated == second / f"{LEDGER}.format-2"
        assert held(store.ledger.connection) == before
        assert len(before) > 30
        assert [entry.kind for entry in entries(store.ledger)] == ["adopted"] * 7
        assert sorted(entry.subject for entry in entries(store.ledger)) == finished(store.ledger)
        assert check(store.ledger) == []
        assert store.ledger.rows("SELECT * FROM blindings") == []


def test_a_run_goes_on_in_a_store_of_the_second_format(second: Path) -> None:
    graph = Graph()
    root = add(graph, 0.1)
    line = [root, add(graph, 1, root)]
    line.append(add(graph, 2.5, line[1]))
    mean(graph, snapshot(graph, 2, train(graph, 3, root)), line[2])
    mean(graph, *line)
    new = mean(graph, add(graph, 7, line[2]))
    with Store(second) as store:
        append(store.ledger, "registered", "study", "{}")
        scheduler = run(store, graph)
        assert scheduler.failures == []
        # Its files are not there (one had been let go), and come out with the bits of then.
        assert (scheduler.tally.cached, scheduler.tally.restored, scheduler.tally.done) == (5, 5, 1)
        kinds = [entry.kind for entry in entries(store.ledger)]
        assert kinds == ["adopted"] * 7 + ["registered", "state", "probe"]
        assert entries(store.ledger)[-1].subject == new.key
        assert check(store.ledger) == []


def test_several_processes_migrate_one_ledger_once(old: Path) -> None:
    code = "import sys; from pathlib import Path; from pomona.graph.ledger import Ledger; Ledger(Path(sys.argv[1]), False)"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(old)]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    ledger = Ledger(old, create=False)
    assert [row[0] for row in ledger.rows("SELECT distance FROM states ORDER BY rowid")] == [0, 1, 2, 1]
    assert len(entries(ledger)) == 2
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
