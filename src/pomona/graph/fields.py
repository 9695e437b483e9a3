"""What differs between two values, field by field, and between two texts, line by line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_ABSENT = object()


@dataclass(frozen=True)
class Field:
    """A field that differs.

    Args:
        path: Where it is: ``train.batch_size``.
        a: Its value here in words, ``nothing`` where there is no such field.
        b: Its value there.
    """

    path: str
    a: str
    b: str


def differing(a: Any, b: Any, path: str = "") -> list[Field]:
    """The fields in which two values differ; ``1``, ``1.0`` and ``true`` are three different values."""
    return list(_differing(a, b, path))


def flat(value: Any, path: str = "") -> dict[str, str]:
    """Every field of a value in words, by its path."""
    if isinstance(value, Mapping) and value:
        return {k: v for name, inner in value.items() for k, v in flat(inner, _below(path, name)).items()}
    return {path: in_words(value)} if path else {}


def in_words(value: Any) -> str:
    """A value as a study writes it.

    >>> in_words(None), in_words(True), in_words([1, 2.5]), in_words({})
    ('none', 'true', '[1, 2.5]', '{}')
    """
    if value is _ABSENT:
        return "nothing"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {in_words(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(in_words, value)) + "]"
    return str(value)


def line_differences(a: str, b: str, name: str) -> list[str]:
    """A unified diff of two texts; no lines where they are equal."""
    found = difflib.unified_diff(a.splitlines(), b.splitlines(), f"{name} (a)", f"{name} (b)", lineterm="")
    return list(found)


def _differing(a: Any, b: Any, path: str) -> Iterator[Field]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for name in sorted({*a, *b}):
            yield from _differing(a.get(name, _ABSENT), b.get(name, _ABSENT), _below(path, name))
    elif not _equal(a, b):
        yield Field(path, in_words(a), in_words(b))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    return type(a) is type(b) and bool(a == b)


def _below(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)
