"""From a choice to a module and to its initial weights, with global random state untouched."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from pomona.core.errors import InputError
from pomona.core.streams import Stream
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
    choice: ModelChoice, input_shape: Shape, classes: int, seed_index: int, folder: Path | None = None
) -> dict[str, Tensor]:
    """Every parameter and buffer of a network at the start of a replicate.

    Args:
        choice: Which network, drawn from which distribution, replaced by which pretrained weights.
        input_shape: Channels, height and width of one image.
        classes: Number of outputs.
        seed_index: Index of the ``init`` stream. Pretrained weights replace everything that was drawn.
        folder: What relative paths are relative to.

    Returns:
        Contiguous tensors on the CPU, by name, in the order of ``state_dict``.

    Raises:
        InputError: As ``build``; or the pretrained weights do not fit; or a user's network ties prunable
            weights or has a type that cannot be stored.
    """
    if choice.own:
        seed = Stream("init", seed_index).seed()
        module = own_network(choice.name, input_shape, classes, choice.options, seed, folder)
        _check_storable(module)
        _check_untied(module)
        found = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    else:
        with torch.device("meta"):
            module = _catalogue(choice, input_shape, classes)
        found = drawn_weights(module, seed_index, choice.distribution)
    return found if choice.weights is None else pretrained(choice.weights, found, folder)


def _check_storable(module: nn.Module) -> None:
    # Buffers that state_dict leaves out too: a checkpoint holds them.
    tensors = [*module.named_parameters(), *module.named_buffers()]
    odd = [f"{name} is {tensor.dtype}" for name, tensor in tensors if tensor.dtype not in _STORED]
    if odd:
        raise InputError(
            f"{', '.join(odd)}: expected float32, float64, float16, integers or bool; convert the "
            "network with .float() in its constructor"
        )


def _check_untied(module: nn.Module) -> None:
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    prunable = set(layer_kinds(module))
    for shared in names.values():
        if len(shared) > 1 and prunable & set(shared):
            raise InputError(
                f"{' and '.join(shared)} are one tensor: tied weights cannot be pruned yet; "
                "give each layer its own"
            )


def layer_kinds(module: nn.Module) -> dict[str, str]:
    """The kind of each weight that can be pruned, in the order of the network.

    Args:
        module: Any module. Convolutions and linear layers count, subclasses of them too; biases and norms
            do not. A weight that layers share is named once, by the first of them.

    Returns:
        ``conv`` or ``linear`` by the name of the parameter.
    """
    kinds: dict[str, str] = {}
    seen: set[int] = set()
    for prefix, layer in module.named_modules():
        kind = "conv" if isinstance(layer, _ConvNd) else "linear" if isinstance(layer, nn.Linear) else None
        # Not getattr: under a parametrization the weight is computed and the parameter has another name.
        weight = layer._parameters.get("weight")
        if kind is None or weight is None or id(weight) in seen:
            continue
        seen.add(id(weight))
        kinds[f"{prefix}.weight" if prefix else "weight"] = kind
    return kinds


def _catalogue(choice: ModelChoice, input_shape: Shape, classes: int) -> nn.Module:
    options = {**MODELS[choice.name].options, **choice.options}
    return catalogue_network(choice.name, input_shape, classes, options)
