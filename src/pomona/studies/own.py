"""Users' recipes and probes as a study names them: found, loaded and checked before anything is computed."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from pomona.core.errors import InputError, ProblemsError, unknown
from pomona.core.reference import Reference, is_reference
from pomona.graph.custom import Declared, Measure, load_declared
from pomona.graph.signature import Parameters
from pomona.studies import problems
from pomona.studies.document import Document
from pomona.studies.reach import lines_of_steps
from pomona.studies.schema import ProbeSpec, StudySpec
from pomona.studies.yamltext import Place

_DECLARED = TypeVar("_DECLARED", bound=Declared)


@dataclass(frozen=True)
class OwnMeasure:
    """A user's probe, as a study asks for it.

    Args:
        probe: The function.
        parameters: What it is given.
        against: The step whose state is the second one; None where it measures one.
        part: What tells it from the study's other uses of the same function; else empty.
    """

    probe: Measure
    parameters: Parameters
    against: str | None
    part: str

    @property
    def label(self) -> str:
        """What it is called among the measurements of a point."""
        return f"{self.probe.name} {self.part}".strip()


def load_own(kind: type[_DECLARED], written: str, folder: Path) -> _DECLARED:
    """Import a user's recipe or probe.

    Args:
        kind: Which of them.
        written: ``mine.py:quantise``.
        folder: What the path is relative to.

    Raises:
        InputError: The file or the name is not there, or is no such function (says what to write).
    """
    if not is_reference(written):
        raise InputError(f"expected a {kind.word} of yours as 'mine.py:name', got {written!r}")
    # What a user's file prints is no part of a table of results.
    with contextlib.redirect_stdout(sys.stderr):
        found = load_declared(Reference.parse(written, folder), kind)
    _ = found.identity, found.signature  # whatever is wrong with them is said now
    return found


def own_measures(spec: StudySpec, order: Sequence[str], document: Document) -> list[OwnMeasure]:
    """Users' probes of a study, in its order.

    Raises:
        ProblemsError: With all of their faults.
    """
    faults: list[str] = []
    settled: list[tuple[ProbeSpec, Measure, Parameters]] = []
    for index, asked in spec.own_measures.items():
        place: Place = ("measure", index)
        try:
            settled.append((asked, *_settled(asked, spec, order, document, place)))
        except ProblemsError as error:
            faults += error.problems
        except InputError as error:
            faults.append(f"{document.where(place)}: {error}")
    uses = Counter(probe.name for _, probe, _ in settled)
    found = []
    for asked, probe, parameters in settled:
        part = str(asked).removeprefix(asked.probe).strip() if uses[probe.name] > 1 else ""
        found.append(OwnMeasure(probe, parameters, asked.against, part))
    for label, count in Counter(one.label for one in found).items():
        if count > 1:
            faults.append(f"{document.where(('measure',))}: {label!r} is measured more than once")
    if faults:
        raise ProblemsError(document.name, faults)
    return found


def _settled(
    asked: ProbeSpec, spec: StudySpec, order: Sequence[str], document: Document, place: Place
) -> tuple[Measure, Parameters]:
    probe = load_own(Measure, asked.probe, document.folder)
    fault = probe.signature.count_fault(1 if asked.against is None else 2)
    if fault is not None:
        hint = "; 'against' names the step whose state is the second" if asked.against is None else ""
        raise InputError(f"{asked.probe}: {fault}{hint}")
    if asked.against is not None:
        if asked.against not in spec.steps:
            raise InputError(unknown("step", asked.against, spec.steps, where="against"))
        if not any(asked.against in line for line in lines_of_steps(spec, order).values()):
            raise InputError(f"against: no step builds on {asked.against!r}, so there is nothing to measure")
    model = probe.signature.parameters
    try:
        return probe, model.model_validate(asked.parameters)
    except ValidationError as error:
        lines = problems.describe(error, document.where, asked.parameters, model, place)
        raise ProblemsError(document.name, lines) from None
