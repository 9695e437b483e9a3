"""Which engine computes each network: settled by the network and its options, never by the machine."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

from pomona.core.canonical import Value, digest
from pomona.core.errors import InputError
from pomona.core.reference import Reference
from pomona.data.choice import DataChoice
from pomona.models.catalogue import draws, lanes_blocker
from pomona.models.choice import ModelChoice
from pomona.studies.document import Document
from pomona.studies.feasible import Settled
from pomona.studies.schema import Asked
from pomona.training.engine import engine_record
from pomona.training.lanes import native

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Engine:
    """What trains and evaluates one network.

    Args:
        name: ``lanes`` or ``torch``.
        device: ``cpu`` or ``cuda``: the bits differ.
        random: Whether the forward pass may draw random numbers.
        reasons: Why ``auto`` did not take the lane engine; empty where it did and where torch was asked for.
    """

    name: str
    device: str
    random: bool = field(compare=False)
    reasons: tuple[str, ...] = ()

    @property
    def record(self) -> dict[str, Value]:
        """What enters a key: name, numerics version, precision."""
        return dict(engine_record(self.name, self.device))

    @property
    def text(self) -> str:
        """Its name, and why it is not the lane engine: ``torch (bn: BatchNorm2d is not ...)``."""
        more = f"; and {len(self.reasons) - 1} more" if len(self.reasons) > 1 else ""
        return f"{self.record['name']}{f' ({self.reasons[0]}{more})' if self.reasons else ''}"


def settle_engine(
    asked: Asked, device: str, choice: ModelChoice, input_shape: Shape, classes: int, folder: Path
) -> Engine:
    """The engine of a network.

    Torch is imported only to look into a user's own network: that is built and traced, once a process.

    Args:
        asked: ``engine`` of the study.
        device: ``cpu`` or ``cuda``.
        choice: Which network.
        input_shape: Channels, height and width of one image.
        classes: Number of outputs.
        folder: What the path of a user's file is relative to.

    Raises:
        InputError: The lane engine was asked for and cannot run the network (has every reason), or a user's
            own network cannot be built or cannot compute such images.
    """
    # Of a user's own network it is not known; that of the catalogue draws where it drops units.
    random = choice.own or draws(choice.name, choice.options)
    if asked == "torch" or not _on_cpu(device):
        reasons = (f"the lane engine computes on the CPU, not on {device}",) if asked == "auto" else ()
        return Engine("torch", device, random, reasons)
    if choice.own:
        found = _read(choice, input_shape, classes, folder)
    else:
        blocker = lanes_blocker(choice.name, choice.options)
        found = _Read((blocker,) if blocker else (), random=False)
    if not found.reasons:
        return Engine("lanes", device, found.random)
    if asked == "lanes":
        lines = "".join(f"\n      {reason}" for reason in found.reasons)
        raise InputError(
            f"{choice.name} cannot run on the lane engine; write engine: auto, which takes torch for it, or "
            f"engine: torch{lines}"
        )
    return Engine("torch", device, random, found.reasons)


def engine_faults(
    asked: Asked,
    device: str,
    settled: Settled,
    document: Document,
    settle: Callable[[ModelChoice, DataChoice], object],
) -> Iterator[str]:
    """Networks that the engine that was asked for cannot run, or that cannot be looked into for it.

    Args:
        asked: ``engine`` of the study.
        device: ``cpu`` or ``cuda``.
        settled: Every step in order, for each of its arms.
        document: For the places that messages name.
        settle: Takes a network and its data to its engine, or raises ``InputError``.
    """
    if asked == "lanes" and not _on_cpu(device):
        yield (
            f"{document.where(('engine',))}: the lane engine computes on the CPU, and the device is "
            f"{device}; write engine: auto or engine: torch"
        )
        return
    tried: set[str] = set()
    for name, arms in settled.items():
        for _, step in arms:
            form = f"{name} {step.model!r} {step.data!r}"
            if step.model is None or step.data is None or form in tried:
                continue
            tried.add(form)
            try:
                settle(step.model, step.data)
            except InputError as error:
                yield f"{document.where(('steps', name, 'init'))}: {error}"


def lacking(engines: AbstractSet[str]) -> str | None:
    """Why one of some engines cannot compute on this machine; None where all can. Costs no torch."""
    if "lanes" not in engines:
        return None
    try:
        native.instruction_set()
    except InputError as error:
        return str(error)
    return None


def kernels_here() -> str | None:
    """The instruction set that the lane engine computes with on this machine; None where it cannot."""
    return native.instruction_set() if lacking({"lanes"}) is None else None


@dataclass(frozen=True)
class _Read:
    """What the lane engine makes of a network: why it cannot run it; whether there are random numbers."""

    reasons: tuple[str, ...]
    random: bool


# By everything that a network is made from.
_known: dict[str, _Read] = {}


def _read(choice: ModelChoice, input_shape: Shape, classes: int, folder: Path) -> _Read:
    made_from: Mapping[str, Value] = {
        "name": choice.name.rpartition(":")[2],
        "source": Reference.parse(choice.name, folder).digest(),
        "options": dict(choice.options),
        "input_shape": list(input_shape),
        "classes": classes,
    }
    key = digest(made_from)
    if key not in _known:
        # What a user's network prints is no part of a table of results.
        with contextlib.redirect_stdout(sys.stderr):
            _known[key] = _traced(choice, input_shape, classes, folder)
    return _known[key]


def _traced(choice: ModelChoice, input_shape: Shape, classes: int, folder: Path) -> _Read:
    from pomona.models.build import build
    from pomona.training.lanes.trace import Unsupported, trace

    try:
        module = build(choice, input_shape, classes, folder)
        program = trace(module, input_shape)
    except Unsupported as unsupported:
        return _Read(unsupported.reasons, random=True)
    except InputError as error:
        place = "" if choice.name in str(error) else f"{choice.name}: "
        raise InputError(f"{place}{error}") from error
    except SystemExit as error:
        raise InputError(f"{choice.name} ends the process that makes it (exit status {error})") from error
    except Exception as error:
        # There is no end to what a user's forward may do to a tracer; torch may well run it.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return _Read((f"{choice.name}: it cannot be traced: {reason}",), random=True)
    return _Read((), program.random)


def _on_cpu(device: str) -> bool:
    return device.split(":")[0] == "cpu"
