"""Whether the states of an arm have what an estimand reads, as far as that is known without their networks.

Not checked are the classes and images of users' data sets and the layers of users' networks: their names are
known when they are loaded, and then a result that there is not is said with the replicate that lacks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pomona.core.errors import ProblemsError, unknown
from pomona.data.catalogue import DATASETS
from pomona.data.choice import DataChoice
from pomona.models.catalogue import MODELS
from pomona.models.choice import ModelChoice
from pomona.models.layers import prunable_weights
from pomona.studies import landscape
from pomona.studies.hypotheses.arms import labels_of
from pomona.studies.hypotheses.estimand import EVALUATED, LINE, Estimand
from pomona.studies.resolve import ResolvedStep
from pomona.studies.schema import MEASURES, REPLICATE

if TYPE_CHECKING:
    from pomona.studies.study import Study

_ROUNDED = 0.98
# Of other layers than those that are pruned, or of none.
_NO_LAYERS = (*EVALUATED, landscape.NAME)
GAIN = "ensemble-gain"
_WITH_THE_LEVEL_BEFORE = ("weight-stability", "moving-stability", "rank-correlation")


def measure_faults(study: Study, of: Estimand) -> Iterator[str]:
    """A measure that there is not, or that the study does not measure."""
    own = [str(spec.probe) for spec in study.spec.own_measures.values()]
    if of.measure not in MEASURES and of.measure not in own and not _at_a_moment(of.measure):
        yield unknown("measure", of.measure, [*MEASURES, *own])
        return
    measured = {name for name in study.spec.measure if isinstance(name, str)} | set(own)
    measured |= {landscape.NAME} if study.spec.connectivity is not None else set()
    needed = [of.measure, *(["effective-density"] if of.match == "effective-density" else [])]
    for name in needed:
        there = name in measured or name == "density" or (name in EVALUATED and measured & set(EVALUATED))
        if not there:
            yield f"the study does not measure {name}: add it to 'measure'"


def _at_a_moment(measure: str) -> bool:
    """Whether it is written as ``rank-correlation@1ep``; which moment is checked where it is measured."""
    return "@" in measure and measure.partition("@")[0] in MEASURES


def place_faults(study: Study, step: str, of: Estimand) -> Iterator[str]:
    """A step of several levels of which none is named, or a level beyond the last."""
    last = _levels(study, step)
    if last is None:
        return
    if of.match is None and last > 1:
        yield (
            f"step {step!r} has levels up to {last}: say where arms are compared, as 'match: density, "
            "value: 0.1', or 'match: level, value: 5' where densities are equal"
        )
    places = [of.value, *(of.area or ()), *(of.slope if isinstance(of.slope, tuple) else ())]
    beyond = [p for p in places if of.by_level and p is not None and p > last]
    if beyond:
        yield f"level {beyond[0]:g} is beyond the last of step {step!r}, {last}"


def unreadable(study: Study, step: str, arm: Mapping[str, str], of: Estimand) -> Iterator[str]:
    """What an estimand asks for that the states of an arm can never have.

    Args:
        study: With steps that could be settled; what could not is reported elsewhere.
        step: Of the arm.
        arm: Its labels.
        of: What is read of it.
    """
    strange = list(_of_ensembles(study, step, of))
    if strange:
        yield from strange
        return
    yield from _too_sparse(study, step, arm, of)
    yield from _unfollowed(study, step, of)
    numbered = isinstance(of.class_, int)
    evaluated = of.measure in EVALUATED
    if of.layer is None and not numbered and not (evaluated and of.part == "validation"):
        return
    data, model = _made_of(study, step, arm)
    known = DATASETS.get(data.name) if data is not None else None
    if isinstance(of.class_, int) and known is not None and not 0 <= of.class_ < known.classes:
        yield f"{known.name} has the classes 0 to {known.classes - 1}, got class {of.class_}"
    if evaluated and of.part == "validation" and data is not None and data.validation == 0:
        yield f"step {step!r} holds no images back for validation: write 'validation: 1000' in its data"
    layered = of.measure in MEASURES and of.measure not in _NO_LAYERS
    if of.layer is not None and layered and model is not None and model.name in MODELS:
        names = prunable_weights(model.name, model.options)
        if of.layer not in names:
            yield unknown(f"layer of {model.name}", of.layer, names)


def _of_ensembles(study: Study, step: str, of: Estimand) -> Iterator[str]:
    """What averaged predictions have not, and what nothing else has."""
    joined = study.spec.steps[step].ensemble
    if joined is None:
        if of.measure == GAIN:
            yield f"{GAIN} is of ensembles, and step {step!r} is none: name one, as 'a: {{step: NAME}}'"
        return
    if of.measure not in (*EVALUATED, "density", GAIN):
        yield f"{of.measure} is of networks, and step {step!r} averages predictions"
    elif of.part == "validation":
        yield f"step {step!r} averages predictions of test images: there is no validation part of it"
    elif of.match == "effective-density":
        yield f"step {step!r} averages predictions and has no effective density: write 'match: density'"
    elif joined.over == REPLICATE:
        yield f"step {step!r} is one ensemble of all replicates: without replicates nothing is tested of it"


def uncompared(study: Study, step: str, arm: Mapping[str, str], of: Estimand) -> Iterator[str]:
    """Why an arm cannot be compared with the one that ``to`` names."""
    if of.to is None:
        return
    other = {**arm, **{f: label for f, label in labels_of(of.to).items() if f in study.reach[step]}}
    apart = [factor for factor in arm if arm[factor] != other[factor]]
    if not apart:
        yield f"an arm is compared with itself: {_said(arm)} of step {step!r} is what 'to' names"
    elif of.match == "level" and of.value == 0 and of.measure != LINE:
        yield f"{of.measure} is of pruned arms: give a level from 1 on"
    elif of.measure == LINE and study.spec.connectivity is not None:
        over = study.spec.connectivity.factors(study.factors, study.spec.vary)
        if len(apart) > 1 or apart[0] not in over:
            yield (
                f"{LINE} is walked between arms that differ in {' or '.join(over)} alone, and 'to' differs "
                f"in {' and '.join(apart)} from {_said(arm)}; see 'over' of the measure"
            )
        elif apart == ["init"]:
            yield f"{LINE} is of arms that began as one network: those of another 'init' did not"


def _said(arm: Mapping[str, str]) -> str:
    return ", ".join(f"{factor} {label}" for factor, label in arm.items())


def _levels(study: Study, step: str) -> int | None:
    """The last level of a step; None where a factor or another step says it."""
    spec = study.spec.steps.get(step)
    if spec is None:
        return None
    if spec.prune is not None:
        return spec.repeat if isinstance(spec.repeat, int) else None
    below = spec.ensemble.of if spec.ensemble is not None else spec.from_
    if below is not None:
        return _levels(study, below)
    if spec.mask is not None and spec.mask.of is not None:
        return None if spec.mask.level is None else 1
    return spec.mask.levels if spec.mask is not None else 1


def _unfollowed(study: Study, step: str, of: Estimand) -> Iterator[str]:
    """A comparison with the level before, of a step that has none."""
    if of.measure not in _WITH_THE_LEVEL_BEFORE:
        return
    spec = study.spec.steps[step]
    if spec.prune is None and spec.apply is None:
        apart = f"the levels of step {step!r} do not follow each other"
        yield f"{of.measure} is of a level and the one before, and {apart}"
    elif of.match == "level" and of.value == 0:
        yield f"{of.measure} is of a level and the one before, and level 0 has none before it"


def _too_sparse(study: Study, step: str, arm: Mapping[str, str], of: Estimand) -> Iterator[str]:
    """A density that the levels of a step never come down to, where one share of all layers says how far."""
    ends = [of.value, *(of.area or ()), *(of.slope if isinstance(of.slope, tuple) else ())]
    asked = min((end for end in ends if end is not None), default=None)
    if of.match != "density" or asked is None or not study.spec.verdicts:
        return
    try:
        pruning = (found := study.resolver.step(step, arm)).pruning
    except (ProblemsError, KeyError):  # a step at fault, or labels that the conditions leave out
        return
    if pruning is None or pruning.like is not None or pruning.method.layers != ("all",):
        return
    lowest = None
    if isinstance(pruning.to, float):
        lowest = pruning.to
    elif isinstance(pruning.amount, float):
        lowest = (1 - pruning.amount) ** found.repeat
    # A count is rounded in each layer, which may leave a little less than the share.
    if lowest is not None and asked < _ROUNDED * lowest:
        many = f"{found.repeat} levels" if found.repeat > 1 else "its one level"
        yield f"step {step!r} ends at density {lowest:.3g} after {many}, and {asked:g} is asked for"


def _made_of(study: Study, step: str, arm: Mapping[str, str]) -> tuple[DataChoice | None, ModelChoice | None]:
    """Data that the states of a step are evaluated on, and the network they are."""
    data: DataChoice | None = None
    waiting: str | None = step
    while waiting is not None:
        try:
            found: ResolvedStep = study.resolver.step(waiting, arm)
        except (ProblemsError, KeyError):  # a step at fault, or labels that the conditions leave out
            return data, None
        data = data or found.data
        if found.model is not None:
            return data, found.model
        waiting = found.base or (found.weights.step if found.weights is not None else None)
    return data, None
