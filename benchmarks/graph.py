"""The experiment graph at 100,000 states: what planning, running, opening and asking cost.

    python benchmarks/graph.py [--states 100000] [--repeats 3] [--folder DIR] [--json graph.json]

Every measurement is a process of its own, which also tells its peak memory. The study has one arm and 20
levels, and as many replicates as give the number of states; each trained state has its accuracy measured.

plan      The study is read, expanded, and written into the plan of a new store.
execute   Trivial states (an addition of three numbers, written as a file and synced), in this process and in
          two workers. No network is trained.
cached    The study is expanded against a store that has all of it, and a run finds nothing to do.
open      A store with all of it is opened, its states counted, one found by the beginning of its key.
query     The states of an accuracy above 0.9, among a million numbers: their count, then a frame of them.

Beside each stands what its peer *dagger* costs, as measured earlier: 1 to 2.2 ms a node cold, 0.4 to 0.7 ms
cached, 100,000 slim nodes restored in 3.6 s.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pomona.graph.jobs import Context, Job, Outcome
from pomona.graph.nodes import Graph, Probe, State, to_json
from pomona.graph.pool import HereExecutor, LocalPool
from pomona.graph.scheduler import Scheduler
from pomona.graph.store import Files, Store
from pomona.studies.expand import expand
from pomona.studies.run import Run
from pomona.studies.study import Study, parse_study

LEVELS = 20
# A start, a training, and at each level a pruned, a treated and a trained state.
_A_REPLICATE = 2 + 3 * LEVELS

STUDY = f"""
study: many
replicates: REPLICATES
let:
  train: {{once: {{optimizer: {{sgd: {{lr: 0.01}}}}, batch_size: 32, duration: 1ep}}}}
steps:
  dense: {{init: lenet, on: {{name: mnist}}, train: once}}
  ticket:
    from: dense
    repeat: {LEVELS}
    prune: {{method: {{criterion: magnitude}}, amount: 20%}}
    treat: rewind
    on: {{name: mnist}}
    train: once
measure: [accuracy]
"""

# Name, what is measured, limit in seconds (or milliseconds a state), what dagger takes.
ROWS: dict[str, tuple[str, float, str]] = {
    "plan": ("s", 10.0, ""),
    "execute": ("ms a state", 2.0, "1 to 2.2"),
    "execute-workers": ("ms a state", 2.0, "1 to 2.2"),
    "cached": ("s", 5.0, "40 to 70"),
    "open": ("s", 1.0, "3.6"),
    "query": ("s", 1.0, ""),
    "query-frame": ("s", 10.0, ""),
}


def study(states: int) -> Study:
    return parse_study(STUDY.replace("REPLICATES", str(-(-states // _A_REPLICATE))))


def execute(job: Job, context: Context) -> Outcome:
    """A trivial state: the parent's numbers and one more."""
    import numpy as np

    files = Files.of(job)
    before = [files.read_weights(state.outputs["weights"])["w"] for state in job.states]
    output = files.write_weights({"w": sum(before, np.full(3, job.params["value"]))})
    return Outcome((output,))


def plan(folder: Path, states: int) -> float:
    start = time.perf_counter()
    with Store(folder / "plan") as store:
        Run(study(states), store)
    return time.perf_counter() - start


def _execute(folder: Path, states: int, workers: int) -> float:
    count = min(states, 4000)
    graph = Graph()
    for lineage in range(count // LEVELS):
        state = graph.add(State("add", 1, {"value": float(lineage)}))
        for level in range(1, LEVELS):
            state = graph.add(State("add", 1, {"value": float(level)}, (state.key,)))
    entry = f"{Path(__file__).stem}:execute"
    with Store(folder / "execute") as store:
        start = time.perf_counter()
        store.ledger.plan(graph.states.values(), [])
        number = store.ledger.start_run("benchmark", "", ("", "{}"), "", workers)
        executor = LocalPool(entry, workers, folder / "logs") if workers else HereExecutor(entry)
        scheduler = Scheduler(store, graph, executor, number)
        scheduler.execute()
        assert scheduler.tally.done == len(graph.states), scheduler.failures[:3]
        return (time.perf_counter() - start) / len(graph.states) * 1e3


def cached(folder: Path, states: int) -> float:
    start = time.perf_counter()
    with Store(folder / "full") as store:
        run = Run(study(states), store)
        assert run.missing() == 0
        run.execute()
        assert run.repairs == []
    return time.perf_counter() - start


def open_(folder: Path, states: int) -> float:
    start = time.perf_counter()
    with Store(folder / "full", create=False) as store:
        count = store.ledger.rows("SELECT COUNT(*) FROM states WHERE status = 'done'")[0][0]
        key = store.ledger.rows("SELECT key FROM states LIMIT 1")[0][0]
        assert store.find(key[:12]) == key
        assert count >= states
    return time.perf_counter() - start


def query(folder: Path, states: int, frame: bool = False) -> float:
    with Store(folder / "full", create=False) as store:
        start = time.perf_counter()
        found = store.states("recipe == train and accuracy > 0.9")
        assert (len(found.frame()) if frame else len(found)) > states // 100
        return time.perf_counter() - start


PARTS: dict[str, Callable[[Path, int], float]] = {
    "plan": plan,
    "execute": lambda folder, states: _execute(folder, states, 0),
    "execute-workers": lambda folder, states: _execute(folder, states, 2),
    "cached": cached,
    "open": open_,
    "query": query,
    "query-frame": lambda folder, states: query(folder, states, frame=True),
}


def fill(folder: Path, states: int) -> None:
    """A store as the study would leave it, with files of a few bytes, and a million numbers of its probes."""
    population = expand(study(states))
    graph = population.graph
    draw = random.Random(0)
    with Store(folder / "full") as store:
        store.ledger.plan(graph.states.values(), graph.probes.values())
        outputs = []
        for state in graph.states.values():
            content = state.key.encode()
            digest = hashlib.sha256(content).hexdigest()
            path = store.blobs.path(digest)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            outputs.append((state.key, "weights", digest, len(content), to_json({"w": digest}), None))
        numbers = list(_numbers(list(graph.probes.values()), draw))
        with store.ledger.transaction() as write:
            write.executemany("INSERT INTO outputs VALUES (?,?,?,?,?,?)", outputs)
            write.executemany("INSERT INTO measurements VALUES (?,?,?,?,?)", numbers)
            for table in ("states", "probes"):
                write.execute(f"UPDATE {table} SET status = 'done', finished_at = 1")


def _numbers(probes: list[Probe], draw: random.Random) -> Any:
    """About thirty for each probe: totals, and those of each layer and class."""
    each = max(1, 1_000_000 // len(probes))
    for probe in probes:
        yield (probe.key, "accuracy", "", -1, draw.uniform(0.1, 1.0))
        for i in range(1, each):
            yield (probe.key, "class-accuracy", "", i, draw.random())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--states", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="where the stores are made; a temporary folder unless given"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        took = PARTS[options.part](options.folder, options.states)
        print(json.dumps({"took": took, "megabytes": _peak_megabytes()}))
        return
    with tempfile.TemporaryDirectory(prefix="pomona-graph-", dir=options.folder) as folder:
        fill(Path(folder), options.states)
        found = {name: _measured(name, folder, options) for name in PARTS}
    if options.json is not None:
        options.json.write_text(json.dumps({"states": options.states, "rows": found}, indent=1) + "\n")


def _peak_megabytes() -> float:
    # Not getrusage: what it says of a new process is at least what the parent had.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


def _measured(name: str, folder: str, options: argparse.Namespace) -> list[dict[str, float]]:
    results = []
    for repeat in range(options.repeats):
        place = (
            Path(folder)
            if name not in ("plan", "execute", "execute-workers")
            else Path(folder) / f"{name}{repeat}"
        )
        place.mkdir(exist_ok=True)
        command = [
            sys.executable,
            __file__,
            "--part",
            name,
            "--folder",
            str(place),
            "--states",
            str(options.states),
        ]
        # Workers import the trivial job from this file.
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr}")
        results.append(json.loads(done.stdout))
    unit, limit, dagger = ROWS[name]
    times = [result["took"] for result in results]
    middle, memory = statistics.median(times), max(result["megabytes"] for result in results)
    met = "yes" if middle <= limit and memory <= 1000 else "NO"
    print(
        f"{name:16} {middle:8.3g} {unit:10} ({min(times):.3g} to {max(times):.3g})  limit {limit:g}  {met:3}"
        f"  {memory:5.0f} MB{f'  dagger: {dagger}' if dagger else ''}",
        flush=True,
    )
    return results


if __name__ == "__main__":
    main()
