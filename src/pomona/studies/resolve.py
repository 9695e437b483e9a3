"""Steps with every name, factor and default settled, for one arm."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pomona.core.canonical import Value
from pomona.core.errors import InputError, ProblemsError, unknown
from pomona.core.reference import is_reference
from pomona.core.schema import Part
from pomona.core.step import Step
from pomona.data.catalogue import DATASETS
from pomona.data.choice import DataChoice
from pomona.graph.custom import Recipe
from pomona.graph.signature import Parameters
from pomona.models.catalogue import MODELS
from pomona.models.choice import ModelChoice
from pomona.pruning.controls import CONTROLS
from pomona.pruning.criteria import CRITERIA
from pomona.pruning.method import METHODS, Amount, Method, inverted
from pomona.pruning.schedule import SCHEDULES, densities
from pomona.pruning.treatments import Treatment
from pomona.studies import problems
from pomona.studies.document import Document
from pomona.studies.own import load_own
from pomona.studies.schema import (
    REPLICATE,
    ApplySpec,
    DuringSpec,
    EnsembleSpec,
    Let,
    MaskSpec,
    PruneSpec,
    Rounding,
    StepSpec,
)
from pomona.studies.yamltext import Place, scalar_text
from pomona.training.config import Train

Arm = Mapping[str, str]
Factors = Mapping[str, Mapping[str, Any]]
_PART = TypeVar("_PART", bound=Part)
_SELECTOR = re.compile(r"^(?P<step>[^@]+)(?:@(?P<at>.+))?$")
DEFAULT_AMOUNT = 0.2
LIKE = "like"  # in a key: the densities are those of the mask of the last parent
_AMOUNT: TypeAdapter[float | dict[str, float]] = TypeAdapter(Amount)


@dataclass(frozen=True)
class Pruning:
    """How the levels of a step are pruned.

    Args:
        method: What is scored, removed and ranked together.
        amount: Share of what remains that a level removes, or by layer; None where ``to`` is given, or where
            the granularity says how much goes.
        rounding: How a fraction becomes a count.
        to: Density at the last level, or by layer.
        schedule: How density falls until then.
        data: What a criterion reads; None for the data of the state that is pruned.
        stop: Rules that end a lineage, as they are written.
        like: Step whose masks say what each layer is left, at equal level, instead of an amount.
    """

    method: Method
    amount: float | dict[str, float] | None
    rounding: Rounding
    to: float | dict[str, float] | None = None
    schedule: str = "exponential"
    data: DataChoice | None = None
    stop: tuple[str, ...] = ()
    like: str | None = None

    def share(self, number: int, count: int) -> dict[str, Value]:
        """What one of ``count`` levels removes or leaves, as it enters a key; ``number`` counts from 1."""
        if self.like is not None:
            return {"density": LIKE, "rounding": self.rounding}
        if self.to is None:
            return {} if self.amount is None else {"amount": self.amount, "rounding": self.rounding}
        left: Value
        if isinstance(self.to, Mapping):
            left = {key: densities(self.schedule, goal, count)[number - 1] for key, goal in self.to.items()}
        else:
            left = densities(self.schedule, self.to, count)[number - 1]
        return {"density": left, "rounding": self.rounding}


@dataclass(frozen=True)
class Gradual:
    """Pruning while a step trains.

    Args:
        pruning: What is pruned, to which density.
        begin: The first time.
        end: When the density is reached.
        every: From one time to the next.
    """

    pruning: Pruning
    begin: Step
    end: Step
    every: Step


@dataclass(frozen=True)
class Selector:
    """States of another step: which level, which moment of training, which labels of its factors."""

    step: str
    at: Step | None = None
    level: int | None = None
    bindings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class MaskSource:
    """Where a mask comes from: pruning a scored state ``levels`` times, or a state that has a mask."""

    of: Selector
    pruning: Pruning | None = None
    levels: int = 1
    over: str | None = None
    join: str | None = None
    control: str | None = None


@dataclass(frozen=True)
class Applied:
    """A user's recipe with its parameters, and the labels whose states it is given together."""

    recipe: Recipe
    parameters: Parameters
    over: str | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ensembled:
    """Which states are averaged: of a step, over these labels of a factor, or over all replicates."""

    of: str
    over: str
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResolvedStep:
    """A step for one arm. Exactly one of ``model``, ``base``, ``weights`` and ``ensembled`` is given.

    ``base`` goes with ``pruning`` or with ``applied``. ``fresh`` names layers that a mask from elsewhere
    leaves dense; ``head`` is the last one.
    """

    name: str
    model: ModelChoice | None = None
    base: str | None = None
    weights: Selector | None = None
    mask: MaskSource | None = None
    repeat: int = 1
    pruning: Pruning | None = None
    during: Gradual | None = None
    treatment: Treatment | None = None
    applied: Applied | None = None
    ensembled: Ensembled | None = None
    data: DataChoice | None = None
    train: Train | None = None
    fresh: tuple[str, ...] = ()


class Resolver:
    """Settles the steps of a study.

    Args:
        document: For the places that messages name.
        let: Named values.
        factors: Value by label of every factor.
        steps: Steps as they are written.
    """

    def __init__(self, document: Document, let: Let, factors: Factors, steps: Mapping[str, StepSpec]) -> None:
        self.document = document
        self.let = let
        self.factors = factors
        self.steps = steps
        self._recipes: dict[str, Recipe] = {}  # users' own, loaded once

    def step(self, name: str, arm: Arm) -> ResolvedStep:
        """One step for the labels of an arm.

        Raises:
            ProblemsError: With all faults of the step.
        """
        faults: list[str] = []
        spec = self.steps[name]
        at: Place = ("steps", name)

        def settle(key: str, make: Callable[[Any, Place], Any]) -> Any:
            written = getattr(spec, key)
            if written is None:
                return None
            place = (*at, "from" if key == "from_" else key)
            try:
                return make(written, place)
            except ProblemsError as error:
                faults.extend(error.problems)
            except InputError as error:
                faults.append(f"{self.document.where(place)}: {error}")
            return None

        found = ResolvedStep(
            name=name,
            model=settle("init", lambda w, p: self._model(w, arm, p)),
            base=spec.from_,
            weights=settle("weights", lambda w, p: self._selector(w)),
            mask=settle("mask", lambda w, p: self._mask(w, arm, p)),
            repeat=settle("repeat", lambda w, p: self._count(w, arm)),
            pruning=settle("prune", lambda w, p: self._pruning(w, arm, p)),
            during=settle("during", lambda w, p: self._during(w, arm, p)),
            treatment=settle("treat", lambda w, p: self._part(Treatment, w, arm, p)),
            applied=settle("apply", lambda w, p: self._applied(w, arm, p)),
            ensembled=settle("ensemble", lambda w, p: self._ensembled(w)),
            data=settle("on", lambda w, p: self._data(w, arm, p)),
            train=settle("train", lambda w, p: self._train(w, arm, p)),
            fresh=tuple(spec.map or ()),
        )
        if found.pruning is not None and found.treatment is not None and not faults:
            self._check_held(found.pruning, found.treatment, at, faults)
        if faults:
            raise ProblemsError(self.document.name, faults)
        return found

    def _check_held(self, pruning: Pruning, treatment: Treatment, at: Place, faults: list[str]) -> None:
        if pruning.method.pruned != "zero" and treatment.makes_new_values:
            faults.append(
                f"{self.document.where((*at, 'treat'))}: {treatment.name} gives the survivors other initial "
                f"values, and 'pruned: {pruning.method.pruned}' holds the rest at the first ones; treat with "
                "rewind or finetune"
            )

    def value(self, written: Any, arm: Arm, seen: Sequence[str] = ()) -> Any:
        """What is written, with every ``$factor`` replaced by its value in the arm."""
        if isinstance(written, str) and written.startswith("$"):
            factor = written[1:]
            if factor not in self.factors:
                raise InputError(unknown("factor", factor, self.factors))
            if factor in seen:
                raise InputError(f"values of factors go in a circle: {' -> '.join([*seen, factor])}")
            return self.value(self.factors[factor][arm[factor]], arm, [*seen, factor])
        if isinstance(written, Mapping):
            return {key: self.value(item, arm, seen) for key, item in written.items()}
        if isinstance(written, list):
            return [self.value(item, arm, seen) for item in written]
        return written

    def entry(self, kind: str, name: str, arm: Arm) -> None:
        """Check one entry of ``let``, whether a step uses it or not.

        Raises:
            ProblemsError: With all of its faults.
        """
        place: Place = ("let", kind, name)
        makers = {"data": self._data, "train": self._train, "model": self._model, "method": self._method}
        try:
            makers[kind](name, arm, place)
        except ProblemsError:
            raise
        except InputError as error:
            raise ProblemsError(self.document.name, [f"{self.document.where(place)}: {error}"]) from None

    def _model(self, written: Any, arm: Arm, place: Place) -> ModelChoice:
        value, place = self._named("model", written, arm, place, MODELS)
        return self._validate(ModelChoice, value, place)

    def _data(self, written: Any, arm: Arm, place: Place) -> DataChoice:
        value, place = self._named("data", written, arm, place, DATASETS)
        return self._validate(DataChoice, {"name": value} if isinstance(value, str) else value, place)

    def _method(self, written: Any, arm: Arm, place: Place) -> Method:
        value, place = self._named("method", written, arm, place, METHODS)
        return self._validate(Method, value, place)

    def _train(self, written: Any, arm: Arm, place: Place) -> Train | None:
        value = self.value(written, arm)
        if value == "none":
            return None
        if isinstance(value, str):
            if value not in self.let.train:
                raise InputError(unknown("training", value, [*self.let.train, "none"]))
            place, value = ("let", "train", value), self.let.train[value]
        if not isinstance(value, Mapping):
            raise InputError(
                f"expected the name of a training, 'none', or a mapping as "
                f"{{optimizer: ..., batch_size: 32, duration: 2ep}}, got {scalar_text(value)}"
            )
        return self._validate(Train, self.value(self._alike(value, arm, []), arm), place)

    def _alike(self, value: Mapping[str, Any], arm: Arm, seen: Sequence[str]) -> dict[str, Any]:
        """Fields of the training that is named by ``like``, replaced by those that are given."""
        if "like" not in value:
            return dict(value)
        name = scalar_text(self.value(value["like"], arm))
        if name in seen:
            raise InputError(f"'like' goes in a circle: {' -> '.join([*seen, name])}")
        if name not in self.let.train:
            raise InputError(unknown("training", name, self.let.train, where="like"))
        own = {key: item for key, item in value.items() if key != "like"}
        return {**self._alike(self.let.train[name], arm, [*seen, name]), **own}

    def _pruning(self, spec: PruneSpec | MaskSpec | DuringSpec, arm: Arm, place: Place) -> Pruning:
        method = self._method(spec.method, arm, (*place, "method"))
        written = {key: getattr(spec, key, None) for key in ("amount", "to", "like")}
        amount, to = (self._amount(written[key], arm, (*place, key)) for key in ("amount", "to"))
        given = next((key for key in written if written[key] is not None), None)
        if method.says_how_much and given is not None:
            raise InputError(f"granularity {method.granularity!r} says how much goes: leave {given!r} out")
        if given is None and not method.says_how_much:
            amount = DEFAULT_AMOUNT
        schedule = scalar_text(self.value(spec.schedule or "exponential", arm))
        if schedule not in SCHEDULES:
            raise InputError(unknown("schedule", schedule, SCHEDULES))
        for goal in to.values() if isinstance(to, Mapping) else [to]:
            if goal is not None:
                densities(schedule, goal, 1)
        on, like = getattr(spec, "on", None), written["like"]
        if on is not None and not method.reads_data:
            raise InputError(f"'on': the criterion {method.named!r} reads no data; leave it out")
        data = self._data(on, arm, (*place, "on")) if on is not None else None
        stop = spec.stop if isinstance(spec, PruneSpec) else ()
        if like is not None and like not in self.steps:
            raise InputError(unknown("step", like, self.steps, where="like"))
        if like is not None and (method.scope != "layer" or method.allocation is not None):
            raise InputError("'like' says what each layer is left: leave scope and allocation out")
        if like is not None and spec.rounding != "nearest":
            raise InputError("'like' takes counts over as they are: leave 'rounding' out")
        return Pruning(method, amount, spec.rounding, to, schedule, data, tuple(sorted(stop)), like)

    def _during(self, spec: DuringSpec, arm: Arm, place: Place) -> Gradual:
        pruning = self._pruning(spec, arm, place)
        if pruning.method.pruned != "zero":
            raise InputError(
                f"pruned: {pruning.method.pruned}: weights that training moved cannot be frozen within it"
            )
        if pruning.method.reads_initial:
            raise InputError(
                f"the criterion {pruning.method.named!r} compares with the untrained weights, which a "
                "training does not know; use 'prune'"
            )
        if pruning.method.rule is not None and pruning.method.rule.update is not None:
            raise InputError(
                f"the criterion {pruning.method.named!r} moves the surviving weights, which training does; "
                "use 'prune'"
            )
        if pruning.to is None and not pruning.method.says_how_much:
            raise InputError("'during' needs 'to': the density that is reached")
        if spec.every.count == 0:
            raise InputError(f"'every' must be 1it or more, got {spec.every}")
        # The start is one moment in either unit, and must be one identity.
        begin = Step(0, "it") if spec.begin.count == 0 else spec.begin
        return Gradual(pruning, begin, spec.end, spec.every)

    def _amount(self, written: Any, arm: Arm, place: Place) -> float | dict[str, float] | None:
        if written is None:
            return None
        try:
            return _AMOUNT.validate_python(self.value(written, arm))
        except ValidationError as error:
            reasons = [f["ctx"]["error"] if "ctx" in f else f["msg"] for f in error.errors()]
            lines = [f"{self.document.where(place)}: {reason}" for reason in reasons]
            raise ProblemsError(self.document.name, lines) from None

    def _mask(self, spec: MaskSpec, arm: Arm, place: Place) -> MaskSource:
        control = self._control(spec, arm)
        named = self._selector(spec.score or spec.of or "")
        bound = tuple((f, self._bound(named.step, f, v, arm)) for f, v in sorted(spec.bindings.items()))
        selector = Selector(named.step, named.at, spec.level, bound)
        if spec.over is not None and spec.over not in self.factors:
            raise InputError(unknown("factor", spec.over, self.factors, where="over"))
        if spec.of is not None:
            return MaskSource(selector, over=spec.over, join=spec.join, control=control)
        if spec.method is None:
            raise InputError("'score' needs 'method': how the scored state is pruned")
        pruning = self._pruning(spec, arm, place)
        if control is not None and CONTROLS[control].touches == "score":
            pruning = replace(pruning, method=inverted(pruning.method))
            control = None
        return MaskSource(selector, pruning, spec.levels, spec.over, spec.join, control)

    def _control(self, spec: MaskSpec, arm: Arm) -> str | None:
        """A control on masks, on weights or on scores; None where there is none in this arm."""
        if spec.control is None:
            return None
        name = scalar_text(self.value(spec.control, arm))
        if name == "none":
            return None
        names = [known for known, rule in CONTROLS.items() if rule.touches != "data"]
        if name not in names:
            hint = (
                f": it is one of the data, written there as 'corrupt'; here: {', '.join(names)}"
                if name in CONTROLS
                else ""
            )
            raise InputError(
                f"control {name!r}{hint}" if hint else unknown("control", name, [*names, "none"])
            )
        if CONTROLS[name].touches == "score" and spec.score is None:
            raise InputError(f"control {name!r} goes with 'score': a mask that exists has no scores to turn")
        return name

    def _applied(self, spec: ApplySpec, arm: Arm, place: Place) -> Applied:
        if spec.over is not None and spec.over not in self.factors:
            raise InputError(unknown("factor", spec.over, self.factors, where="over"))
        labels = tuple(self.factors[spec.over]) if spec.over is not None else ()
        written = scalar_text(self.value(spec.recipe, arm))
        if written not in self._recipes:
            self._recipes[written] = load_own(Recipe, written, self.document.folder)
        recipe = self._recipes[written]
        fault = recipe.signature.count_fault(len(labels) or 1)
        if fault is not None:
            hint = "" if labels else "; 'over' gives it the states of all labels of a factor"
            raise InputError(f"{written}: {fault}{hint}")
        given = self.value(spec.parameters, arm)
        return Applied(recipe, self._validate(recipe.signature.parameters, given, place), spec.over, labels)

    def _ensembled(self, spec: EnsembleSpec) -> Ensembled:
        if spec.over == REPLICATE:
            return Ensembled(spec.of, spec.over)
        # That over and members are known is a matter of the study: an arm that lacks one is none.
        return Ensembled(spec.of, spec.over, spec.members or tuple(self.factors.get(spec.over, ())))

    def _bound(self, step: str, factor: str, written: Any, arm: Arm) -> str:
        """The label that a factor of another step is bound to."""
        if factor not in self.factors:
            raise InputError(unknown("key or factor", factor, [*self.factors, *MaskSpec.model_fields]))
        label = scalar_text(written)
        if label.startswith("$"):
            if label[1:] not in self.factors:
                raise InputError(unknown("factor", label[1:], self.factors))
            label = arm[label[1:]]
        if label not in self.factors[factor]:
            raise InputError(unknown(f"label of factor {factor!r}", label, self.factors[factor]))
        return label

    def _selector(self, written: str) -> Selector:
        found = _SELECTOR.match(written)
        if found is None or found["step"] not in self.steps:
            raise InputError(unknown("step", found["step"] if found else written, self.steps))
        if found["at"] is None:
            return Selector(found["step"])
        # `step@0` is the start of its training, whichever unit it is counted in.
        return Selector(found["step"], Step(0, "it") if found["at"] == "0" else Step.parse(found["at"]))

    def _count(self, written: Any, arm: Arm) -> int:
        value = self.value(written, arm)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"expected a whole number of levels, 1 or more, got {value!r}")
        return value

    def _part(self, kind: type[_PART], written: Any, arm: Arm, place: Place) -> _PART:
        return self._validate(kind, self.value(written, arm), place)

    def _named(
        self, kind: str, written: Any, arm: Arm, place: Place, catalogue: Mapping[str, Any]
    ) -> tuple[Any, Place]:
        """What a name of ``let`` or of the catalogue stands for, and where that is written."""
        value = self.value(written, arm)
        named = getattr(self.let, kind)
        if not isinstance(value, str):
            return value, place
        if value in named:
            return self.value(named[value], arm), ("let", kind, value)
        if value in catalogue or is_reference(value):
            return value, place
        what = {"data": "data set", "method": "pruning method"}.get(kind, kind)
        hint = (
            f"; the criterion is written {{criterion: {value}}}"
            if kind == "method" and value in CRITERIA
            else ""
        )
        raise InputError(f"{unknown(what, value, [*named, *catalogue])}{hint}")

    def _validate(self, kind: type[_PART], value: Any, place: Place) -> _PART:
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            lines = problems.describe(error, self.document.where, value, kind, place)
            raise ProblemsError(self.document.name, lines) from None
