"""The audit of a state's masks: what they are now, and what is on record of the prune that made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import PomonaError, StateFailure
from pomona.graph.states import StateRecord, States
from pomona.graph.store import DEFAULT_STORE, Store
from pomona.measures.audit import LayerMask, MaskAudit, audit_masks
from pomona.measures.layout import Layout
from pomona.pruning.layers import axes_of, groups_of
from pomona.studies import bench
from pomona.studies.blinding.closed import open_state
from pomona.studies.modules import network_of

Masks = dict[str, NDArray[np.bool_]]
_FOUND = TypeVar("_FOUND")

# Recipes that give masks of their own. A training does where it prunes on the way.
_MAKERS = frozenset({"init", "prune", "control", "join", "import"})
_PASS_ON = frozenset({"train", "treat", "snapshot"})
# Treatments that bring back values of their second parent as they were, and that leave those of the first.
_BACK, _LEFT = frozenset({"rewind", "reinit"}), frozenset({"finetune"})


@dataclass(frozen=True)
class AuditedLayer:
    """One layer: its mask, and what was asked of it.

    Args:
        mask: What its mask is.
        kind: Kind of the layer.
        unit: The granularity that it was pruned by; None where it never was, or that is not on record.
        requested: Units that were to go in the prune that made the masks; None where a pool of several layers
            decided, or nothing is on record.
        achieved: Units that went; None where the prune left the layer alone.
        ties_cut: Removed units that only the tie rule parts from a kept one of the same score.
        pooled: Whether a pool of several layers decided.
    """

    mask: LayerMask
    kind: str
    unit: str | None = None
    requested: int | None = None
    achieved: int | None = None
    ties_cut: int | None = None
    pooled: bool = False


@dataclass(frozen=True)
class StateAudit:
    """The masks of a state.

    Args:
        key: Of the state.
        recipe: What made it.
        masks: The counts of all layers, with their totals.
        layers: Layer by layer, in network order.
        maker: The state that had these masks first: by a prune, a control, a training that prunes, and so on.
        maker_recipe: Its recipe.
        origin: The state that gave the weights their first values; None where none is known.
        origin_recipe: Its recipe: ``init``, or ``treat`` where a treatment made values of its own.
        requested: Units that the prune was to remove in all layers; None where nothing is on record.
        achieved: Units that it removed.
        control: The evidence of the control that made the masks; None where none did.
        notes: What could not be judged and why, and what else a reader should know.
    """

    key: str
    recipe: str
    masks: MaskAudit
    layers: tuple[AuditedLayer, ...]
    maker: str
    maker_recipe: str
    origin: str | None
    origin_recipe: str
    requested: int | None
    achieved: int | None
    control: Mapping[str, Any] | None
    notes: tuple[str, ...]


def audit(key: str, store: Store | Path | str = DEFAULT_STORE) -> StateAudit:
    """Audit the masks of a state, whatever made it.

    Weights are compared with the values that they had first: those of the untrained state, or of a treatment
    that made new ones (``sigma-sign``). What cannot be had, as weights that were let go or a network that is
    not understood, is said in the notes, and the rest is counted.

    Args:
        key: Key of a state, its beginning, or a tag that only one state has.
        store: The store or its folder.

    Raises:
        InputError: No state is meant by the key, or several are, or it belongs to a blinded study.
        StoreError: There is no such store, or the state has no masks: it was not computed, or it failed.
    """
    if not isinstance(store, Store):
        with Store(store, create=False) as opened:
            return audit(key, opened)
    full = open_state(store, key)
    masks, kinds = store.masks(full)
    state = States.of(store, [full])[0]
    maker, origin = _maker(store, state), _origin(store, state)
    notes: list[str] = []
    counted = _counted(store, full, masks, kinds, maker, origin, notes)
    if counted.unjudged:
        notes.append(f"what is alive: {counted.unjudged}")
    # A user's recipe may keep facts under any name.
    record = maker.facts.get("audit", {}) if maker.recipe in ("prune", "train") else {}
    asked = {layer["parameter"]: layer for layer in record.get("layers", ())}
    notes += _unlike(counted, asked, maker)
    units = state.facts.get("granularity", maker.facts.get("granularity", {}))
    return StateAudit(
        key=full,
        recipe=state.recipe,
        masks=counted,
        layers=tuple(
            _layer(layer, kinds[layer.parameter], units.get(layer.parameter), asked.get(layer.parameter))
            for layer in counted.layers
        ),
        maker=maker.key,
        maker_recipe=maker.recipe,
        origin=origin.key if origin else None,
        origin_recipe=origin.recipe if origin else "",
        requested=record.get("requested"),
        achieved=record.get("achieved"),
        control=maker.facts.get("control") if maker.recipe == "control" else None,
        notes=tuple(notes),
    )


def _maker(store: Store, state: StateRecord) -> StateRecord:
    """The state that had the masks of a state first, as far as the lineage is in the store."""
    while not _made_masks(store, state):
        parent = _state(store, state.parents[0])
        if parent is None:
            return state
        state = parent
    return state


def _made_masks(store: Store, state: StateRecord) -> bool:
    if not state.parents or state.recipe in _MAKERS or "during" in state.params:
        return True
    if state.recipe in _PASS_ON:
        return False
    # A transfer or a user's recipe may give back what it was given.
    outputs = store.ledger.outputs([state.key, state.parents[0]])
    digests = {left["masks"].digest for left in outputs.values() if "masks" in left}
    return len(digests) != 1


def _origin(store: Store, state: StateRecord | None) -> StateRecord | None:
    """The state that gave the weights of a state their first values."""
    while state is not None and state.recipe != "init":
        if state.recipe == "treat" and state.params["treatment"] not in _BACK | _LEFT:
            return state
        second = state.recipe == "transfer" or state.params.get("treatment") in _BACK
        state = _state(store, state.parents[second]) if state.parents else None
    return state


def _state(store: Store, key: str) -> StateRecord | None:
    found = list(States.of(store, [key]))
    return found[0] if found else None


def _counted(
    store: Store,
    key: str,
    masks: Masks,
    kinds: Mapping[str, str],
    maker: StateRecord,
    origin: StateRecord | None,
    notes: list[str],
) -> MaskAudit:
    """What the measures say, of as much as can be had."""
    weights = _had(partial(store.weights, key), "weights", notes)
    initial, how, module = None, None, None
    if weights is not None:
        if origin is not None and origin.key != key:
            initial = _had(partial(store.weights, origin.key), "first values", notes)
        how = _had(partial(network_of, key, store), "network", notes)
    if how is not None and weights is not None:
        module = _had(partial(bench.loaded, how, weights), "network", notes)
    held = 0
    if weights is not None:
        held = sum(int(np.count_nonzero(weights[name][~mask])) for name, mask in masks.items())
    if held:
        notes.append(
            f"{held:,} pruned weights are held at values that are not zero, so that they connect too"
        )
    shape: Any = how["input_shape"] if how is not None and module is not None else None
    return audit_masks(
        masks,
        {name: _layout(kind) for name, kind in kinds.items()},
        module=module,
        input_shape=shape,
        before=_before(store, maker, masks, notes),
        weights=None if initial is None else weights,
        initial=initial,
        held=held > 0,
    )


def _before(store: Store, maker: StateRecord, masks: Masks, notes: list[str]) -> Masks:
    """What any of the masks keeps that a state's were made from, of layers that are the same."""
    # A second parent of these gives weights or first values, and no mask.
    alone = maker.recipe in ("prune", "control", "train", "transfer")
    found: Masks = {}
    for parent in maker.parents[:1] if alone else maker.parents:
        had = _had(partial(store.masks, parent), "masks before", notes)
        for name, mask in had[0].items() if had else ():
            if name in masks and masks[name].shape == mask.shape:
                found[name] = found[name] | mask if name in found else mask
    return found


def _had(read: Callable[[], _FOUND], what: str, notes: list[str]) -> _FOUND | None:
    """What can be read; else a note says why not."""
    try:
        return read()
    except StateFailure:
        notes.append(f"{what}: its source is another one now than when the state was computed")
    except PomonaError as error:
        notes.append(f"{what}: {error}")
    return None


def _unlike(counted: MaskAudit, asked: Mapping[str, Any], maker: StateRecord) -> list[str]:
    """Where a mask is not what the record of its prune says."""
    return [
        f"{layer.parameter}: {asked[layer.parameter]['kept_weights']} weights are kept by the record of "
        f"{maker.key[:12]}, {layer.kept} by the mask"
        for layer in counted.layers
        if layer.parameter in asked and asked[layer.parameter]["kept_weights"] != layer.kept
    ]


def _layout(kind: str) -> Layout:
    return Layout(*axes_of(kind), groups_of(kind))


def _layer(mask: LayerMask, kind: str, unit: str | None, asked: Mapping[str, Any] | None) -> AuditedLayer:
    if asked is None or asked["unit"] is None:
        return AuditedLayer(mask, kind, unit)
    pooled = asked["requested"] is None
    return AuditedLayer(mask, kind, unit, asked["requested"], asked["achieved"], asked["ties_cut"], pooled)
