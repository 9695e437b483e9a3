from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pomona.core.errors import StoreError, StoreWriteError
from pomona.core.step import Step
from pomona.graph.ledger import Ledger, Measurement, Output
from pomona.graph.nodes import Probe, State, to_json
from pomona.graph.tables import FORMAT
from tests.graph.conftest import attempt

INIT = State("init", 1, {"seed": 3}, how={"path": "/a"})
TRAIN = State("train", 2, {"duration": Step(3, "ep")}, (INIT.key,), work_steps=30, cost="toy")
JOIN = State("join", 1, {}, (TRAIN.key, INIT.key))
PROBE = Probe("distance", 1, {"x": 1.0}, (TRAIN.key, INIT.key), how={"y": 2})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(tmp_path / "ledger.sqlite", create=True)
    yield found
    found.close()


def dump(ledger: Ledger) -> list[str]:
    return list(ledger.connection.iterdump())


def test_plan_writes_definitions_and_links(ledger: Ledger) -> None:
    ledger.plan([INIT, TRAIN, JOIN], [PROBE])
    row = ledger.rows("SELECT * FROM states WHERE key = ?", [TRAIN.key])[0]
    assert (row["recipe"], row["version"], row["params"]) == ("train", 2, to_json(TRAIN.params))
    assert (row["work_steps"], row["cost"], row["status"]) == (30, "toy", "planned")
    parents = ledger.rows("SELECT parent FROM parents WHERE child = ? ORDER BY position", [JOIN.key])
    assert [row["parent"] for row in parents] == [TRAIN.key, INIT.key]
    states = ledger.rows("SELECT state FROM probe_states WHERE probe = ? ORDER BY position", [PROBE.key])
    assert [row["state"] for row in states] == [TRAIN.key, INIT.key]
    assert ledger.statuses("probes") == {PROBE.key: "planned"}


def test_plan_twice_changes_nothing(ledger: Ledger) -> None:
    ledger.plan(iter([INIT, TRAIN, JOIN]), iter([PROBE]))
    ledger.commit_state(INIT.key, [], {}, None, 1)
    before = dump(ledger)
    ledger.plan([INIT, TRAIN, JOIN], [PROBE])
    assert dump(ledger) == before


def test_plan_renews_where_the_files_of_a_moved_study_lie(ledger: Ledger) -> None:
    ledger.plan([INIT], [])
    ledger.plan([State("init", 1, {"seed": 3}, how={"path": "/moved"})], [])
    rows = ledger.rows("SELECT key, how FROM states")
    assert [(row["key"], row["how"]) for row in rows] == [(INIT.key, '{"path":"/moved"}')]


def test_commit_state_keeps_outputs_facts_and_attempt(ledger: Ledger) -> None:
    ledger.plan([INIT, TRAIN], [])
    outputs = [Output("weights", "ab", 10, {"w": "cd"}), Output("masks", "ef", 2, {})]
    ledger.commit_state(TRAIN.key, iter(outputs), {"at": Step(1, "ep"), "x": 0.1}, attempt(TRAIN.key), 7)
    assert ledger.statuses("states") == {INIT.key: "planned", TRAIN.key: "done"}
    assert ledger.outputs([TRAIN.key, INIT.key]) == {TRAIN.key: {output.name: output for output in outputs}}
    assert ledger.facts([TRAIN.key, INIT.key]) == {TRAIN.key: {"at": Step(1, "ep"), "x": 0.1}, INIT.key: {}}
    row = ledger.rows("SELECT node, run, status, seconds FROM attempts")[0]
    assert tuple(row) == (TRAIN.key, 7, "done", 2.0)


def test_commit_probe_keeps_its_numbers(ledger: Ledger) -> None:
    ledger.plan([INIT, TRAIN], [PROBE])
    values = [Measurement("d", 0.1), Measurement("d", 1e-300, "fc"), Measurement("d", None, "fc", 3)]
    ledger.commit_probe(PROBE.key, iter(values), attempt(PROBE.key), 1)
    rows = ledger.rows("SELECT quantity, value, layer, class FROM measurements WHERE probe = ?", [PROBE.key])
    assert {Measurement(*row) for row in rows} == set(values)
    assert ledger.statuses("probes") == {PROBE.key: "done"}


@pytest.mark.parametrize(("final", "status"), [(True, "failed"), (False, "planned")])
def test_commit_failure_marks_what_is_final(ledger: Ledger, final: bool, status: str) -> None:
    ledger.plan([INIT, TRAIN], [PROBE])
    for key in (TRAIN.key, PROBE.key):
        failed = attempt(key, "failed", kind="diverged", reason="NaN at step 3", traceback="T")
        ledger.commit_failure(failed, 1, final)
    assert ledger.statuses("states") == {INIT.key: "planned", TRAIN.key: status}
    assert ledger.statuses("probes") == {PROBE.key: status}
    row = ledger.rows("SELECT kind, reason, traceback FROM attempts")[0]
    assert tuple(row) == ("diverged", "NaN at step 3", "T")


def test_reopen_takes_states_and_probes_back(ledger: Ledger) -> None:
    ledger.plan([INIT, TRAIN], [PROBE])
    for key in (TRAIN.key, PROBE.key):
        ledger.commit_failure(attempt(key, "failed"), 1, final=True)
    ledger.reopen(key for key in (TRAIN.key, PROBE.key))
    assert set(ledger.statuses("states").values()) == {"planned"}
    assert set(ledger.statuses("probes").values()) == {"planned"}


def test_transaction_keeps_all_or_nothing(ledger: Ledger) -> None:
    ledger.plan([INIT], [])
    before = dump(ledger)
    with pytest.raises(KeyboardInterrupt):
        _change(ledger, "UPDATE states SET status = 'done'", KeyboardInterrupt())
    with pytest.raises(StoreError, match="CHECK constraint failed"):
        _change(ledger, "UPDATE states SET recipe = 'x'", "UPDATE states SET status = 'finished'")
    assert dump(ledger) == before
    ledger.commit_state(INIT.key, [], {}, None, 1)
    assert ledger.statuses("states") == {INIT.key: "done"}


def test_commit_state_with_facts_that_cannot_be_kept_changes_nothing(ledger: Ledger) -> None:
    ledger.plan([INIT], [])
    before = dump(ledger)
    with pytest.raises(TypeError, match="set has no form in JSON"):
        ledger.commit_state(INIT.key, [Output("weights", "ab", 1, {})], {"x": {1}}, None, 1)
    assert dump(ledger) == before


def test_a_full_disk_is_said_and_leaves_the_ledger_as_it_was(ledger: Ledger) -> None:
    """SQLite reports a limit of pages as it does a full disk, and rolls back by itself."""
    ledger.plan([INIT], [])
    pages = ledger.rows("PRAGMA page_count")[0][0]
    ledger.rows(f"PRAGMA max_page_count = {pages}")
    many = [State("init", 1, {"seed": seed, "pad": "x" * 2000}) for seed in range(50)]
    with pytest.raises(StoreWriteError, match=r"the disk is full: the ledger .* could not be written"):
        ledger.plan(many, [])
    assert ledger.statuses("states") == {INIT.key: "planned"}
    ledger.rows("PRAGMA max_page_count = 100000")
    ledger.plan(many, [])
    assert len(ledger.statuses("states")) == 51


def test_a_ledger_that_may_not_be_written_is_said(ledger: Ledger) -> None:
    ledger.connection.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreWriteError, match="could not be written: attempt to write a readonly database"):
        ledger.plan([INIT], [])


def test_a_ledger_in_use_is_said(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pomona.graph.ledger._PATIENCE_SECONDS", 1)
    other = Ledger(ledger.path, create=False)
    other.connection.execute("PRAGMA busy_timeout = 0")
    with (
        ledger.transaction(),
        pytest.raises(StoreError, match="in use by another process that does not let go"),
    ):
        other.plan([INIT], [])
    other.plan([INIT], [])
    other.close()


def test_rows_of_a_wrong_query_are_an_error_of_the_store(ledger: Ledger) -> None:
    with pytest.raises(StoreError, match=r"the ledger .*: no such table: absent"):
        ledger.rows("SELECT * FROM absent")


def test_outputs_and_facts_of_many_states(ledger: Ledger) -> None:
    states = [State("init", 1, {"seed": seed}) for seed in range(1203)]
    ledger.plan(states, [])
    with ledger.transaction() as write:
        rows = [(s.key, "weights", f"d{i}", i, "{}") for i, s in enumerate(states)]
        write.executemany("INSERT INTO outputs VALUES (?,?,?,?,?,NULL)", rows)
    found = ledger.outputs(s.key for s in states)
    assert [found[s.key]["weights"].digest for s in states] == [f"d{i}" for i in range(1203)]
    assert len(ledger.facts(s.key for s in states)) == 1203


def test_rates_are_steps_a_second_of_finished_work(ledger: Ledger) -> None:
    done = [("lenet", 100, 2.0, "done"), ("lenet", 300, 2.0, "done"), ("fc", 50, 5.0, "done")]
    for cost, steps, seconds, status in [
        *done,
        ("lenet", 900, 1.0, "failed"),
        ("prune", 0, 1.0, "done"),
        ("odd", 5, 0.0, "done"),
    ]:
        node = attempt("n", status, work_steps=steps, seconds=seconds, cost=cost)
        ledger.commit_failure(node, 1, final=False)
    assert ledger.rates() == {"lenet": 100.0, "fc": 10.0}


def test_label_says_what_a_state_stands_for_once(ledger: Ledger) -> None:
    rows = [("k", "ticket", 0, 3, {"method": "random"}), ("k", "ticket", 1, 3, {})]
    ledger.label("study", iter(rows))
    ledger.label("study", rows)
    found = ledger.rows("SELECT * FROM labels ORDER BY replicate")
    assert [tuple(row) for row in found] == [
        ("study", "k", "ticket", 0, 3, '{"method":"random"}'),
        ("study", "k", "ticket", 1, 3, "{}"),
    ]


def test_runs_are_numbered_and_closed(ledger: Ledger) -> None:
    first = ledger.start_run("study", "text", ("d1", "{}"), "pomona run", 2)
    second = ledger.start_run("study", "text", ("d1", "{}"), "pomona run", 2)
    assert second == first + 1
    ledger.end_run(first, "done")
    rows = ledger.rows("SELECT id, outcome, ended_at >= started_at AS later FROM runs ORDER BY id")
    assert [tuple(row) for row in rows] == [(first, "done", 1), (second, None, None)]
    assert len(ledger.rows("SELECT * FROM environments")) == 1


def test_open_again_finds_what_was_written(ledger: Ledger) -> None:
    ledger.plan([INIT], [])
    ledger.close()
    again = Ledger(ledger.path, create=False)
    assert again.statuses("states") == {INIT.key: "planned"}
    assert again.rows("PRAGMA synchronous")[0][0] == 2
    assert again.rows("PRAGMA journal_mode")[0][0] == "wal"
    again.close()


def test_open_a_newer_format_names_both_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    other = sqlite3.connect(path)
    other.executescript(f"CREATE TABLE new (x); PRAGMA user_version = {FORMAT + 1};")
    other.close()
    before = path.read_bytes()
    descriptors = len(os.listdir("/proc/self/fd"))
    for create in (True, False):
        with pytest.raises(StoreError) as caught:
            Ledger(path, create)
        assert f"{path} is a store of format {FORMAT + 1}" in str(caught.value)
        assert f"reads format {FORMAT}" in str(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_open_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="an SQLite file but not the ledger of a Pomona store"):
        Ledger(path, create=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("create", [True, False])
def test_open_what_is_no_database_is_refused(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database, but long enough to be looked at " * 50)
    with pytest.raises(StoreError, match=r"is not a readable ledger \(file is not a database\)"):
        Ledger(path, create)


def test_open_an_empty_file_makes_a_ledger_only_if_it_may(tmp_path: Path) -> None:
    """An empty file is what a crash between making the file and its tables leaves."""
    path = tmp_path / "ledger.sqlite"
    path.touch()
    with pytest.raises(StoreError, match="not the ledger of a Pomona store"):
        Ledger(path, create=False)
    made = Ledger(path, create=True)
    assert made.statuses("states") == {}
    made.close()


def test_open_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").mkdir()
    with pytest.raises(StoreError, match="unable to open database file"):
        Ledger(tmp_path / "ledger.sqlite", create=True)


def _change(ledger: Ledger, *steps: str | BaseException) -> None:
    with ledger.transaction() as write:
        for step in steps:
            if isinstance(step, BaseException):
                raise step
            write.execute(step)
