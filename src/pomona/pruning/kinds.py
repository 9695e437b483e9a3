"""Which weights of a module can be pruned, and what kind of layer each belongs to."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from pomona.pruning.layers import kind_text


def layer_kinds(module: nn.Module) -> dict[str, str]:
    """The kind of each weight that can be pruned, in the order of the network.

    Args:
        module: Any module. Convolutions, transposed ones too, linear layers, embeddings and the projections
            of attention count, subclasses of them too; biases and norms do not. A weight that layers share is
            there once, under its first name, as ``named_parameters`` has it.

    Returns:
        The text of a kind (see ``pruning.layers``) by the name of the parameter.
    """
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    kinds: dict[str, str] = {}
    for layer in module.modules():
        own, kind = _prunable(layer)
        for name in own:
            # Not getattr: under a parametrization the weight is computed and the parameter has another name.
            weight = layer._parameters.get(name)
            if weight is not None:
                kinds.setdefault(names[id(weight)], kind)
    return kinds


def _prunable(layer: nn.Module) -> tuple[tuple[str, ...], str]:
    """Names of a layer's own weights that can be pruned, and their kind."""
    if isinstance(layer, _ConvTransposeNd):
        return ("weight",), kind_text("conv-transposed", layer.groups)
    if isinstance(layer, _ConvNd):
        return ("weight",), kind_text("conv", layer.groups)
    if isinstance(layer, nn.Linear):
        return ("weight",), "linear"
    if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
        return ("weight",), "embedding"
    if isinstance(layer, nn.MultiheadAttention):
        # Its output projection is a linear layer of its own.
        return ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"), "attention"
    return (), ""
