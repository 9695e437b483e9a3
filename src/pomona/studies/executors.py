"""What runs the jobs of a study: threads, processes, or the calling process itself."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path

from pomona.graph.nodes import SNAPSHOT, Graph, Probe, State
from pomona.graph.pool import Executor, HereExecutor, LocalPool
from pomona.graph.threads import ThreadPool

ENTRY = "pomona.studies.execute:execute"

# Engines of native code that lets other threads run meanwhile. The many small operations of the others
# would wait for one another: they get a process each.
THREADED = frozenset({"lanes"})


def engines_of(graph: Graph, keys: AbstractSet[str]) -> set[str]:
    """Names of the engines that compute some states and probes."""
    nodes: list[State | Probe] = [*graph.states.values(), *graph.probes.values()]
    asked = [_source(node, graph).params for node in nodes if node.key in keys]
    return {str(params["engine"]["name"]) for params in asked if "engine" in params}  # type: ignore[call-overload,index]


def _source(node: State | Probe, graph: Graph) -> State | Probe:
    """A node itself; of a snapshot the training, which runs again if the snapshot is asked for later."""
    if isinstance(node, State) and node.recipe == SNAPSHOT:
        return graph.states[node.parents[0]]
    return node


@contextmanager
def open_executor(size: int, logs: Path, engines: AbstractSet[str]) -> Iterator[Executor]:
    """What runs the jobs: threads where every engine suits them, else processes. The bits are the same.

    Args:
        size: How many jobs at once; 0 is this process itself.
        logs: Folder for what jobs print.
        engines: Names of the engines that will compute.
    """
    threads = bool(engines) and engines <= THREADED
    if size and not threads:
        processes = LocalPool(ENTRY, size, logs)
        try:
            yield processes
        finally:
            processes.kill()
        return
    with _one_torch_thread():
        if not size:
            yield HereExecutor(ENTRY)
            return
        pool = ThreadPool(ENTRY, size, logs)
        try:
            yield pool
        finally:
            pool.kill()


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """One thread for each job here too: another number of threads may give other bits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
