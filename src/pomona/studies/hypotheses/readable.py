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
from pomona.studies.hypotheses.estimand import EVALUATED, Estimand
from pomona.studies.resolve import ResolvedStep
from pomona.studies.schema import MEASURES

if TYPE_CHECKING:
    from pomona.studies.study import Study

_ROUNDED = 0.98
# Of other layers than those that are pruned, or of none.
_NO_LAYERS = (*EVALUATED, landscape.NAME)


def unreadable(study: Study, step: str, arm: Mapping[str, str], of: Estimand) -> Iterator[str]:
    """What an estimand asks for that the states of an arm can never have.

    Args:
        study: With steps that could be settled; what could not is reported elsewhere.
        step: Of the arm.
        arm: Its labels.
        of: What is read of it.
    """
    yield from _too_sparse(study, step, arm, of)
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
