"""How a study declares a pruning method and an amount: what is scored, removed and ranked together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pomona.core.canonical import Value
from pomona.core.errors import InputError, unknown
from pomona.core.reference import is_reference
from pomona.core.schema import Late, Part, parse_fraction
from pomona.pruning.allocation import ALLOCATIONS
from pomona.pruning.criteria import CRITERIA
from pomona.pruning.criterion import NETWORK_EVIDENCE, Criterion
from pomona.pruning.granularity import parse_unit
from pomona.pruning.layers import ALL, DEFAULT, KINDS

Scope = Literal["layer", "kind", "global"]
PrunedValue = Literal["zero", "freeze", "freeze-unless-shrunk"]

# Examples that a criterion reads, where a method does not say how many.
EXAMPLES = 128


class Norm(Part):
    """The criterion ``{norm: n}``: the n-norm of a channel's weights.

    Args:
        norm: A positive number, ``inf`` (largest absolute value) or ``-inf`` (smallest).
    """

    norm: float | Literal["inf", "-inf"]

    @field_validator("norm", mode="before")
    @classmethod
    def _check(cls, given: object) -> float | str:
        if isinstance(given, str) and given in ("inf", "-inf"):
            return given
        if isinstance(given, (int, float)) and not isinstance(given, bool):
            if math.isinf(given):
                return "inf" if given > 0 else "-inf"
            if given > 0:
                return float(given)
        raise InputError(f"expected a norm as a positive number, 'inf' or '-inf', got {given!r}")

    @property
    def order(self) -> float:
        """The n of the norm as a number, infinities included."""
        return float(self.norm)


class Method(Part):
    """What a prune removes. Written as these fields, or as a name from ``METHODS``.

    Args:
        criterion: A name of ``CRITERIA``, ``{norm: n}``, or a user's ``mine.py:score``, a pure function
            of a weight tensor that gives a score for each entry (larger is kept; a channel has their sum).
            The magnitude of a channel is its norm 1; any norm of a single weight is its magnitude.
        granularity: The unit that is removed: ``weight``, ``channel-in``, ``channel-out``, ``kernel``,
            ``block-4x4`` (outputs x inputs, with whole kernels), ``2:4`` (weights, so that two are left of
            every four inputs), or one for each kind of layer (``{conv: channel-in, linear: weight}``).
        scope: The pool that is ranked together: each ``layer`` by itself, each ``kind``, or ``global``.
        layers: Which layers are touched: ``all``, or kinds, names and name patterns.
        allocation: How the density is divided between the layers, a name of ``ALLOCATIONS``. ``uniform``, all
            the same, is what scope ``layer`` does anyway.
        inverted: Keep what the criterion would prune: a control.
        rounds: Score and prune so many times, with the same share kept each time, within one prune.
        examples: Training examples that the criterion reads, 128 unless given.
        pruned: What a pruned weight is: ``zero``; ``freeze``, which is its initial value; or
            ``freeze-unless-shrunk``, which is zero where training moved it towards zero.
    """

    criterion: str | Norm
    granularity: str | dict[str, str] = "weight"
    scope: Scope = "layer"
    layers: tuple[str, ...] = (ALL,)
    allocation: Annotated[str | None, Late(None)] = None
    inverted: Annotated[bool, Late(False)] = False
    rounds: Annotated[Annotated[int, Field(ge=1, strict=True)], Late(1)] = 1
    examples: Annotated[Annotated[int, Field(ge=1, strict=True)] | None, Late(None)] = None
    pruned: Annotated[PrunedValue, Late("zero")] = "zero"

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given not in METHODS:
            hint = f"; the criterion is written {{criterion: {given}}}" if given in CRITERIA else ""
            raise InputError(f"{unknown('pruning method', given, METHODS)}{hint}")
        return dict(METHODS[given])

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Fields or a name, for the completion of editors."""
        return {"anyOf": [{"type": "string", "enum": list(METHODS)}, handler(schema)]}

    @field_validator("criterion", mode="before")
    @classmethod
    def _check_criterion(cls, given: object) -> object:
        if isinstance(given, Mapping):
            if set(given) != {"norm"}:
                raise InputError(f"expected a criterion as a name or as {{norm: n}}, got {dict(given)!r}")
            return Norm(norm=given["norm"])
        if given == "norm":
            raise InputError("the criterion 'norm' needs its number: write {norm: 2}")
        if isinstance(given, Norm) or (isinstance(given, str) and (given in CRITERIA or is_reference(given))):
            return given
        raise InputError(unknown("criterion", given, [*CRITERIA, "mine.py:score"]))

    @field_validator("granularity", mode="before")
    @classmethod
    def _check_granularity(cls, given: object) -> object:
        named = given if isinstance(given, Mapping) else {"all": given}
        if not named:
            raise InputError("granularity: expected one for each kind of layer, got an empty mapping")
        for kind, unit in named.items():
            if isinstance(given, Mapping) and kind not in KINDS:
                raise InputError(unknown("kind of layer", kind, KINDS, where="granularity"))
            parse_unit(unit)
        return given

    @field_validator("allocation", mode="before")
    @classmethod
    def _check_allocation(cls, given: object) -> object:
        if given is not None and (not isinstance(given, str) or given not in ALLOCATIONS):
            raise InputError(unknown("allocation", given, ALLOCATIONS))
        return given

    @field_validator("layers", mode="before")
    @classmethod
    def _check_layers(cls, given: object) -> object:
        found = (given,) if isinstance(given, str) else given
        if not isinstance(found, (list, tuple)) or not found or not all(isinstance(x, str) for x in found):
            raise InputError(f"layers: expected 'all', a kind, or a list of kinds and names, got {given!r}")
        return tuple(found)

    @model_validator(mode="after")
    def _check_pool(self) -> Method:
        units = self._units()
        if self.scope == "global" and len(units) > 1:
            raise InputError(
                f"scope 'global' ranks all units together, so they must be of one granularity, got "
                f"{', '.join(sorted(units))}; use scope 'layer'"
            )
        if self.scope != "layer" and any(parse_unit(unit).form == "n:m" for unit in units):
            raise InputError(f"granularity N:M ranks each group by itself; leave scope {self.scope!r} out")
        if self.scope != "layer" and self.allocation is not None:
            raise InputError(
                f"allocation {self.allocation!r} says how much each layer keeps, scope {self.scope!r} leaves "
                "that to the ranking: give one of them"
            )
        return self

    @model_validator(mode="after")
    def _check_rounds(self) -> Method:
        if self.rounds > 1 and self.rule is not None and self.rule.update is not None:
            raise InputError(
                f"rounds: {self.named} moves the surviving weights, and a round scores them as they were; "
                "prune in levels instead"
            )
        return self

    @model_validator(mode="after")
    def _check_criterion_fits(self) -> Method:
        if self.examples is not None and not self.reads_data:
            raise InputError(f"examples: the criterion {self.named!r} reads no data; leave it out")
        if self.rule is None or not self.rule.only:
            return self
        for unit in self._units():
            if unit not in self.rule.only:
                raise InputError(
                    f"the criterion {self.named!r} scores {' or '.join(self.rule.only)}, got granularity "
                    f"{unit!r}"
                )
        return self

    def _units(self) -> set[str]:
        return set(self.granularity.values()) if isinstance(self.granularity, dict) else {self.granularity}

    @property
    def rule(self) -> Criterion | None:
        """The criterion's record; None for a user's own."""
        if self.user_criterion is not None:
            return None
        return CRITERIA["norm" if isinstance(self.criterion, Norm) else self.criterion]

    @property
    def named(self) -> str:
        """What its criterion is called."""
        return f"norm {self.criterion.order:g}" if isinstance(self.criterion, Norm) else self.criterion

    @property
    def needs(self) -> tuple[str, ...]:
        """Evidence that must be gathered for the criterion."""
        return self.rule.needs if self.rule is not None else ()

    @property
    def reads_data(self) -> bool:
        """Whether examples are needed to score."""
        return self.rule is not None and self.rule.reads_data

    @property
    def runs_network(self) -> bool:
        """Whether the network is run to score."""
        return bool(NETWORK_EVIDENCE.intersection(self.needs))

    @property
    def reads_initial(self) -> bool:
        """Whether the untrained weights are needed, to score or to give pruned weights their values."""
        return "initial" in self.needs or self.pruned != "zero"

    @property
    def draws(self) -> bool:
        """Whether the mask stream of the replicate is consumed, so that its seed index is part of a key."""
        return self.reads_data or (self.rule is not None and self.rule.draws)

    @property
    def says_how_much(self) -> bool:
        """Whether the granularity alone says how many weights go, so that there is no amount."""
        return all(parse_unit(unit).form == "n:m" for unit in self._units())

    def granularity_of(self, kind: str, where: str = "method") -> str:
        """The unit that is removed from a layer of this kind.

        Raises:
            InputError: The granularity is given by kind and leaves this one out.
        """
        if not isinstance(self.granularity, dict):
            return self.granularity
        for named, unit in self.granularity.items():
            if named == kind:
                return unit
        raise InputError(
            f"{where}: the granularity says nothing about layers of kind {kind!r}; give it one, or leave "
            f"these layers out with 'layers: {next(iter(self.granularity))}'"
        )

    @property
    def user_criterion(self) -> str | None:
        """The criterion where it is a user's own function (``mine.py:score``), else None."""
        return self.criterion if isinstance(self.criterion, str) and is_reference(self.criterion) else None

    def identity(self) -> dict[str, Value]:
        """The same form for every way of writing the same method."""
        found = super().identity()
        found["layers"] = sorted(set(self.layers)) if ALL not in self.layers else [ALL]
        if "channel-out" in self._units():
            found["last_layer"] = "if named"  # by output channels it is left alone otherwise
        if self.reads_data:
            found["examples"] = self.examples or EXAMPLES
        units = self._units()
        single = all(parse_unit(unit).members_are_units for unit in units)
        if self.criterion == "large-final":
            found["criterion"] = "magnitude"
        if self.allocation == "uniform":
            del found["allocation"]  # what scope layer does anyway
        if single and isinstance(self.criterion, Norm):
            found["criterion"] = "magnitude"
        if not single and found["criterion"] == "magnitude":
            found["criterion"] = Norm(norm=1).identity()
        if (
            isinstance(self.granularity, dict)
            and {"conv", "linear"} <= set(self.granularity)
            and len(units) == 1
        ):
            found["granularity"] = next(iter(units))
        return found

    def describe(self) -> str:
        """One line for a table: criterion, unit, pool and layers."""
        if isinstance(self.granularity, dict):
            named = self.granularity.items()
            what = ", ".join(f"{parse_unit(unit).plural()} of {kind} layers" for kind, unit in named)
        else:
            what = parse_unit(self.granularity).plural()
        pool = {"layer": "each layer by itself", "kind": "each kind of layer by itself"}
        parts = [pool.get(self.scope, "all layers together")]
        parts += [f"{self.allocation} densities"] if self.allocation is not None else []
        parts += [f"in {self.rounds} rounds"] if self.rounds > 1 else []
        only = "" if ALL in self.layers else f"; only {', '.join(self.layers)}"
        inverted = "inverted " if self.inverted else ""
        return f"{what} by {inverted}{self.named}, {', '.join(parts)}{only}"


def inverted(method: Method) -> Method:
    """The same method that keeps what it would have pruned, and prunes what it would have kept."""
    return method.model_copy(update={"inverted": not method.inverted})


def parse_amount(written: object) -> float | dict[str, float]:
    """Read ``20%``, ``0.2``, or such an amount for each kind, layer, name pattern and ``default``.

    >>> parse_amount({"conv": "10%", "linear": 0.2})
    {'conv': 0.1, 'linear': 0.2}

    Raises:
        InputError: Not a fraction from 0 to 1, or an empty mapping; says for which key.
    """
    if not isinstance(written, Mapping):
        return _amount(written, "amount")
    if not written:
        raise InputError("amount: expected a fraction for each kind or layer, got an empty mapping")
    found = {str(key): _amount(value, f"amount of {key}") for key, value in written.items()}
    # A lone default is one fraction, and must be one identity.
    return found[DEFAULT] if set(found) == {DEFAULT} else found


def _amount(written: object, where: str) -> float:
    try:
        found = parse_fraction(written)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if not isinstance(found, (int, float)):
        raise InputError(f"{where}: expected a fraction as '20%' or 0.2, got {written!r}")
    if not 0 <= found <= 1:
        hint = (
            f"; did you mean '{written}%'?" if isinstance(written, (int, float)) and 1 < found <= 100 else ""
        )
        raise InputError(f"{where}: expected a fraction from 0% to 100%, got {written!r}{hint}")
    return float(found)


_WRITTEN_FRACTION = {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string"}]}

Amount = Annotated[
    float | dict[str, float],
    BeforeValidator(parse_amount),
    WithJsonSchema(
        {
            "anyOf": [
                *_WRITTEN_FRACTION["anyOf"],
                {"type": "object", "additionalProperties": _WRITTEN_FRACTION},
            ]
        }
    ),
]

METHODS: dict[str, Method] = {
    "l1-unstructured": Method(criterion="magnitude"),
    "random-unstructured": Method(criterion="random"),
    "global-unstructured": Method(criterion="magnitude", scope="global"),
    "l1-structured": Method(criterion=Norm(norm=1), granularity="channel-in"),
    "l2-structured": Method(criterion=Norm(norm=2), granularity="channel-in"),
    # The similarity paper's code passes n = -inf to the norm: the smallest absolute value of a channel.
    "neg-inf-structured": Method(criterion=Norm(norm="-inf"), granularity="channel-in"),
    "random-structured": Method(criterion="random", granularity="channel-in"),
    "hybrid": Method(criterion="magnitude", granularity={"conv": "channel-in", "linear": "weight"}),
    "fc-only": Method(criterion="magnitude", layers=("linear",)),
    "lamp": Method(criterion="lamp", scope="global"),
    "snip": Method(criterion="snip", scope="global"),
    "grasp": Method(criterion="grasp", scope="global"),
    "synflow": Method(criterion="synflow", scope="global", rounds=100),
    "random-erk": Method(criterion="random", allocation="erk"),
    "random-smart-ratio": Method(criterion="random", allocation="smart-ratio"),
    "random-smart-ratio-plain": Method(criterion="random", allocation="smart-ratio-plain"),
}
