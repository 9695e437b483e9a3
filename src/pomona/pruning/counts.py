"""The one place where a fraction becomes a count."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import Literal

from pomona.core.errors import InputError, unknown

Rounding = Literal["nearest", "floor"]
ROUNDINGS: tuple[Rounding, ...] = ("nearest", "floor")


def units_to_prune(fraction: float, remaining: int, rounding: Rounding = "nearest") -> int:
    """How many of the remaining units are pruned.

    Args:
        fraction: Share of the remaining units, in [0, 1].
        remaining: Units (weights or channels) that are still kept.
        rounding: ``nearest`` is ``fraction * remaining`` to the nearest integer, halves to even, with the
            product in double precision as ``torch.nn.utils.prune`` has it. ``floor`` drops the fraction of
            the exact decimal product, so that 29 % of 100 is 29 although ``int(0.29 * 100)`` is 28.

    Returns:
        A count in [0, remaining].

    Raises:
        InputError: The fraction is not in [0, 1], the remaining count is negative, or the rule is unknown.

    Source:
        ``nearest``: Paganini and Forde 2020, arXiv:2001.05050. ``floor``: Zhou et al. 2019,
        arXiv:1905.01067, whose code has ``int(remaining * percent / 100)``.

    >>> [units_to_prune(0.5, n) for n in (1, 3, 5, 7, 9)]
    [0, 2, 2, 4, 4]
    """
    if not 0 <= fraction <= 1:
        raise InputError(f"expected a fraction to prune from 0 to 1, got {fraction!r}")
    if remaining < 0:
        raise InputError(f"expected a remaining count of 0 or more, got {remaining}")
    if rounding == "nearest":
        return round(fraction * remaining)
    if rounding == "floor":
        return int((Decimal(repr(float(fraction))) * remaining).to_integral_value(ROUND_FLOOR))
    raise InputError(unknown("rounding", rounding, ROUNDINGS))
