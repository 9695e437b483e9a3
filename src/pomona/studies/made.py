"""What users' recipes and probes give back: whether it can be kept, and in which form."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError, StateFailure, unknown
from pomona.graph.custom import Measure, Recipe
from pomona.graph.given import Made
from pomona.graph.ledger import Measurement
from pomona.studies.schema import MEASURES, QUANTITIES

Arrays = Mapping[str, NDArray[Any]]
Masks = Mapping[str, NDArray[np.bool_]]

# Numbers of Pomona's own probes: a user's under the same name could not be told from them.
_OWN_QUANTITIES = frozenset(
    [
        *("chance", "at-chance", "class-count", "jaccard-distance", "hamming-distance", "chance-distance"),
        *(*MEASURES, *(quantity for found in QUANTITIES.values() for quantity in found)),
    ]
)
_QUANTITY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
# What Pomona itself says of a state.
_OWN_FACTS = frozenset(["kept", "granularity", "collapsed", "pruned", "audit", "control"])
_MOST_FACTS = 100_000  # characters: they are read with the ledger, not with the weights


@dataclass(frozen=True)
class Checked:
    """A new state that can be kept."""

    weights: dict[str, NDArray[Any]]
    masks: dict[str, NDArray[np.bool_]]
    facts: dict[str, Any]


def check_made(
    recipe: Recipe, made: object, weights: Arrays, masks: Masks, others: Sequence[Masks] = ()
) -> Checked:
    """Check what a recipe gave back.

    Args:
        recipe: The user's.
        made: What it returned.
        weights: Of its first parent.
        masks: Of its first parent.
        others: Of its other parents. What one of all parents keeps may be kept.

    Raises:
        InputError: It is not ``Made`` or does not fit the first parent (says where in the user's file).
        StateFailure: A value is not finite, a pruned weight is not zero, or a mask has grown.
    """
    if not isinstance(made, Made):
        raise InputError(f"{recipe}: expected pomona.Made(weights=...), got {_kind(made)}")
    found = _weights(recipe, made.weights, weights)
    kept = _masks(recipe, made.masks or {}, masks)
    for name, mask in kept.items():
        before = [one[name] for one in (masks, *others) if name in one and one[name].shape == mask.shape]
        if recipe.nested and bool((mask & ~np.logical_or.reduce(before)).any()):
            raise StateFailure(
                "error",
                f"{recipe}: the mask of {name} keeps weights that were pruned before; if that is meant, "
                "declare @pomona.recipe(nested=False)",
            )
        if recipe.pruned_value == "zero" and bool((found[name][~mask] != 0).any()):
            raise StateFailure(
                "error",
                f"{recipe}: pruned weights of {name} are not zero; multiply by the mask, or declare "
                '@pomona.recipe(pruned_value="frozen")',
            )
    return Checked(found, kept, _facts(recipe, made.facts))


def described(made: Checked, before: Masks, inherited: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a new state: the user's, and what is known of its masks.

    Args:
        made: The state.
        before: Masks of its first parent.
        inherited: Facts of its first parent.
    """
    same = {name for name, mask in made.masks.items() if np.array_equal(mask, before[name])}
    granularity = inherited.get("granularity", {})
    return {
        **made.facts,
        "kept": {name: [int(mask.sum()), mask.size] for name, mask in made.masks.items()},
        "collapsed": [name for name, mask in made.masks.items() if not mask.any()],
        "granularity": {name: unit for name, unit in granularity.items() if name in same},
    }


def measurements(probe: Measure, found: object) -> tuple[Measurement, ...]:
    """The numbers that a probe gave back.

    Args:
        probe: The user's.
        found: A number, numbers by quantity, or numbers by quantity and layer; None is no number.

    Raises:
        InputError: It is something else, or a number is not finite (says where in the user's file).
    """
    by_quantity = found if isinstance(found, Mapping) else {probe.name: found}
    rows: list[Measurement] = []
    for quantity, value in by_quantity.items():
        _check_quantity(probe, quantity)
        if isinstance(value, Mapping):
            rows += [
                Measurement(quantity, _number(probe, n, layer), str(layer)) for layer, n in value.items()
            ]
        else:
            rows.append(Measurement(quantity, _number(probe, value, quantity)))
    if not rows:
        raise InputError(f"{probe}: expected a number or a mapping of numbers, got none")
    return tuple(rows)


def _weights(recipe: Recipe, given: object, before: Arrays) -> dict[str, NDArray[Any]]:
    if not isinstance(given, Mapping):
        raise InputError(f"{recipe}: weights: expected a mapping from name to array, got {_kind(given)}")
    _check_names(recipe, "weights", given, before)
    missing = [name for name in before if name not in given]
    if missing:
        raise InputError(f"{recipe}: weights: {missing[0]} is missing; give all of the first state's")
    return {name: _weight(recipe, name, given[name], array) for name, array in before.items()}


def _weight(recipe: Recipe, name: str, given: object, before: NDArray[Any]) -> NDArray[Any]:
    """One array with the shape and type of the parent's. A wider float is rounded to it."""
    array = _array(recipe, f"weights: {name}", given)
    if array.shape != before.shape:
        raise InputError(f"{recipe}: weights: {name} has the shape {array.shape}, expected {before.shape}")
    if array.dtype.kind != before.dtype.kind:
        raise InputError(f"{recipe}: weights: {name} is of type {array.dtype}, expected {before.dtype}")
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(array.astype(before.dtype, copy=False)).reshape(before.shape)
    if cast.dtype.kind == "f" and not bool(np.isfinite(cast).all()):
        raise StateFailure("diverged", f"{recipe}: weights: {name} has values that are not finite")
    return cast


def _masks(recipe: Recipe, given: object, before: Masks) -> dict[str, NDArray[np.bool_]]:
    if not isinstance(given, Mapping):
        raise InputError(f"{recipe}: masks: expected a mapping from name to array, got {_kind(given)}")
    _check_names(recipe, "masks", given, before)
    found: dict[str, NDArray[np.bool_]] = {}
    for name, mask in before.items():
        array = _array(recipe, f"masks: {name}", given.get(name, mask))
        if array.dtype != np.bool_:
            raise InputError(
                f"{recipe}: masks: {name} is of type {array.dtype}, expected bool, as weight != 0"
            )
        if array.shape != mask.shape:
            raise InputError(f"{recipe}: masks: {name} has the shape {array.shape}, expected {mask.shape}")
        found[name] = array
    return found


def _check_names(recipe: Recipe, what: str, given: Mapping[Any, Any], known: Mapping[str, Any]) -> None:
    for name in given:
        if name not in known:
            raise InputError(unknown("name", name, known, where=f"{recipe}: {what}"))


def _array(recipe: Recipe, what: str, given: Any) -> NDArray[Any]:
    # A tensor is taken as it is, whatever library it is of.
    for step in ("detach", "cpu", "numpy"):
        if not isinstance(given, np.ndarray) and hasattr(given, step):
            given = getattr(given, step)()
    if isinstance(given, np.generic):  # what arithmetic makes of an array without dimensions
        given = np.asarray(given)
    if not isinstance(given, np.ndarray):
        raise InputError(f"{recipe}: {what}: expected an array or a tensor, got {_kind(given)}")
    return given


def _facts(recipe: Recipe, given: object) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f"{recipe}: facts: expected a mapping, got {_kind(given)}")
    for name in given:
        if not isinstance(name, str) or name in _OWN_FACTS:
            why = "a name is text" if not isinstance(name, str) else "that name is of Pomona's own"
            raise InputError(f"{recipe}: facts: {name!r}: {why}")
    facts = dict(given)
    try:
        text = json.dumps(facts, default=_plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{recipe}: facts cannot be kept: {error}; give JSON values") from None
    if len(text) > _MOST_FACTS:
        raise InputError(
            f"{recipe}: facts are small values: {len(text):,} characters, at most {_MOST_FACTS:,}"
        )
    return json.loads(text)  # type: ignore[no-any-return]


def _plain(value: object) -> object:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _check_quantity(probe: Measure, quantity: object) -> None:
    if not isinstance(quantity, str) or _QUANTITY.fullmatch(quantity) is None:
        raise InputError(f"{probe}: a quantity is named by letters, digits, '-' and '_', got {quantity!r}")
    if quantity in _OWN_QUANTITIES:
        raise InputError(f"{probe}: {quantity!r} is measured by Pomona itself; give yours another name")


def _number(probe: Measure, given: Any, where: object) -> float | None:
    if given is None:
        return None
    value = given
    if hasattr(value, "item"):  # an array or a tensor of one number
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            value = value.item()
    if not isinstance(value, (bool, int, float)):
        raise InputError(f"{probe}: {where}: expected a number, got {_kind(given)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"{probe}: {where}: {number} cannot be kept; give None where there is no number")
    return number


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a mapping ({', '.join(map(repr, list(value)[:3]))})"
    return type(value).__name__
