"""What is recorded, stopped and starved: a small graph with everything that a store has to keep.

    python -m tests.faults.workload recorder.so < cases

runs each case, a line of JSON, in a process of its own that the recorder listens to, and says how it ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pomona.core.errors import Interrupted, PomonaError
from pomona.graph.jobs import Context, Job, Outcome
from pomona.graph.nodes import Graph, State
from pomona.graph.pool import HereExecutor
from pomona.graph.scheduler import Scheduler
from pomona.graph.store import Files, Store
from pomona.graph.tally import Tally
from tests.graph import toy_entry
from tests.graph.conftest import make, mean, snapshot, train

ENTRY = "tests.faults.workload:execute"
# Of more than one page and no multiple of a sector, so that a write can be torn.
SIZE = 1100

Weights = dict[str, np.ndarray]


def execute(job: Job, context: Context) -> Outcome:
    """Compute one state or probe."""
    files = Files(Path(job.store))
    if job.name == "sum":
        return _sum(job, files)
    if job.name == "train":
        return _train(job, files, context)
    if job.name == "snapshot":
        return _snapshot(job, files)
    return toy_entry.execute(job, context)


def _sum(job: Job, files: Files) -> Outcome:
    weights = np.full(SIZE, float(job.params["value"]))
    for state in job.states:
        weights = weights + files.read_weights(state.outputs["weights"])["w"]
    masks = files.write_masks({"w": weights > 2}, {"w": "linear"})
    return Outcome((files.write_weights({"w": weights}), masks), {"value": job.params["value"]})


def _train(job: Job, files: Files, context: Context) -> Outcome:
    """Goes on from its checkpoint, of which it writes one every second step."""
    weights = files.read_weights(job.states[0].outputs["weights"])["w"]
    found = files.read_checkpoint(job.node)
    step, snapshots = 0, {}
    if found is not None and all(
        at in found[1]["taken"] or int(at[:-2]) > found[1]["step"] for at in job.snapshots
    ):
        weights, step = found[0]["w"], found[1]["step"]
        snapshots = {at: (files.describe("weights", digest),) for at, digest in found[1]["taken"].items()}
    while step < job.params["steps"]:
        weights, step = _step(weights), step + 1
        if f"{step}it" in job.snapshots:
            snapshots[f"{step}it"] = (files.write_weights({"w": weights}),)
        if step % 2 == 0 and step < job.params["steps"]:
            taken = {at: outputs[0].digest for at, outputs in snapshots.items()}
            files.write_checkpoint(job.node, {"w": weights}, {"step": step, "taken": taken})
        context.progress(step, job.params["steps"])
        if context.interrupted():
            raise Interrupted
    return Outcome(
        (files.write_weights({"w": weights}),), {"steps": step}, snapshots=snapshots, steps_taken=step
    )


def _snapshot(job: Job, files: Files) -> Outcome:
    """The run again, up to the step."""
    weights = files.read_weights(job.states[0].parents[0].outputs["weights"])["w"]
    for _ in range(job.params["at"].count):
        weights = _step(weights)
    return Outcome((files.write_weights({"w": weights}),))


def _step(weights: np.ndarray) -> np.ndarray:
    return weights * 1.5 + 1


def graph(part: bool = False) -> Graph:
    """The whole, or what is asked for first."""
    found = Graph()
    first, second = _add(found, 1), _add(found, 2)
    both = _add(found, 3, first, second)
    run = train(found, 5, first)
    mean(found, first, both)
    if part:
        return found
    longer = train(found, 6, second)
    early, late = snapshot(found, 2, longer), snapshot(found, 4, longer)
    rewound = _add(found, 0, early)  # of the bytes that its parent has
    _add(found, 4, late, both)
    mean(found, run, rewound)
    mean(found, early, late, snapshot(found, 3, run))
    diverged = make(found, "fail", {"kind": "diverged"}, both)
    _add(found, 5, diverged)
    return found


def _add(found: Graph, value: float, *parents: State) -> State:
    return make(found, "sum", {"value": value}, *parents)


def complete(
    store: Store, wanted: Graph, on_change: Callable[[Tally], None] = lambda tally: None
) -> Scheduler:
    """Have a graph computed in this process."""
    store.ledger.plan(wanted.states.values(), wanted.probes.values())
    number = store.ledger.start_run("toy", "", ("e" * 64, "{}"), "test", 0)
    executor = HereExecutor(ENTRY)
    scheduler = Scheduler(store, wanted, executor, number, on_change=on_change)
    executor.on_progress = lambda progress: scheduler.note(0, progress)
    scheduler.execute()
    store.ledger.end_run(number, "done")
    return scheduler


def contents(store: Store) -> dict[str, Any]:
    """What a store says is done, with the digests of its files, and what has failed: by key."""
    ledger = store.ledger
    found: dict[str, Any] = {}
    for table in ("states", "probes"):
        found |= {key: status for key, status in ledger.statuses(table).items() if status != "planned"}
    for key, outputs in ledger.outputs([key for key, status in found.items() if status == "done"]).items():
        found[key] = {name: output.digest for name, output in outputs.items()}
    for row in ledger.rows("SELECT * FROM measurements ORDER BY probe, quantity, layer, class"):
        if not isinstance(found.get(row["probe"]), list):
            found[row["probe"]] = []
        found[row["probe"]].append(list(row)[1:])
    return found


def main(case: dict[str, Any], acknowledged: int) -> None:
    """Two runs on one store, which is closed between them. What counts is written down as soon as it does.

    Args:
        case: Where, and what is to happen.
        acknowledged: Open file that takes, for everything that was committed, the length of the log when the
            commit had returned.
    """
    known: dict[str, Any] = {}

    def acknowledge(store: Store) -> None:
        found = contents(store)
        new = {key: value for key, value in found.items() if known.get(key) != value}
        if new:
            at = os.stat(case["log"]).st_size
            os.write(acknowledged, json.dumps({"at": at, "found": new}).encode() + b"\n")
        known.update(new)

    for wanted in (graph(part=True), graph()):
        with Store(case["store"]) as store:
            # Often enough that every part of the work meets it.
            store.ledger.connection.execute("PRAGMA wal_autocheckpoint = 20")
            complete(store, wanted, lambda tally, store=store: acknowledge(store))  # type: ignore[misc]


def _child(library: Any, case: dict[str, Any]) -> None:
    ended = "done"
    acknowledged = os.open(case["acknowledged"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    outcome = os.open(case["outcome"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    places = (os.fsencode(os.path.realpath(case["store"])), os.fsencode(case["log"]))
    if library.recorder_arm(*places, case.get("fail_at", 0), case.get("errno", 0), case.get("kill_at", 0)):
        os._exit(4)
    try:
        main(case, acknowledged)
    except PomonaError as error:
        ended = f"{type(error).__name__}: {error}"
    except BaseException as error:
        ended = f"! {type(error).__name__}: {error}"
    os.write(outcome, ended.encode())
    os._exit(0)


if __name__ == "__main__":
    recorder = ctypes.CDLL(sys.argv[1])
    recorder.recorder_arm.argtypes = [
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_long,
    ]
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            _child(recorder, json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
