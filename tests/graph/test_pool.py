from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pomona.graph import pool as pool_module
from pomona.graph.jobs import Failed, Job, Outcome, Stopped
from pomona.graph.pool import Event, HereExecutor, LocalPool, Progress
from pomona.graph.store import Store
from tests.graph.conftest import ENTRY, wait_for


@pytest.fixture
def pool(store: Store) -> Iterator[LocalPool]:
    found = LocalPool(ENTRY, 2, store.folder / "logs")
    yield found
    found.kill()


def job(store: Store, name: str, node: str = "k", **params: object) -> Job:
    return Job(node, name, params, {}, (), str(store.folder))


def next_results(pool: LocalPool, count: int) -> list[Event]:
    """So many words that are not progress."""
    found: list[Event] = []

    def said() -> bool:
        found.extend(event for event in pool.poll(0.1) if not isinstance(event.what, Progress))
        return len(found) >= count

    wait_for(said, f"{count} results")
    assert len(found) == count
    return found


def next_result(pool: LocalPool) -> Event:
    return next_results(pool, 1)[0]


def alive(pid: int) -> bool:
    """Whether a process runs: one that is dead but was not collected yet does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_pool_works_off_jobs_and_uses_its_processes_again(pool: LocalPool, store: Store) -> None:
    before: dict[int, int] = {}
    for turn in range(3):
        for worker in (0, 1):
            pool.submit(worker, job(store, "add", value=turn + worker))
        values = {}
        for event in next_results(pool, 2):
            assert isinstance(event.what, Outcome)
            values[event.worker] = event.what.facts["value"]
        assert values == {0: turn, 1: turn + 1}
        pids = {worker: process.pid for worker, process in pool.processes.items()}
        assert turn == 0 or pids == before
        before = pids


def test_pool_starts_a_process_at_its_first_job_only(pool: LocalPool, store: Store) -> None:
    assert pool.processes == {}
    pool.submit(1, job(store, "add", value=1))
    assert list(pool.processes) == [1]
    next_result(pool)


def test_pool_what_a_job_prints_goes_to_the_log(pool: LocalPool, store: Store) -> None:
    pool.submit(0, job(store, "chatter"))
    assert isinstance(next_result(pool).what, Outcome)
    log = (store.folder / "logs" / "worker-0.log").read_text()
    for text in ('"reason":"printed"', "written to 1", "by a child", "to stderr"):
        assert text in log
    pool.submit(0, job(store, "add", value=4))
    output = store.files.write_weights({"w": np.full(3, 4.0)})
    assert next_result(pool).what == Outcome((output,), {"value": 4})


def test_pool_workers_are_in_a_session_of_their_own(pool: LocalPool, store: Store) -> None:
    """Ctrl-C in a terminal reaches the coordinator alone, which then asks for checkpoints."""
    pool.submit(0, job(store, "wait"))
    pid = pool.processes[0].pid
    assert os.getsid(pid) == pid != os.getsid(0)


def test_pool_workers_have_one_thread_and_do_not_look_in_the_working_folder(
    pool: LocalPool, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue.py").write_text("raise RuntimeError('shadowed')\n")
    monkeypatch.chdir(tmp_path)
    pool.submit(0, job(store, "add", value=1))
    assert isinstance(next_result(pool).what, Outcome)
    environment = Path(f"/proc/{pool.processes[0].pid}/environ").read_bytes().split(b"\0")
    assert b"OMP_NUM_THREADS=1" in environment


@pytest.mark.parametrize(
    ("how", "said"), [("kill", "was killed by signal 9"), ("exit", "ended with status 3")]
)
def test_pool_the_end_of_a_worker_is_a_failure_of_its_job(
    pool: LocalPool, store: Store, how: str, said: str
) -> None:
    pool.submit(0, job(store, "die", how=how, times=1))
    assert next_result(pool) == Event(
        0, Failed("lost worker", f"worker 0 {said}; its log: {store.folder}/logs/worker-0.log")
    )
    assert pool.processes == {}
    pool.submit(0, job(store, "die", how=how, times=1))
    assert isinstance(next_result(pool).what, Outcome)


def test_pool_notices_the_end_of_a_worker_whose_child_lives_on(pool: LocalPool, store: Store) -> None:
    """A child that was forked holds the worker's end of the pipe open."""
    pool.submit(0, job(store, "die", how="orphan", times=1))
    try:
        event = next_result(pool)
        assert isinstance(event.what, Failed)
        assert event.what.kind == "lost worker"
    finally:
        os.kill(int((store.folder / "orphan").read_text()), signal.SIGKILL)


def test_pool_an_entry_that_cannot_be_imported_is_a_lost_worker_with_a_log(store: Store) -> None:
    pool = LocalPool("tests.graph.absent:execute", 1, store.folder / "logs")
    pool.submit(0, job(store, "add", value=1))
    event = next_result(pool)
    assert isinstance(event.what, Failed)
    assert "No module named 'tests.graph.absent'" in (store.folder / "logs" / "worker-0.log").read_text()
    pool.kill()


def test_pool_stop_lets_running_jobs_write_their_checkpoints(pool: LocalPool, store: Store) -> None:
    for worker, node in enumerate("ab"):
        pool.submit(worker, job(store, "wait", node))
    wait_for(lambda: len(list(store.folder.glob("pid-*"))) == 2, "the jobs to start")
    pids = [process.pid for process in pool.processes.values()]
    said = [event for event in pool.stop(60) if not isinstance(event.what, Progress)]
    assert sorted(said, key=lambda event: event.worker) == [Event(0, Stopped()), Event(1, Stopped())]
    for node in "ab":
        found = store.files.read_checkpoint(node)
        assert found is not None
        assert found[1] == {"interrupted": 1}
    assert not any(alive(pid) for pid in pids)
    assert pool.processes == {}


def test_pool_stop_keeps_what_is_finished_meanwhile(pool: LocalPool, store: Store) -> None:
    pool.submit(0, job(store, "add", value=1))
    pool.submit(1, job(store, "wait"))
    wait_for(lambda: len(list(store.folder.glob("pid-*"))) == 1, "the job to start")
    said = {event.worker: event.what for event in pool.stop(60) if not isinstance(event.what, Progress)}
    assert said[1] == Stopped()
    # Stopped before it began, or finished: never lost.
    assert isinstance(said[0], (Outcome, Stopped))


def test_pool_stop_waits_for_nobody_when_all_are_idle(pool: LocalPool, store: Store) -> None:
    pool.submit(0, job(store, "add", value=1))
    next_result(pool)
    assert pool.busy == set()
    assert pool.stop(1e9) == []
    assert pool.processes == {}


def test_pool_stop_does_not_wait_for_a_worker_that_dies(pool: LocalPool, store: Store) -> None:
    pool.submit(0, job(store, "wait"))
    wait_for(lambda: bool(list(store.folder.glob("pid-*"))), "the job to start")
    os.kill(pool.processes[0].pid, signal.SIGKILL)
    (event,) = [event for event in pool.stop(1e9) if not isinstance(event.what, Progress)]
    assert isinstance(event.what, Failed)


def test_pool_submit_to_a_worker_that_has_just_died_is_a_lost_worker(pool: LocalPool, store: Store) -> None:
    pool.submit(0, job(store, "add", value=1))
    next_result(pool)
    process = pool.processes[0]
    process.kill()
    process.wait()
    pool.submit(0, job(store, "add", value=2))
    event = next_result(pool)
    assert isinstance(event.what, Failed)
    assert event.what.kind == "lost worker"


def test_pool_workers_die_with_their_parent(store: Store) -> None:
    """Even with a job at hand, and though the parent could say nothing."""
    code = textwrap.dedent(f"""
        from pathlib import Path
        from pomona.graph.jobs import Job
        from pomona.graph.pool import LocalPool
        pool = LocalPool({ENTRY!r}, 2, Path({str(store.folder)!r}) / "logs")
        for worker, node in enumerate("ab"):
            pool.submit(worker, Job(node, "wait", {{"deaf": True}}, {{}}, (), {str(store.folder)!r}))
        while True:
            pool.poll(1)
    """)
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        files = [store.folder / f"pid-{node}" for node in "ab"]
        wait_for(lambda: all(file.exists() and file.read_text() for file in files), "the workers to start")
        pids = [int(file.read_text()) for file in files]
        assert all(alive(pid) for pid in pids)
    finally:
        parent.kill()
        parent.wait()
    try:
        wait_for(lambda: not any(alive(pid) for pid in pids), "the workers to end")
    finally:
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)


def test_pool_gives_back_every_pipe_and_process(store: Store) -> None:
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(2):
        pool = LocalPool(ENTRY, 1, store.folder / "logs")
        pool.submit(0, job(store, "die", how="exit", times=0))
        next_result(pool)
        pool.kill()
        pool.kill()
    assert len(list(descriptors.iterdir())) == before


def test_here_executor_runs_at_once_and_passes_progress_on(store: Store) -> None:
    executor = HereExecutor(ENTRY)
    said: list[Progress] = []
    executor.on_progress = said.append
    executor.submit(0, job(store, "add", value=1))
    (event,) = executor.poll(0)
    assert isinstance(event.what, Outcome)
    assert executor.poll(0) == []
    executor.progress(1, 2)
    assert said == [Progress(1, 2)]
    assert executor.stop(0) == []
    assert not executor.interrupted()


def test_a_worker_that_the_system_killed_for_memory_is_told_apart(
    store: Store, pool: LocalPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pool_module.oom_kills() >= 0
    kills = iter([1, 1])
    monkeypatch.setattr(pool_module, "oom_kills", lambda: next(kills))
    pool.oom_kills = 0
    (store.folder / "tried").touch()
    pool.submit(0, job(store, "die", how="kill", times=1))
    failed = next_results(pool, 1)[0].what
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.reason) == (
        "out of memory",
        "worker 0 was killed by the system, which had no memory left",
    )
