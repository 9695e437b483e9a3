"""The chain of a ledger: honest stores are unbroken, and whatever is edited behind its back is named."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pomona.core.errors import StoreError
from pomona.graph import chain
from pomona.graph.chain import START, Break, append, check, entries, head, holds, revised
from pomona.graph.ledger import Ledger, Measurement, Output
from pomona.graph.nodes import Graph, Probe, State
from pomona.graph.pool import HereExecutor
from pomona.graph.retention import collect
from pomona.graph.scheduler import Manner, Scheduler
from pomona.graph.store import LEDGER, Store
from tests.graph.conftest import ENTRY, ROOT, add, attempt, make, mean, prepare, run, snapshot, train

INIT = State("init", 1, {"seed": 3})
PROBE = Probe("accuracy", 1, {}, (INIT.key,))
LATER = Probe("accuracy", 1, {"part": "later"}, (INIT.key,))


def toy() -> Graph:
    """States in a line, a training with a snapshot, a state that fails, and probes."""
    graph = Graph()
    line = [add(graph, 1)]
    for value in range(3):
        line.append(add(graph, (value + 1) / 3, line[-1]))
    trained = train(graph, 4, line[0])
    mean(graph, snapshot(graph, 2, trained), line[3])
    for state in (*line, trained):
        mean(graph, state)
    add(graph, 2, make(graph, "fail", {"kind": "diverged"}, line[0]))
    return graph


@pytest.fixture
def ran(store: Store) -> Store:
    """A store in which the toy graph was run between a registration and the end of its blinding."""
    append(store.ledger, "registered", "my-study", '{"claim":"a"}')
    run(store, toy())
    append(store.ledger, "unblinded", "my-study", "{}")
    assert check(store.ledger) == []
    return store


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / LEDGER, create=True)) as found:
        found.plan([INIT], [PROBE, LATER])
        yield found


def tamper(store: Store, *steps: str, **values: object) -> list[str]:
    """Change the file as anybody can who may write it; gives what is found."""
    with closing(sqlite3.connect(store.folder / LEDGER)) as other, other:
        for sql in steps:
            found = other.execute(sql, values)
            assert found.rowcount != 0, f"nothing was changed by {sql}"
    return [found.what for found in check(store.ledger)]


def done(ledger: Ledger) -> set[str]:
    return {
        key
        for table in ("states", "probes")
        for key, status in ledger.statuses(table).items()
        if status == "done"
    }


def numbers(ledger: Ledger) -> list[int]:
    return [entry.number for entry in entries(ledger)]


def canonical_text(text: str) -> bytes:
    encoded = text.encode()
    return b"s%d:" % len(encoded) + encoded


def test_a_run_writes_one_entry_for_each_result(ran: Store) -> None:
    found = entries(ran.ledger)
    assert [entry.number for entry in found] == list(range(1, len(found) + 1))
    assert (found[0].kind, found[0].subject, found[0].content) == (
        "registered",
        "my-study",
        '{"claim":"a"}',
    )
    assert found[-1].kind == "unblinded"
    states = ran.ledger.statuses("states")
    results = found[1:-1]
    assert sorted(entry.subject for entry in results) == sorted(done(ran.ledger))
    assert all(entry.kind == ("state" if entry.subject in states else "probe") for entry in results)
    assert {entry.kind for entry in results} == {"state", "probe"}


def test_entries_are_found_by_kind_and_subject(ran: Store) -> None:
    everything = entries(ran.ledger)
    assert entries(ran.ledger, "probe") == [entry for entry in everything if entry.kind == "probe"]
    assert entries(ran.ledger, subject="my-study") == [everything[0], everything[-1]]
    assert entries(ran.ledger, "unblinded", "my-study") == [everything[-1]]
    assert entries(ran.ledger, "unblinded", "other") == []


def test_a_link_is_what_is_written_of_it(ledger: Ledger) -> None:
    """Chains outlive code: where this fails, every store that there is would be called broken."""
    assert hashlib.sha256(canonical_text("the chain of a Pomona ledger")).hexdigest() == START
    before = START
    for content in ("{}", "ünïcode\n"):
        entry = append(ledger, "registered", "a-study", content)
        form = b"l6:" + canonical_text(before) + b"i%d;" % entry.number
        form += b"f" + struct.pack(">d", entry.at).hex().encode()
        form += b"".join(map(canonical_text, ("registered", "a-study", content)))
        assert entry.link == hashlib.sha256(form).hexdigest()
        before = entry.link
    assert head(ledger) == before


def test_the_content_of_a_result_is_what_is_written_of_it(ledger: Ledger) -> None:
    """As with links: other digests would call every store changed."""
    outputs = [Output("weights", "ab", 10, {"w": "cd"}), Output("masks", "ef", 2, {}, dropped=True)]
    ledger.commit_state(INIT.key, outputs, {"x": 0.1}, None, 1)
    values = [Measurement("b", 1.0), Measurement("a", 0.1, "fc"), Measurement("a", None, "fc", 3)]
    ledger.commit_probe(PROBE.key, values, attempt(PROBE.key), 1)
    state = r'["state","{\"x\":0.1}",[["masks","ef","{}"],["weights","ab","{\"w\":\"cd\"}"]]]'
    probe = '["probe","",[["a","fc",-1,0.1],["a","fc",3,null],["b","",-1,1.0]]]'
    found = [entry.content for entry in entries(ledger)]
    assert found == [hashlib.sha256(text.encode()).hexdigest() for text in (state, probe)]


def test_an_entry_is_part_of_the_transaction_that_is_open(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError, match="undone"):
        _append_and_fail(ledger)
    assert (entries(ledger), head(ledger), done(ledger)) == ([], START, set())


def _append_and_fail(ledger: Ledger) -> None:
    with ledger.transaction():
        ledger.commit_state(INIT.key, [], {}, None, 1)
        append(ledger, "registered", "study", "{}")
        assert numbers(ledger) == [1, 2]
        raise RuntimeError("undone")


def test_only_what_was_added_has_an_entry(ledger: Ledger) -> None:
    for x in (1, 2):
        ledger.commit_state(INIT.key, [], {"x": x}, None, 1)
        ledger.commit_probe(PROBE.key, [Measurement("accuracy", float(x))], attempt(PROBE.key), 1)
    ledger.commit_state("f" * 64, [], {}, None, 1)
    ledger.commit_failure(attempt(LATER.key, "failed"), 1, final=True)
    assert [entry.subject for entry in entries(ledger)] == [INIT.key, PROBE.key]
    # What another process has finished first stays, also a measurement.
    assert ledger.rows("SELECT value FROM measurements")[0]["value"] == 1.0
    assert check(ledger) == []


def test_what_lay_there_before_the_commit_is_not_sealed_with_it(ledger: Ledger) -> None:
    with ledger.transaction() as write:
        write.execute("INSERT INTO measurements VALUES (?, 'planted', '', -1, 1.0)", (PROBE.key,))
        write.execute("INSERT INTO outputs VALUES (?, 'planted', 'ab', 1, '{}', NULL)", (INIT.key,))
    ledger.commit_state(INIT.key, [], {}, None, 1)
    ledger.commit_probe(PROBE.key, [Measurement("accuracy", 0.5)], attempt(PROBE.key), 1)
    assert [row["quantity"] for row in ledger.rows("SELECT quantity FROM measurements")] == ["accuracy"]
    assert ledger.outputs([INIT.key]) == {}
    assert check(ledger) == []


def test_a_chain_that_is_empty_has_a_head(ledger: Ledger) -> None:
    assert (check(ledger), revised(ledger), head(ledger)) == ([], [], START)
    assert holds(ledger, START)
    assert not holds(ledger, "0" * 64)
    first = append(ledger, "registered", "study", "{}")
    assert head(ledger) == first.link
    assert holds(ledger, first.link)
    assert holds(ledger, START)
    assert not holds(ledger, first.link[:12])


def test_an_interrupted_run_and_the_next_one_leave_an_unbroken_chain(store: Store) -> None:
    graph, ended = toy(), 0

    def stop(tally: object) -> None:
        nonlocal ended
        ended = len(entries(store.ledger))
        if ended >= 3:
            raise KeyboardInterrupt

    scheduler, _ = prepare(store, graph, on_change=stop)
    with pytest.raises(KeyboardInterrupt):
        scheduler.execute()
    assert 3 <= ended < len(graph.states)
    assert check(store.ledger) == []
    assert {entry.subject for entry in entries(store.ledger)} == done(store.ledger)
    run(store, graph)
    assert check(store.ledger) == []
    assert len(entries(store.ledger)) == len(done(store.ledger)) > ended


def again(store: Store, graph: Graph, manner: Manner) -> Scheduler:
    number = store.ledger.start_run("toy", "", ("e" * 64, "{}"), "test", 0)
    scheduler = Scheduler(store, graph, HereExecutor(ENTRY), number, manner=manner)
    scheduler.execute()
    return scheduler


def test_repair_gc_restore_and_verification_leave_the_chain_as_it_is(ran: Store, tmp_path: Path) -> None:
    graph, before = toy(), entries(ran.ledger)
    key = next(iter(graph.states))
    ran.blobs.path(ran.ledger.outputs([key])[key]["weights"].digest).unlink()
    assert run(ran, graph).tally.restored == 1
    assert check(ran.ledger) == []
    assert collect(ran, "none").states > 0
    assert check(ran.ledger) == []
    assert again(ran, graph, Manner(restore=(key,))).restored == [key]
    verified = again(ran, graph, Manner(verify=tuple(done(ran.ledger)), scratch=tmp_path / "scratch"))
    assert all(verdict.same for verdict in verified.verdicts)
    assert check(ran.ledger) == []
    assert entries(ran.ledger) == before


def test_what_failed_and_is_tried_again_has_its_entry_then(store: Store) -> None:
    graph = Graph()
    failed = make(graph, "fail", {"kind": "bad input"})
    run(store, graph)
    assert entries(store.ledger) == []
    (store.folder / "mended").touch()
    run(store, graph)
    assert [entry.subject for entry in entries(store.ledger)] == [failed.key]
    assert check(store.ledger) == []


def test_a_result_that_was_computed_again_counts_as_it_is_last(ledger: Ledger) -> None:
    ledger.commit_state(INIT.key, [], {}, None, 1)
    for value in (0.5, 0.5, 0.75):
        with ledger.transaction() as write:
            write.execute("UPDATE probes SET status = 'planned' WHERE key = ?", (PROBE.key,))
        ledger.commit_probe(PROBE.key, [Measurement("accuracy", value)], attempt(PROBE.key), 1)
    assert len(entries(ledger, subject=PROBE.key)) == 3
    assert check(ledger) == []
    assert revised(ledger) == [
        f"probe {PROBE.key[:12]} (accuracy of state {INIT.key[:12]}) was computed again with other numbers"
        " (entry 4)"
    ]
    # What it was before is not what it is to be now.
    with ledger.transaction() as write:
        write.execute("UPDATE measurements SET value = 0.5")
    assert [found.number for found in check(ledger)] == [4]


COMMITTER = """
import sys
from pathlib import Path
from pomona.graph.ledger import Ledger, Measurement
from pomona.graph.nodes import Probe
from tests.graph.conftest import attempt
ledger = Ledger(Path(sys.argv[1]), create=False)
probes = [Probe("accuracy", 1, {"who": sys.argv[2], "i": i}, (sys.argv[3],)) for i in range(int(sys.argv[4]))]
ledger.plan([], probes)
print("ready", flush=True)
for i, probe in enumerate(probes):
    ledger.commit_probe(probe.key, [Measurement("accuracy", i / 7)], attempt(probe.key), 1)
    print(i, flush=True)
"""


def committer(ledger: Ledger, who: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMITTER, str(ledger.path), who, INIT.key, str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_at_once_write_one_chain(ledger: Ledger) -> None:
    processes = [committer(ledger, who, 150) for who in "ab"]
    seen = set()
    while any(process.poll() is None for process in processes):
        # At any moment, what is there and what is said of it are the same.
        assert check(ledger) == []
        seen.add(len(entries(ledger)))
    assert [process.wait() for process in processes] == [0, 0]
    assert len(seen) > 1
    assert numbers(ledger) == list(range(1, 301))
    assert check(ledger) == []


def test_a_process_that_is_killed_leaves_an_unbroken_chain(ledger: Ledger) -> None:
    process = committer(ledger, "a", 5000)
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.kill()
    process.wait()
    assert len(entries(ledger)) >= 20
    assert check(ledger) == []
    append(ledger, "registered", "study", "{}")
    assert check(ledger) == []


STATE = next(iter(toy().states))
MEAN = next(key for key, probe in toy().probes.items() if probe.states == (STATE,))
PLANNED = list(toy().states)[-1]
THAT = rf"probe {MEAN[:12]} \(mean of state {STATE[:12]}\) "
MEASURED = rf"^(mean or none|best or none|mean|none|every number) of {THAT}was changed after it was measured$"
COMPUTED = rf"^facts or digests of files of state {STATE[:12]} \(add\) were changed after it was computed$"
NO_ENTRY = "has results that no entry speaks of$"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("UPDATE measurements SET value = :next WHERE probe = :probe AND class = 0", MEASURED),
        ("UPDATE measurements SET value = NULL WHERE probe = :probe AND class = 0", MEASURED),
        ("UPDATE measurements SET value = 0 WHERE probe = :probe AND quantity = 'none'", MEASURED),
        ("UPDATE measurements SET value = '1.0 ' WHERE probe = :probe AND value IS NULL", MEASURED),
        ("UPDATE measurements SET value = x'00' WHERE probe = :probe AND class = 0", MEASURED),
        ("UPDATE measurements SET quantity = 'best' WHERE probe = :probe AND class = 0", MEASURED),
        ("UPDATE measurements SET layer = 'fc2' WHERE probe = :probe AND layer = 'fc'", MEASURED),
        ("UPDATE measurements SET class = 1 WHERE probe = :probe AND class = 0", MEASURED),
        ("DELETE FROM measurements WHERE probe = :probe AND class = 0", MEASURED),
        ("DELETE FROM measurements WHERE probe = :probe", MEASURED),
        ("INSERT INTO measurements VALUES (:probe, 'mean', '', 1, 0.5)", MEASURED),
        ("UPDATE states SET facts = '{\"value\":2}' WHERE key = :state", COMPUTED),
        ("UPDATE states SET facts = x'00' WHERE key = :state", COMPUTED),
        ("UPDATE outputs SET digest = 'ab' WHERE state = :state", COMPUTED),
        ("UPDATE outputs SET tensors = '{}' WHERE state = :state", COMPUTED),
        ("UPDATE outputs SET name = 'masks' WHERE state = :state", COMPUTED),
        ("DELETE FROM outputs WHERE state = :state", COMPUTED),
        ("INSERT INTO outputs VALUES (:state, 'masks', 'ab', 1, '{}', NULL)", COMPUTED),
        (
            "UPDATE states SET status = 'done' WHERE key = :planned",
            rf"^state {PLANNED[:12]} \(add\) {NO_ENTRY}",
        ),
        (
            "INSERT INTO states (key, recipe, version, params, how, status, planned_at)"
            " VALUES ('new', 'train', 1, '{}', '{}', 'done', 0)",
            rf"^state new \(train\) {NO_ENTRY}",
        ),
        (
            "INSERT INTO probes (key, name, version, params, how, status)"
            " VALUES ('new', 'accuracy', 1, '{}', '{}', 'done')",
            rf"^probe new \(accuracy\) {NO_ENTRY}",
        ),
        ("INSERT INTO measurements VALUES ('new', 'accuracy', '', -1, 1)", f"^state or probe new {NO_ENTRY}"),
        ("INSERT INTO outputs VALUES (:planned, 'weights', 'ab', 1, '{}', NULL)", NO_ENTRY),
        (
            "UPDATE probes SET status = 'planned' WHERE key = :probe",
            "^" + THAT + r"was finished \(entry \d+\) and no",
        ),
        (
            "DELETE FROM probes WHERE key = :probe",
            rf"^state or probe {MEAN[:12]} was finished \(entry \d+\) and no",
        ),
        (
            "UPDATE states SET status = 'failed' WHERE key = :state",
            rf"^state {STATE[:12]} \(add\) was finished \(entry \d+\) and no longer is$",
        ),
    ],
)
def test_a_result_that_was_edited_is_named(ran: Store, sql: str, expected: str) -> None:
    value = ran.ledger.rows("SELECT value FROM measurements WHERE probe = ? AND class = 0", [MEAN])[0][
        "value"
    ]
    values = {"probe": MEAN, "state": STATE, "planned": PLANNED, "next": math.nextafter(value, 2)}
    used = {name: given for name, given in values.items() if f":{name}" in sql}
    (found,) = tamper(ran, sql, **used)
    assert re.search(expected, found), found


@pytest.mark.parametrize(
    ("quantities", "told"),
    [
        (["accuracy"], "accuracy"),
        (["accuracy", "loss"], "accuracy or loss"),
        (["loss", "accuracy", "chance"], "accuracy, chance or loss"),
        ([f"q{i}" for i in range(8)], "q0, q1, q2, q3, q4, q5, q6 or q7"),
        ([f"q{i}" for i in range(9)], "q0, q1, q2, q3, q4, q5, q6 or another quantity"),
    ],
)
def test_what_a_probe_measured_is_named(ledger: Ledger, quantities: list[str], told: str) -> None:
    rows = [Measurement(quantity, 0.5, class_=i) for quantity in quantities for i in range(2)]
    ledger.commit_probe(PROBE.key, rows, attempt(PROBE.key), 1)
    with ledger.transaction() as write:
        write.execute("UPDATE measurements SET value = 0.75 WHERE quantity = ?", (quantities[0],))
    assert [found.what for found in check(ledger)] == [
        f"{told} of probe {PROBE.key[:12]} (accuracy of state {INIT.key[:12]}) was changed after it was measured"
    ]


def test_numbers_that_were_exchanged_are_named_both(ran: Store) -> None:
    other = next(key for key in toy().probes if key != MEAN)
    exchange = [
        f"UPDATE measurements SET probe = '{to}' WHERE probe = '{key}'"
        for key, to in ((MEAN, "x"), (other, MEAN), ("x", other))
    ]
    found = tamper(ran, *exchange)
    assert len(found) == 2
    assert {MEAN[:12] in text for text in found} == {True, False}
    assert all(text.endswith("was changed after it was measured") for text in found)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE outputs SET dropped_at = 5.0, size_bytes = 3",
        "UPDATE states SET how = '{}', work_steps = 7",
        "UPDATE attempts SET seconds = 1.0",
    ],
)
def test_what_is_no_result_is_not_in_the_chain(ran: Store, sql: str) -> None:
    assert tamper(ran, sql) == []


def changed(entry: chain.Entry) -> str:
    shown = entry.subject[:12] if len(entry.subject) == 64 else entry.subject
    return f"entry {entry.number} ({entry.kind} {shown}) was changed after it was written"


def or_before(entry: chain.Entry) -> str:
    return f"{changed(entry)}, or entry {entry.number - 1} was and its link made to fit"


@pytest.mark.parametrize("number", [2, 6, 9])
@pytest.mark.parametrize(
    "change", ["content = 'x'", "at = at + 1e-6", "link = 'x'", "link = x'00'", "content = x'00'", "at = 'x'"]
)
def test_an_entry_that_was_changed_is_named_and_no_other(ran: Store, number: int, change: str) -> None:
    entry = entries(ran.ledger)[number - 1]
    assert tamper(ran, f"UPDATE chain SET {change} WHERE number = {number}") == [or_before(entry)]


def test_a_registration_that_was_changed_is_named(ran: Store) -> None:
    sql = "UPDATE chain SET content = '{\"claim\":\"b\"}' WHERE kind = 'registered'"
    assert tamper(ran, sql) == ["entry 1 (registered my-study) was changed after it was written"]
    assert check(ran.ledger) == [
        Break(1, "my-study", "entry 1 (registered my-study) was changed after it was written")
    ]


@pytest.mark.parametrize("change", ["kind = 'probe2'", "subject = 'another'"])
def test_an_entry_that_was_made_to_speak_of_something_else_is_named(ran: Store, change: str) -> None:
    entry = entries(ran.ledger)[4]
    found = tamper(ran, f"UPDATE chain SET {change} WHERE number = 5")
    assert found[0].startswith("entry 5 (")
    assert " was changed after it was written" in found[0]
    assert any(entry.subject[:12] in text and text.endswith("that no entry speaks of") for text in found)


def test_entries_that_were_taken_out_are_named(ran: Store) -> None:
    lost = [entry.subject[:12] for entry in entries(ran.ledger)[3:6]]
    found = tamper(ran, "DELETE FROM chain WHERE number = 5")
    assert found[0] == "entry 5 is missing"
    assert len(found) == 2
    assert lost[1] in found[1]
    assert found[1].endswith("has results that no entry speaks of")
    found = tamper(ran, "DELETE FROM chain WHERE number IN (4, 6)")
    assert found[0] == "entries 4 to 6 are missing"
    assert len(found) == 4
    assert all(any(key in text for text in found[1:]) for key in lost)
    assert tamper(ran, "DELETE FROM chain WHERE number = 1")[0] == "entry 1 is missing"


def test_an_entry_that_was_taken_out_and_the_rest_moved_up_is_named(ran: Store) -> None:
    after = entries(ran.ledger)[5:]
    steps = [f"UPDATE chain SET number = {e.number - 1} WHERE number = {e.number}" for e in after]
    found = tamper(ran, "DELETE FROM chain WHERE number = 5", *steps)
    assert found[0].startswith(f"entry 5 ({after[0].kind} ")


def test_two_entries_that_were_exchanged_are_named(ran: Store) -> None:
    steps = [f"UPDATE chain SET number = {to} WHERE number = {of}" for of, to in ((4, -1), (5, 4), (-1, 5))]
    found = tamper(ran, *steps)
    # The one after them follows a link that is no longer the one before it.
    assert [text.split(" (")[0] for text in found] == ["entry 4", "entry 5", "entry 6"]


@pytest.mark.parametrize("number", [-3, 0, 5000])
def test_an_entry_that_was_put_in_is_named(ran: Store, number: int) -> None:
    last = len(entries(ran.ledger))
    sql = "INSERT INTO chain VALUES (:number, 5.0, 'registered', 'early', '{}', :link)"
    found = tamper(ran, sql, number=number, link="a" * 64)
    if number == 5000:
        assert found == [f"entries {last + 1:,} to 4,999 are missing"]
    else:
        assert found[0].startswith(f"entry {number} (registered early) was changed after it was written")


def test_an_entry_with_a_right_link_that_was_put_in_shows_at_the_next(ran: Store) -> None:
    """Who knows how links are made gets as far as the next entry, unless all that follow are made anew."""
    before, own = entries(ran.ledger)[3:5]
    link = chain._link(before.link, 5, own.at, "registered", "early", "{}")
    assert link is not None
    found = tamper(
        ran,
        "UPDATE chain SET kind = 'registered', subject = 'early', content = '{}', link = :link WHERE number = 5",
        link=link,
    )
    assert found[0] == or_before(entries(ran.ledger)[5])
    assert own.subject[:12] in found[1]


def test_without_its_chain_every_result_is_named(ran: Store) -> None:
    assert len(tamper(ran, "DELETE FROM chain")) == len(done(ran.ledger))


def test_an_end_that_was_cut_off_shows_by_its_results_or_by_a_head_that_was_written_down(ran: Store) -> None:
    append(ran.ledger, "registered", "late", "{}")
    written = head(ran.ledger)
    late = entries(ran.ledger, "probe")[-1]
    assert tamper(ran, f"DELETE FROM chain WHERE number >= {late.number}") == [
        f"{named(late.subject)} has results that no entry speaks of"
    ]
    gone = ["DELETE FROM probes WHERE key = :key", "DELETE FROM measurements WHERE probe = :key"]
    # Nothing of it is left: the chain alone cannot know.
    assert tamper(ran, *gone, key=late.subject) == []
    assert not holds(ran.ledger, written)


def named(probe: str) -> str:
    states = toy().probes[probe].states
    return f"probe {probe[:12]} (mean of state {' and '.join(state[:12] for state in states)})"


def test_a_chain_that_was_written_anew_shows_only_by_a_head_that_was_written_down(ran: Store) -> None:
    early, written = entries(ran.ledger)[2].link, head(ran.ledger)
    kept = entries(ran.ledger)
    tamper(ran, "UPDATE measurements SET value = 1.0 WHERE quantity = 'mean'", "DELETE FROM chain")
    with ran.ledger.transaction() as write:
        for entry in kept:
            if entry.kind in ("state", "probe"):
                chain.seal(write, entry.kind, entry.subject)  # type: ignore[arg-type]
            else:
                append(ran.ledger, entry.kind, entry.subject, entry.content)
    assert check(ran.ledger) == []
    assert not holds(ran.ledger, written)
    assert not holds(ran.ledger, early)


def test_a_result_that_was_edited_and_given_an_entry_shows_as_computed_again(ran: Store) -> None:
    written = head(ran.ledger)
    with ran.ledger.transaction() as write:
        write.execute("UPDATE measurements SET value = 9.0 WHERE probe = ? AND class = 0", (MEAN,))
        chain.seal(write, "probe", MEAN)
    assert check(ran.ledger) == []
    assert holds(ran.ledger, written)
    (found,) = revised(ran.ledger)
    assert found.startswith(
        f"probe {MEAN[:12]} (mean of state {STATE[:12]}) was computed again with other numbers"
    )


def test_a_chain_goes_on_after_what_was_changed(ran: Store) -> None:
    last = entries(ran.ledger)[-1]
    for link in ("'x'", "x'00'"):
        tamper(ran, f"UPDATE chain SET link = {link} WHERE number = {last.number}")
        append(ran.ledger, "registered", "more", "{}")
        found = check(ran.ledger)
        assert [one.number for one in found] == [last.number]
        with ran.ledger.transaction() as write:
            write.execute("DELETE FROM chain WHERE number > ?", (last.number,))


def test_a_chain_that_cannot_go_on_is_said(ran: Store) -> None:
    with ran.ledger.transaction() as write:
        write.execute("UPDATE chain SET number = ? WHERE number = 2", (2**63 - 1,))
    with pytest.raises(StoreError, match="its chain cannot go on after entry 9223372036854775807"):
        append(ran.ledger, "registered", "more", "{}")


def test_a_check_on_a_ledger_that_cannot_be_read_is_an_error_of_the_store(ran: Store) -> None:
    ran.ledger.connection.execute("DROP TABLE measurements")
    with pytest.raises(StoreError, match="no such table: measurements"):
        check(ran.ledger)
    # And whoever comes next is not in somebody else's transaction.
    assert not ran.ledger.connection.in_transaction


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
appended = st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=8)
fields = st.sampled_from(["at", "kind", "subject", "content", "link"])
floats = st.floats(allow_nan=False, width=64) | st.none()
places = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["", "fc"]), st.integers(-1, 2))
measured = st.dictionaries(places, floats, max_size=4)


@settings(max_examples=60)
@given(appended, st.data())
def test_any_text_can_be_appended_and_any_change_of_it_is_found(
    given_entries: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    # Those of the ledger itself would speak of results that are not there.
    assume(not {kind for kind, _, _ in given_entries} & {"state", "probe", "adopted"})
    with closing(Ledger(Path(":memory:"), create=True)) as ledger:
        _without_a_file(ledger)
        made = [append(ledger, *one) for one in given_entries]
        assert entries(ledger) == made
        assert check(ledger) == []
        number = data.draw(st.integers(1, len(made)))
        field = data.draw(fields)
        value = data.draw(texts)
        assume(value != getattr(made[number - 1], field))
        ledger.connection.execute(f"UPDATE chain SET {field} = ? WHERE number = ?", (value, number))
        assert number in {found.number for found in check(ledger)}


@settings(max_examples=60)
@given(measured, measured)
def test_other_numbers_have_another_digest(
    one: dict[tuple[str, str, int], float | None], other: dict[tuple[str, str, int], float | None]
) -> None:
    with closing(Ledger(Path(":memory:"), create=True)) as ledger:
        _without_a_file(ledger)
        ledger.plan([INIT], [PROBE, LATER])
        for probe, values in ((PROBE, one), (LATER, other)):
            rows = [Measurement(q, value, layer, class_) for (q, layer, class_), value in values.items()]
            ledger.commit_probe(probe.key, rows, attempt(probe.key), 1)
        first, second = (entry.content for entry in entries(ledger))
        assert (first == second) == (one == other)
        assert check(ledger) == []


def _without_a_file(ledger: Ledger) -> None:
    """A ledger in memory has no file that could be exchanged."""
    ledger._file = None


@pytest.mark.parametrize("change", [lambda x: math.nextafter(x, 9), lambda x: -x, lambda x: None])
def test_every_bit_of_a_number_counts(ledger: Ledger, change: Callable[[float], float | None]) -> None:
    values = [0.1, 1e-300, 5e-324, 1.0, 1e308]
    rows = [Measurement("accuracy", value, class_=i) for i, value in enumerate(values)]
    ledger.commit_probe(PROBE.key, rows, attempt(PROBE.key), 1)
    for i, value in enumerate(values):
        sql = "UPDATE measurements SET value = ? WHERE class = ?"
        with ledger.transaction() as write:
            write.execute(sql, (change(value), i))
        assert [found.subject for found in check(ledger)] == [PROBE.key]
        with ledger.transaction() as write:
            write.execute(sql, (value, i))
        assert check(ledger) == []


def test_content_of_a_registration_may_be_any_document(ledger: Ledger) -> None:
    document = json.dumps({"claim": "ünïcode", "numbers": [1, 1.0, None]})
    append(ledger, "registered", "a" * 64, document)
    assert json.loads(entries(ledger, "registered")[0].content) == json.loads(document)
