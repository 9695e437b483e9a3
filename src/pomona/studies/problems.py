"""Faults of a declaration as lines that a user can act on."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from pomona.core.errors import unknown

_EXPECTED = {
    "float_parsing": "a number",
    "float_type": "a number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_parsing": "yes or no",
    "bool_type": "yes or no",
    "string_type": "text",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "finite_number": "a finite number",
}


def describe(
    error: ValidationError,
    where: Callable[[tuple[str | int, ...]], str],
    content: Any,
    model: type[BaseModel],
    at: tuple[str | int, ...] = (),
) -> list[str]:
    """One line for each fault.

    Args:
        error: What the schema found.
        where: Names a place of the document.
        content: What was validated.
        model: The part it was validated against.
        at: The place of ``content`` in the document.
    """
    # Every alternative of a value reports its own fault: those of one place become one line, and that a
    # whole is of another kind is left out where a part of it is at fault.
    found: dict[tuple[str | int, ...], list[str]] = {}
    kinds: dict[tuple[str | int, ...], list[str]] = {}
    for fault in error.errors(include_url=False):
        place = _place(fault, content)
        expected = _EXPECTED.get(fault["type"])
        if expected is None:
            found.setdefault(place, []).append(_text(dict(fault), model))
        else:
            kinds.setdefault(place, []).append(expected)
            found.setdefault(place, [])
    lines: dict[str, None] = {}
    for place, texts in found.items():
        if place in kinds and not any(other[: len(place)] == place != other for other in found):
            either = " or ".join(dict.fromkeys(kinds[place]))
            texts = [*texts, f"expected {either}, got {_at(content, place)!r}"]
        lines.update({f"{where((*at, *place))}: {text}": None for text in texts})
    return list(lines)


def remove(error: ValidationError, content: Any) -> None:
    """Take every key that is at fault out of the content."""
    for fault in error.errors(include_url=False):
        place = _place(fault, content)
        if not place:
            continue
        target = content
        for part in place[:-1]:
            target = target[part] if _has(target, part) else None
        if isinstance(target, dict):
            target.pop(place[-1], None)


def _text(fault: Mapping[str, Any], model: type[BaseModel]) -> str:
    kind, given = fault["type"], fault["input"]
    if kind == "extra_forbidden":
        return unknown("key", str(fault["loc"][-1]), _fields(model, fault["loc"][:-1]))
    if kind == "missing":
        return "is required and missing"
    if kind == "value_error":
        return str(fault["ctx"]["error"])
    message = fault["msg"]
    return f"{message[0].lower()}{message[1:]}, got {given!r}"


def _place(fault: Mapping[str, Any], content: Any) -> tuple[str | int, ...]:
    """The location without the names of alternatives that pydantic puts between the keys."""
    place: list[str | int] = []
    for part in fault["loc"]:
        if _has(content, part):
            content = content[part]
            place.append(part)
    return (*place, fault["loc"][-1]) if fault["type"] == "missing" else tuple(place)


def _at(content: Any, place: Sequence[str | int]) -> Any:
    for part in place:
        content = content[part]
    return content


def _has(content: Any, part: str | int) -> bool:
    if isinstance(content, Mapping):
        return part in content
    return isinstance(content, (list, tuple)) and isinstance(part, int) and part < len(content)


def _fields(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """The keys that are known where an unknown one was found."""
    current: Any = model
    for part in location:
        found = _part(current)
        if found is not None and isinstance(part, str):
            by_alias = {field.alias or name: field for name, field in found.model_fields.items()}
            if part in by_alias:
                current = by_alias[part].annotation
                continue
            named = [option for option in _options(current) if getattr(option, "__name__", "") == part]
            current = named[0] if named else current
        elif typing.get_origin(current) in (dict, list, tuple):
            current = typing.get_args(current)[-1 if typing.get_origin(current) is dict else 0]
    found = _part(current)
    return [field.alias or name for name, field in found.model_fields.items()] if found else []


def _options(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [inner for option in typing.get_args(annotation) for inner in _options(option)]
    if typing.get_origin(annotation) is typing.Annotated:
        return _options(typing.get_args(annotation)[0])
    return [annotation]


def _part(annotation: Any) -> type[BaseModel] | None:
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None
