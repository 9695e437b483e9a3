"""Masks as stored: one bit a weight, with the shape and the kind of each layer beside them."""

from __future__ import annotations

import math
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
    kinds: dict[str, str] = {}
    for layer in _layers(about):
        name, shape, kind = layer["name"], tuple(layer["shape"]), layer["kind"]
        # Numbers of Python: a product that NumPy takes may overflow to what fits.
        size = math.prod(shape)
        bits = arrays.get(name)
        try:
            if bits is None or bits.dtype != np.uint8 or bits.shape != (-(-size // 8),):
                raise ValueError
            masks[name] = np.unpackbits(bits, count=size).astype(np.bool_).reshape(shape)
        except (ValueError, OverflowError):
            # Also a shape that no array has: of too many sides, or of one too long beside one of length 0.
            raise StoreError(f"mask of {name!r}: the stored bits do not fit the shape {shape}") from None
        kinds[name] = kind
    return masks, kinds


def _layers(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    layers = about.get("layers")
    if not isinstance(layers, list) or not all(map(_is_layer, layers)):
        raise StoreError("not a file of masks: its description lacks the name, shape and kind of each layer")
    return layers


def _is_layer(layer: object) -> bool:
    if not isinstance(layer, dict):
        return False
    name, shape, kind = (layer.get(part) for part in ("name", "shape", "kind"))
    return (
        isinstance(name, str)
        and isinstance(kind, str)
        and isinstance(shape, list)
        and all(isinstance(side, int) and side >= 0 for side in shape)
    )
