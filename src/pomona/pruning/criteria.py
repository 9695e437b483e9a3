"""Scores of weights and channels: larger means keep. Pure functions and the catalogue that lists them.

A signed score is taken as it is: -10 is less than -1, and is pruned first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pomona.core.streams import Stream

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Criterion:
    """A way to score the units of a layer.

    Args:
        name: As it is written in a study.
        function: Pure function of the evidence, by keyword, to one score for each unit.
        evidence: What the function takes: ``weight``, ``mask``, ``axis``, ``n``, ``stream``.
        formula: The score, in words or symbols.
        source: Where it comes from.
    """

    name: str
    function: Callable[..., Tensor]
    evidence: tuple[str, ...]
    formula: str
    source: str

    def score(self, evidence: Mapping[str, object]) -> Tensor:
        """Call the function with the part of the evidence that it takes."""
        return self.function(**{name: evidence[name] for name in self.evidence})


def magnitude(weight: Tensor, mask: Tensor, axis: int | None) -> Tensor:
    """Score a weight by its absolute value, a channel by the sum of them (norm 1).

    Args:
        weight: Values at scoring time. Shape ``*s``; unitless.
        mask: True where a weight is kept. Shape ``*s``, bool. Pruned weights count for nothing.
        axis: None to score every weight; the dimension that is kept to score its channels.

    Returns:
        Scores >= 0: shape ``*s`` and the dtype of ``weight``, or float64 with one entry per channel.

    Source:
        Han et al. 2015, arXiv:1506.02626.
    """
    return norm(weight, mask, axis, 1.0)


def norm(weight: Tensor, mask: Tensor, axis: int | None, n: float) -> Tensor:
    """Score a channel by the n-norm of its kept weights, a single weight by its absolute value.

    Args:
        weight: Values at scoring time. Shape ``*s``; unitless.
        mask: True where a weight is kept. Shape ``*s``, bool. Pruned weights count for nothing: they
            are no minimum either.
        axis: None to score every weight; the dimension that is kept to score its channels.
        n: A positive number, or ``inf`` (largest absolute value), or ``-inf`` (smallest).

    Returns:
        Scores >= 0: shape ``*s`` and the dtype of ``weight``, or float64 with one entry per channel; a
        channel without a kept weight has 0.

    Source:
        Li et al. 2017, arXiv:1608.08710 (n = 1). Sums run in float64 in one fixed order, so that for n in
        {1, 2, inf, -inf} the score has the same bits on every machine; other n rest on its ``pow``.
    """
    if axis is None:
        return weight.abs()
    sizes = _channels(weight, axis).double().abs()
    kept = _channels(mask, axis)
    if n == -math.inf:
        low = sizes.masked_fill(~kept, math.inf).amin(dim=1)
        return low.masked_fill(~kept.any(dim=1), 0.0)
    sizes = sizes.masked_fill(~kept, 0.0)
    if n == math.inf:
        return sizes.amax(dim=1)
    if n == 1:
        return _totals(sizes)
    if n == 2:
        return _totals(sizes * sizes).sqrt()
    # Scaled by the largest entry: a high power of small weights must not vanish into ties.
    largest = sizes.amax(dim=1, keepdim=True).clamp_min(2.0**-1000)
    return _totals((sizes / largest) ** n) ** (1 / n) * largest[:, 0]


def random(weight: Tensor, axis: int | None, stream: Stream) -> Tensor:
    """Score every weight or channel by a uniform number of the mask stream, whatever its value.

    Args:
        weight: Gives the shape ``*s`` only.
        axis: None to score every weight; the dimension that is kept to score its channels.
        stream: The mask stream of this parameter and level.

    Returns:
        Scores in [0, 1), float64: shape ``*s``, or one entry per channel. A unit's score depends on its
        position alone, not on what is still kept.
    """
    import torch

    shape = weight.shape if axis is None else weight.shape[axis : axis + 1]
    return torch.from_numpy(stream.uniform(math.prod(shape))).reshape(shape)


def channel_totals(scores: Tensor, mask: Tensor, axis: int) -> Tensor:
    """Sum the scores of the kept weights of each channel, in float64 and one fixed order.

    Args:
        scores: One score per weight, signs included. Shape ``*s``.
        mask: True where a weight is kept. Shape ``*s``, bool.
        axis: The dimension that is kept.

    Returns:
        One total per channel, float64.
    """
    return _totals(_channels(scores, axis).double().masked_fill(~_channels(mask, axis), 0.0))


def _channels(tensor: Tensor, axis: int) -> Tensor:
    return tensor.movedim(axis, 0).reshape(tensor.shape[axis], -1)


def _totals(rows: Tensor) -> Tensor:
    # A plain sum is split by SIMD width; a running sum has one order everywhere.
    return rows.cumsum(dim=1)[:, -1]


CRITERIA: dict[str, Criterion] = {
    "magnitude": Criterion(
        name="magnitude",
        function=magnitude,
        evidence=("weight", "mask", "axis"),
        formula="|w|; for a channel the sum of |w| (norm 1)",
        source="Han et al. 2015, arXiv:1506.02626",
    ),
    "norm": Criterion(
        name="norm",
        function=norm,
        evidence=("weight", "mask", "axis", "n"),
        formula="(sum |w|^n)^(1/n) of a channel; n = inf the largest |w|, n = -inf the smallest",
        source="Li et al. 2017, arXiv:1608.08710; Paganini and Forde 2020, arXiv:2001.05050",
    ),
    "random": Criterion(
        name="random",
        function=random,
        evidence=("weight", "axis", "stream"),
        formula="uniform in [0, 1) from the mask stream of the replicate, level and parameter",
        source="the control of every paper of this field",
    ),
}
