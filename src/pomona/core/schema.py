"""The base of everything that a user declares, and its way into an identity.

Every room declares its own part of a study as a ``Part``; ``studies`` puts the parts together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from pomona.core.canonical import Value
from pomona.core.errors import InputError
from pomona.core.step import Step

_PERCENT = re.compile(r"\s*([0-9]*\.?[0-9]+)(?:[eE]([-+]?[0-9]+))?\s*(?:%|pp)\s*")


@dataclass(frozen=True)
class Late:
    """Marks a field that is left out of the identity while it has the value of the old behaviour.

    Every field added after stores exist carries one, so that what was computed before stays valid. So
    does a field that is one alternative of several.
    """

    neutral: object


class Part(BaseModel):
    """A declared, immutable piece of a study. Unknown keys are refused."""

    # Defaults are checked too: `lr: float = 1` must enter an identity as the float it means.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    def identity(self) -> dict[str, Value]:
        """What enters the pre-image of a key: fields of the schema's types, neutral late ones left out."""
        found: dict[str, Value] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            late = [mark for mark in field.metadata if isinstance(mark, Late)]
            if not any(mark.neutral == value for mark in late):
                found[name] = _plain(value)
        return found


def _plain(value: Any) -> Value:
    if isinstance(value, Part):
        return value.identity()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str, Step)):
        return value
    raise TypeError(f"{type(value).__name__} cannot enter an identity")


def parse_fraction(written: object) -> object:
    """Read ``20%`` or ``10pp`` as a fraction; leave anything else to the type check.

    >>> parse_fraction("20%"), parse_fraction(0.2)
    (0.2, 0.2)
    """
    if isinstance(written, str):
        found = _PERCENT.fullmatch(written)
        if found is None:
            raise InputError(f"expected a fraction as '20%' or 0.2, got {written!r}")
        # A hundredth by moving the point, so that only one rounding happens.
        return float(f"{found[1]}e{int(found[2] or 0) - 2}")
    if isinstance(written, bool):
        raise InputError(f"expected a fraction as '20%' or 0.2, got {written!r}")
    return written


StepField = Annotated[
    Step,
    BeforeValidator(Step.parse),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+(ep|it)$", "examples": ["30ep", "500it"]}),
]

Fraction = Annotated[
    float,
    Field(ge=0, le=1),
    BeforeValidator(parse_fraction),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string"}]}),
]
