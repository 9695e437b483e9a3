from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from pomona.core.step import Step
from pomona.graph.ledger import Attempt
from pomona.graph.nodes import Graph, Probe, State
from pomona.graph.pool import Executor, HereExecutor, LocalPool
from pomona.graph.scheduler import Scheduler
from pomona.graph.store import Store
from pomona.graph.tally import Tally
from pomona.graph.threads import ThreadPool

# A deadline would be a timing assertion, and machines are shared.
settings.register_profile("pomona", deadline=None)
settings.load_profile("pomona")

ENTRY = "tests.graph.toy_entry:execute"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _entry_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as found:
        yield found


def add(graph: Graph, value: float, *parents: State, work_steps: int = 0) -> State:
    """A state whose weights are its value and its parents' weights together."""
    return make(graph, "add", {"value": value}, *parents, work_steps=work_steps)


def make(graph: Graph, recipe: str, params: dict[str, Any], *parents: State, work_steps: int = 0) -> State:
    keys = tuple(parent.key for parent in parents)
    return graph.add(
        State(recipe, 1, params, keys, how={"not": "in the key"}, work_steps=work_steps, cost=recipe)
    )


def train(graph: Graph, steps: int, parent: State, **more: Any) -> State:
    return make(graph, "train", {"steps": steps, **more}, parent, work_steps=steps)


def snapshot(graph: Graph, at: int, run: State) -> State:
    return make(graph, "snapshot", {"at": Step(at, "it")}, run)


def mean(graph: Graph, *states: State) -> Probe:
    return graph.measure(Probe("mean", 1, {}, tuple(state.key for state in states)))


def run(
    store: Store,
    graph: Graph,
    workers: int = 0,
    on_change: Callable[[Tally], None] = lambda tally: None,
    pool: type[LocalPool | ThreadPool] = LocalPool,
) -> Scheduler:
    """Plan a graph and compute what is missing; 0 workers is the process of the test."""
    scheduler, executor = prepare(store, graph, workers, on_change, pool)
    try:
        scheduler.execute()
    finally:
        if isinstance(executor, (LocalPool, ThreadPool)):
            executor.kill()
    return scheduler


def prepare(
    store: Store,
    graph: Graph,
    workers: int = 0,
    on_change: Callable[[Tally], None] = lambda tally: None,
    pool: type[LocalPool | ThreadPool] = LocalPool,
) -> tuple[Scheduler, Executor]:
    store.ledger.plan(graph.states.values(), graph.probes.values())
    number = store.ledger.start_run("toy", "", ("e" * 64, "{}"), "test", workers)
    executor: Executor = pool(ENTRY, workers, store.folder / "logs") if workers else HereExecutor(ENTRY)
    scheduler = Scheduler(store, graph, executor, number, on_change=on_change)
    if isinstance(executor, HereExecutor):
        executor.on_progress = lambda progress: scheduler.note(0, progress)
    return scheduler, executor


def tried(store: Store) -> list[tuple[str, str]]:
    """Name and key of every try, in order."""
    file = store.folder / "tried"
    return [tuple(line.split()) for line in file.read_text().splitlines()] if file.exists() else []  # type: ignore[misc]


def attempt(node: str, status: str = "done", **more: Any) -> Attempt:
    return Attempt(
        **{"node": node, "worker": "0", "started_at": 1.0, "seconds": 2.0, "status": status, **more}
    )


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Until it is so; the limit only keeps a broken test from standing still."""
    limit = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < limit, f"waited in vain for {what}"
        time.sleep(0.01)
