"""A study that has been read and checked: every fault is reported together, before any compute."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pomona.core.canonical import digest
from pomona.core.errors import InputError, ProblemsError
from pomona.data.catalogue import DATASETS
from pomona.data.choice import DataChoice
from pomona.models.choice import ModelChoice
from pomona.studies import problems
from pomona.studies.checks import entry_faults, factor_faults, measure_faults
from pomona.studies.document import (
    Document,
    parse_document,
    preset_names,
    preset_shape,
    read_document,
    with_preset,
)
from pomona.studies.engines import engine_faults, settle_engine
from pomona.studies.feasible import Settled, unfit
from pomona.studies.hypotheses.check import hypothesis_faults
from pomona.studies.reach import builds_on as builds_on
from pomona.studies.reach import ensemble_faults, order_steps, reach_of_steps
from pomona.studies.resolve import Arm, ResolvedStep, Resolver
from pomona.studies.roles import variation_faults
from pomona.studies.schema import EnsembleSpec, StudySpec
from pomona.studies.shortform import expand_sugar
from pomona.studies.varied import varied_factors, vary_faults
from pomona.studies.where import parse_condition
from pomona.studies.yamltext import dump, scalar_text


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

    @property
    def networks(self) -> list[str]:
        """The steps whose states have weights, in order: all that are no ensemble."""
        # Of a study under codes the steps are not told.
        return [
            step for step in self.order if step not in self.spec.steps or not self.spec.steps[step].ensemble
        ]

    def arms_of(self, step: str) -> list[dict[str, str]]:
        """The distinct arms of a step: only factors that it reaches, in the order of the study."""
        names = [factor for factor in self.factors if factor in self.reach[step]]
        found = {tuple(arm[name] for name in names): None for arm in self.arms}
        arms = [dict(zip(names, labels, strict=True)) for labels in found]
        joined = self.spec.steps[step].ensemble
        return arms if joined is None else [arm for arm in arms if self._is_whole(joined, arm)]

    def _is_whole(self, joined: EnsembleSpec, arm: Arm) -> bool:
        """Whether an arm of an ensemble has all of its members."""
        if joined.over not in self.factors or joined.of not in self.spec.steps:
            return True
        there = {one.get(joined.over) for one in self.arms_of(joined.of) if arm.items() <= one.items()}
        return there >= set(joined.members or self.factors[joined.over])

    def settled(self) -> dict[str, list[tuple[Arm, ResolvedStep]]]:
        """Every step in order, for each of its arms."""
        return _settle(self, [])

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
        changes: Single values as ``path=value``, or a mapping from path to value. NumPy scalars are taken.

    Raises:
        InputError: There is no such study or preset, or the file is not YAML.
        ProblemsError: With every fault of the study.
    """
    return _check_whole(read_document(study), preset, changes)


def parse_study(text: str, name: str = "study", folder: Path | None = None) -> Study:
    """Read and check a study from YAML text."""
    return _check_whole(parse_document(text, name, folder or Path.cwd()), None)


def check_study(document: Document) -> Study:
    """Check a document against the schema and against itself.

    Raises:
        ProblemsError: With every fault that was found.
    """
    study, faults = _examine(document)
    return _sound(study, faults, document)


def _check_whole(
    document: Document, preset: str | None, changes: Sequence[str] | Mapping[str, Any] = ()
) -> Study:
    """Check the study as it is run, and the presets that it could be run with instead."""
    study, faults = _examine(with_preset(document, preset, changes))
    others = [name for name in preset_names(document) if name != preset]
    # What is at fault without any preset is not the fault of a preset.
    plain = preset is None and not changes
    known = set(faults) if plain or not others else set(_examine(with_preset(document, None))[1])
    faults += preset_shape(document)
    for name in others:
        if preset_shape(document, name):
            continue
        place = document.where(("presets", name))
        try:
            found = _examine(with_preset(document, name))[1]
        except ProblemsError as error:
            faults += error.problems
        else:
            faults += [f"{place}: {fault}" for fault in found if fault not in known]
    return _sound(study, faults, document)


def _sound(study: Study | None, faults: Sequence[str], document: Document) -> Study:
    if faults or study is None:
        raise ProblemsError(f"{document.name} is not a valid study", list(dict.fromkeys(faults)))
    return study


def _examine(document: Document) -> tuple[Study | None, list[str]]:
    """A study with all of its faults; None where they leave none."""
    try:
        content = expand_sugar(document.content)
    except InputError as error:
        return None, [f"{document.name}: {error}"]
    faults: list[str] = []
    spec = _validated(content, document, faults)
    if spec is None:
        return None, faults
    factors = {name: _by_label(values) for name, values in spec.factors.items()} | varied_factors(spec)
    faults += vary_faults(spec, document)
    order = order_steps(spec, document, faults)
    arms = _arms(spec, factors, document, faults)
    reach = reach_of_steps(spec, order, factors)
    faults += factor_faults(factors, reach, document)
    faults += ensemble_faults(spec, reach, factors, document)
    study = Study(document, spec, factors, tuple(order), reach, tuple(arms))
    settled = _settle(study, faults)
    faults += entry_faults(spec.let, study.resolver, factors)
    faults += unfit(settled, document, lambda data: DATASETS.get(data.name))
    faults += _lane_faults(spec, settled, document)
    faults += measure_faults(spec, order, document)
    faults += variation_faults(study)
    faults += hypothesis_faults(study)
    return study, list(dict.fromkeys(faults))


def _lane_faults(spec: StudySpec, settled: Settled, document: Document) -> Iterator[str]:
    """Networks that the lane engine was asked for and cannot run; of users' data sets that is seen later."""

    def settle(model: ModelChoice, data: DataChoice) -> None:
        info = DATASETS.get(data.name)
        if info is not None:
            settle_engine("lanes", "cpu", model, info.shape, info.classes, document.folder)

    if spec.engine == "lanes":
        yield from engine_faults("lanes", "cpu", settled, document, settle)


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
        return {label: label if value is None else value for label, value in values.items()}
    return {scalar_text(value): value for value in values}


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


def _settle(study: Study, faults: list[str]) -> dict[str, list[tuple[Arm, ResolvedStep]]]:
    settled: dict[str, list[tuple[Arm, ResolvedStep]]] = {name: [] for name in study.order}
    for name, found in settled.items():
        for arm in study.arms_of(name):
            try:
                found.append((arm, study.resolver.step(name, arm)))
            except ProblemsError as error:
                faults.extend(error.problems)
    return settled


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _hashable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hashable(item) for item in value]
    return value
