"""What is computed a second time: to restore files that are gone, or to see whether the bits are the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pomona.core.errors import StoreError
from pomona.graph.jobs import Outcome
from pomona.graph.ledger import Ledger, Measurement

Purpose = Literal["restore", "verify"]


def again(purpose: Purpose, node: str) -> str:
    """The name under which a finished node waits for its second computation."""
    return f"{purpose} {node}"


def node_of(key: str) -> str:
    """The state or probe that a name stands for."""
    return key.rpartition(" ")[2]


def purpose_of(key: str) -> Purpose | None:
    """Why a node is computed again; None where it is computed for the first time."""
    purpose = key.partition(" ")[0]
    return purpose if purpose != key else None  # type: ignore[return-value]


@dataclass(frozen=True)
class Verdict:
    """What a second computation of a state or probe gave.

    Args:
        node: Its key.
        differences: What is not the same, in words; empty where every bit is.
        environment: What was another when it was computed first: ``processor: A, now B``.
        failed: Why it could not be computed; empty where it could.
    """

    node: str
    differences: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    failed: str = ""

    @property
    def same(self) -> bool:
        """Whether it was computed and every bit is the same."""
        return not self.differences and not self.failed

    @property
    def text(self) -> str:
        """In one line."""
        if self.failed:
            return f"could not be computed again: {self.failed}"
        if self.same:
            return "the same bits"
        where = (
            f" ({'; '.join(self.environment)})" if self.environment else " on the same software and hardware"
        )
        return f"other bits{where}: {', '.join(self.differences)}"


def compare(ledger: Ledger, node: str, outcome: Outcome, environment: str) -> Verdict:
    """Compare what a second computation left with what the first one did.

    Args:
        ledger: Where the first one is recorded.
        node: Key of a state or probe that is done.
        outcome: Of the second computation.
        environment: The document of where that ran.
    """
    known = ledger.outputs([node]).get(node, {})
    differences: list[str] = []
    for name in sorted({*known, *(output.name for output in outcome.outputs)}):
        new = next((output for output in outcome.outputs if output.name == name), None)
        if new is None or name not in known:
            differences.append(f"{name} {'is' if new else 'are'} there only {'now' if new else 'before'}")
        elif new.digest != known[name].digest:
            differences += _tensors(name, known[name].tensors, new.tensors)
    if not known:
        differences += _numbers(ledger, node, outcome.measurements)
    return Verdict(node, tuple(differences), _environment(ledger, node, environment) if differences else ())


def _tensors(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    changed = [tensor for tensor in sorted({*before, *now}) if before.get(tensor) != now.get(tensor)]
    return [f"{name} of {tensor}" for tensor in changed] or [f"the description of the {name}"]


def _numbers(ledger: Ledger, node: str, found: tuple[Measurement, ...]) -> list[str]:
    rows = ledger.rows("SELECT quantity, layer, class, value FROM measurements WHERE probe = ?", [node])
    if not all(isinstance(row["class"], int) and isinstance(row["layer"], str) for row in rows):
        raise StoreError(
            f"the ledger {ledger.path} is damaged: the measurements of {node[:12]} cannot be read"
        )
    before = {(str(row["quantity"]), row["layer"], row["class"]): row["value"] for row in rows}
    now = {(m.quantity, m.layer, m.class_): m.value for m in found}
    differ = (place for place in sorted({*before, *now}) if before.get(place) != now.get(place))
    return [f"{_place(*place)}: {before.get(place)}, now {now.get(place)}" for place in differ]


def _place(quantity: str, layer: str, class_: int) -> str:
    return " ".join([quantity, *([layer] if layer else []), *([str(class_)] if class_ >= 0 else [])])


def _environment(ledger: Ledger, node: str, now: str) -> tuple[str, ...]:
    rows = ledger.rows(
        "SELECT e.document FROM attempts a JOIN runs r ON r.id = a.run JOIN environments e"
        " ON e.digest = r.environment WHERE a.node = ? AND a.status = 'done' ORDER BY a.id LIMIT 1",
        [node],
    )
    if not rows:
        return ("where it was computed first is not on record",)
    try:
        return tuple(changes(json.loads(rows[0]["document"]), json.loads(now)))
    except (AttributeError, TypeError, ValueError, RecursionError):
        return ("the record of where it was computed first is damaged",)


def changes(before: Mapping[str, Any], now: Mapping[str, Any], place: str = "") -> list[str]:
    """What differs between two environments, one line a field."""
    found = []
    for name in sorted({*before, *now}):
        a, b = before.get(name), now.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += changes(a, b, f"{place}{name} ")
        elif a != b:
            found.append(f"{place}{name}: {_short(a)}, now {_short(b)}")
    return found


def _short(value: object) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
