"""Scores from second derivatives of the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def obd(weight: Tensor, curvature: Tensor) -> Tensor:
    """Score a weight by w^2 h_qq / 2, the loss that its removal costs at a minimum.

    Args:
        weight: Values at scoring time. Shape ``*s``; unitless.
        curvature: Diagonal of the Gauss-Newton matrix of the mean loss. Shape ``*s``, float64; nats per
            squared unit weight.

    Source:
        LeCun et al. 1990, Optimal Brain Damage.
    """
    return weight.double().square() * curvature / 2


def obs(weight: Tensor, inverse_curvature: Tensor) -> Tensor:
    """Score a weight by w^2 / (2 [H^-1]_qq), what its removal costs when the others make up for it.

    Args:
        weight: Values at scoring time. Shape ``*s``; unitless.
        inverse_curvature: Diagonal of the inverse of the damped blocks. Shape ``*s``, float64, positive.

    Source:
        Hassibi and Stork 1993, Optimal Brain Surgeon.
    """
    return weight.double().square() / (2 * inverse_curvature)


def obs_update(weight: Tensor, before: Tensor, after: Tensor, inverse_blocks: Tensor) -> Tensor:
    """New values of the survivors, which make up for what went: see ``pomona.pruning.obs.update``."""
    from pomona.pruning.obs import update

    return update(weight, before, after, inverse_blocks)
