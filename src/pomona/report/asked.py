"""What a study asks for, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pomona.data.choice import DataChoice
from pomona.pruning.treatments import TREATMENTS, Treatment
from pomona.report.evidence import Evidence
from pomona.report.numbers import plain, ranges
from pomona.studies.points import Point
from pomona.studies.resolve import Pruning, ResolvedStep
from pomona.studies.study import builds_on
from pomona.training.config import Train

Row = tuple[str, ...]

# Facts that name networks or data.
_SETTING = ("Model", "Models", "Data")

_DISTRIBUTIONS = {
    "torch": "torch draws them",
    "glorot-normal": "Glorot normal",
    "glorot-uniform": "Glorot uniform",
    "vgg": "torchvision draws those of VGG (convolutions normal by fan-out, linear layers with SD 0.01)",
}


@dataclass(frozen=True)
class Asked:
    """The first section of a report.

    Args:
        facts: Name and text of single facts.
        steps: Step, what it does, levels, data and training, for every step.
        methods: Name and description of every pruning method, and what a level removes.
        treatments: Name, formula and source of every treatment.
        factors: Name and labels of every factor.
        arms: Name, step and labels of every arm that is shown.
    """

    facts: list[Row]
    steps: list[Row]
    methods: list[Row]
    treatments: list[Row]
    factors: list[Row]
    arms: list[Row]


def asked(evidence: Evidence) -> Asked:
    """Describe models, data, steps, methods, treatments, arms and the size of the whole.

    Of a blinded study nothing that describes an arm.
    """
    factors: list[Row] = [(name, ", ".join(labels)) for name, labels in evidence.study.factors.items()]
    if evidence.blinded:
        facts = [row for row in _facts(evidence) if evidence.one_setting or row[0] not in _SETTING]
        return Asked(facts, [], [], [], factors, _arms(evidence))
    steps = _resolved(evidence)
    return Asked(
        facts=_facts(evidence),
        steps=[_step(evidence, name, variants) for name, variants in steps.items()],
        methods=_methods(evidence, steps),
        treatments=_treatments(steps),
        factors=factors,
        arms=_arms(evidence),
    )


def _arms(evidence: Evidence) -> list[Row]:
    return [
        (arm.name, arm.step, ", ".join(f"{factor}: {label}" for factor, label in arm.labels.items()))
        for arm in evidence.arms
    ]


def describe_training(train: Train) -> str:
    """One training in one line.

    >>> describe_training(Train(optimizer={"sgd": {"lr": 0.1}}, batch_size=32, duration="2ep"))
    'SGD, lr 0.1; batch 32; 2ep'
    """
    one = train.optimizer.one
    name = "SGD" if train.optimizer.sgd is not None else "Adam"
    given = one.model_dump(exclude_defaults=True)
    parts = [f"{name}, " + ", ".join(f"{k.replace('_', ' ')} {_value(v)}" for k, v in given.items())]
    parts += [f"batch {train.batch_size}", str(train.duration)]
    schedule = train.schedule
    if schedule.cosine:
        parts.append("learning rate falls along a cosine")
    if schedule.milestones:
        at = ", ".join(map(str, schedule.milestones))
        parts.append(f"learning rate times {plain(schedule.gamma)} from {at} on")
    if schedule.warmup is not None:
        parts.append(f"warmup over {schedule.warmup}")
    if train.stop is not None:
        rule = f"stops at {train.stop.when}" if train.stop.when else f"keeps the best {train.stop.best}"
        patience = f", patience {train.stop.patience}" if train.stop.patience else ""
        parts.append(f"{rule}{patience}, judged every {train.check}")
    return "; ".join(parts)


def _facts(evidence: Evidence) -> list[Row]:
    study, points = evidence.study, evidence.population.points
    networks = dict.fromkeys(_network(point) for point in points)
    facts = [("Model" if len(networks) == 1 else "Models", "; ".join(networks))]
    for choice, info in evidence.data.items():
        held = f"validation: {choice.validation:,}" if choice.validation else "validation: none"
        pixels = "per-channel standardised" if choice.normalise == "standard" else "pixels from 0 to 1"
        pixels += _spoilt(choice) + _augmented(choice)
        left = info.train_count - choice.validation
        facts.append(
            (
                "Data",
                f"{info.title}: {left:,} training and {info.test_count:,} test images, "
                f"{info.classes} classes; {held}; {pixels}",
            )
        )
    several = len({point.level for point in points})
    graph = evidence.population.graph
    statuses = evidence.results.store.ledger.statuses("states")
    found = Counter(statuses.get(key, "not computed") for key in graph.states)
    there = ", ".join(
        f"{count:,} {status.replace('planned', 'not computed')}" for status, count in found.items()
    )
    held_streams = "; ".join(f"{stream} held at {index}" for stream, index in study.spec.hold.items())
    return [
        *facts,
        ("Arms", str(len(evidence.arms))),
        ("Replicates", f"{evidence.replicates}{f' ({held_streams})' if held_streams else ''}"),
        ("Levels", ranges([point.level for point in points]) + (" (0 is dense)" if several > 1 else "")),
        ("States", f"{len(graph.states):,} to compute, shared ones counted once: {there}"),
        ("Measured", ", ".join(map(str, study.spec.measure))),
    ]


def _spoilt(choice: DataChoice) -> str:
    """What a control does to the training part."""
    corrupt = choice.corrupt
    if corrupt is None:
        return ""
    said = [f"{plain(100 * corrupt.labels)} % of the training labels random"] if corrupt.labels else []
    said += ["pixels of each training image permuted"] if corrupt.pixels else []
    said += [f"{plain(100 * corrupt.examples)} % of the training images"] if corrupt.examples < 1 else []
    return f"; control: {', '.join(said)}"


def _augmented(choice: DataChoice) -> str:
    """What a training varies of its images."""
    augment = choice.augment
    if augment is None:
        return ""
    said = [f"a random crop after padding by {augment.crop} pixels of zero"] if augment.crop else []
    said += ["a horizontal flip of half of them"] if augment.flip else []
    return f"; training images augmented anew each epoch: {', '.join(said)}"


def _network(point: Point) -> str:
    choice = point.network.choice
    shape = "×".join(map(str, point.network.input_shape))
    options = "".join(f", {name} {value}" for name, value in choice.options.items())
    start = f"; initial weights as {_DISTRIBUTIONS[choice.distribution]}" if not choice.own else ""
    start += f", then from {choice.weights.file}" if choice.weights is not None else ""
    return f"{choice.name}{options} for {shape} inputs and {point.network.classes} classes{start}"


def _resolved(evidence: Evidence) -> dict[str, list[tuple[Mapping[str, str], ResolvedStep]]]:
    study = evidence.study
    return {
        name: [(arm, study.resolver.step(name, arm)) for arm in study.arms_of(name)] for name in study.order
    }


def _step(evidence: Evidence, name: str, variants: list[tuple[Mapping[str, str], ResolvedStep]]) -> Row:
    spec = evidence.study.spec.steps[name]
    points = [point for point in evidence.population.points if point.step == name]
    if spec.init is not None:
        what = "a fresh network" + (" under masks of another step" if spec.mask is not None else "")
    elif spec.ensemble is not None:
        members = ", ".join(spec.ensemble.members) or f"all {spec.ensemble.over}s"
        what = f"the averaged predictions of {spec.ensemble.of} over {members}"
    elif spec.apply is not None:
        what = f"{spec.apply.recipe} on every state of {spec.from_}"
    elif spec.from_ is not None:
        what = f"states of {spec.from_}, pruned and treated level after level"
    else:
        what = "; ".join(f"{key} of {other}" for key, other in builds_on(spec).items())
    controls = dict.fromkeys(step.mask.control for _, step in variants if step.mask and step.mask.control)
    scored = [step.mask.pruning.method for _, step in variants if step.mask and step.mask.pruning]
    controls |= dict.fromkeys("invert" for method in scored if method.inverted)
    what += f"; control: {', '.join(controls)}" if controls else ""
    gradual = [step.during for _, step in variants if step.during is not None]
    times = dict.fromkeys(f"from {g.begin} to {g.end} every {g.every}" for g in gradual)
    what += f"; pruned while it trains, {' / '.join(times)}" if times else ""
    data = dict.fromkeys(step.data.name for _, step in variants if step.data is not None)
    trained = dict.fromkeys(
        describe_training(step.train) if step.train is not None else "not trained" for _, step in variants
    )
    return (
        name,
        what,
        ranges([point.level for point in points]),
        str(len(variants)),
        ", ".join(data) or "–",
        " / ".join(trained),
    )


def _methods(
    evidence: Evidence, steps: Mapping[str, list[tuple[Mapping[str, str], ResolvedStep]]]
) -> list[Row]:
    rows: dict[Row, None] = {}
    for name, variants in steps.items():
        spec = evidence.study.spec.steps[name]
        part = spec.prune or spec.during or spec.mask
        written = part.method if part is not None else None
        for arm, step in variants:
            pruning = step.pruning or (step.mask.pruning if step.mask else None)
            if step.during is not None:
                pruning = step.during.pruning
            if pruning is not None:
                called = arm.get(written[1:], written) if isinstance(written, str) else name
                rows[called, pruning.method.describe(), _removed(pruning)] = None
    return list(rows)


def _removed(pruning: Pruning) -> str:
    rounded = ", rounded down" if pruning.rounding == "floor" else ""
    if pruning.like is not None:
        return f"to the densities of {pruning.like}{rounded}"
    if pruning.to is not None:
        return f"to {_shares(pruning.to)} of all, {pruning.schedule}{rounded}"
    if pruning.amount is None:
        return "what the granularity says"
    return f"{_shares(pruning.amount)} of what remains{rounded}"


def _shares(share: float | Mapping[str, float]) -> str:
    if isinstance(share, Mapping):
        return ", ".join(f"{key} {plain(round(100 * value, 10))} %" for key, value in share.items())
    return f"{plain(round(100 * share, 10))} %"


def _treatments(steps: Mapping[str, list[tuple[Mapping[str, str], ResolvedStep]]]) -> list[Row]:
    found = [step.treatment for variants in steps.values() for _, step in variants]
    distinct: dict[str, Treatment] = {
        str(treatment): treatment for treatment in found if treatment is not None
    }
    return [
        (text, TREATMENTS[treatment.name].formula, TREATMENTS[treatment.name].source)
        for text, treatment in distinct.items()
    ]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(map(_value, value)) + ")"
    return plain(value) if isinstance(value, (int, float)) else str(value)
