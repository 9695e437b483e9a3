"""What cannot be computed although every part is valid: trainings, data and networks that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pomona.core.step import Step, steps_per_epoch
from pomona.data.catalogue import DatasetInfo
from pomona.data.choice import DataChoice
from pomona.models.choice import ModelChoice
from pomona.pruning.method import EXAMPLES
from pomona.pruning.stopping import parse_stop
from pomona.studies.document import Document
from pomona.studies.resolve import Arm, Pruning, ResolvedStep, Selector
from pomona.training.config import Train

Settled = Mapping[str, Sequence[tuple[Arm, ResolvedStep]]]
Infos = Callable[[DataChoice], DatasetInfo | None]
Fault = tuple[str, str]  # key of the step, and what is wrong with it

# Pixels a side that a network of the catalogue needs to be built; the others take any image.
SMALLEST_IMAGE = {"lenet": 10, "conv-2": 2, "conv-4": 4, "conv-6": 8}


@dataclass(frozen=True)
class _Run:
    """One training, on its data."""

    train: Train
    data: DataChoice


@dataclass(frozen=True)
class _Line:
    """What the states of a step come from.

    Args:
        data: Data whose images and classes its network was made for.
        run: The training of the step itself, of its last level.
        trunk: The training that began at the untrained network: what rewinding goes back into.
    """

    data: DataChoice
    run: _Run | None
    trunk: _Run | None


def unfit(settled: Settled, document: Document, infos: Infos) -> list[str]:
    """Everything that would fail in a worker and can be told from the study alone.

    Args:
        settled: Every step in order, for each of its arms.
        document: For the places that messages name.
        infos: What a data set is; None where that is not known yet, and what needs it is not checked.

    Returns:
        One line for each fault, with its place.
    """
    lines: dict[str, dict[tuple[tuple[str, str], ...], _Line]] = {}
    faults: dict[str, None] = {}

    def find(selector: Selector | None, arm: Arm) -> _Line | None:
        found = lines.get(selector.step, {}) if selector is not None else {}
        known = {**arm, **dict(selector.bindings if selector is not None else ())}
        names = [factor for factor, _ in next(iter(found), ())]
        return found.get(tuple((name, known.get(name, "")) for name in names))

    for name, arms in settled.items():
        lines[name] = {}
        for arm, step in arms:
            # Of states that are joined the first stands for all.
            joined = {step.applied.over: step.applied.labels[0]} if step.applied and step.applied.over else {}
            base = Selector(step.base) if step.base is not None else step.weights
            before = find(base, {**arm, **joined})
            data = before.data if before is not None else step.data if step.model is not None else None
            said = list(_training_faults(step, infos))
            if data is not None:
                said += _network_faults(step, data, infos)
            if before is not None:
                said += _moment_faults(step, before, infos)
            said += _pruning_faults(step, data, infos)
            said += _score_faults(step, find(step.mask.of, arm) if step.mask is not None else None, infos)
            faults |= {f"{document.where(('steps', name, key))}: {text}": None for key, text in said}
            if data is None:
                continue
            run = _Run(step.train, step.data) if step.train is not None and step.data is not None else None
            fresh = run if step.model is not None and step.mask is None else None
            trunk = before.trunk if before is not None else fresh
            lines[name][tuple(arm.items())] = _Line(data, run, trunk)
    return list(faults)


def _training_faults(step: ResolvedStep, infos: Infos) -> Iterator[Fault]:
    train, data = step.train, step.data
    if train is None or data is None:
        return
    if train.start is not None and _reaches(train.start, _Run(train, data), infos):
        yield "train", f"start: {train.start} is not before the end of the training at {train.duration}"
    if train.stop is None or train.check is None:
        return
    if data.validation == 0:
        yield (
            "train",
            f"stop is judged on the validation part, and the data ({data.name}) hold back none; "
            "give them one, as in validation: 5000",
        )
    if _is_after(train.check, _Run(train, data), infos):
        yield (
            "train",
            f"check: {train.check} is longer than the training of {train.duration}: it never happens",
        )


def _pruning_faults(step: ResolvedStep, origin: DataChoice | None, infos: Infos) -> Iterator[Fault]:
    """What a criterion or a stop reads, and the times of pruning during a training."""
    for key, pruning in (
        ("prune", step.pruning),
        ("during", step.during.pruning if step.during is not None else None),
        ("mask", step.mask.pruning if step.mask is not None else None),
    ):
        if pruning is None:
            continue
        data = pruning.data or step.data or origin
        stops = [written for written in pruning.stop if parse_stop(written).least is not None]
        if stops and data is not None and data.validation == 0:
            yield (
                key,
                f"stop: {stops[0]!r} is judged on the validation part, and the data ({data.name}) hold back "
                "none; give them one, as in validation: 5000",
            )
        if pruning.method.reads_data and data is not None:
            yield from _scoring_faults(key, pruning, data, origin, infos)
    if step.during is not None and step.train is not None and step.data is not None:
        run = _Run(step.train, step.data)
        if _is_after(step.during.end, run, infos):
            yield "during", f"there is no step {step.during.end} in a training of {step.train.duration}"
        if step.train.start is not None and _is_after(
            step.train.start, _Run(_until(step.train, step.during.begin), step.data), infos
        ):
            yield (
                "during",
                f"begin: {step.during.begin} lies before start: {step.train.start} of the training",
            )
        if _is_after(step.during.begin, _Run(_until(step.train, step.during.end), step.data), infos):
            yield "during", f"begin: {step.during.begin} lies behind end: {step.during.end}"


def _scoring_faults(
    key: str, pruning: Pruning, data: DataChoice, origin: DataChoice | None, infos: Infos
) -> Iterator[Fault]:
    info, made_for = infos(data), infos(origin) if origin is not None else None
    if info is None:
        return
    count, there = pruning.method.examples or EXAMPLES, info.train_count - data.validation
    if data.corrupt is not None:
        there = round(data.corrupt.examples * there)
    if origin is not None and origin.name == data.name and data.validation < origin.validation:
        yield (
            key,
            f"on: of {data.name} {origin.validation} images are held back from training, here "
            f"{data.validation}: the criterion would read what is held back",
        )
    if count > there:
        yield key, f"examples: {count} are read by {pruning.method.named}, and {data.name} trains on {there}"
    if made_for is not None and (made_for.shape, made_for.classes) != (info.shape, info.classes):
        yield (
            key,
            f"on: its network is made for images and classes as those of {made_for.name}, got {info.name}",
        )


def _until(train: Train, end: Step) -> Train:
    return train.model_copy(update={"duration": end})


def _network_faults(step: ResolvedStep, origin: DataChoice, infos: Infos) -> Iterator[Fault]:
    made_for, seen = infos(origin), infos(step.data) if step.data is not None else None
    if step.model is not None and made_for is not None:
        yield from _size_faults(step.model, made_for)
    if made_for is None or seen is None or step.model is not None:
        return
    if made_for.shape != seen.shape:
        images = ["x".join(map(str, info.shape)) for info in (made_for, seen)]
        yield (
            "on",
            f"its network is made for images of {images[0]} ({origin.name}), got {images[1]} ({seen.name})",
        )
    if made_for.classes != seen.classes:
        yield (
            "on",
            f"its network is made for {made_for.classes} classes ({origin.name}), got {seen.classes} "
            f"({seen.name})",
        )


def _size_faults(model: ModelChoice, info: DatasetInfo) -> Iterator[Fault]:
    least, (_, height, width) = SMALLEST_IMAGE.get(model.name, 1), info.shape
    if min(height, width) < least:
        got = f"{height}x{width} ({info.name})"
        yield "init", f"{model.name} needs images of {least}x{least} pixels or more, got {got}"


def _moment_faults(step: ResolvedStep, before: _Line, infos: Infos) -> Iterator[Fault]:
    """Moments of a training that is over before."""
    treatment = step.treatment
    if treatment is not None and treatment.needs_target and treatment.to.count > 0:
        yield from _late(treatment.to, before.trunk, "treat", f"{treatment.name} to {treatment.to}", infos)
    if step.weights is not None:
        yield from _late(step.weights.at, before.run, "weights", f"step {step.weights.step!r}", infos)


def _score_faults(step: ResolvedStep, scored: _Line | None, infos: Infos) -> Iterator[Fault]:
    # Level 0 of a lineage was trained by another step; where a level is given, that is left to expansion.
    if scored is None or step.mask is None or step.mask.pruning is None or step.mask.of.level is not None:
        return
    yield from _late(step.mask.of.at, scored.run, "mask", f"step {step.mask.of.step!r}", infos)


def _late(at: Step | None, run: _Run | None, key: str, what: str, infos: Infos) -> Iterator[Fault]:
    if at is None or at.count == 0:
        return
    if run is None:
        yield key, f"{what}: there is no step {at}, since nothing was trained"
    elif _is_after(at, run, infos):
        yield key, f"{what}: there is no step {at} in a training of {run.train.duration}"


def _is_after(at: Step, run: _Run, infos: Infos) -> bool:
    """Whether a moment lies behind the end of a training; False where that is not known yet."""
    beyond = _beyond(at, run, infos)
    return beyond is not None and beyond > 0


def _reaches(at: Step, run: _Run, infos: Infos) -> bool:
    """Whether a moment lies at the end of a training or behind it; False where that is not known yet."""
    beyond = _beyond(at, run, infos)
    return beyond is not None and beyond >= 0


def _beyond(at: Step, run: _Run, infos: Infos) -> int | None:
    """How far a moment lies behind the end of a training, in a unit of its own; None where not known yet."""
    end = run.train.duration
    if at.unit == end.unit:
        return at.count - end.count
    info = infos(run.data)
    if info is None:
        return None
    per_epoch = steps_per_epoch(info.train_count - run.data.validation, run.train.batch_size)
    return at.iterations(per_epoch) - end.iterations(per_epoch)
