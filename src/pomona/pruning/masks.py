"""Masks beside the tensors they belong to: completed, checked and applied."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pomona.core.errors import InputError, unknown


def apply_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """New tensors, exactly zero (+0) wherever a mask prunes; what has no mask is copied.

    Raises:
        InputError: A mask has no tensor, is not bool, or has another shape.
    """
    for name, mask in masks.items():
        if name not in weights:
            raise InputError(unknown("masked parameter", name, weights))
        _check_fits(name, mask, weights[name])
    # Filled, not multiplied: -1 * 0 is -0, and NaN * 0 is NaN.
    return {
        name: tensor.detach().masked_fill(~masks[name], 0) if name in masks else tensor.detach().clone()
        for name, tensor in weights.items()
    }


def full_masks(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], kinds: Mapping[str, str]
) -> dict[str, Tensor]:
    """The mask of every prunable parameter, in network order; all True where none is given.

    Args:
        weights: Tensors by name, at least the prunable ones.
        masks: True where kept, by prunable parameter.
        kinds: Every prunable parameter and its kind, in network order.

    Raises:
        InputError: A mask of something that is not prunable, a prunable parameter without a tensor, or a
            mask that is not bool or has another shape.
    """
    for name in masks:
        if name not in kinds:
            raise InputError(unknown("masked parameter", name, kinds))
    found: dict[str, Tensor] = {}
    for name in kinds:
        if name not in weights:
            raise InputError(unknown("prunable parameter", name, weights))
        found[name] = masks[name] if name in masks else torch.ones(weights[name].shape, dtype=torch.bool)
        _check_fits(name, found[name], weights[name])
    return found


def _check_fits(name: str, mask: Tensor, weight: Tensor) -> None:
    if mask.dtype != torch.bool:
        raise InputError(f"mask of {name!r}: expected bool (True = kept), got {mask.dtype}")
    if mask.shape != weight.shape:
        raise InputError(
            f"mask of {name!r}: expected the weight's shape {tuple(weight.shape)}, got {tuple(mask.shape)}"
        )
