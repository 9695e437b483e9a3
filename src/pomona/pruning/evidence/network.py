"""A network at given weights under masks, called as a pure function."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

from pomona.core.errors import InputError, unknown


@dataclass(frozen=True, eq=False)
class MaskedNetwork:
    """A network and the tensors it is evaluated at. The network's own tensors are neither read nor changed.

    Args:
        network: The module, for its structure.
        tensors: Every parameter and buffer by name; pruned weights are zero or held.
        masks: True where kept, of every prunable parameter, in network order.
    """

    network: nn.Module
    tensors: dict[str, Tensor]
    masks: dict[str, Tensor]

    @staticmethod
    def of(
        network: nn.Module, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], held: bool = False
    ) -> MaskedNetwork:
        """Take what is given from ``weights``, all else from the network.

        Pruned weights are zero, unless they are held at the values that they have.

        Raises:
            InputError: A prunable parameter is not the network's, or has another shape.
        """
        own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        for name in masks:
            if name not in own:
                raise InputError(unknown("prunable parameter", name, own, where="network"))
        tensors = {}
        for name, tensor in own.items():
            given = weights.get(name, tensor).detach()
            if given.shape != tensor.shape:
                raise InputError(
                    f"{name}: expected the network's shape {tuple(tensor.shape)}, got {tuple(given.shape)}"
                )
            zeroed = name in masks and not held
            tensors[name] = given.masked_fill(~masks[name], 0) if zeroed else given.clone()
        return MaskedNetwork(network, tensors, dict(masks))

    @property
    def prunable(self) -> dict[str, Tensor]:
        """The masked weights that evidence is gathered of."""
        return {name: self.tensors[name] for name in self.masks}

    def zeros(self) -> dict[str, Tensor]:
        """Float64 zeros in the shape of each prunable weight: a sum to begin."""
        return {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in self.prunable.items()}

    def leaves(self) -> dict[str, Tensor]:
        """The masked weights as leaves of a new graph."""
        return {name: weight.clone().requires_grad_() for name, weight in self.prunable.items()}

    def __call__(self, changed: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """The outputs with some tensors in the place of their own."""
        # A batch norm writes into its buffers.
        buffers = {name: self.tensors[name].clone() for name, _ in self.network.named_buffers()}
        found: Tensor = functional_call(self.network, {**self.tensors, **buffers, **changed}, (inputs,))
        return found


@contextlib.contextmanager
def evaluating(network: nn.Module, batch_statistics: bool = False) -> Iterator[None]:
    """Put a network in evaluation mode for the block and give every module its mode back.

    Args:
        network: The module.
        batch_statistics: Norms take their statistics from the batch, as in training. Dropout stays off.
    """
    before = {module: module.training for module in network.modules()}
    try:
        for module in before:
            module.training = batch_statistics and isinstance(module, _NormBase)
        yield
    finally:
        for module, training in before.items():
            module.training = training


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Compute attention by its formula for the block: fused kernels lack derivatives and call no hooks."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
