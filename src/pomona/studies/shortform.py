"""The short form of a study: model, data, train, prune and method instead of steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pomona.core.errors import InputError

_SUGAR = ("model", "data", "train", "method", "treatment", "prune")


def expand_sugar(content: Mapping[str, Any]) -> dict[str, Any]:
    """The common case written out: ``dense`` and ``ticket`` from model, data, train, prune and method.

    Raises:
        InputError: Something that the short form needs is missing, or it stands beside ``steps``.
    """
    given = [name for name in _SUGAR if name in content]
    if not given:
        return dict(content)
    if "steps" in content:
        raise InputError(f"{', '.join(given)}: the short form and 'steps' cannot stand together")
    missing = [name for name in ("model", "data", "train") if name not in content]
    if missing:
        raise InputError(f"the short form needs {', '.join(missing)} beside {', '.join(given)}")
    rest = {key: value for key, value in content.items() if key not in _SUGAR}
    trained = {"on": content["data"], "train": content["train"]}
    steps: dict[str, Any] = {"dense": {"init": content["model"], **trained}}
    if "prune" in content:
        prune = content["prune"]
        if not isinstance(prune, Mapping) or "levels" not in prune:
            raise InputError("prune: expected {amount: 20%, levels: 12}: the short form needs 'levels'")
        spec = {key: value for key, value in prune.items() if key != "levels"}
        spec["method"] = content.get("method", "l1-unstructured")
        steps["ticket"] = {
            "from": "dense",
            "repeat": prune["levels"],
            "prune": spec,
            "treat": content.get("treatment", "rewind"),
            **trained,
        }
    return {**rest, "steps": steps}
