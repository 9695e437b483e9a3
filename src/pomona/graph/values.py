"""How the value of a parameter is compared with a word of a query. SQLite asks, for each state."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from pomona.core.step import Step
from pomona.graph.expression import Word
from pomona.graph.nodes import from_json

_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def described(words: Sequence[Word]) -> str:
    """Words of a query as they are handed through SQL: text, column, quoted."""
    return json.dumps([[word.text, word.column, word.quoted] for word in words])


# States of one kind have few different texts of parameters, so most answers are known already.
@lru_cache(maxsize=65_536)
def holds(params: str, path: str, sign: str, words: str) -> int:
    """Whether the parameter at a path compares so with one of some words.

    In Python and not in SQL, where a number read from text may have lost its last bit.

    Args:
        params: As in the ledger.
        path: JSON list of names and positions.
        sign: ``==`` (also for ``in``) or an order.
        words: As ``described``.
    """
    found, there = at(_read(params), _read(path))
    given = [Word(*word) for word in _read(words)]
    return int(there and any(_compare(found, sign, word) for word in given))


@lru_cache(maxsize=65_536)
def has(params: str, path: str) -> int:
    """Whether parameters have a path."""
    return int(at(_read(params), _read(path))[1])


def at(value: Any, path: Sequence[str | int]) -> tuple[Any, bool]:
    """What lies at a path, and whether it leads somewhere."""
    for name in path:
        if isinstance(name, int):
            if not isinstance(value, list) or name >= len(value):
                return None, False
            value = value[name]
        elif isinstance(value, dict) and name in value:
            value = value[name]
        else:
            return None, False
    return value, True


def _compare(found: Any, sign: str, word: Word) -> bool:
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        return word.number is not None and _HOLDS[sign](found, word.number)
    if sign != "==":
        return False
    if isinstance(found, (str, Step)):
        return str(found) == word.text
    if word.quoted:
        return False
    if found is None:
        return word.text in ("none", "null")
    return isinstance(found, bool) and word.text == str(found).lower()


@lru_cache(maxsize=4096)
def _read(text: str) -> Any:
    try:
        return from_json(text)
    except (ValueError, RecursionError):
        return None
