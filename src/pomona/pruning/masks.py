"""Masks beside the tensors they belong to: completed, checked and applied."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pomona.core.errors import InputError, unknown


def apply_masks(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], values: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """New tensors, exactly zero (+0) wherever a mask prunes; what has no mask is copied.

    Args:
        weights: Tensors by name, at least those that have a mask. Not changed.
        masks: True where kept, by parameter.
        values: What pruned weights are instead of zero, by masked parameter and in its shape; see
            ``actions.pruned_values``. Copied bit for bit.

    Raises:
        InputError: A mask or a value has no tensor or another shape, or a mask is not bool.
    """
    check_masks(weights, masks)
    for name in masks if values is not None else ():
        _check_value(name, values or {}, weights[name])

    def masked(name: str, tensor: Tensor) -> Tensor:
        if name not in masks:
            return tensor.detach().clone()
        if values is not None:
            return torch.where(masks[name], tensor.detach(), values[name].detach())
        # Filled, not multiplied: -1 * 0 is -0, and NaN * 0 is NaN.
        return tensor.detach().masked_fill(~masks[name], 0)

    return {name: masked(name, tensor) for name, tensor in weights.items()}


def check_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Check that every mask has its tensor and fits it.

    Raises:
        InputError: A mask has no tensor, is not bool, or has another shape; says which.
    """
    for name, mask in masks.items():
        if name not in weights:
            raise InputError(unknown("masked parameter", name, weights))
        _check_fits(name, mask, weights[name])


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


def _check_value(name: str, values: Mapping[str, Tensor], weight: Tensor) -> None:
    if name not in values:
        raise InputError(unknown("value of a pruned parameter", name, values))
    value = values[name]
    if value.shape != weight.shape or value.dtype != weight.dtype:
        raise InputError(
            f"values of {name!r}: expected {weight.dtype} of shape {tuple(weight.shape)}, got {value.dtype} "
            f"of shape {tuple(value.shape)}"
        )
