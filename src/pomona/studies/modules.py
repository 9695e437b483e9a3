"""States as plain modules."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from pomona.core.errors import InputError, StateFailure, StoreError
from pomona.graph.nodes import from_json
from pomona.graph.store import DEFAULT_STORE, Store
from pomona.studies import bench


def load_module(key: str, store: Store | Path | str = DEFAULT_STORE) -> nn.Module:
    """A stored state as a plain ``torch.nn.Module`` in evaluation mode, pruned weights exactly zero.

    Args:
        key: Key of a state, or its beginning.
        store: The store or its folder.

    Raises:
        InputError: No state has this key, several begin with it, or a user's network has changed since.
        StoreError: The state has no weights: it was not computed, or it failed.
    """
    opened = store if isinstance(store, Store) else Store(store, create=False)
    full = opened.find(key)
    weights = opened.weights(full)
    try:
        return bench.loaded(network_of(full, opened), weights)
    except StateFailure:
        raise InputError(
            f"state {full[:12]} was computed with another source of its network than the file has now"
        ) from None


def network_of(key: str, store: Store) -> dict[str, object]:
    """What the nearest ancestor that names its network says of it."""
    waiting = [key]
    while waiting:
        current = waiting.pop(0)
        how: dict[str, object] = from_json(
            store.ledger.rows("SELECT how FROM states WHERE key = ?", [current])[0]["how"]
        )
        if "model" in how:
            return how
        sql = "SELECT parent FROM parents WHERE child = ? ORDER BY position"
        waiting += [row["parent"] for row in store.ledger.rows(sql, [current])]
    raise StoreError(f"state {key[:12]}: no ancestor says which network it is")
