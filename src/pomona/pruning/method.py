"""How a study declares a pruning method and an amount: what is scored, removed and ranked together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
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
from pomona.core.schema import Part, parse_fraction
from pomona.pruning.criteria import CRITERIA
from pomona.pruning.layers import ALL, DEFAULT, KINDS

Granularity = Literal["weight", "channel-in", "channel-out"]
Scope = Literal["layer", "global"]

# The dimension of a weight (out, in, ...) whose entries are the channels; None where each weight is a unit.
AXES: dict[Granularity, int | None] = {"weight": None, "channel-in": 1, "channel-out": 0}

_UNITS = {"weight": "weights", "channel-in": "input channels", "channel-out": "output channels"}


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
        criterion: ``magnitude``, ``random``, ``{norm: n}``, or a user's ``mine.py:score``, a pure function
            of a weight tensor that gives a score for each entry (larger is kept; a channel has their sum).
            The magnitude of a channel is its norm 1; any norm of a single weight is its magnitude.
        granularity: The unit that is removed: ``weight``, ``channel-in``, ``channel-out``, or one for each
            kind of layer (``{conv: channel-in, linear: weight}``).
        scope: The pool that is ranked together: each ``layer`` by itself, or ``global``.
        layers: Which layers are touched: ``all``, or kinds, names and name patterns.
    """

    criterion: str | Norm
    granularity: Granularity | dict[Literal["conv", "linear"], Granularity] = "weight"
    scope: Scope = "layer"
    layers: tuple[str, ...] = (ALL,)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given not in METHODS:
            raise InputError(unknown("pruning method", given, METHODS))
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
            if not isinstance(unit, str) or unit not in AXES:
                raise InputError(unknown("granularity", unit, AXES))
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
        units = set(self.granularity.values()) if isinstance(self.granularity, dict) else set()
        if self.scope == "global" and len(units) > 1:
            raise InputError(
                f"scope 'global' ranks all units together, so they must be of one granularity, got "
                f"{', '.join(sorted(units))}; use scope 'layer'"
            )
        return self

    def granularity_of(self, kind: str, where: str = "method") -> Granularity:
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
        units = set(self.granularity.values()) if isinstance(self.granularity, dict) else {self.granularity}
        if units == {"weight"} and isinstance(self.criterion, Norm):
            found["criterion"] = "magnitude"
        if units != {"weight"} and self.criterion == "magnitude":
            found["criterion"] = Norm(norm=1).identity()
        if isinstance(self.granularity, dict) and set(self.granularity) == set(KINDS) and len(units) == 1:
            found["granularity"] = next(iter(units))
        return found

    def describe(self) -> str:
        """One line for a table: criterion, unit, pool and layers."""
        score = f"norm {self.criterion.order:g}" if isinstance(self.criterion, Norm) else self.criterion
        if isinstance(self.granularity, dict):
            units = ", ".join(f"{_UNITS[unit]} of {kind} layers" for kind, unit in self.granularity.items())
        else:
            units = _UNITS[self.granularity]
        pool = "all layers together" if self.scope == "global" else "each layer by itself"
        only = "" if ALL in self.layers else f"; only {', '.join(self.layers)}"
        return f"{units} by {score}, {pool}{only}"


def prunes_randomly(method: Method) -> bool:
    """Whether the mask stream of the replicate is consumed, so that its seed index is part of a key."""
    return method.criterion == "random"


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
}
