"""Jobs that need no network: what ``pomona.studies.execute`` is to a study, this is to these tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from pomona.core.errors import DataError, InputError, Interrupted, StateFailure, StoreWriteError
from pomona.graph.jobs import Context, Job, Outcome, Stored
from pomona.graph.ledger import Measurement, Output
from pomona.graph.store import Files

Weights = dict[str, np.ndarray]


def execute(job: Job, context: Context) -> Outcome:
    """Compute a toy state or probe by its name; every try is written down in the store's ``tried`` file."""
    with open(Path(job.store) / "tried", "a") as file:
        file.write(f"{job.name} {job.node}\n")
    return globals()[f"_{job.name}"](job, Files.of(job), context)  # type: ignore[no-any-return]


def _add(job: Job, files: Files, context: Context) -> Outcome:
    """The sum of the parents' weights and a value of its own."""
    weights = sum((_weights(state, files) for state in job.states), np.zeros(3))
    return _kept(weights + job.params["value"], files, value=job.params["value"])


def _train(job: Job, files: Files, context: Context) -> Outcome:
    """Adds one a step; leaves what it has at each step that is asked for."""
    weights = _weights(job.states[0], files)
    total = job.params["steps"]
    snapshots = {}
    for step in range(1, total + 1):
        weights = weights + 1
        context.progress(step, total)
        if f"{step}it" in job.snapshots:
            snapshots[f"{step}it"] = (files.write_weights({"w": weights}),)
        if step == job.params.get("stop"):
            break
    kept = _kept(weights, files, steps=step)
    return Outcome(kept.outputs, kept.facts, snapshots=snapshots, steps_taken=step)


def _snapshot(job: Job, files: Files, context: Context) -> Outcome:
    """The run again, up to the step: from its parent's weights, by its own definition."""
    run = job.states[0]
    assert run.recipe == "train"
    assert job.params["at"].unit == "it"
    assert run.params["steps"] >= job.params["at"].count
    return _kept(_weights(run.parents[0], files) + job.params["at"].count, files)


def _fail(job: Job, files: Files, context: Context) -> Outcome:
    kind = job.params["kind"]
    if (Path(job.store) / "mended").exists():
        return _kept(np.zeros(3), files)
    errors: dict[str, BaseException] = {
        "bad input": InputError("the file is wrong"),
        "data": DataError("the network is down"),
        "memory": MemoryError(),
        "bug": ZeroDivisionError("by zero"),
        "store": StoreWriteError("the disk is full: x could not be written"),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt("by the job itself"),
        "wordless": Wordless(),
    }
    raise errors.get(kind) or StateFailure(kind, f"it {kind} at step 3")


class Wordless(Exception):
    """An error that cannot even be printed."""

    def __str__(self) -> str:
        raise ValueError("no words")


def _die(job: Job, files: Files, context: Context) -> Outcome:
    """Ends the process ``times`` times, then works."""
    tries = (Path(job.store) / "tried").read_text().count(job.node)
    if tries <= job.params["times"]:
        if job.params["how"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if job.params["how"] == "orphan":
            orphan = os.fork()
            if orphan == 0:
                signal.pause()
            (Path(job.store) / "orphan").write_text(str(orphan))
        os._exit(3)
    return _kept(np.zeros(3), files)


def _chatter(job: Job, files: Files, context: Context) -> Outcome:
    """Prints by every way there is, and reads."""
    print('{"type":"Failed","value":{"kind":"error","reason":"printed"}}')
    os.write(1, b"written to 1\n")
    subprocess.run(["sh", "-c", "echo by a child; cat"], check=True)
    print("to stderr", file=sys.stderr)
    assert sys.stdin.read() == ""
    return _kept(np.zeros(3), files)


def _speak(job: Job, files: Files, context: Context) -> Outcome:
    """Prints by every way that Python has, more than once, and reads."""
    print("printed")
    (Path(job.store) / f"spoke-{job.node}").touch()
    while not (Path(job.store) / "go").exists():
        time.sleep(0.005)
    print("to stderr", file=sys.stderr)
    sys.stdout.buffer.write(b"as bytes\n")
    assert sys.stdin.read() == ""
    assert list(sys.stdin) == []
    try:
        input("asked: ")
    except EOFError:
        return _kept(np.zeros(3), files)
    raise AssertionError("there was something to read")


def _meet(job: Job, files: Files, context: Context) -> Outcome:
    """Ends when the other job of its kind is there too."""
    (Path(job.store) / f"met-{job.node}").touch()
    while len(list(Path(job.store).glob("met-*"))) < 2:
        if context.interrupted():
            raise Interrupted
        time.sleep(0.005)
    return _kept(np.zeros(3), files)


def _odd(job: Job, files: Files, context: Context) -> Outcome:
    """Leaves what cannot be kept."""
    return Outcome(facts={"found": {"nan": float("nan"), "set": {1, 2}}[job.params["what"]]})


def _scribble(job: Job, files: Files, context: Context) -> Outcome:
    """Changes all that it was given, and what it reads, in place."""
    weights = _weights(job.states[0], files)
    kept = _kept(weights + job.params["value"], files)
    weights[:] = -1
    job.params["value"] = job.states[0].params["value"] = 1e9  # type: ignore[index]
    return kept


def _nothing(job: Job, files: Files, context: Context) -> Outcome:
    return Outcome(facts={"parents": [dict(state.outputs) for state in job.states]})


def _wait(job: Job, files: Files, context: Context) -> Outcome:
    """Until the file ``go`` is there, or until asked to stop; the checkpoint counts the interruptions.

    ``deaf`` neither listens nor speaks; ``hurry`` finishes when it is asked to stop.
    """
    store = Path(job.store)
    (store / f"pid-{job.node}").write_text(str(os.getpid()))
    found = files.read_checkpoint(job.node)
    before = 0 if found is None else int(found[1]["interrupted"])
    while not (store / "go").exists():
        if "deaf" in job.params:
            time.sleep(0.005)
            continue
        if context.interrupted():
            if "hurry" in job.params:
                break
            files.write_checkpoint(job.node, {}, {"interrupted": before + 1})
            raise Interrupted
        context.progress(1, 2)
        time.sleep(0.005)
    return _kept(np.zeros(3), files, interrupted=before)


def _mean(job: Job, files: Files, context: Context) -> Outcome:
    """A probe: the mean of each state's weights, and one number that is not there."""
    found = [float(_weights(state, files).mean()) for state in job.states]
    values = [Measurement("mean", value, class_=i) for i, value in enumerate(found)]
    return Outcome(measurements=(*values, Measurement("none", None, layer="fc")))


def _weights(state: Stored, files: Files) -> Any:
    return files.read_weights(state.outputs["weights"])["w"]


def _kept(weights: np.ndarray, files: Files, **facts: Any) -> Outcome:
    output: Output = files.write_weights({"w": weights})
    return Outcome((output,), facts)
