"""Scores from first derivatives: of the loss, of its gradient's norm, of the flow through the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def gradient(gradient: Tensor) -> Tensor:
    """Score a weight by |g|.

    Args:
        gradient: Mean loss gradient of the scoring examples. Shape ``*s``; nats per unit weight.
    """
    return gradient.abs()


def snip(weight: Tensor, gradient: Tensor) -> Tensor:
    """Score a weight by |w g|, the sensitivity of the loss to its connection.

    Args:
        weight: Values at scoring time. Shape ``*s``; unitless.
        gradient: Mean loss gradient of the scoring examples. Shape ``*s``; nats per unit weight.

    Source:
        Lee et al. 2019, arXiv:1810.02340; not divided by the sum of all scores, which changes no order.
    """
    return (weight * gradient).abs()


def grasp(weight: Tensor, hessian_gradient: Tensor) -> Tensor:
    """Score a weight by w (H g), signed: what its removal takes from the squared norm of the gradient.

    Args:
        weight: Values at scoring time. Shape ``*s``; unitless.
        hessian_gradient: Hessian times gradient of the loss with logits / 200. Shape ``*s``.

    Source:
        Wang et al. 2020, arXiv:2002.07376, who write -w (H g) and remove the highest.
    """
    return weight * hessian_gradient


def synflow(weight: Tensor, flow: Tensor) -> Tensor:
    """Score a weight by |w dR/d|w||, its share of the flow R through the network of absolute values.

    Args:
        weight: Values at scoring time. Shape ``*s``; unitless.
        flow: Derivative of R, the sum of the outputs for an input of ones. Shape ``*s``, float64.

    Source:
        Tanaka et al. 2020, arXiv:2006.05467.
    """
    return (weight * flow).abs()


def taylor(weight: Tensor, mask: Tensor, gradient: Tensor) -> Tensor:
    """Score a weight by (w g)^2, the squared change of the loss to first order when it goes.

    Args:
        weight: Values at scoring time. Shape ``*s``; unitless.
        mask: Not used: a single weight has no neighbours.
        gradient: Mean loss gradient of the scoring examples. Shape ``*s``; nats per unit weight.

    Source:
        Molchanov et al. 2019, arXiv:1906.10771.
    """
    # Squared in float64: small changes must not vanish into ties.
    return (weight.double() * gradient).square()


def taylor_unit(weight: Tensor, mask: Tensor, gradient: Tensor) -> Tensor:
    """Score a unit by (sum of w g over its kept weights)^2: its weights go together.

    Args:
        weight: Shape [units, members], float64.
        mask: True where a weight is kept. Same shape, bool.
        gradient: Mean loss gradient. Same shape, float64.
    """
    return (weight * gradient).masked_fill(~mask, 0.0).cumsum(dim=1)[:, -1].square()


def fisher(weight: Tensor, squared_gradient: Tensor) -> Tensor:
    """Score a weight by w^2 E[g^2] / 2, with the empirical Fisher information in the Hessian's place.

    Args:
        weight: Values at scoring time. Shape ``*s``; unitless.
        squared_gradient: Mean over examples of the squared gradient of one. Shape ``*s``, float64.

    Source:
        Theis et al. 2018, arXiv:1801.05787.
    """
    return weight.double().square() * squared_gradient / 2
