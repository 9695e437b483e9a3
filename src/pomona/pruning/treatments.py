"""What happens to the surviving weights after a prune."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pomona.core.errors import InputError, unknown
from pomona.core.schema import Part, StepField
from pomona.core.step import Step
from pomona.pruning.layers import layer_of

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]

START = Step(0, "it")


class Treatment(Part):
    """What is done to the survivors. Written ``rewind``, ``finetune``, ``{rewind: 500it}``.

    Args:
        name: One of ``TREATMENTS``.
        to: The step of the dense run whose weights are the target: ``500it``, ``2ep``; 0 is written
            ``init`` too.
    """

    name: Literal["rewind", "finetune", "sigma-sign"]
    to: StepField = START

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

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A name, a name with its step, or the fields, for the completion of editors."""
        step = {"type": "string", "pattern": "^(init|[0-9]+(ep|it))$"}
        rewound = {
            "type": "object",
            "properties": {name: step for name, rule in TREATMENTS.items() if rule.needs_target},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }
        return {"anyOf": [{"type": "string", "enum": list(TREATMENTS)}, rewound, handler(schema)]}

    @property
    def needs_target(self) -> bool:
        """Whether the state rewound to is consumed, so that it is a parent."""
        return TREATMENTS[self.name].needs_target

    def __str__(self) -> str:
        return self.name if self.to == START else f"{self.name} to {self.to}"


@dataclass(frozen=True)
class TreatmentRule:
    """A treatment of the catalogue.

    Args:
        name: As it is written in a study.
        function: From (pruned weights, target's weights, kinds) to new weights, before masking.
        needs_target: Whether it reads the weights of the target state.
        formula: What a surviving weight becomes.
        source: Where it comes from.
    """

    name: str
    function: Callable[[Tensors, Tensors, Mapping[str, str]], Tensors]
    needs_target: bool
    formula: str
    source: str


def treat(
    treatment: Treatment,
    pruned_weights: Tensors,
    masks: Tensors,
    target_weights: Tensors | None,
    kinds: Mapping[str, str],
) -> dict[str, Tensor]:
    """Give the survivors of a prune their values; every pruned weight is exactly zero.

    Args:
        treatment: What is done, and the step that the target was taken at.
        pruned_weights: All tensors of the pruned state, buffers included. Not changed.
        masks: True where kept, by parameter.
        target_weights: All tensors of the state rewound to; None where the treatment needs none.
        kinds: Every prunable parameter and its kind, in network order.

    Returns:
        New tensors under the names of ``pruned_weights``, in their order.

    Raises:
        InputError: The target is missing, or its tensors are not those of the pruned state.
    """
    # The schema and catalogue here is read by commands that do not load torch.
    from pomona.pruning.masks import apply_masks

    rule = TREATMENTS[treatment.name]
    if rule.needs_target:
        if target_weights is None:
            raise InputError(f"treatment {treatment} needs the weights at {treatment.to}, got none")
        _check_same(treatment, pruned_weights, target_weights)
    treated = rule.function(pruned_weights, target_weights or {}, kinds)
    return apply_masks({name: treated[name] for name in pruned_weights}, masks)


def rewind(pruned_weights: Tensors, target_weights: Tensors, kinds: Mapping[str, str]) -> Tensors:
    """Take every tensor of the target, biases and buffers (batch norm's statistics) included."""
    return target_weights


def finetune(pruned_weights: Tensors, target_weights: Tensors, kinds: Mapping[str, str]) -> Tensors:
    """Keep every tensor as training left it."""
    return pruned_weights


def sigma_sign(pruned_weights: Tensors, target_weights: Tensors, kinds: Mapping[str, str]) -> Tensors:
    """Replace weights and biases of the prunable layers by sign(target) x their tensor's sample SD.

    The SD (n - 1 in the divisor) is of the target's whole tensor, pruned entries included. A tensor of a
    single value has no sample SD and takes the target's value. What is not of a prunable layer, batch norm
    above all, takes the target's values.
    """
    layers = {layer_of(parameter) for parameter in kinds}
    chosen = set(kinds) | {f"{layer}.bias" for layer in layers}
    return {
        name: _signed_spread(tensor) if name in chosen and tensor.numel() > 1 else tensor
        for name, tensor in target_weights.items()
    }


def _signed_spread(tensor: Tensor) -> Tensor:
    values = tensor.detach().double().reshape(-1)
    # Running sums: one order of addition whatever the SIMD width.
    mean = values.cumsum(0)[-1] / values.numel()
    spread = (((values - mean) ** 2).cumsum(0)[-1] / (values.numel() - 1)).sqrt()
    return (tensor.detach().sign().double() * spread).to(tensor.dtype)


TREATMENTS: dict[str, TreatmentRule] = {
    "rewind": TreatmentRule(
        name="rewind",
        function=rewind,
        needs_target=True,
        formula="w = w at step k (init: k = 0), every tensor of the network",
        source="Frankle and Carbin 2019, arXiv:1803.03635; k > 0: Frankle et al. 2019, arXiv:1903.01611",
    ),
    "finetune": TreatmentRule(
        name="finetune",
        function=finetune,
        needs_target=False,
        formula="w = w as trained",
        source="Han et al. 2015, arXiv:1506.02626",
    ),
    "sigma-sign": TreatmentRule(
        name="sigma-sign",
        function=sigma_sign,
        needs_target=True,
        formula="w = sign(w at step k) x sample SD of its tensor, weights and biases of prunable layers",
        source="Zhou et al. 2019, arXiv:1905.01067; biases as in Paganini and Forde 2020, arXiv:2001.05050",
    ),
}


def _known(name: object) -> object:
    if not isinstance(name, str) or name not in TREATMENTS:
        raise InputError(unknown("treatment", name, TREATMENTS))
    return name


def _target_step(given: Mapping[str, Any]) -> dict[str, Step]:
    if "to" not in given:
        return {}
    if not TREATMENTS[given["name"]].needs_target:
        raise InputError(
            f"treatment {given['name']!r} keeps the trained weights and takes no step, got {given['to']!r}"
        )
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
