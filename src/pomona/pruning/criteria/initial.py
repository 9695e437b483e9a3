"""Mask criteria from initial and final weights (Zhou et al. 2019, arXiv:1905.01067).

Every function takes ``weight``, the final values, and where it says so ``initial``, the values at the start,
both of shape ``*s``, and gives scores of that shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def small_final(weight: Tensor) -> Tensor:
    """Keep what is small at the end: -|w_f|."""
    return -weight.abs()


def large_init(initial: Tensor) -> Tensor:
    """Keep what was large at the start: |w_i|."""
    return initial.abs()


def small_init(initial: Tensor) -> Tensor:
    """Keep what was small at the start: -|w_i|."""
    return -initial.abs()


def large_init_large_final(weight: Tensor, initial: Tensor, mask: Tensor) -> Tensor:
    """Keep what was large both times: min(a |w_f|, |w_i|), where a lets both cut the same number.

    A weight falls where a |w_f| or |w_i| is below a threshold t. That as many fall for the one as for the
    other says that t lies at one rank r of both, whatever a is: a weight falls where the lower of its two
    ranks is at most r. So the lower rank is the score, for every count at once.

    Args:
        weight: Final values.
        initial: Values at the start.
        mask: True where a weight is kept. Shape ``*s``, bool. Ranks are among the kept weights.

    Returns:
        The lower of both ranks over the number of kept weights: in (0, 1], float64; 0 where pruned.
    """
    return _lower_rank(weight.abs(), initial.abs(), mask)


def small_init_small_final(weight: Tensor, initial: Tensor, mask: Tensor) -> Tensor:
    """Keep what was small both times: -max(a |w_f|, |w_i|), where a lets both cut the same number.

    Args:
        weight: Final values.
        initial: Values at the start.
        mask: True where a weight is kept. Shape ``*s``, bool.

    Returns:
        As ``large_init_large_final``, of ranks from the largest to the smallest.
    """
    return _lower_rank(-weight.abs(), -initial.abs(), mask)


def magnitude_increase(weight: Tensor, initial: Tensor) -> Tensor:
    """Keep what grew: |w_f| - |w_i|."""
    return weight.abs() - initial.abs()


def movement(weight: Tensor, initial: Tensor) -> Tensor:
    """Keep what moved: |w_f - w_i|."""
    return (weight - initial).abs()


def large_final_same_sign(weight: Tensor, initial: Tensor) -> Tensor:
    """Keep what is large and has its first sign: |w_f| sign(w_f / w_i)."""
    return weight.abs() * _sign_of_ratio(weight, initial)


def large_final_diff_sign(weight: Tensor, initial: Tensor) -> Tensor:
    """Keep what is large and changed its sign: -|w_f| sign(w_f / w_i)."""
    return -weight.abs() * _sign_of_ratio(weight, initial)


def magnitude_increase_same_sign(weight: Tensor, initial: Tensor) -> Tensor:
    """(|w_f| - |w_i|) sign(w_f / w_i)."""
    return magnitude_increase(weight, initial) * _sign_of_ratio(weight, initial)


def magnitude_increase_diff_sign(weight: Tensor, initial: Tensor) -> Tensor:
    """-(|w_f| - |w_i|) sign(w_f / w_i)."""
    return -magnitude_increase(weight, initial) * _sign_of_ratio(weight, initial)


def large_final_same_sign_zeroed(weight: Tensor, initial: Tensor) -> Tensor:
    """|w_f| where the sign is the first one, 0 elsewhere."""
    return weight.abs().masked_fill(weight.sign() != initial.sign(), 0.0)


def large_final_diff_sign_zeroed(weight: Tensor, initial: Tensor) -> Tensor:
    """|w_f| where the sign is another one, 0 elsewhere."""
    return weight.abs().masked_fill(weight.sign() == initial.sign(), 0.0)


def magnitude_increase_same_sign_zeroed(weight: Tensor, initial: Tensor) -> Tensor:
    """|w_f| - |w_i| where the sign is the first one, 0 elsewhere."""
    return magnitude_increase(weight, initial).masked_fill(weight.sign() != initial.sign(), 0.0)


def magnitude_increase_diff_sign_zeroed(weight: Tensor, initial: Tensor) -> Tensor:
    """|w_f| - |w_i| where the sign is another one, 0 elsewhere."""
    return magnitude_increase(weight, initial).masked_fill(weight.sign() == initial.sign(), 0.0)


def _sign_of_ratio(weight: Tensor, initial: Tensor) -> Tensor:
    # Not of the quotient: 0 / 0 has none. A zero at either time has no sign, and scores 0.
    return weight.sign() * initial.sign()


def _lower_rank(final: Tensor, initial: Tensor, mask: Tensor) -> Tensor:
    import torch

    found = torch.zeros(mask.shape, dtype=torch.float64, device=mask.device)
    ranks = torch.minimum(_ranks(final[mask]), _ranks(initial[mask]))
    # Shares of the layer, so that layers of different size can be ranked together.
    found[mask] = ranks.double() / max(1, len(ranks))
    return found


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1 of the smallest on; equal values by their index."""
    import torch

    ranks = torch.empty(values.shape, dtype=torch.int64, device=values.device)
    ranks[values.argsort(stable=True)] = torch.arange(1, len(values) + 1, device=values.device)
    return ranks
