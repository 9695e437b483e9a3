"""The layers of a network that can be pruned, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pomona.models.layers import prunable_kinds

if TYPE_CHECKING:
    from pomona.studies.identity import Network


def kinds_of(network: Network, folder: Path) -> dict[str, str]:
    """Every prunable parameter of a network and its kind, in network order.

    Args:
        network: Which one; a user's own is built.
        folder: Where the path of a user's file starts from.
    """
    choice = network.choice
    if not choice.own:
        return prunable_kinds(choice.name, choice.options)
    # Only here, for it takes torch.
    from pomona.models.build import build
    from pomona.pruning.kinds import layer_kinds

    return layer_kinds(build(choice, network.input_shape, network.classes, folder))
