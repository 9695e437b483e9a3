"""What differs between two states of a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import StoreError
from pomona.graph.fields import Field, differing
from pomona.graph.lineage import Code, Lineages, Parting
from pomona.graph.states import StateRecord, States
from pomona.graph.store import Store

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class LayerMasks:
    """The masks of one layer: how many weights each keeps, and the Jaccard index of what they keep.

    ``overlap`` is None where the shapes differ, a count where only the other state has the layer.
    """

    layer: str
    kept_a: int | None
    kept_b: int | None
    overlap: float | None


@dataclass(frozen=True)
class Tensor:
    """A tensor whose bits differ.

    Args:
        name: Of the parameter or buffer.
        distance: Euclidean distance; None where it cannot be known.
        largest: Largest absolute difference of two entries; None likewise.
        reason: Why not.
    """

    name: str
    distance: float | None = None
    largest: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Differences:
    """All that differs.

    Args:
        a: One state.
        b: The other.
        fields: Fields of their own identities.
        relation: How they are related, in words.
        partings: Where their lineages part, the first one first.
        code: Users' functions that differ, of the states and of their lineages.
        environment: What they were computed with; None where one was not computed.
        masks: By layer; a text says why they cannot be compared.
        tensors: Those that differ; a text says why they cannot be compared.
        equal_tensors: How many have the same bits.
        metrics: Totals that were measured, by name.
    """

    a: StateRecord
    b: StateRecord
    fields: tuple[Field, ...]
    relation: str
    partings: tuple[Parting, ...]
    code: tuple[Code, ...]
    environment: tuple[Field, ...] | None
    masks: tuple[LayerMasks, ...] | str
    tensors: tuple[Tensor, ...] | str
    equal_tensors: int
    metrics: Mapping[str, tuple[float | None, float | None]]


def differences(store: Store, a: str, b: str) -> Differences:
    """Compare two states.

    Args:
        store: Where they are.
        a: Key of one.
        b: Key of the other.
    """
    one, other = States.of(store, [a])[0], States.of(store, [b])[0]
    lineages = Lineages(store.ledger, [a, b])
    # Of two states in one line, that they are is the whole answer: side by side their lineages mean nothing.
    related = b in lineages.above(a) or a in lineages.above(b)
    partings = [] if related else lineages.partings(a, b)
    tensors, equal = _tensors(store, a, b)
    totals = States.of(store, [a, b]).totals()
    names = sorted({*totals.get(a, {}), *totals.get(b, {})})
    return Differences(
        a=one,
        b=other,
        fields=tuple(differing(lineages.states[a].identity, lineages.states[b].identity)),
        relation=_relation(lineages, a, b),
        partings=tuple(partings),
        code=tuple({code.lines: code for parting in partings for code in lineages.code(parting)}.values()),
        environment=_environments(store, a, b),
        masks=_masks(store, a, b),
        tensors=tensors,
        equal_tensors=equal,
        metrics={name: (totals.get(a, {}).get(name), totals.get(b, {}).get(name)) for name in names},
    )


def environment_of(store: Store, key: str) -> dict[str, Any] | None:
    """The environment of the run that tried a state or probe last; None where none did."""
    rows = store.ledger.rows(
        "SELECT e.document, r.workers FROM attempts a JOIN runs r ON r.id = a.run"
        " JOIN environments e ON e.digest = r.environment WHERE a.node = ? ORDER BY a.id DESC LIMIT 1",
        [key],
    )
    return {"workers": rows[0]["workers"], **json.loads(rows[0]["document"])} if rows else None


def _environments(store: Store, a: str, b: str) -> tuple[Field, ...] | None:
    one, other = environment_of(store, a), environment_of(store, b)
    return None if one is None or other is None else tuple(differing(one, other))


def _relation(lineages: Lineages, a: str, b: str) -> str:
    if a == b:
        return "they are the same state"
    above = [lineages.above(key) for key in (a, b)]
    if b in above[0]:
        return f"{a[:12]} descends from {b[:12]}"
    if a in above[1]:
        return f"{b[:12]} descends from {a[:12]}"
    shared = [key for key in above[0] if key in set(above[1])]
    if not shared:
        return "they have no common ancestor"
    beyond = {before for key in shared for before in lineages.above(key)}
    last = [f"{key[:12]} ({lineages.states[key].recipe})" for key in shared if key not in beyond]
    return f"their last common ancestor{'s are' if len(last) > 1 else ' is'} {', '.join(last)}"


def _masks(store: Store, a: str, b: str) -> tuple[LayerMasks, ...] | str:
    found = _both(lambda key: store.masks(key)[0], a, b)
    if isinstance(found, str):
        return found
    one, other = found
    return tuple(_layer(name, one.get(name), other.get(name)) for name in dict.fromkeys([*one, *other]))


def _layer(name: str, a: NDArray[np.bool_] | None, b: NDArray[np.bool_] | None) -> LayerMasks:
    overlap = None
    if a is not None and b is not None and a.shape == b.shape:
        either = int((a | b).sum())
        overlap = int((a & b).sum()) / either if either else 1.0
    return LayerMasks(name, None if a is None else int(a.sum()), None if b is None else int(b.sum()), overlap)


def _tensors(store: Store, a: str, b: str) -> tuple[tuple[Tensor, ...] | str, int]:
    outputs = store.ledger.outputs([a, b])
    left = [outputs.get(key, {}).get("weights") for key in (a, b)]
    for key, output in zip((a, b), left, strict=True):
        if output is None:
            return f"{key[:12]} has none", 0
    digests = [output.tensors for output in left if output is not None]
    names = list(dict.fromkeys([*digests[0], *digests[-1]]))
    unequal = [name for name in names if digests[0].get(name) != digests[-1].get(name)]
    if not unequal:
        return (), len(names)
    found = _both(store.weights, a, b)
    if isinstance(found, str):
        return tuple(Tensor(name, reason=found) for name in unequal), len(names) - len(unequal)
    pairs = ((name, found[0].get(name), found[1].get(name)) for name in unequal)
    return tuple(_tensor(*pair) for pair in pairs), len(names) - len(unequal)


def _tensor(name: str, a: NDArray[Any] | None, b: NDArray[Any] | None) -> Tensor:
    if a is None or b is None:
        return Tensor(name, reason="only one of them has it")
    if a.shape != b.shape:
        return Tensor(name, reason=f"shapes {a.shape} and {b.shape}")
    apart = a.astype(np.float64) - b.astype(np.float64)
    return Tensor(name, float(np.linalg.norm(apart)), float(np.abs(apart).max(initial=0)))


def _both(read: Callable[[str], _Read], a: str, b: str) -> tuple[_Read, _Read] | str:
    try:
        return read(a), read(b)
    except StoreError as error:
        return str(error)
