from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from pomona.graph.jobs import Failed, Job, Outcome, Stopped
from pomona.graph.nodes import Graph
from pomona.graph.pool import Event, Progress
from pomona.graph.printing import streams_by_thread
from pomona.graph.store import Store
from pomona.graph.tally import Tally
from pomona.graph.threads import ThreadContext, ThreadPool
from tests.graph.conftest import ENTRY, ROOT, add, make, mean, prepare, run, snapshot, train, wait_for


@pytest.fixture
def pool(store: Store) -> Iterator[ThreadPool]:
    found = ThreadPool(ENTRY, 2, store.folder / "logs")
    yield found
    found.kill()
    (store.folder / "go").touch()
    wait_for(lambda: not any(thread.is_alive() for thread in found.threads.values()), "the threads to end")


def job(store: Store, name: str, node: str = "k", **params: object) -> Job:
    return Job(node, name, params, {}, (), str(store.folder))


def next_results(pool: ThreadPool, count: int) -> list[Event]:
    """So many words that are not progress."""
    found: list[Event] = []

    def said() -> bool:
        found.extend(event for event in pool.poll(0.1) if not isinstance(event.what, Progress))
        return len(found) >= count

    wait_for(said, f"{count} results")
    assert len(found) == count
    return found


def next_result(pool: ThreadPool) -> Event:
    return next_results(pool, 1)[0]


def results(said: list[Event]) -> dict[int, object]:
    return {event.worker: event.what for event in said if not isinstance(event.what, Progress)}


def test_threads_work_off_jobs_and_are_used_again(pool: ThreadPool, store: Store) -> None:
    before: dict[int, threading.Thread] = {}
    for turn in range(3):
        for worker in (0, 1):
            pool.submit(worker, job(store, "add", value=turn + worker))
        values = {}
        for event in next_results(pool, 2):
            assert isinstance(event.what, Outcome)
            values[event.worker] = event.what.facts["value"]
        assert values == {0: turn, 1: turn + 1}
        assert pool.busy == set()
        assert turn == 0 or pool.threads == before
        before = dict(pool.threads)


def test_threads_start_at_their_first_job_only(pool: ThreadPool, store: Store) -> None:
    assert pool.threads == {}
    pool.submit(1, job(store, "add", value=1))
    assert list(pool.threads) == [1]
    next_result(pool)


def test_threads_work_at_the_same_time(pool: ThreadPool, store: Store) -> None:
    """Each job waits for the other."""
    for worker, node in enumerate("ab"):
        pool.submit(worker, job(store, "meet", node))
    assert all(isinstance(event.what, Outcome) for event in next_results(pool, 2))


def test_threads_tell_progress_before_the_result(pool: ThreadPool, store: Store) -> None:
    pool.submit(1, job(store, "wait"))
    said: list[Event] = []

    def told() -> bool:
        said.extend(pool.poll(0.1))
        return len(said) >= 2

    wait_for(told, "progress")
    assert set(said) == {Event(1, Progress(1, 2))}
    assert pool.busy == {1}
    (store.folder / "go").touch()
    assert isinstance(next_result(pool).what, Outcome)


def test_progress_is_told_a_few_times_a_second(pool: ThreadPool) -> None:
    context = ThreadContext(0, pool._said, threading.Event())
    begin = time.monotonic()
    for done in range(1000):
        context.progress(done, 1000)
    told = pool.poll(0)
    assert told[0] == Event(0, Progress(0, 1000))
    assert len(told) <= 1 + (time.monotonic() - begin) / 0.2


@pytest.mark.parametrize(
    ("kind", "expected", "reason"),
    [
        ("bad input", "bad input", "the file is wrong"),
        ("data", "error", "the network is down"),
        ("diverged", "diverged", "it diverged at step 3"),
        ("memory", "out of memory", "no more memory"),
        ("bug", "error", "ZeroDivisionError: by zero"),
        ("store", "error", "the disk is full"),
        ("exit", "bad input", "called exit(3)"),
        ("interrupt", "error", "KeyboardInterrupt: by the job itself"),
        ("wordless", "error", "no words"),
    ],
)
def test_whatever_a_job_raises_is_a_failure_and_the_thread_works_on(
    pool: ThreadPool, store: Store, kind: str, expected: str, reason: str
) -> None:
    pool.submit(0, job(store, "fail", kind=kind))
    event = next_result(pool)
    assert isinstance(event.what, Failed)
    assert event.what.kind == expected
    assert reason in event.what.reason
    assert event.what.store_full == (kind == "store")
    pool.submit(0, job(store, "add", value=4))
    output = store.files.write_weights({"w": np.full(3, 4.0)})
    assert next_result(pool).what == Outcome((output,), {"value": 4})


def test_what_a_job_prints_goes_to_its_log_and_what_others_print_does_not(
    pool: ThreadPool, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = sys.stdin, sys.stdout, sys.stderr
    for worker, node in enumerate("ab"):
        pool.submit(worker, job(store, "speak", node))
    wait_for(lambda: len(list(store.folder.glob("spoke-*"))) == 2, "the jobs to speak")
    print("from the main thread")
    print("an error of the main thread", file=sys.stderr)
    (store.folder / "go").touch()
    assert all(isinstance(event.what, Outcome) for event in next_results(pool, 2))
    pool.stop(60)
    assert (sys.stdin, sys.stdout, sys.stderr) == usual
    out, err = capsys.readouterr()
    assert (out, err) == ("from the main thread\n", "an error of the main thread\n")
    for worker in (0, 1):
        log = (store.folder / "logs" / f"worker-{worker}.log").read_text()
        for text in ("printed", "to stderr", "as bytes", "asked: "):
            assert log.count(text) == 1, (worker, text, log)
    both = "".join(path.read_text() for path in (store.folder / "logs").iterdir())
    assert "main thread" not in both


def test_streams_are_given_back_in_whatever_order_pools_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    usual = sys.stdout
    first, second = ExitStack(), ExitStack()
    first.enter_context(streams_by_thread())
    second.enter_context(streams_by_thread())
    first.close()
    assert sys.stdout.fileno() == usual.fileno()
    second.close()
    assert sys.stdout.fileno() == usual.fileno()


def test_stop_lets_running_jobs_write_their_checkpoints(pool: ThreadPool, store: Store) -> None:
    for worker, node in enumerate("ab"):
        pool.submit(worker, job(store, "wait", node))
    wait_for(lambda: len(list(store.folder.glob("pid-*"))) == 2, "the jobs to start")
    assert results(list(pool.stop(60))) == {0: Stopped(), 1: Stopped()}
    for node in "ab":
        found = store.files.read_checkpoint(node)
        assert found is not None
        assert found[1] == {"interrupted": 1}
    assert pool.busy == set()
    wait_for(lambda: not any(thread.is_alive() for thread in pool.threads.values()), "the threads to end")


def test_stop_keeps_what_is_finished_meanwhile(pool: ThreadPool, store: Store) -> None:
    pool.submit(0, job(store, "add", value=1))
    pool.submit(1, job(store, "wait"))
    wait_for(lambda: len(list(store.folder.glob("pid-*"))) == 1, "the job to start")
    said = results(list(pool.stop(60)))
    assert said[1] == Stopped()
    # Stopped before it began, or finished: never lost.
    assert isinstance(said[0], (Outcome, Stopped))


def test_stop_waits_for_nobody_when_all_are_idle(pool: ThreadPool, store: Store) -> None:
    pool.submit(0, job(store, "add", value=1))
    next_result(pool)
    assert pool.stop(1e9) == []
    assert not pool.threads[0].is_alive()


def test_stop_leaves_a_job_behind_that_does_not_listen(pool: ThreadPool, store: Store) -> None:
    """As not finished: what it finds later is nowhere kept."""
    pool.submit(0, job(store, "wait", "deaf", deaf=True))
    pool.submit(1, job(store, "wait", "hears"))
    wait_for(lambda: len(list(store.folder.glob("pid-*"))) == 2, "the jobs to start")
    said = list(pool.stop(0.5))
    assert results(said) == {1: Stopped()}
    assert pool.threads[0].is_alive()
    assert pool.busy == {0}


@pytest.mark.parametrize(("error", "status"), [("KeyboardInterrupt", 130), ("ValueError", 1)])
def test_process_can_end_though_a_job_goes_on(store: Store, error: str, status: int) -> None:
    code = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from pomona.graph.jobs import Job
        from pomona.graph.threads import ThreadPool
        store = Path({str(store.folder)!r})
        pool = ThreadPool({ENTRY!r}, 1, store / "logs")
        pool.submit(0, Job("a", "wait", {{"deaf": True}}, {{}}, (), str(store)))
        while not (store / "pid-a").exists():
            pool.poll(0.05)
        try:
            try:
                raise {error}
            finally:
                pool.stop(0.1)
        except {error}:
            sys.stdout.write("not flushed")
            sys.exit({status})
    """)
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "not flushed", "")


def test_pool_gives_back_every_file(store: Store) -> None:
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(2):
        pool = ThreadPool(ENTRY, 1, store.folder / "logs")
        pool.submit(0, job(store, "fail", kind="bug"))
        next_result(pool)
        pool.kill()
        pool.kill()
    assert len(list(descriptors.iterdir())) == before


def test_run_on_threads_gives_the_bits_of_a_run_in_one_process(tmp_path: Path) -> None:
    found = []
    for workers in (0, 3):
        graph = Graph()
        root = add(graph, 1)
        runs = [train(graph, 3 + i, root) for i in range(3)]
        ends = [add(graph, i, one, snapshot(graph, 2, one)) for i, one in enumerate(runs)]
        mean(graph, add(graph, 0, *ends))
        with Store(tmp_path / str(workers)) as store:
            scheduler = run(store, graph, workers, pool=ThreadPool)
            assert scheduler.failures == []
            rows = store.ledger.rows("SELECT state, name, digest, tensors FROM outputs ORDER BY state, name")
            rows += store.ledger.rows("SELECT probe, class, value FROM measurements ORDER BY probe, class")
            rows += store.ledger.rows("SELECT key, facts FROM states ORDER BY key")
            found.append([tuple(row) for row in rows])
    assert len(found[0]) > 10
    assert found[0] == found[1]


def test_run_interrupted_on_threads_goes_on_from_the_checkpoint(store: Store) -> None:
    graph = Graph()
    done = [add(graph, i) for i in range(3)]
    waiting = make(graph, "wait", {})
    after = add(graph, 1, waiting)

    def interrupt(tally: Tally) -> None:
        if tally.done == 3 and list(store.folder.glob("pid-*")):
            raise KeyboardInterrupt

    scheduler, executor = prepare(store, graph, 2, interrupt, ThreadPool)
    assert isinstance(executor, ThreadPool)
    with pytest.raises(KeyboardInterrupt):
        scheduler.execute()
    assert (store.folder / f"pid-{waiting.key}").read_text() == str(os.getpid())
    statuses = store.ledger.statuses("states")
    assert [statuses[s.key] for s in (*done, waiting, after)] == ["done"] * 3 + ["planned"] * 2
    assert store.files.read_checkpoint(waiting.key) is not None
    (store.folder / "go").touch()
    again = run(store, graph, 2, pool=ThreadPool)
    assert (again.tally.cached, again.tally.done) == (3, 2)
    assert store.ledger.facts([waiting.key])[waiting.key] == {"interrupted": 1}


def test_failures_on_threads_stop_only_what_descends_from_them(store: Store) -> None:
    graph = Graph()
    bad = make(graph, "fail", {"kind": "diverged"})
    add(graph, 1, bad)
    good = add(graph, 1)
    scheduler = run(store, graph, 2, pool=ThreadPool)
    assert [(f.kind, f.blocked) for f in scheduler.failures] == [("diverged", 1)]
    assert store.ledger.statuses("states")[good.key] == "done"
