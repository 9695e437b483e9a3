"""From a choice to a module and to its initial weights, with global random state untouched."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from pomona.core.errors import InputError
from pomona.core.streams import Stream
from pomona.core.tied import twins
from pomona.models.catalogue import MODELS
from pomona.models.choice import ModelChoice
from pomona.models.initial import drawn_weights
from pomona.models.networks import catalogue_network
from pomona.models.own import own_network
from pomona.models.pretrained import pretrained

Shape = tuple[int, int, int]

# What NumPy and the files of a store know.
_STORED = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8}
    | {torch.uint8, torch.bool}
)


def build(choice: ModelChoice, input_shape: Shape, classes: int, folder: Path | None = None) -> nn.Module:
    """Make the module that computes a network. Its weights are to be loaded: they hold no useful values.

    A catalogue network keeps its convolutions in channels-last layout, in which training is about a quarter
    faster on a CPU. A user's own module is left as its constructor made it.

    Args:
        choice: Which network.
        input_shape: Channels, height and width of one image.
        classes: Number of outputs.
        folder: What the path of a user's file is relative to.

    Raises:
        InputError: The images are too small, or a user's constructor fails (says file and line).
    """
    if choice.own:
        return own_network(choice.name, input_shape, classes, choice.options, seed=0, folder=folder)
    with torch.device("meta"):
        module = _catalogue(choice, input_shape, classes)
    module.to_empty(device="cpu")
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def initial_weights(
    choice: ModelChoice,
    input_shape: Shape,
    classes: int,
    seed_index: int,
    folder: Path | None = None,
    draw: int = 0,
) -> dict[str, Tensor]:
    """Every parameter and buffer of a network at the start of a replicate.

    Args:
        choice: Which network, drawn from which distribution, replaced by which pretrained weights.
        input_shape: Channels, height and width of one image.
        classes: Number of outputs.
        seed_index: Index of the ``init`` stream. Pretrained weights replace everything that was drawn.
        folder: What relative paths are relative to.
        draw: Number of a further draw of the same replicate; 0 is the one that it starts with.

    Returns:
        Contiguous tensors on the CPU, by name, in the order of ``state_dict``. A parameter that a user's
        network has under two names is there once, under the first.

    Raises:
        InputError: As ``build``; or the pretrained weights do not fit; or a user's network has a type
            that cannot be stored.
    """
    if choice.own:
        seed = Stream("init", seed_index, level=draw or None).seed()
        module = own_network(choice.name, input_shape, classes, choice.options, seed, folder)
        _check_storable(module)
        tied = twins(module.named_parameters(remove_duplicate=False))
        tensors = module.state_dict()
        found = {name: t.detach().clone().contiguous() for name, t in tensors.items() if name not in tied}
    else:
        with torch.device("meta"):
            module = _catalogue(choice, input_shape, classes)
        found, tied = drawn_weights(module, seed_index, choice.distribution, draw), {}
    return found if choice.weights is None else pretrained(choice.weights, found, folder, tied)


def _check_storable(module: nn.Module) -> None:
    # Buffers that state_dict leaves out too: a checkpoint holds them.
    tensors = [*module.named_parameters(), *module.named_buffers()]
    odd = [f"{name} is {tensor.dtype}" for name, tensor in tensors if tensor.dtype not in _STORED]
    if odd:
        raise InputError(
            f"{', '.join(odd)}: expected float32, float64, float16, integers or bool; convert the "
            "network with .float() in its constructor"
        )


def _catalogue(choice: ModelChoice, input_shape: Shape, classes: int) -> nn.Module:
    options = {**MODELS[choice.name].options, **choice.options}
    return catalogue_network(choice.name, input_shape, classes, options)
