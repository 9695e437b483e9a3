"""What users' recipes and probes are given, and what a recipe makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pomona.graph.jobs import Stored
from pomona.graph.store import Files


class Given:
    """A state as a recipe or a probe sees it. Files are read when they are asked for.

    What it gives may be changed in place: the state itself stays as it is.

    Args:
        stored: The state.
        files: Of the store.
        network: Makes a module of the state's weights.
    """

    def __init__(self, stored: Stored, files: Files, network: Callable[[Mapping[str, Any]], Any]) -> None:
        self._stored, self._files, self._network = stored, files, network
        self.key = stored.key
        self.recipe = stored.recipe
        self.params = stored.params
        self.facts = stored.facts

    @cached_property
    def weights(self) -> dict[str, NDArray[Any]]:
        """Weights, biases and buffers, in the order of their names."""
        found = self._files.read_weights(self._stored.outputs["weights"])
        # A file has no order, and what is drawn for one tensor after the other must not depend on it.
        return {name: np.array(found[name]) for name in sorted(found)}

    @cached_property
    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """True where a weight is kept, by the name of the weight."""
        return self._files.read_masks(self._stored.outputs["masks"])[0]

    def module(self) -> Any:
        """The state as a ``torch.nn.Module`` in evaluation mode: a new one at every call."""
        return self._network(self.weights)


@dataclass(frozen=True)
class Made:
    """What a recipe makes: a new state.

    Args:
        weights: Arrays or tensors by name: all of the first parent's.
        masks: True where a weight is kept; layers that are left out keep the first parent's mask.
        facts: Small values to keep with the state, as JSON has them.
    """

    weights: Mapping[str, Any]
    masks: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
