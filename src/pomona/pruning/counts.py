"""The one place where a fraction becomes a count."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Literal

from pomona.core.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import Tensor

Rounding = Literal["nearest", "floor"]
ROUNDINGS: tuple[Rounding, ...] = ("nearest", "floor")


def units(fraction: float, total: int, rounding: Rounding = "nearest") -> int:
    """How many units a fraction of them is: to be pruned of those that remain, or to be kept of all.

    Args:
        fraction: Share of the units, in [0, 1].
        total: Units (weights or channels) that it is a share of.
        rounding: ``nearest`` is ``fraction * total`` to the nearest integer, halves to even, with the
            product in double precision as ``torch.nn.utils.prune`` has it. ``floor`` drops the fraction of
            the exact decimal product, so that 29 % of 100 is 29 although ``int(0.29 * 100)`` is 28.

    Returns:
        A count in [0, total].

    Raises:
        InputError: The fraction is not in [0, 1], the total is negative, or the rule is unknown.

    Source:
        ``nearest``: Paganini and Forde 2020, arXiv:2001.05050. ``floor``: Zhou et al. 2019,
        arXiv:1905.01067, whose code has ``int(remaining * percent / 100)``.

    >>> [units(0.5, n) for n in (1, 3, 5, 7, 9)]
    [0, 2, 2, 4, 4]
    """
    if not 0 <= fraction <= 1:
        raise InputError(f"expected a fraction from 0 to 1, got {fraction!r}")
    if total < 0:
        raise InputError(f"expected a count of units of 0 or more, got {total}")
    if rounding == "nearest":
        return round(fraction * total)
    if rounding == "floor":
        return int((Decimal(repr(float(fraction))) * total).to_integral_value(ROUND_FLOOR))
    raise InputError(unknown("rounding", rounding, ROUNDINGS))


def kept(mask: Tensor) -> int:
    """How many entries of a mask are True."""
    # NumPy counts bools thirty times as fast as torch sums them.
    import numpy as np

    return int(np.count_nonzero(mask.numpy()))
