"""What was registered, as the chain of a store keeps it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pomona.core.errors import StoreError
from pomona.graph import chain
from pomona.graph.nodes import to_json
from pomona.graph.store import Store
from pomona.studies.hypotheses.spec import Hypothesis

# Of the body; raised where an older body would be misread.
FORMAT = 1
KIND = "registered"


@dataclass(frozen=True)
class Registered:
    """One registration.

    Args:
        digest: SHA-256 of the body as JSON; names the registration.
        entry: Its number in the chain.
        at: When, in seconds since 1970.
        link: Head of the chain after it.
        body: All that was frozen; see ``frozen.freeze``.
    """

    digest: str
    entry: int
    at: float
    link: str
    body: Mapping[str, Any]

    @property
    def replicates(self) -> range:
        """The replicates that are tested."""
        return range(self.body["pilot"], self.body["replicates"])

    @property
    def hypotheses(self) -> Sequence[Mapping[str, Any]]:
        """What was frozen of each hypothesis, in order."""
        return list(self.body["hypotheses"])


def registrations(store: Store, study: str) -> list[Registered]:
    """All registrations of a study by its name, oldest first.

    Raises:
        StoreError: One cannot be read: it is damaged, or of a newer version.
    """
    return [read(entry) for entry in chain.entries(store.ledger, KIND, study)]


def read(entry: chain.Entry) -> Registered:
    """The registration of an entry of the chain."""
    try:
        body = json.loads(entry.content)
        found = body["format"]
    except (ValueError, TypeError, KeyError):
        raise StoreError(f"entry {entry.number} of the chain is no registration that can be read") from None
    if found != FORMAT:
        raise StoreError(
            f"entry {entry.number} of the chain is a registration of format {found}; this version reads "
            f"format {FORMAT}: take the Pomona that wrote it ({body.get('pomona', 'not known')})"
        )
    return Registered(digest_of(entry.content), entry.number, entry.at, entry.link, body)


def digest_of(text: str) -> str:
    """SHA-256 of a text, as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(hypothesis: Hypothesis) -> dict[str, Any]:
    """All that was written of a hypothesis, without what has its default; read again it is the same."""
    return hypothesis.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def hypothesis_digest(hypothesis: Hypothesis) -> str:
    """SHA-256 of the canonical text of a hypothesis: the same only where all of it is the same."""
    return digest_of(to_json(canonical(hypothesis)))
