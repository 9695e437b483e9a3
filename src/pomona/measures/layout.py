"""Where the outputs and the inputs of a weight lie: what measures of channels, kernels and groups need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError


@dataclass(frozen=True)
class Layout:
    """The axes of a weight, and in how many groups a convolution cuts its channels.

    The first axis lists the channels of all groups, the other one those of a single group: outputs come
    first but in a transposed convolution and an embedding.

    Args:
        outputs: Axis of the outputs.
        inputs: Axis of the inputs.
        groups: Groups of channels; inputs of one reach outputs of the same only.
    """

    outputs: int = 0
    inputs: int = 1
    groups: int = 1

    def sizes(self, shape: Sequence[int]) -> tuple[int, int, int, int]:
        """Groups, outputs of a group, inputs of a group, and places of a kernel.

        Raises:
            InputError: The shape has no such axes, or does not divide into the groups.
        """
        if len(shape) < 2:
            raise InputError(f"expected a weight with outputs and inputs, got shape {tuple(shape)}")
        first = min(self.outputs, self.inputs)
        if shape[first] % self.groups:
            raise InputError(f"{shape[first]} channels do not divide into {self.groups} groups")
        sides = {axis: shape[axis] // (self.groups if axis == first else 1) for axis in (0, 1)}
        return self.groups, sides[self.outputs], sides[self.inputs], math.prod(shape[2:])

    def arranged(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array of the weight's shape as [groups, outputs, inputs, places]."""
        groups, outputs, inputs, places = self.sizes(array.shape)
        if self.outputs < self.inputs:
            return array.reshape(groups, outputs, inputs, places)
        return np.moveaxis(array.reshape(groups, inputs, outputs, places), 1, 2)
