from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pomona.core.canonical import canonical
from pomona.core.errors import DataError, InputError, Interrupted, StateFailure, StoreError, StoreWriteError
from pomona.core.step import Step
from pomona.graph.jobs import (
    Context,
    Failed,
    Job,
    Outcome,
    Stopped,
    Stored,
    attempt,
    load_entry,
    read_result,
    write_result,
)
from pomona.graph.ledger import Measurement, Output
from pomona.graph.nodes import from_json
from tests.graph import toy_entry

ROOT = Stored("r", "init", {"seed": 1}, {}, {"weights": "d0"}, {})
RUN = Stored(
    "t",
    "train",
    {"duration": Step(3, "ep")},
    {"folder": "/x"},
    {"weights": "d1"},
    {"at": Step(1, "it")},
    (ROOT,),
)
JOB = Job(
    node="k",
    name="snapshot",
    params={"at": Step(5, "it"), "nested": [{"step": Step(0, "ep"), "lr": 0.1}], "none": None},
    how={"duration": Step(2, "ep")},
    states=(RUN, ROOT),
    store="/store",
    device="cuda",
    snapshots=("5it", "1ep"),
)
OUTPUT = Output("weights", "ab", 10, {"w": "cd"})
OUTCOME = Outcome(
    outputs=(OUTPUT,),
    facts={"stopped_at": Step(3, "it"), "checks": [[1, 0.5]], "n": None},
    measurements=(Measurement("loss", 0.1, "fc", 3), Measurement("gone", None)),
    snapshots={"5it": (OUTPUT,), "6it": ()},
)


class Quiet:
    def interrupted(self) -> bool:
        return False

    def progress(self, done: int, total: int) -> None:
        pass


def test_job_round_trip_keeps_every_type_at_every_depth() -> None:
    line = JOB.write()
    assert "\n" not in line
    assert Job.read(line) == JOB
    found = Job.read(line)
    assert canonical(found.params) == canonical(JOB.params)
    assert canonical(found.states[0].params) == canonical(RUN.params)
    assert found.states[0].parents == (ROOT,)


@pytest.mark.parametrize(
    "result",
    [
        OUTCOME,
        Outcome(),
        Failed("diverged", "x", "T\nT"),
        Failed("error", "full", store_full=True),
        Stopped(),
    ],
)
def test_result_round_trip_keeps_every_type(result: Outcome | Failed | Stopped) -> None:
    line = write_result(result)
    assert "\n" not in line
    assert read_result(from_json(line)) == result


def raising(error: BaseException) -> Any:
    def execute(job: Job, context: Context) -> Outcome:
        raise error

    return execute


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (StateFailure("diverged", "NaN at step 3"), "diverged", "NaN at step 3"),
        (StateFailure("layer collapse", "fc is gone"), "layer collapse", "fc is gone"),
        (InputError("no such file"), "bad input", "no such file"),
        (DataError("the network is down"), "error", "the network is down"),
        (StoreError("blob ab is corrupt"), "error", "blob ab is corrupt"),
        (MemoryError(), "out of memory", "the machine has no more memory"),
        (MemoryError("17 GB"), "out of memory", "17 GB"),
        (ZeroDivisionError("by zero"), "error", "ZeroDivisionError: by zero"),
    ],
)
def test_attempt_names_the_kind_of_every_failure(error: BaseException, kind: str, reason: str) -> None:
    found = attempt(raising(error), JOB, Quiet())
    assert isinstance(found, Failed)
    assert (found.kind, found.reason, found.store_full) == (kind, reason, False)


def test_attempt_says_where_a_bug_lies() -> None:
    found = attempt(raising(ZeroDivisionError()), JOB, Quiet())
    assert isinstance(found, Failed)
    assert "in execute" in found.traceback


def test_attempt_a_full_store_is_marked() -> None:
    found = attempt(raising(StoreWriteError("the disk is full")), JOB, Quiet())
    assert found == Failed("error", "the disk is full", store_full=True)


def test_attempt_an_interruption_is_no_failure() -> None:
    assert attempt(raising(Interrupted()), JOB, Quiet()) == Stopped()
    with pytest.raises(KeyboardInterrupt):
        attempt(raising(KeyboardInterrupt()), JOB, Quiet())


def test_attempt_gives_the_outcome_in_the_form_that_is_kept() -> None:
    facts = {"pair": (1, 2), "at": Step(1, "ep")}
    found = attempt(lambda job, context: Outcome((OUTPUT,), facts), JOB, Quiet())
    assert found == Outcome((OUTPUT,), {"pair": [1, 2], "at": Step(1, "ep")})


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (Outcome(facts={"x": {1}}), "set has no form in JSON"),
        (Outcome(facts={"x": np.float32(1)}), "float32 has no form in JSON"),
        (Outcome(facts={"x": float("nan")}), "not JSON compliant"),
        (Outcome(measurements=(Measurement("loss", float("inf")),)), "not JSON compliant"),
    ],
)
def test_attempt_an_outcome_that_cannot_be_kept_is_a_failure_of_the_job(outcome: Outcome, why: str) -> None:
    found = attempt(lambda job, context: outcome, JOB, Quiet())
    assert isinstance(found, Failed)
    assert found.kind == "error"
    assert found.reason.startswith("what snapshot found cannot be kept: ")
    assert why in found.reason


def test_load_entry_finds_a_function_by_its_name() -> None:
    assert load_entry("tests.graph.toy_entry:execute") is toy_entry.execute
