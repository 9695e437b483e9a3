"""JSON texts of a ledger, read with a word on where the damage is if there is any."""

from __future__ import annotations

from typing import Any

from pomona.core.errors import StoreError
from pomona.graph.ledger import Ledger
from pomona.graph.nodes import from_json


def read(ledger: Ledger, text: object, what: str) -> dict[str, Any]:
    """The object that a text of the ledger describes.

    Raises:
        StoreError: It describes none.
    """
    try:
        found = from_json(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise StoreError(f"the ledger {ledger.path} is damaged: {what} cannot be read")
    return found
