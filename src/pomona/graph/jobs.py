"""What a coordinator and its workers say to one another: JSON lines, never tensors, never pickles."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pomona.core.errors import (
    BlobLost,
    FailureKind,
    InputError,
    Interrupted,
    PomonaError,
    StateFailure,
    StoreError,
    StoreWriteError,
)
from pomona.graph.ledger import Measurement, Output
from pomona.graph.nodes import from_json, to_json


@dataclass(frozen=True)
class Stored:
    """A state that a job works on: its definition, and the digests of what it left."""

    key: str
    recipe: str
    params: Mapping[str, Any]
    how: Mapping[str, Any]
    outputs: Mapping[str, str]
    facts: Mapping[str, Any]
    parents: tuple[Stored, ...] = ()

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Stored:
        """From its JSON form."""
        return cls(**{**raw, "parents": tuple(cls.read(parent) for parent in raw["parents"])})


@dataclass(frozen=True)
class Job:
    """One state or probe to compute.

    Args:
        node: Key of the state or probe.
        name: Name of the recipe or probe.
        states: The parents of a state, or the states that a probe measures.
        snapshots: Steps at which a training run also leaves a snapshot.
        scratch: Folder that takes what the job writes, where the store is not to be changed.
    """

    node: str
    name: str
    params: Mapping[str, Any]
    how: Mapping[str, Any]
    states: tuple[Stored, ...]
    store: str
    device: str = "cpu"
    snapshots: tuple[str, ...] = ()
    scratch: str = ""

    def write(self) -> str:
        """As one line of JSON.

        Raises:
            StoreError: It holds what cannot have come from a store of ours, such as a fact that is NaN.
        """
        try:
            return to_json(self)
        except ValueError as error:
            text = f"the ledger of {self.store} is damaged: {self.node[:12]} rests on no value ({error})"
            raise StoreError(text) from None

    @classmethod
    def read(cls, line: str) -> Job:
        """From one line of JSON."""
        raw = from_json(line)
        states = tuple(Stored.read(state) for state in raw["states"])
        return cls(**{**raw, "states": states, "snapshots": tuple(raw["snapshots"])})


@dataclass(frozen=True)
class Outcome:
    """What a finished job left: files, facts, numbers, and the files of its snapshots by step.

    ``steps_taken`` are the optimizer steps of this attempt, for the record of its rate.
    """

    outputs: tuple[Output, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    snapshots: Mapping[str, tuple[Output, ...]] = field(default_factory=dict)
    steps_taken: int = 0


@dataclass(frozen=True)
class Failed:
    """Why a job has no outcome.

    Args:
        kind: The class of failure.
        reason: What happened.
        traceback: Where, if it is a fault of code.
        store_full: No other job could be kept either.
        lost: Digest of a file that it needs and that is not there, or not whole.
    """

    kind: FailureKind
    reason: str
    traceback: str = ""
    store_full: bool = False
    lost: str = ""


@dataclass(frozen=True)
class Stopped:
    """A job was interrupted on request; what it needs to go on is in its checkpoint."""


class Context(Protocol):
    """What a running job may ask of its surroundings."""

    def interrupted(self) -> bool:
        """Whether to stop at the next opportunity."""
        ...

    def progress(self, done: int, total: int) -> None:
        """Say how far the job is, in optimizer steps."""
        ...


Execute = Callable[[Job, Context], Outcome]


def load_entry(entry: str) -> Execute:
    """The function that executes jobs, named as ``package.module:function``."""
    module, _, name = entry.partition(":")
    found: Execute = getattr(importlib.import_module(module), name)
    return found


def attempt(execute: Execute, job: Job, context: Context) -> Outcome | Failed | Stopped:
    """Execute a job; every way it can end is a value."""
    try:
        return _as_kept(job, execute(job, context))
    except Interrupted:
        return Stopped()
    except StateFailure as error:
        return Failed(error.kind, str(error))
    except BlobLost as error:
        return Failed("error", str(error), lost=error.digest)
    except StoreError as error:
        return Failed("error", str(error), store_full=isinstance(error, StoreWriteError))
    except InputError as error:
        return Failed("bad input", str(error), traceback.format_exc())
    except PomonaError as error:
        return Failed("error", str(error), traceback.format_exc())
    except SystemExit as error:
        return Failed("bad input", f"the user's code called exit({error.code})", traceback.format_exc())
    except MemoryError as error:
        return Failed("out of memory", str(error) or "the machine has no more memory", traceback.format_exc())
    except Exception as error:
        return Failed("error", f"{type(error).__name__}: {error}", traceback.format_exc())


def _as_kept(job: Job, outcome: Outcome) -> Outcome | Failed | Stopped:
    """An outcome in the form it has after the ledger or a pipe; what has none is the job's own fault."""
    try:
        return read_result(from_json(write_result(outcome)))
    except (TypeError, ValueError) as error:
        raise StateFailure("error", f"what {job.name} found cannot be kept: {error}") from None


def write_result(result: Outcome | Failed | Stopped) -> str:
    """A result as one line of JSON."""
    return to_json({"type": type(result).__name__, "value": result})


def read_result(raw: Mapping[str, Any]) -> Outcome | Failed | Stopped:
    """A result from its JSON form."""
    value = raw["value"]
    if raw["type"] == "Stopped":
        return Stopped()
    if raw["type"] == "Failed":
        return Failed(**value)
    return Outcome(
        outputs=tuple(Output(**o) for o in value["outputs"]),
        facts=value["facts"],
        measurements=tuple(Measurement(**m) for m in value["measurements"]),
        snapshots={step: tuple(Output(**o) for o in found) for step, found in value["snapshots"].items()},
        steps_taken=value["steps_taken"],
    )
