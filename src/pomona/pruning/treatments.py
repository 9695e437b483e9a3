"""What happens to the surviving weights after a prune.

Biases are never masked; they go back with the weights. To rewind the learning rate only is no treatment: it
is ``finetune``, and a training that begins at a later step of its schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pomona.core.errors import InputError, unknown
from pomona.core.schema import Late, Part, StepField
from pomona.core.step import Step
from pomona.core.streams import Stream
from pomona.pruning import survivors
from pomona.pruning.survivors import StreamOf, Survivors, Tensors

if TYPE_CHECKING:
    from torch import Tensor

START = Step(0, "it")


class Treatment(Part):
    """What is done to the survivors. Written ``rewind``, ``finetune``, ``{rewind: 500it}``.

    Args:
        name: One of ``TREATMENTS``.
        to: The step of the dense run whose weights are the target: ``500it``, ``2ep``, ``init`` for 0.
        fan: For ``rescale-fan`` whether incoming or outgoing weights are counted.
    """

    name: Literal[
        "rewind",
        "finetune",
        "sigma-sign",
        "sign",
        "random-sign",
        "reinit",
        "permute-init",
        "permute-survivors",
        "rescale",
        "rescale-fan",
    ]
    to: StepField = START
    fan: Annotated[Literal["in", "out"], Late("in")] = "in"

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"name": given}
        if isinstance(given, Mapping) and "name" not in given:
            if len(given) != 1:
                raise InputError(f"expected a treatment as a name or as {{name: step}}, got {dict(given)!r}")
            ((name, to),) = given.items()
            given = {"name": name, "to": to}
        if isinstance(given, Mapping):
            return {**given, "name": _known(given["name"]), **_target_step(given)}
        return given

    @model_validator(mode="after")
    def _fan_of_one(self) -> Self:
        if self.fan != "in" and self.name != "rescale-fan":
            raise InputError(f"treatment {self.name!r} looks at no fan, got fan: {self.fan}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A name, a name with its step, or the fields, for the completion of editors."""
        step = {"type": "string", "pattern": "^(init|[0-9]+(ep|it))$"}
        rewound = {
            "type": "object",
            "properties": {name: step for name, rule in TREATMENTS.items() if rule.target == "step"},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }
        return {"anyOf": [{"type": "string", "enum": list(TREATMENTS)}, rewound, handler(schema)]}

    @property
    def makes_new_values(self) -> bool:
        """Whether the survivors start at values that no state before had: those are their initial ones."""
        return self.name not in ("rewind", "finetune")

    @property
    def needs_target(self) -> bool:
        """Whether the weights of another state are consumed, so that it is a parent."""
        return self.rule.needs_target

    @property
    def rule(self) -> TreatmentRule:
        """Its record in the catalogue."""
        return TREATMENTS[self.name]

    def __str__(self) -> str:
        named = self.name if self.fan == "in" else f"{self.name} {self.fan}"
        return named if self.to == START else f"{named} to {self.to}"


@dataclass(frozen=True)
class TreatmentRule:
    """A treatment of the catalogue.

    Args:
        name: As it is written in a study.
        function: From what is given to new tensors, before masking.
        target: Whose values it takes: none but the trained ones, those at a ``step`` of the dense run, or a
            ``fresh`` state that was drawn anew.
        random: Whether it draws random numbers, from a stream of each parameter.
        formula: What a surviving weight becomes.
        source: Where it comes from.
        notes: Choices and departures from the source.
    """

    name: str
    function: Callable[[Survivors], Tensors]
    target: Literal["none", "step", "fresh"]
    random: bool
    formula: str
    source: str
    notes: str = ""

    @property
    def needs_target(self) -> bool:
        """Whether another state's weights are read, so that it is a parent."""
        return self.target != "none"


def treat(
    treatment: Treatment,
    pruned_weights: Tensors,
    masks: Tensors,
    target_weights: Tensors | None,
    kinds: Mapping[str, str],
    *,
    stream_of: StreamOf | None = None,
    values: Tensors | None = None,
) -> dict[str, Tensor]:
    """Give the survivors of a prune their values; every pruned weight is exactly zero, or what it is held at.

    Args:
        treatment: What is done, and the step that the target was taken at.
        pruned_weights: All tensors of the pruned state, buffers included. Not changed.
        masks: True where kept, by parameter.
        target_weights: All tensors of the target; None where the treatment needs none. Not changed.
        kinds: Every prunable parameter and its kind, in network order.
        stream_of: The stream of a parameter by its name; needed by random treatments only. It must be used
            for nothing else: random masks drawn from the same words would be correlated with the values.
        values: What pruned weights are held at, from ``actions.pruned_values``; zero where not given.

    Returns:
        New tensors under the names of ``pruned_weights``, in their order.

    Raises:
        InputError: The target or the stream is missing, or the tensors are not those of the pruned state.
    """
    # The schema and catalogue here is read by commands that do not load torch.
    from pomona.pruning.masks import apply_masks, check_masks

    check_masks(pruned_weights, masks)
    rule = treatment.rule
    if rule.random and stream_of is None:
        raise InputError(f"treatment {treatment} draws random numbers: give stream_of=")
    if rule.needs_target:
        if target_weights is None:
            which = "newly drawn weights" if rule.target == "fresh" else f"the weights at {treatment.to}"
            raise InputError(f"treatment {treatment} needs {which}, got none")
        _check_same(treatment, pruned_weights, target_weights)
    target = target_weights if target_weights is not None and rule.needs_target else pruned_weights
    given = Survivors(pruned_weights, target, masks, kinds, stream_of or _no_stream, treatment.fan)
    treated = rule.function(given)
    return apply_masks({name: treated[name] for name in pruned_weights}, masks, values)


def _no_stream(parameter: str) -> Stream:
    raise InputError(f"no random numbers were declared, and some are drawn for {parameter!r}")


TREATMENTS: dict[str, TreatmentRule] = {
    "rewind": TreatmentRule(
        name="rewind",
        function=survivors.rewind,
        target="step",
        random=False,
        formula="w = w at step k (init: k = 0), every tensor of the network",
        source="Frankle and Carbin 2019, arXiv:1803.03635; k > 0: Frankle et al. 2019, arXiv:1903.01611",
    ),
    "finetune": TreatmentRule(
        name="finetune",
        function=survivors.finetune,
        target="none",
        random=False,
        formula="w = w as trained",
        source="Han et al. 2015, arXiv:1506.02626",
    ),
    "sigma-sign": TreatmentRule(
        name="sigma-sign",
        function=survivors.sigma_sign,
        target="step",
        random=False,
        formula="w = sign(w at step k) x sample SD of its tensor, weights and biases of prunable layers",
        source="Zhou et al. 2019, arXiv:1905.01067; biases as in Paganini and Forde 2020, arXiv:2001.05050",
    ),
    "sign": TreatmentRule(
        name="sign",
        function=survivors.sign,
        target="step",
        random=False,
        formula="w = sign(w at step k), weights and biases of prunable layers",
        source="Paganini and Forde 2020, arXiv:2001.05050",
        notes="+-1 is far above usual initial weights; training is expected to fail.",
    ),
    "random-sign": TreatmentRule(
        name="random-sign",
        function=survivors.random_sign,
        target="step",
        random=True,
        formula="w = random sign x sample SD of its tensor at step k, weights and biases of prunable layers",
        source="Zhou et al. 2019, arXiv:1905.01067",
    ),
    "reinit": TreatmentRule(
        name="reinit",
        function=survivors.rewind,
        target="fresh",
        random=False,
        formula="w = another draw of the initial weights, every tensor of the network",
        source="Frankle and Carbin 2019, arXiv:1803.03635",
        notes="The draw is the target's: a fresh state of the same network and distribution.",
    ),
    "permute-init": TreatmentRule(
        name="permute-init",
        function=survivors.permute_init,
        target="step",
        random=True,
        formula="w = w at step k of a random place of the layer, pruned places included; biases as they were",
        source="control of this field; over survivors only: permute-survivors",
    ),
    "permute-survivors": TreatmentRule(
        name="permute-survivors",
        function=survivors.permute_survivors,
        target="step",
        random=True,
        formula="w = w at step k of a random surviving place of the layer; biases as they were",
        source="Zhou et al. 2019, arXiv:1905.01067",
    ),
    "rescale": TreatmentRule(
        name="rescale",
        function=survivors.rescale,
        target="step",
        random=False,
        formula="w = w at step k x size / kept of the layer; biases as they were",
        source="dynamic rescaling of Zhou et al. 2019, arXiv:1905.01067",
        notes="There it is done at every step of learning a mask; here once, for the mask that was found.",
    ),
    "rescale-fan": TreatmentRule(
        name="rescale-fan",
        function=survivors.rescale_fan,
        target="step",
        random=False,
        formula="w = w at step k x sqrt(fan-in of its output unit before / now), or of fan-out by input unit",
        source="conjecture of Paganini and Forde 2020, arXiv:2001.05050; root: He et al. 2015",
        notes="{name: rescale-fan, fan: out} takes the fan-out. Embeddings and dead units stay.",
    ),
}


def _known(name: object) -> object:
    if not isinstance(name, str) or name not in TREATMENTS:
        raise InputError(unknown("treatment", name, TREATMENTS))
    return name


def _target_step(given: Mapping[str, Any]) -> dict[str, Step]:
    if "to" not in given:
        return {}
    target = TREATMENTS[given["name"]].target
    if target != "step":
        does = "keeps the trained weights" if target == "none" else "draws new weights"
        raise InputError(f"treatment {given['name']!r} {does} and takes no step, got {given['to']!r}")
    step = START if given["to"] == "init" else Step.parse(given["to"])
    # The start is one moment in either unit, and must be one identity.
    return {"to": START if step.count == 0 else step}


def _check_same(treatment: Treatment, pruned: Tensors, target: Tensors) -> None:
    for name in [*pruned, *target]:
        if name not in target or name not in pruned:
            side = "the pruned state" if name in pruned else "the target"
            raise InputError(
                f"treatment {treatment}: tensor {name!r} is in {side} only; is it another network?"
            )
        if pruned[name].shape != target[name].shape:
            raise InputError(
                f"treatment {treatment}: tensor {name!r} has shape {tuple(pruned[name].shape)} in the pruned "
                f"state and {tuple(target[name].shape)} in the target"
            )
