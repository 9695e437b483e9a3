"""Scores from what passes through the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def activation(activation_mean: Tensor) -> Tensor:
    """Score a channel by its mean activation.

    Args:
        activation_mean: One entry per channel: mean of max(z, 0) of an output channel before its
            non-linearity, mean of |x| of an input channel.
    """
    return activation_mean.double()


def apoz(activation_zeros: Tensor) -> Tensor:
    """Score a channel by minus the share of its zeros: the most silent goes first.

    Args:
        activation_zeros: One entry per channel, in [0, 1]: share of z <= 0 of an output channel, of x = 0
            of an input channel.

    Source:
        Hu et al. 2016, arXiv:1607.03250.
    """
    return -activation_zeros.double()


def wanda(weight: Tensor, input_norm: Tensor) -> Tensor:
    """Score a weight by |w| times the norm of the inputs that it multiplies.

    Args:
        weight: Values at scoring time. Shape ``*s``; unitless.
        input_norm: Root of the sum of squares of these inputs. Shape ``*s``, float64.

    Source:
        Sun et al. 2024, arXiv:2306.11695.
    """
    return weight.abs() * input_norm
