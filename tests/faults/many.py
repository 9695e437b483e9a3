"""Many processes on one store: what each of them computes is computed by none of the others.

    python -m tests.faults.many STORE STATES

is one of them.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pomona.graph.jobs import Context, Job, Outcome
from pomona.graph.nodes import Graph
from pomona.graph.pool import HereExecutor
from pomona.graph.scheduler import Scheduler
from pomona.graph.store import Store
from tests.graph import toy_entry
from tests.graph.conftest import add, mean

from .examine import Trial
from .recorder import ROOT
from .workload import contents

_LIMIT_SECONDS = 900


def execute(job: Job, context: Context) -> Outcome:
    """Compute a toy state, after a line that says which process did; a short line is written as a whole."""
    with open(Path(job.store) / "executed", "a") as file:
        file.write(f"{job.node} {os.getpid()}\n")
    return toy_entry.execute(job, context)


def tree(states: int) -> Graph:
    """Each state has up to three children, and every tenth is measured."""
    graph = Graph()
    found = [add(graph, 0)]
    while len(found) < states:
        found.append(add(graph, len(found), found[(len(found) - 1) // 3]))
    for state in found[::10]:
        mean(graph, state)
    return graph


def compute(folder: Path, states: int) -> None:
    """What one process does, as soon as all are there."""
    graph = tree(states)
    with Store(folder) as store:
        store.ledger.plan(graph.states.values(), graph.probes.values())
        number = store.ledger.start_run("many", "", ("e" * 64, "{}"), "test", 0)
        (folder / f"ready-{os.getpid()}").touch()
        while not (folder / "go").exists():
            time.sleep(0.005)
        Scheduler(store, graph, HereExecutor("tests.faults.many:execute"), number).execute()
        store.ledger.end_run(number, "done")


def crowd(folder: Path, processes: int = 16, states: int = 2000, kills: int = 8) -> Iterator[Trial]:
    """All at once on one store, undisturbed and with some of them killed."""
    yield f"{processes} processes", partial(check, folder / "whole", processes, states, 0)
    yield (
        f"{processes} processes, {kills} killed",
        partial(check, folder / "killed", processes, states, kills),
    )


def check(folder: Path, processes: int, states: int, kills: int) -> None:
    """Let processes compute one graph, and look for what was done twice, not at all, or otherwise.

    Raises:
        AssertionError: There is some.
    """
    with _started(folder, processes, states) as running:
        killed = _killed_at_random(running, folder, kills, states)
        for process in running:
            status = process.wait(timeout=_LIMIT_SECONDS)
            expected = -signal.SIGKILL if process.pid in killed else 0
            assert status == expected, f"a process ended with {status}"
    found = _executions(folder)
    for node, by in found.items():
        needless = [pid for pid in by[:-1] if pid not in killed]
        assert not needless, f"{node[:12]} was computed by {by}, of which {killed} were killed"
    assert len({pid for by in found.values() for pid in by}) > 1, "all was computed by one process"
    alone = folder.with_name(f"{folder.name}-alone")
    alone.mkdir(parents=True)
    (alone / "go").touch()
    compute(alone, states)
    with Store(folder) as store, Store(alone) as other:
        here = contents(store)
        assert len(here) == states + len(range(0, states, 10))
        assert here == contents(other), "other results than those of one process"
        assert not store.ledger.rows("SELECT node FROM leases"), "leases are left"
    assert found.keys() == here.keys()


@contextmanager
def _started(folder: Path, processes: int, states: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "tests.faults.many", str(folder), str(states)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [subprocess.Popen(command, cwd=ROOT, env=environment) for _ in range(processes)]
    try:
        limit = time.monotonic() + _LIMIT_SECONDS
        while len(list(folder.glob("ready-*"))) < processes:
            assert all(process.poll() is None for process in running), "a process did not come to its work"
            assert time.monotonic() < limit
            time.sleep(0.01)
        (folder / "go").touch()
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def _killed_at_random(
    running: list[subprocess.Popen[bytes]], folder: Path, kills: int, states: int
) -> set[int]:
    """Kill processes while the work goes on, spread over it; gives their numbers."""
    draw, killed = random.Random(8), set()
    for number, process in enumerate(draw.sample(running, kills), 1):
        # By what was done and not by the clock, so that all strike, on a fast machine and on a slow one.
        while sum(map(len, _executions(folder).values())) < number * states // (kills + 2):
            assert process.poll() is None, "a process ended before all was done"
            time.sleep(0.002)
        process.kill()
        process.wait()
        killed.add(process.pid)
    return killed


def _executions(folder: Path) -> dict[str, list[int]]:
    """Which processes computed each node, in order."""
    file = folder / "executed"
    found: dict[str, list[int]] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        node, _, pid = line.partition(" ")
        if pid:
            found.setdefault(node, []).append(int(pid))
    return found


if __name__ == "__main__":
    compute(Path(sys.argv[1]), int(sys.argv[2]))
