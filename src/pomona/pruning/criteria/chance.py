"""The criterion that knows nothing of the weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pomona.core.streams import Stream

if TYPE_CHECKING:
    from torch import Tensor


def random(weight: Tensor, stream: Stream) -> Tensor:
    """Score every weight by a uniform number of the mask stream, whatever its value.

    Args:
        weight: Gives the shape ``*s`` only.
        stream: The mask stream of this parameter and level.

    Returns:
        Scores in [0, 1), float64, shape ``*s``. A score depends on its position alone, not on what is kept.
    """
    import torch

    return torch.from_numpy(stream.uniform(math.prod(weight.shape))).reshape(weight.shape)


def random_unit(weight: Tensor, stream: Stream) -> Tensor:
    """As ``random``, one number for each row of [units, members]."""
    import torch

    return torch.from_numpy(stream.uniform(weight.shape[0]))
