"""Masks as stored: one bit a weight, with the shape and the kind of each layer beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import StoreError

Masks = Mapping[str, NDArray[np.bool_]]


def pack_masks(masks: Masks, kinds: Mapping[str, str]) -> tuple[dict[str, NDArray[np.uint8]], dict[str, Any]]:
    """Masks to bits.

    Args:
        masks: Kept entries by parameter name, in the order of the network. Bool, any shape.
        kinds: Kind of layer by parameter name.

    Returns:
        Packed bits by name, and the description that ``unpack_masks`` needs.
    """
    layers = [{"name": n, "shape": list(m.shape), "kind": kinds[n]} for n, m in masks.items()]
    return {name: np.packbits(mask.reshape(-1)) for name, mask in masks.items()}, {"layers": layers}


def unpack_masks(
    arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]
) -> tuple[dict[str, NDArray[np.bool_]], dict[str, str]]:
    """The masks and the kinds of layer that were packed.

    Raises:
        StoreError: The bits do not fit the shapes.
    """
    masks: dict[str, NDArray[np.bool_]] = {}
    for layer in about["layers"]:
        name, shape = layer["name"], tuple(layer["shape"])
        size = int(np.prod(shape))
        if name not in arrays or arrays[name].size != -(-size // 8):
            raise StoreError(f"mask of {name!r}: the stored bits do not fit the shape {shape}")
        masks[name] = np.unpackbits(arrays[name], count=size).astype(np.bool_).reshape(shape)
    return masks, {layer["name"]: layer["kind"] for layer in about["layers"]}
