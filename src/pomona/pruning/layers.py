"""Which layers a key speaks of: a parameter, a layer, a name pattern, a kind, or the default.

A prunable parameter is known by its name (``fc1.weight``), its layer (``fc1``) and its kind. The text of a
kind is one of ``KINDS``, followed by the groups of a grouped convolution: ``conv``, ``conv groups=4``. The
most specific key that matches a parameter wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from pomona.core.errors import InputError, unknown

ALL = "all"
DEFAULT = "default"
KINDS = ("conv", "linear", "conv-transposed", "embedding", "attention")
_GROUPS = " groups="


def layer_of(parameter: str) -> str:
    """The layer that a parameter belongs to.

    >>> layer_of("features.0.weight"), layer_of("fc1")
    ('features.0', 'fc1')
    """
    return parameter.rpartition(".")[0] or parameter


def kind_of(text: str) -> str:
    """The kind that a text of one says.

    >>> kind_of("conv groups=4"), kind_of("linear")
    ('conv', 'linear')
    """
    return text.partition(_GROUPS)[0]


def groups_of(text: str) -> int:
    """In how many groups a layer cuts its channels.

    >>> groups_of("conv groups=4"), groups_of("conv")
    (4, 1)
    """
    return int(text.partition(_GROUPS)[2] or 1)


def kind_text(kind: str, groups: int = 1) -> str:
    """How a kind is written down: what ``kind_of`` and ``groups_of`` read.

    >>> kind_text("conv", 4), kind_text("conv")
    ('conv groups=4', 'conv')
    """
    return kind if groups == 1 else f"{kind}{_GROUPS}{groups}"


def axes_of(text: str) -> tuple[int, int]:
    """The axes of a weight that list its outputs and its inputs.

    A transposed convolution has weights [in, out / groups, ...], any other [out, in / groups, ...]. An
    embedding is [tokens, features]: the tokens are its inputs.

    >>> axes_of("linear"), axes_of("conv-transposed"), axes_of("embedding")
    ((0, 1), (1, 0), (1, 0))
    """
    return (1, 0) if kind_of(text) in ("conv-transposed", "embedding") else (0, 1)


def specificity(key: str, parameter: str, kind: str) -> int | None:
    """How closely a key names a parameter: 0 is closest, None is not at all.

    0 the parameter, 1 its layer, 2 a pattern (``fnmatch``) of either, 3 its kind, 4 ``default`` or ``all``.

    Args:
        key: As a method or an amount has it.
        parameter: Its name.
        kind: The text of its kind; a key that is a kind speaks of grouped convolutions too.
    """
    if key == parameter:
        return 0
    if key == layer_of(parameter):
        return 1
    if _is_pattern(key) and (fnmatchcase(parameter, key) or fnmatchcase(layer_of(parameter), key)):
        return 2
    if key == kind_of(kind):
        return 3
    return 4 if key in (ALL, DEFAULT) else None


def touched(layers: Iterable[str], kinds: Mapping[str, str]) -> list[str]:
    """The parameters that a method touches, in network order.

    Args:
        layers: ``all`` (every prunable parameter), kinds, names and patterns.
        kinds: Every prunable parameter and the text of its kind, in network order.

    Raises:
        InputError: A name, pattern or kind matches no layer.
    """
    keys = list(layers)
    _check_keys(keys, kinds, "layers")
    return [
        name for name, kind in kinds.items() if any(specificity(key, name, kind) is not None for key in keys)
    ]


def fractions(amount: float | Mapping[str, float], kinds: Mapping[str, str]) -> dict[str, float | None]:
    """The fraction for each prunable parameter; None where a mapping gives it none.

    Raises:
        InputError: A key matches no layer, or two patterns give one layer different amounts.
    """
    if not isinstance(amount, Mapping):
        return dict.fromkeys(kinds, float(amount))
    _check_keys(amount, kinds, "amount")
    return {name: _fraction(amount, name, kind) for name, kind in kinds.items()}


def _fraction(amount: Mapping[str, float], name: str, kind: str) -> float | None:
    ranked = {key: rank for key in amount if (rank := specificity(key, name, kind)) is not None}
    if not ranked:
        return None
    best = min(ranked.values())
    keys = [key for key, rank in ranked.items() if rank == best]
    if len({amount[key] for key in keys}) > 1:
        raise InputError(
            f"amount: the patterns {', '.join(map(repr, keys))} give {layer_of(name)!r} different amounts; "
            f"write {layer_of(name)!r} itself"
        )
    return amount[keys[0]]


def _check_keys(keys: Iterable[str], kinds: Mapping[str, str], where: str) -> None:
    for key in keys:
        if not any(specificity(key, name, kind) is not None for name, kind in kinds.items()):
            choices = dict.fromkeys([layer_of(name) for name in kinds] + list(map(kind_of, kinds.values())))
            raise InputError(unknown("layer", key, choices, where=where))


def _is_pattern(key: str) -> bool:
    return any(sign in key for sign in "*?[")
