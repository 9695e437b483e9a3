"""What a study says of training: optimizer, batch, duration, schedule, when to stop. Costs no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pomona.core.errors import InputError, unknown
from pomona.core.schema import Late, Part, StepField, parse_fraction

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]

Measure = Literal["val-loss", "val-accuracy"]
_CONDITION = re.compile(r"^\s*([a-z-]+)\s*(>=|<=|>|<|==|=)\s*(\S+)\s*$")
_RELATION = {"val-accuracy": ">=", "val-loss": "<="}


class Sgd(Part):
    """Stochastic gradient descent, in the arithmetic of ``torch.optim.SGD``.

    Args:
        lr: Learning rate before the schedule.
        momentum: Share of the last step that is kept, 0 to 1.
        nesterov: Look ahead along the momentum.
        weight_decay: Times the weight, added to the gradient; of every parameter, biases and norms too.
    """

    lr: Positive
    momentum: Decay = 0.0
    nesterov: bool = False
    weight_decay: NotNegative = 0.0

    @model_validator(mode="after")
    def _check_nesterov(self) -> Sgd:
        if self.nesterov and self.momentum == 0:
            raise InputError("nesterov needs momentum: set momentum above 0, as in momentum: 0.9")
        return self


class Adam(Part):
    """Adam (Kingma & Ba 2015), in the arithmetic of ``torch.optim.Adam``.

    Args:
        lr: Learning rate before the schedule.
        betas: Decay of the mean and of the mean square of the gradients.
        eps: Added to the root of the mean square.
        weight_decay: Times the weight, added to the gradient; of every parameter, biases and norms too.
    """

    lr: Positive
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.0


class Optimizer(Part):
    """Exactly one optimizer: ``{sgd: {lr: 0.01}}`` or ``{adam: {lr: 1.2e-3}}``."""

    sgd: Annotated[Sgd | None, Late(None)] = None
    adam: Annotated[Adam | None, Late(None)] = None

    @model_validator(mode="after")
    def _check_one(self) -> Optimizer:
        given = [name for name in ("sgd", "adam") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InputError(f"expected one of sgd, adam, got {' and '.join(given) or 'neither'}")
        return self

    @property
    def one(self) -> Sgd | Adam:
        """The one that was given."""
        found = self.sgd or self.adam
        assert found is not None
        return found


class Schedule(Part):
    """How the learning rate changes, step by step. Constant by default.

    Args:
        milestones: From each of these points on, the rate is multiplied by ``gamma``.
        gamma: See ``milestones``.
        cosine: Fall along half a cosine to zero at the end of the duration, instead of milestones.
        warmup: Rise linearly from near zero to the full rate over this time; the rest is multiplied with it.
    """

    milestones: tuple[StepField, ...] = ()
    gamma: Positive = 0.1
    cosine: bool = False
    warmup: StepField | None = None

    @model_validator(mode="after")
    def _check(self) -> Schedule:
        if self.cosine and self.milestones:
            raise InputError("a schedule is cosine or has milestones, not both")
        for unit in ("ep", "it"):
            counts = [step.count for step in self.milestones if step.unit == unit]
            if counts != sorted(set(counts)):
                written = ", ".join(str(step) for step in self.milestones)
                raise InputError(f"milestones must rise, got [{written}]")
        return self


class Stop(Part):
    """When to end before the duration, judged on the validation part at every check.

    Written as a condition (``val-accuracy >= .25``), training ends at the first check where it holds.
    Written as a mapping (``{best: val-loss, patience: 5}``), the weights of the best check are kept.

    Args:
        when: The condition. It is kept in one form, so that ``.25``, ``0.250`` and ``25%`` are the same.
        best: What is best: the lowest ``val-loss`` or the highest ``val-accuracy``; the first one of equals.
        patience: End after this many checks in a row without a new best. None runs to the end.
    """

    when: Annotated[str | None, Late(None)] = None
    best: Annotated[Measure | None, Late(None)] = None
    patience: Annotated[Annotated[int, Field(ge=1)] | None, Late(None)] = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"when": _condition(given)}
        if isinstance(given, Mapping) and isinstance(given.get("when"), str):
            return {**given, "when": _condition(given["when"])}
        return given

    @model_validator(mode="after")
    def _check_one(self) -> Stop:
        if (self.when is None) == (self.best is None):
            raise InputError("stop is a condition as 'val-accuracy >= .25' or {best: val-loss, patience: 5}")
        if self.patience is not None and self.best is None:
            raise InputError("patience goes with best, as in {best: val-loss, patience: 5}")
        return self

    def condition(self) -> tuple[str, float]:
        """The measure and the threshold of ``when``."""
        assert self.when is not None
        measure, _, threshold = self.when.split()
        return measure, float(threshold)


class Train(Part):
    """One training, from its first step to its last.

    Args:
        optimizer: Which one, with its hyperparameters.
        batch_size: Examples of a step; the last batch of an epoch may be short and is kept.
        duration: How long, in epochs or iterations.
        schedule: How the learning rate changes.
        stop: When to end earlier, or which check's weights to keep.
        check: How often ``stop`` is judged, counted from step 0; given with it, never without.
        start: Begin at this step of the schedule instead of step 0, with the learning rates, orders and
            dropout from there on, and an optimizer without a past; ``duration`` is still where it ends.
            Learning-rate rewinding, and weight rewinding to a step after 0, train so (Renda et al. 2020,
            arXiv:2003.02389).
    """

    optimizer: Optimizer
    batch_size: Annotated[int, Field(ge=1, strict=True)]
    duration: StepField
    schedule: Schedule = Schedule()
    stop: Stop | None = None
    check: StepField | None = None
    start: Annotated[StepField | None, Late(None)] = None

    def first(self, per_epoch: int) -> int:
        """The step of the schedule that the training begins at.

        Args:
            per_epoch: Steps of one epoch of its data.

        Raises:
            InputError: It does not lie before the end.
        """
        if self.start is None:
            return 0
        first, total = self.start.iterations(per_epoch), self.duration.iterations(per_epoch)
        if first >= total:
            raise InputError(
                f"start must lie before the end of the training at step {total:,}, got {self.start} "
                f"(step {first:,})"
            )
        return first

    def steps(self, per_epoch: int) -> int:
        """How many optimizer steps the training takes where no stop ends it.

        Args:
            per_epoch: Steps of one epoch of its data.

        Raises:
            InputError: As ``first``.
        """
        return self.duration.iterations(per_epoch) - self.first(per_epoch)

    @model_validator(mode="after")
    def _check_start(self) -> Train:
        if self.start is None:
            return self
        if self.start.count == 0:
            raise InputError(f"start must be 1it or more, got {self.start}; without it, step 0 is the start")
        if self.start.unit == self.duration.unit and self.start.count >= self.duration.count:
            raise InputError(f"start must lie before the duration of {self.duration}, got {self.start}")
        return self

    @model_validator(mode="after")
    def _check_stop(self) -> Train:
        if self.stop is not None and self.check is None:
            raise InputError("stop needs check: how often it is judged, as in check: 100it")
        if self.check is not None and self.stop is None:
            raise InputError(
                "check without stop does nothing; give stop: 'val-accuracy >= .25' or leave it out"
            )
        if self.check is not None and self.check.count == 0:
            raise InputError(f"check must be 1it or more, got {self.check}")
        return self


def _condition(written: str) -> str:
    found = _CONDITION.match(written)
    if found is None:
        raise InputError(f"expected a condition as 'val-accuracy >= .25', got {written!r}")
    measure, relation, number = found.groups()
    if measure not in _RELATION:
        raise InputError(unknown("measure", measure, _RELATION, where=f"stop: {written!r}"))
    if relation != _RELATION[measure]:
        raise InputError(
            f"stop: {written!r}: a condition on {measure} has {_RELATION[measure]}, got {relation}"
        )
    try:
        threshold = float(str(parse_fraction(number))) if number.endswith("%") else float(number)
    except ValueError:
        raise InputError(f"stop: {written!r}: expected a number after {relation}, got {number!r}") from None
    if not 0 <= threshold < float("inf") or (measure == "val-accuracy" and threshold > 1):
        span = "0 to 1" if measure == "val-accuracy" else "0 or more, finite"
        raise InputError(f"stop: {written!r}: a threshold of {measure} is {span}, got {number}")
    return f"{measure} {relation} {threshold!r}"
