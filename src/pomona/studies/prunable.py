"""The layers of a network that can be pruned, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pomona.models.build import build
from pomona.pruning.kinds import layer_kinds

if TYPE_CHECKING:
    from pomona.studies.identity import Network

_built: dict[str, dict[str, str]] = {}


def kinds_of(network: Network, folder: Path) -> dict[str, str]:
    """Every prunable parameter of a network and its kind, in network order.

    Args:
        network: Which one; it is built.
        folder: Where the path of a user's file starts from.
    """
    if network.sized not in _built or network.choice.own:
        module = build(network.choice, network.input_shape, network.classes, folder)
        _built[network.sized] = layer_kinds(module)
    return _built[network.sized]
