"""Calls of single layers, heard while a network is evaluated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from pomona.core.errors import InputError
from pomona.pruning.criteria import CRITERIA
from pomona.pruning.evidence.batch import Batch
from pomona.pruning.evidence.network import MaskedNetwork, evaluating
from pomona.pruning.layers import layer_of


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer.

    Args:
        layer: A linear or a convolution layer.
        input: What it was given.
        further: Further positional arguments, as the output size of a transposed convolution.
        output: What it gave.
    """

    layer: nn.Module
    input: Tensor
    further: tuple[Any, ...]
    output: Tensor


def listen(view: MaskedNetwork, batch: Batch, evidence: str, heard: Callable[[str, Call], None]) -> None:
    """Evaluate the network piece by piece and hand on every call of a layer that owns a prunable parameter.

    Args:
        view: The network.
        batch: The examples.
        evidence: What is gathered, for messages.
        heard: Gets the name of the parameter and the call, while the network waits.

    Raises:
        InputError: A parameter is not the weight of a linear or convolution layer, or no call of it is seen.
    """
    owners = {name: _owners(view.network, name, evidence) for name in view.masks}
    silent = set(owners)

    def note(name: str, call: Call) -> None:
        silent.discard(name)
        heard(name, call)

    with _hooks(owners, note), evaluating(view.network), torch.no_grad():
        for inputs, _ in batch.pieces():
            view({}, inputs)
    if silent:
        first = next(name for name in owners if name in silent)
        raise InputError(
            f"{_wanted_by(evidence)}: layer {layer_of(first)!r} is never called by itself, so that what "
            "passes through it cannot be seen; leave it out with 'layers:'"
        )


@contextlib.contextmanager
def _hooks(owners: Mapping[str, list[nn.Module]], heard: Callable[[str, Call], None]) -> Iterator[None]:
    busy = False

    def hook_of(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            nonlocal busy
            # Whoever listens may call the layer once more.
            if busy:
                return
            busy = True
            values = (*args, *kwargs.values())
            heard(name, Call(layer, values[0], values[1:], output))
            busy = False

        return hook

    handles = [
        layer.register_forward_hook(hook_of(name), with_kwargs=True)
        for name, layers in owners.items()
        for layer in layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _owners(network: nn.Module, name: str, evidence: str) -> list[nn.Module]:
    """The layers whose weight a parameter is: several where it is tied."""
    parameter = network.get_parameter(name)
    found = [layer for layer in network.modules() if any(x is parameter for x in layer._parameters.values())]
    for layer in found:
        if not isinstance(layer, (nn.Linear, _ConvNd)) or layer._parameters["weight"] is not parameter:
            raise InputError(
                f"{_wanted_by(evidence)}: expected the weight of a linear or convolution layer, got {name!r} "
                f"of {type(layer).__name__}; leave it out with 'layers:'"
            )
    return found


def _wanted_by(evidence: str) -> str:
    names = [name for name, criterion in CRITERIA.items() if evidence in criterion.evidence]
    return f"criterion {' and '.join(names)}" if names else evidence
