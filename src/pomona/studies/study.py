"""A study that has been read and checked: every fault is reported together, before any compute."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pomona.core.canonical import digest
from pomona.core.errors import InputError, ProblemsError, unknown
from pomona.studies import problems
from pomona.studies.document import Document, dump, parse_document, read_document, with_preset
from pomona.studies.resolve import Arm, Resolver
from pomona.studies.schema import Contrast, StepSpec, StudySpec, expand_sugar
from pomona.studies.where import parse_condition


@dataclass(frozen=True)
class Study:
    """A checked study.

    Args:
        document: What was written, with preset and changes applied.
        spec: The same, as typed parts.
        factors: Value by label of every factor.
        order: Names of the steps, each after those it builds on.
        reach: Factors that expand each step.
        arms: Every combination of labels that the conditions let through.
    """

    document: Document
    spec: StudySpec
    factors: Mapping[str, Mapping[str, Any]]
    order: tuple[str, ...]
    reach: Mapping[str, frozenset[str]]
    arms: tuple[Arm, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.spec.study

    @property
    def preset(self) -> str:
        """The preset that was applied, or an empty text."""
        return self.document.preset

    @cached_property
    def resolver(self) -> Resolver:
        """Settles steps for an arm."""
        return Resolver(self.document, self.spec.let, self.factors, self.spec.steps)

    def arms_of(self, step: str) -> list[dict[str, str]]:
        """The distinct arms of a step: only factors that it reaches, in the order of the study."""
        names = [factor for factor in self.factors if factor in self.reach[step]]
        found = {tuple(arm[name] for name in names): None for arm in self.arms}
        return [dict(zip(names, labels, strict=True)) for labels in found]

    def text(self) -> str:
        """The study as it is run: YAML with preset and changes applied."""
        return dump(self.document.content)

    def digest(self) -> str:
        """SHA-256 of the study as it is run; names it beside its name."""
        return digest(_hashable(self.document.content))


def load_study(
    study: str | Path, preset: str | None = None, changes: Sequence[str] | Mapping[str, Any] = ()
) -> Study:
    """Read a study of the library or a YAML file, and check all of it.

    Args:
        study: A name of the library, or the path of a YAML file.
        preset: One of the study's presets.
        changes: Single values as ``path=value``, or a mapping from path to value.

    Raises:
        InputError: There is no such study or preset, or the file is not YAML.
        ProblemsError: With every fault of the study.
    """
    if isinstance(changes, Mapping):
        changes = [f"{path}={dump({'v': value})[3:].strip()}" for path, value in changes.items()]
    return check_study(with_preset(read_document(study), preset, changes))


def parse_study(text: str, name: str = "study", folder: Path | None = None) -> Study:
    """Read and check a study from YAML text."""
    return check_study(with_preset(parse_document(text, name, folder or Path.cwd()), None))


def check_study(document: Document) -> Study:
    """Check a document against the schema and against itself.

    Raises:
        ProblemsError: With every fault that was found.
    """
    title = f"{document.name} is not a valid study"
    try:
        content = expand_sugar(document.content)
    except InputError as error:
        raise ProblemsError(title, [f"{document.name}: {error}"]) from None
    faults: list[str] = []
    spec = _validated(content, document, faults)
    if spec is None:
        raise ProblemsError(title, faults)
    factors = {name: _by_label(values) for name, values in spec.factors.items()}
    order = _order(spec, document, faults)
    arms = _arms(spec, factors, document, faults)
    reach = _reach(spec, order, factors)
    unused = [name for name in factors if not any(name in reached for reached in reach.values())]
    faults += [f"{document.where(('factors', name))}: no step uses ${name}" for name in unused]
    study = Study(document, spec, factors, tuple(order), reach, tuple(arms))
    _resolve_all(study, faults)
    _check_hypotheses(study, faults)
    if faults:
        raise ProblemsError(title, list(dict.fromkeys(faults)))
    return study


def _validated(content: dict[str, Any], document: Document, faults: list[str]) -> StudySpec | None:
    """The typed study; without what is at fault where that is possible, so that the rest is checked too."""
    current = copy.deepcopy(content)
    try:
        return StudySpec.model_validate(current)
    except ValidationError as error:
        faults += problems.describe(error, document.where, content, StudySpec)
        problems.remove(error, current)
    try:
        return StudySpec.model_validate(current)
    except ValidationError as error:
        for fault in error.errors():
            current.pop(str(fault["loc"][0]), None)
    try:
        return StudySpec.model_validate(current)
    except ValidationError:
        return None


def _by_label(values: list[Any] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(values, Mapping):
        return {str(label): label if value is None else value for label, value in values.items()}
    return {str(value): value for value in values}


def builds_on(spec: StepSpec) -> dict[str, str]:
    """The steps that a step names, by the key that names them."""
    named: dict[str, str] = {}
    if spec.from_ is not None:
        named["from"] = spec.from_
    if spec.weights is not None:
        named["weights"] = spec.weights.partition("@")[0]
    if spec.mask is not None:
        named["mask"] = (spec.mask.score or spec.mask.of or "").partition("@")[0]
    return named


def _order(spec: StudySpec, document: Document, faults: list[str]) -> list[str]:
    before: dict[str, set[str]] = {}
    for name, step in spec.steps.items():
        before[name] = set()
        for key, other in builds_on(step).items():
            if other in spec.steps:
                before[name].add(other)
            else:
                faults.append(f"{document.where(('steps', name, key))}: {unknown('step', other, spec.steps)}")
    order: list[str] = []
    while len(order) < len(before):
        ready = [name for name in before if name not in order and before[name] <= set(order)]
        if not ready:
            circle = ", ".join(name for name in before if name not in order)
            faults.append(
                f"{document.where(('steps',))}: these steps build on one another in a circle: {circle}"
            )
            return [*order, *(name for name in before if name not in order)]
        order += ready
    return order


def _arms(
    spec: StudySpec, factors: Mapping[str, Mapping[str, Any]], document: Document, faults: list[str]
) -> list[dict[str, str]]:
    conditions = []
    labels = {name: list(values) for name, values in factors.items()}
    for index, text in enumerate(spec.where):
        try:
            conditions.append(parse_condition(text, labels))
        except InputError as error:
            faults.append(f"{document.where(('where', index))}: {error}")
    every = [dict(zip(labels, combined, strict=True)) for combined in itertools.product(*labels.values())]
    if len(conditions) < len(spec.where):
        return every  # a condition that cannot be read leaves none out, so that the rest is checked
    arms = [arm for arm in every if all(condition(arm) for condition in conditions)]
    if not arms:
        faults.append(f"{document.where(('where',))}: the conditions leave no combination of factors")
    return arms


def _reach(
    spec: StudySpec, order: Sequence[str], factors: Mapping[str, Mapping[str, Any]]
) -> dict[str, frozenset[str]]:
    """Factors that a step names, itself or through those it builds on, less bound and joined ones."""
    reach: dict[str, frozenset[str]] = {}
    for name in order:
        step = spec.steps[name]
        own = {f for f in _dollars(step.model_dump()) if f in factors}
        for text in (step.train, step.on, step.init):
            own |= {f for f in _dollars(_let_value(spec, text)) if f in factors}
        for key, other in builds_on(step).items():
            below = set(reach.get(other, ()))
            if key == "mask" and step.mask is not None:
                below -= {*step.mask.bindings, step.mask.over}
            own |= below
        reach[name] = frozenset(own)
    return reach


def _let_value(spec: StudySpec, written: Any) -> Any:
    for named in (spec.let.train, spec.let.data, spec.let.model):
        if isinstance(written, str) and written in named:
            return named[written]
    return None


def _dollars(written: Any) -> set[str]:
    if isinstance(written, str):
        return {written[1:]} if written.startswith("$") else set()
    if isinstance(written, Mapping):
        return {name for item in written.values() for name in _dollars(item)}
    if isinstance(written, (list, tuple)):
        return {name for item in written for name in _dollars(item)}
    return set()


def _resolve_all(study: Study, faults: list[str]) -> None:
    for step in study.order:
        for arm in study.arms_of(step):
            try:
                study.resolver.step(step, arm)
            except ProblemsError as error:
                faults.extend(error.problems)


def _check_hypotheses(study: Study, faults: list[str]) -> None:
    for index, hypothesis in enumerate(study.spec.hypotheses):
        if hypothesis.contrast is None:
            continue
        place = study.document.where(("hypotheses", index, "contrast"))
        faults += [f"{place}: {fault}" for fault in _contrast_faults(hypothesis.contrast, study.factors)]


def _contrast_faults(contrast: Contrast, factors: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A contrast fixes, matches or averages every factor that it does not compare."""
    found: list[str] = []
    for side in (contrast.a, contrast.b, contrast.fix):
        for factor, label in side.items():
            if factor not in factors:
                found.append(unknown("factor", factor, factors))
            elif str(label) not in factors[factor]:
                found.append(unknown(f"label of factor {factor!r}", label, factors[factor]))
    for factor in (*contrast.match, *contrast.average):
        if factor not in factors:
            found.append(unknown("factor", factor, factors))
    if contrast.a == contrast.b:
        found.append(f"both arms are {contrast.a!r}: there is nothing to compare")
    compared = set(contrast.a) & set(contrast.b)
    for factor in sorted(set(contrast.a) ^ set(contrast.b)):
        found.append(f"factor {factor!r} is given for one arm only; give it for both")
    settled = compared | set(contrast.fix) | set(contrast.match) | set(contrast.average)
    for factor, values in factors.items():
        if factor not in settled and factor not in {*contrast.a, *contrast.b}:
            label = next(iter(values))
            found.append(
                f"factor {factor!r} is left open; fix it (fix: {{{factor}: {label}}}), match it "
                f"(match: [{factor}]) or average over it (average: [{factor}])"
            )
    return found


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _hashable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hashable(item) for item in value]
    return value
