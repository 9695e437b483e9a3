"""The optimizers as updates of all parameters at once, in the arithmetic of ``torch.optim``.

Gradients of pruned weights arrive as zero and pruned weights are zero, so their state and they themselves
stay exactly zero: every update below maps (0, 0, 0) to (0, 0, 0).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from pomona.training.config import Adam, Sgd


class Update(ABC):
    """A rule that changes parameters in place, and the state that it keeps between steps.

    Args:
        parameters: What is trained; changed in place, outside of autograd.
    """

    def __init__(self, parameters: list[Tensor]) -> None:
        self.parameters = parameters

    @abstractmethod
    def apply(self, gradients: list[Tensor], lr: float, step: int) -> None:
        """Take one step.

        Args:
            gradients: In the order of the parameters; may be changed.
            lr: Learning rate of this step.
            step: How many updates the state has seen, from zeros on.
        """

    @abstractmethod
    def state(self) -> dict[str, list[Tensor]]:
        """The kept tensors by name, each in the order of the parameters. Not copies."""


class SgdUpdate(Update):
    """SGD with momentum, Nesterov and weight decay."""

    def __init__(self, config: Sgd, parameters: list[Tensor]) -> None:
        super().__init__(parameters)
        self.config = config
        # torch starts the momentum at the first gradient, which is the same as starting at zero.
        self.momentum = [torch.zeros_like(p) for p in parameters] if config.momentum else []

    def apply(self, gradients: list[Tensor], lr: float, step: int) -> None:
        """See ``Update``."""
        if self.config.weight_decay:
            torch._foreach_add_(gradients, self.parameters, alpha=self.config.weight_decay)
        if self.momentum:
            torch._foreach_mul_(self.momentum, self.config.momentum)
            torch._foreach_add_(self.momentum, gradients)
            if self.config.nesterov:
                torch._foreach_add_(gradients, self.momentum, alpha=self.config.momentum)
            else:
                gradients = self.momentum
        torch._foreach_add_(self.parameters, gradients, alpha=-lr)

    def state(self) -> dict[str, list[Tensor]]:
        """See ``Update``."""
        return {"momentum": self.momentum} if self.momentum else {}


class AdamUpdate(Update):
    """Adam with bias correction and weight decay in the gradient."""

    def __init__(self, config: Adam, parameters: list[Tensor]) -> None:
        super().__init__(parameters)
        self.config = config
        self.mean = [torch.zeros_like(p) for p in parameters]
        self.square = [torch.zeros_like(p) for p in parameters]

    def apply(self, gradients: list[Tensor], lr: float, step: int) -> None:
        """See ``Update``."""
        config, (first, second) = self.config, self.config.betas
        if config.weight_decay:
            torch._foreach_add_(gradients, self.parameters, alpha=config.weight_decay)
        torch._foreach_lerp_(self.mean, gradients, 1.0 - first)
        torch._foreach_mul_(self.square, second)
        torch._foreach_addcmul_(self.square, gradients, gradients, value=1.0 - second)
        root = torch._foreach_sqrt(self.square)
        torch._foreach_div_(root, (1.0 - second ** (step + 1)) ** 0.5)
        torch._foreach_add_(root, config.eps)
        size = lr / (1.0 - first ** (step + 1))
        torch._foreach_addcdiv_(self.parameters, self.mean, root, value=-size)

    def state(self) -> dict[str, list[Tensor]]:
        """See ``Update``."""
        return {"mean": self.mean, "square": self.square}


def make_update(config: Sgd | Adam, parameters: list[Tensor]) -> Update:
    """The update that a study asks for."""
    return SgdUpdate(config, parameters) if isinstance(config, Sgd) else AdamUpdate(config, parameters)
