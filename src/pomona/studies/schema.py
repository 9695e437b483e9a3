"""The schema of a study: what may be written, before names and factors are resolved."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from pomona.core.errors import InputError, unknown
from pomona.core.reference import is_reference
from pomona.core.schema import Part, StepField
from pomona.core.step import Step
from pomona.core.streams import STREAMS
from pomona.graph.retention import check_policy
from pomona.pruning.stopping import parse_stop
from pomona.studies import landscape
from pomona.studies.hypotheses.spec import Hypothesis, Registration, Variation
from pomona.studies.yamltext import scalar_text

MEASURES = {
    "accuracy": "share of test (and validation) examples that are classified correctly",
    "class-accuracy": "the same for each class",
    "loss": "mean cross-entropy, in nats per example",
    "density": "share of weights that are kept, per layer and in total",
    "effective-density": "share of weights that can make a difference to the output: from there an output is "
    "reached, and what they read may be other than zero (a unit without inputs still passes on its bias)",
    "linear-connectivity": "how far test error and loss rise on the straight line between the weights of two "
    "arms that began as one untrained network, at equal level, without batch norm: barrier and loss-barrier, "
    "over the line between the errors of the ends; instability and loss-instability, over their mean; "
    "error-along and loss-along, the values on the way",
    "mask-distance": "Jaccard distance of masks between arms at equal level, per layer and in total",
    "mask-structure": "how far the kept weights lie together in whole inputs (columns) and outputs (rows), "
    "per layer: column-dispersion and row-dispersion, the variance of their kept counts over that of a "
    "random mask of as many weights (1: as random); column-clustering and row-clustering, the same from 0 "
    "(as random) to 1 (whole ones only); empty-columns and empty-rows, the share that keeps nothing, beside "
    "chance-empty-columns and chance-empty-rows, those of a random mask",
    "agreement": "share of test images of which two arms predict the same class, at equal level; beside it "
    "kappa, the same beyond what their class counts give by chance (Cohen)",
    "ensemble-gain": "accuracy of an ensemble less that of its members: over-mean, less their mean; "
    "over-best, less the best of them on these same images, so that it is judged severely; beside them "
    "members-mean and best-member",
    "weight-stability": "mean |w(level) - w(level - 1)| of weights alive at both, in SDs of the layer",
    "moving-stability": "weight-stability without the weights that the training of either level left as "
    "they were, bit for bit, as those of a dead layer, which look perfectly stable",
    "rank-correlation": "Spearman's correlation of |w| at this level and at the one before, over weights "
    "alive at both, per layer; rank-correlation@1ep: at that moment of each training and at its end",
    "weight-magnitude": "mean |w| of the kept weights, with their SD (weight-sd), and both of the initial "
    "values of the same weights (initial-magnitude, initial-sd), per layer and in total",
    "changed-density": "share of weights that are kept and whose value is not, bit for bit, the initial "
    "one: the density where unchanged weights count as pruned; beside it unmoved, the share of the kept "
    "weights that the last training left as they were; per layer and in total",
}
# The quantities of a measure that gives several; the first counts where it has the name of the measure.
QUANTITIES: dict[str, tuple[str, ...]] = {
    landscape.NAME: landscape.QUANTITIES,
    "mask-structure": (
        *("column-dispersion", "row-dispersion", "column-clustering", "row-clustering"),
        *("empty-columns", "empty-rows", "chance-empty-columns", "chance-empty-rows"),
    ),
    "weight-magnitude": ("weight-magnitude", "weight-sd", "initial-magnitude", "initial-sd"),
    "changed-density": ("changed-density", "unmoved"),
    "agreement": ("agreement", "kappa"),
    "ensemble-gain": ("over-mean", "over-best", "members-mean", "best-member"),
}
# Sets of figures that a report can show in place of the usual ones, and whose they are.
FIGURES = {"iterative-pruning": "arXiv:2001.05050"}
Count = Annotated[int, Field(ge=1, strict=True)]
Rounding = Literal["nearest", "floor"]
Asked = Literal["auto", "lanes", "torch"]
_ASKED = TypeVar("_ASKED", Hypothesis, Variation)
# A name, `$factor`, or the thing itself written out; which one is settled when the step is resolved.
Written = Any
REPLICATE = "replicate"  # what an ensemble may join beside the labels of a factor


class Let(Part):
    """Named values that steps use."""

    data: dict[str, dict[str, Any]] = {}
    train: dict[str, dict[str, Any]] = {}
    model: dict[str, Written] = {}
    method: dict[str, Written] = {}


class PruneSpec(Part):
    """What one level removes: a method, and the share of what remains, or the density at the last level.

    ``like`` names a step instead: each layer is left the density that it has there, at equal level. ``on`` is
    the data that a criterion reads, by default those of the states that are pruned. ``stop`` ends a lineage:
    ``val-accuracy < .5``, ``layer-collapse``.
    """

    method: Written
    amount: Written = None
    to: Written = None
    like: str | None = None
    schedule: Written = None
    rounding: Rounding = "nearest"
    on: Written = None
    stop: tuple[str, ...] = ()

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop(cls, stop: Any) -> Any:
        return (stop,) if isinstance(stop, str) else stop

    @field_validator("stop")
    @classmethod
    def _stop_rules(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(parse_stop(written)) for written in stop)

    @model_validator(mode="after")
    def _one_share(self) -> PruneSpec:
        _check_share(self)
        return self


class DuringSpec(Part):
    """Pruning while a step trains: to a density, by a schedule, at regular steps from begin to end."""

    method: Written
    to: Written = None
    schedule: Written = "cubic"
    begin: StepField = Step(0, "it")
    end: StepField
    every: StepField
    rounding: Rounding = "nearest"


class MaskSpec(Part):
    """Where a mask comes from: from scoring a state, or from states that have one.

    Further keys bind factors of the step that is named: ``{of: ticket, task: $source}``.
    """

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    score: str | None = None
    of: str | None = None
    method: Written = None
    levels: Count = 1
    amount: Written = None
    to: Written = None
    like: str | None = None
    schedule: Written = None
    rounding: Rounding = "nearest"
    on: Written = None
    level: Annotated[int, Field(ge=0, strict=True)] | None = None
    over: str | None = None
    join: Literal["all", "any", "majority"] | None = None
    control: Written = None

    @model_validator(mode="after")
    def _one_source(self) -> MaskSpec:
        _check_share(self)
        if (self.score is None) == (self.of is None):
            raise InputError(
                "expected exactly one of 'score' (a state to score) and 'of' (a state with a mask)"
            )
        if self.of is not None:
            scoring = ("method", "levels", "amount", "to", "like", "schedule", "rounding", "on")
            given = [key for key in scoring if key in self.model_fields_set]
            if given:
                raise InputError(f"{given[0]!r} goes with 'score'; 'of' takes a mask that exists")
        if (self.over is None) != (self.join is None):
            raise InputError("'over' (a factor) and 'join' (all, any, majority) go together")
        return self

    @property
    def bindings(self) -> dict[str, Any]:
        """Factors of the named step, and the value each one has."""
        return dict(self.model_extra or {})


class ApplySpec(Part):
    """A user's recipe for every state of a step. Further keys are its parameters.

    ``over`` gives it the states of all labels of a factor together.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    recipe: Written
    over: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        return {"recipe": given} if isinstance(given, str) else given

    @property
    def parameters(self) -> dict[str, Any]:
        """What the recipe is given."""
        return dict(self.model_extra or {})


class ProbeSpec(Part):
    """A user's probe of every state. Further keys are its parameters.

    ``against`` names the step whose state is the second one.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    probe: str
    against: str | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """What the probe is given."""
        return dict(self.model_extra or {})

    def __str__(self) -> str:
        """As it is shown: ``mine.py:sparsity layer=fc1``."""
        against = [f"against={self.against}"] if self.against is not None else []
        given = [f"{name}={scalar_text(value)}" for name, value in self.parameters.items()]
        return " ".join([self.probe, *against, *given])


class EnsembleSpec(Part):
    """An ensemble at every level: the mean of what its members say of each test image.

    Args:
        of: The step whose states are the members.
        over: The factor whose labels are joined, or ``replicate``.
        members: Which labels; all unless given. Arms that lack one of them have no ensemble.
    """

    of: str
    over: str
    members: tuple[Annotated[str, BeforeValidator(scalar_text)], ...] = ()

    @model_validator(mode="after")
    def _two_or_more(self) -> EnsembleSpec:
        if len(self.members) == 1 or len(set(self.members)) < len(self.members):
            raise InputError(f"expected two or more different members, got {', '.join(self.members)}")
        if self.members and self.over == REPLICATE:
            raise InputError("an ensemble over replicates joins all of them: leave 'members' out")
        return self


# Told apart by the key, so that a fault in one form is not reported as a fault of the other too.
Measured = Annotated[
    Annotated[str | ProbeSpec, Tag("ProbeSpec")]
    | Annotated[landscape.ConnectivitySpec, Tag("ConnectivitySpec")],
    Discriminator(landscape.form_of),
]


class StepSpec(Part):
    """How a step builds states: from a fresh network, from another step's states, or from parts of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    init: Written = None
    from_: Annotated[str | None, Field(alias="from")] = None
    weights: str | None = None
    ensemble: EnsembleSpec | None = None
    mask: MaskSpec | None = None
    repeat: Written = 1
    prune: PruneSpec | None = None
    during: DuringSpec | None = None
    treat: Written = None
    apply: ApplySpec | None = None
    map: dict[str, Literal["fresh"]] | None = None
    on: Written = None
    train: Written = None

    @model_validator(mode="after")
    def _one_start(self) -> StepSpec:
        starts = [n for n in ("init", "from_", "weights", "ensemble") if getattr(self, n) is not None]
        if len(starts) != 1:
            got = ", ".join(n.rstrip("_") for n in starts) or "none"
            raise InputError(
                f"a step starts with exactly one of 'init', 'from', 'weights' and 'ensemble', got {got}"
            )
        if self.ensemble is not None and self.model_fields_set != {"ensemble"}:
            other = sorted(self.model_fields_set - {"ensemble"})[0]
            raise InputError(f"an ensemble averages predictions and goes alone: leave {other!r} out")
        if self.prune is not None and self.from_ is None:
            raise InputError("'prune' needs 'from': the step whose states are pruned")
        if self.apply is not None and self.from_ is None:
            raise InputError("'apply' needs 'from': the step whose states it is given")
        if self.apply is not None and (self.prune is not None or self.repeat != 1):
            raise InputError("'apply' goes without 'prune' and 'repeat': give each a step of its own")
        if self.from_ is not None and self.prune is None and self.apply is None:
            raise InputError(
                "'from' needs 'prune': {method: ..., amount: 20%}, or 'apply': {recipe: 'mine.py:name'}"
            )
        if self.during is not None and self.train in (None, "none"):
            raise InputError("'during' needs 'train': the training that it prunes in")
        if self.during is not None and self.prune is not None:
            raise InputError("'during' prunes while the step trains, 'prune' before it: give one of them")
        if self.repeat != 1 and self.prune is None:
            raise InputError("'repeat' goes with 'prune': so many levels; 'mask' has 'levels'")
        if self.weights is not None and self.mask is None:
            raise InputError("'weights' needs 'mask': where the mask comes from")
        if self.map is not None and self.mask is None:
            raise InputError("'map' goes with 'mask': which layers it leaves out, as {head: fresh}")
        if self.treat is not None and self.prune is None:
            raise InputError("'treat' goes with 'prune'")
        if self.init is not None and self.on is None:
            raise InputError("'init' needs 'on': the data set gives the shape of the network's input")
        if self.train is not None and self.train != "none" and self.on is None:
            raise InputError("'train' needs 'on': the data set")
        return self


class StudySpec(Part):
    """A whole study as it is written, after its preset and changes."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str = ""
    source: str = ""
    description: str = ""
    let: Let = Let()
    replicates: Annotated[int, Field(ge=1, le=100_000, strict=True)] = 1
    hold: dict[str, Annotated[int, Field(ge=0, strict=True)]] = {}
    engine: Asked = "auto"
    factors: dict[str, list[Any] | dict[str, Any]] = {}
    where: tuple[str, ...] = ()
    steps: Annotated[dict[str, StepSpec], Field(min_length=1)]
    measure: tuple[Measured, ...] = ("accuracy",)
    hypotheses: tuple[Hypothesis, ...] = ()
    registration: Registration = Registration()
    # Seed streams that vary on their own, each with so many values; where several do, in all combinations.
    vary: dict[str, Annotated[int, Field(ge=2, le=1000, strict=True)]] = {}
    variation: tuple[Variation, ...] = ()
    verdicts: bool = True
    # Sets of figures of a paper that the report draws.
    figures: tuple[str, ...] = ()
    # Whose weights stay in the store: all, last-level, none, or a query.
    keep: str = "all"

    @field_validator("where", mode="before")
    @classmethod
    def _one_or_more(cls, where: Any) -> Any:
        return (where,) if isinstance(where, str) else where

    @field_validator("measure")
    @classmethod
    def _known(cls, measures: tuple[Measured, ...]) -> tuple[Measured, ...]:
        for measure in measures:
            if isinstance(measure, str) and moment_of(measure) is not None:
                continue
            if isinstance(measure, str) and measure not in MEASURES and not is_reference(measure):
                raise InputError(
                    f"{unknown('measure', measure, MEASURES)}; or a probe of yours: mine.py:name"
                )
        landscape.asked_in(measures)
        return measures

    @property
    def connectivity(self) -> landscape.Connectivity | None:
        """How straight lines between networks are walked; None where they are not."""
        return landscape.asked_in(self.measure)

    @property
    def own_measures(self) -> dict[int, ProbeSpec]:
        """Users' probes by their place in ``measure``."""
        return {
            index: measure if isinstance(measure, ProbeSpec) else ProbeSpec(probe=measure)
            for index, measure in enumerate(self.measure)
            if isinstance(measure, ProbeSpec) or (isinstance(measure, str) and is_reference(measure))
        }

    @field_validator("hypotheses", "variation")
    @classmethod
    def _known_quantities(cls, asked: tuple[_ASKED, ...]) -> tuple[_ASKED, ...]:
        for of in (one.of for one in asked):
            known = QUANTITIES.get(of.measure, ()) if of is not None else ()
            if of is None or not known or (of.quantity is None and of.measure in known):
                continue
            if of.quantity is None:
                raise InputError(f"{of.measure} has several numbers: give 'quantity', {' or '.join(known)}")
            if of.quantity not in known:
                raise InputError(unknown("quantity", of.quantity, known, where=of.measure))
        return asked

    @field_validator("keep")
    @classmethod
    def _policy(cls, keep: str) -> str:
        check_policy(keep)
        return keep

    @field_validator("figures")
    @classmethod
    def _known_figures(cls, figures: tuple[str, ...]) -> tuple[str, ...]:
        for name in figures:
            if name not in FIGURES:
                raise InputError(unknown("set of figures", name, FIGURES))
        return tuple(dict.fromkeys(figures))

    @field_validator("hold", "vary")
    @classmethod
    def _known_streams(cls, streams: dict[str, int]) -> dict[str, int]:
        for stream in streams:
            if stream not in STREAMS:
                raise InputError(unknown("seed stream", stream, STREAMS))
        return streams

    @field_validator("factors")
    @classmethod
    def _labels(cls, factors: dict[str, Any]) -> dict[str, Any]:
        for name, values in factors.items():
            if not values:
                raise InputError(f"factor {name!r} has no values")
            labels = [scalar_text(value) for value in values]
            twice = {label for label in labels if labels.count(label) > 1}
            if twice:
                raise InputError(f"factor {name!r} has {', '.join(sorted(twice))} more than once")
        return factors


def moment_of(measure: str) -> Step | None:
    """The moment of a training that a measure compares its end with: of ``rank-correlation@1ep``.

    Raises:
        InputError: What follows the @ is no step.
    """
    name, at, moment = measure.partition("@")
    return Step.parse(moment) if at and name == "rank-correlation" else None


def _check_share(spec: PruneSpec | MaskSpec) -> None:
    given = [key for key in ("amount", "to", "like") if getattr(spec, key) is not None]
    if "like" in given and len(given) > 1:
        raise InputError(f"'like' takes the densities of another step: leave {given[0]!r} out")
    if spec.amount is not None and spec.to is not None:
        raise InputError(
            "give 'amount' (of what remains, each level) or 'to' (density at the last level), not both"
        )
    if spec.schedule is not None and spec.to is None:
        raise InputError(
            "'schedule' says how density falls: it goes with 'to', the density at the last level"
        )
