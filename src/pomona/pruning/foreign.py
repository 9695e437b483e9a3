"""Masks and weights in the forms of others: ``torch.nn.utils.prune``, mask files, and zeros that mean a mask.

Everything here goes from tensors by name to tensors by name; ``pomona.import_checkpoint`` reads files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pomona.core.errors import InputError

_ORIG, _MASK = "_orig", "_mask"


@dataclass(frozen=True, eq=False)
class Foreign:
    """What was found.

    Args:
        weights: Tensors by plain name (``fc1.weight``), as they are: pruned ones need not be zero.
        masks: Bool, True = kept, by the name of the weight.
    """

    weights: dict[str, Tensor]
    masks: dict[str, Tensor]


def from_torch_prune(source: nn.Module | Mapping[str, Tensor], known: Collection[str] = ()) -> Foreign:
    """Plain weights and masks of a module that ``torch.nn.utils.prune`` pruned, or of its ``state_dict``.

    ``fc1.weight_orig`` beside ``fc1.weight_mask`` is the weight ``fc1.weight`` under a mask; so is
    ``fc1.weight`` itself beside such a mask. Everything else is left as it is.

    Args:
        source: A module, which is not changed, or tensors by name.
        known: Names that the network itself has: a buffer of its own that is called like a mask.

    Raises:
        InputError: A mask is not 0 and 1, has another shape than its weight, or a weight is there twice.
    """
    tensors = source.state_dict() if isinstance(source, nn.Module) else source
    weights: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = name.removesuffix(_ORIG) if name.endswith(_ORIG) and name not in known else name
        if plain != name and plain in tensors:
            raise InputError(f"both {plain} and {name} are there: which is the weight?")
        if name.endswith(_MASK) and _is_mask_of(name.removesuffix(_MASK), tensors):
            masks[name.removesuffix(_MASK)] = mask_of(name, tensor)
            if name not in known:
                continue
        weights[plain] = tensor.detach()
    for name, mask in masks.items():
        if mask.shape != weights[name].shape:
            raise InputError(
                f"mask of {name}: shape {tuple(mask.shape)}, the weight has {tuple(weights[name].shape)}"
            )
    return Foreign(weights, masks)


def to_torch_prune(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The ``state_dict`` of a module that ``torch.nn.utils.prune`` pruned with these masks.

    Args:
        weights: By plain name.
        masks: Bool, True = kept, by the name of a weight.

    Returns:
        For each masked weight ``NAME_orig``, zero where it is pruned, and ``NAME_mask`` in the weight's type;
        all else as it is.
    """
    plain = masked(weights, masks)
    found: dict[str, Tensor] = {}
    for name, tensor in plain.items():
        if name in masks:
            found[name + _ORIG] = tensor
            found[name + _MASK] = masks[name].to(tensor.dtype)
        else:
            found[name] = tensor
    return found


def masked(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A plain ``state_dict``: zero where a mask prunes. What is given is not changed."""
    return {
        name: tensor.detach().masked_fill(~masks[name], 0) if name in masks else tensor.detach().clone()
        for name, tensor in weights.items()
    }


def from_zeros(weights: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """Masks that prune what is exactly zero. What is zero by chance cannot be told from what was pruned.

    Args:
        weights: By name.
        names: The prunable ones.
    """
    return {name: weights[name].detach() != 0 for name in names if name in weights}


def mask_of(name: str, tensor: Tensor) -> Tensor:
    """A mask of zeros and ones of any type as bool.

    Raises:
        InputError: It has other values; says one of them and where.
    """
    found = tensor.detach() != 0
    odd = found & (tensor != 1)
    if bool(odd.any()):
        place = odd.nonzero()[0].tolist()
        raise InputError(f"mask {name}: expected zeros and ones, got {tensor[odd][0].item():g} at {place}")
    return found


def matched(given: Collection[str], known: Collection[str]) -> dict[str, str]:
    """The name in a network of each name in a file: the same one, or one that differs by what stands before.

    ``module.fc1.weight`` is ``fc1.weight``, and ``fc1.weight`` is ``net.fc1.weight``, where no other name
    would do. A mask may be called like its weight or like torch's buffer, ``fc1.weight_mask``.

    Args:
        given: Names in the file.
        known: Names in the network.

    Returns:
        The network's name by the file's, for those that have exactly one; no name is given out twice.
    """
    plain = {name: name if name in known else name.removesuffix(_MASK) for name in given}
    found = {name: short for name, short in plain.items() if short in known}
    left = [name for name in known if name not in found.values()]
    near = {name: [k for k in left if _same_end(k, plain[name])] for name in given if name not in found}
    claims = Counter(k for fitting in near.values() for k in fitting)
    for name, fitting in near.items():
        if len(fitting) == 1 and claims[fitting[0]] == 1:
            found[name] = fitting[0]
    return found


def _same_end(a: str, b: str) -> bool:
    return a.endswith(f".{b}") or b.endswith(f".{a}")


def _is_mask_of(plain: str, tensors: Mapping[str, Tensor]) -> bool:
    return plain in tensors or plain + _ORIG in tensors


def kept_of_all(masks: Mapping[str, Tensor]) -> tuple[int, int]:
    """Kept weights and all weights under masks."""
    return sum(int(mask.sum()) for mask in masks.values()), sum(mask.numel() for mask in masks.values())


def nonzero_under(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, int]:
    """How many weights under each mask are not zero, where there is any."""
    found = {name: int(torch.count_nonzero(weights[name][~mask])) for name, mask in masks.items()}
    return {name: count for name, count in found.items() if count}
