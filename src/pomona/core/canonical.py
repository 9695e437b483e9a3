"""The canonical form of a value and the SHA-256 keys made from it.

A key outlives the code that made it, so this file may only ever grow: every type has its own tag, lengths
are explicit, mappings are sorted, and a float enters with every bit. ``1``, ``1.0``, ``"1"`` and ``True``
are four different values.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache

from pomona.core.step import Step

Value = None | bool | int | float | str | Step | Sequence["Value"] | Mapping[str, "Value"]


class Shared(dict[str, "Value"]):
    """A mapping that is a part of many keys: its bytes are made once. It must not be changed."""

    encoded: bytes = b""


def canonical(value: Value, where: str = "value") -> bytes:
    """The type-tagged bytes of a value.

    ========  ======================================================
    None      ``n``
    bool      ``b0`` or ``b1``
    int       ``i`` decimal ``;``
    float     ``f`` 16 hex digits of the IEEE 754 double, big endian
    str       ``s`` length in bytes ``:`` UTF-8
    Step      ``t`` length ``:`` as written
    sequence  ``l`` count ``:`` items
    mapping   ``d`` count ``:`` key, value in the order of the keys
    ========  ======================================================

    >>> canonical({"lr": 0.01, "steps": [1, True]})
    b'd2:s2:lrf3f847ae147ae147bs5:stepsl2:i1;b1'

    Raises:
        TypeError: For a type that has no canonical form (says where).
        ValueError: For NaN, which is not equal to itself.
    """
    try:
        return _encoded(value)
    except (TypeError, ValueError):
        _complain(value, where)
        raise


def digest(value: Value) -> str:
    """SHA-256 of the canonical form, as 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def state_key(recipe: str, version: int, params: Mapping[str, Value], parents: Sequence[str]) -> str:
    """The identity of a state: what was asked for, never who asked, where or when.

    Args:
        recipe: Name of the recipe.
        version: Its version; a new one gives new keys.
        params: Its parameters, of the schema's types, neutral late fields left out.
        parents: Keys of the parent states, in the recipe's order.
    """
    return digest(
        {"kind": "state", "recipe": recipe, "version": version, "params": params, "parents": list(parents)}
    )


def probe_key(probe: str, version: int, params: Mapping[str, Value], states: Sequence[str]) -> str:
    """The identity of a measurement of one or more states."""
    return digest(
        {"kind": "probe", "probe": probe, "version": version, "params": params, "states": list(states)}
    )


def _encoded(value: Value) -> bytes:
    # Called for every value of every key: nothing here is computed that only an error needs.
    kind = type(value)
    if kind is str:
        return _text(value)  # type: ignore[arg-type]
    if kind is dict:
        return _mapping(value)  # type: ignore[arg-type]
    if kind is list or kind is tuple:
        return b"l%d:" % len(value) + b"".join(map(_encoded, value))  # type: ignore[arg-type]
    if isinstance(value, Shared):
        value.encoded = value.encoded or _mapping(value)
        return value.encoded
    if value is None:
        return b"n"
    if isinstance(value, bool):
        return b"b1" if value else b"b0"
    if isinstance(value, int):
        return b"i%d;" % value
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError
        return b"f" + struct.pack(">d", value).hex().encode()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Step):
        encoded = str(value).encode()
        return b"t%d:" % len(encoded) + encoded
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, (list, tuple)):
        return b"l%d:" % len(value) + b"".join(map(_encoded, value))
    raise TypeError


def _mapping(value: Mapping[str, Value]) -> bytes:
    parts = [b"d%d:" % len(value)]
    for key in sorted(value):
        if not isinstance(key, str):
            raise TypeError
        parts += (_name(key), _encoded(value[key]))
    return b"".join(parts)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8")
    return b"s%d:" % len(encoded) + encoded


# Names of parameters are few and come again in every key.
_name = lru_cache(maxsize=1024)(_text)


def _complain(value: object, where: str) -> None:
    """Say where the part is that has no canonical form."""
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{where}: NaN has no canonical form")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where}: a mapping is keyed by text, got {key!r}")
        for key in sorted(value):
            _complain(value[key], f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            _complain(item, f"{where}[{i}]")
    elif value is not None and not isinstance(value, (bool, int, float, str, Step)):
        raise TypeError(f"{where}: {type(value).__name__} has no canonical form")
