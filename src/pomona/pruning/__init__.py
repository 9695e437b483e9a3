"""Criteria, granularities, scopes, counts and treatments: which weights stay and what happens to them.

What prunes a ``torch.nn.Module`` without a study is offered here, loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pomona.pruning.holding import Hold as Hold
    from pomona.pruning.holding import hold_masks as hold_masks
    from pomona.pruning.holding import mask_module as mask_module
    from pomona.pruning.holding import zero_optimizer_state as zero_optimizer_state
    from pomona.pruning.module import prune_module as prune_module

_PLACES = {
    "Hold": "pomona.pruning.holding",
    "hold_masks": "pomona.pruning.holding",
    "mask_module": "pomona.pruning.holding",
    "prune_module": "pomona.pruning.module",
    "zero_optimizer_state": "pomona.pruning.holding",
}

__all__ = ["Hold", "hold_masks", "mask_module", "prune_module", "zero_optimizer_state"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'pomona.pruning' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
