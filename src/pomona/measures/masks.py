"""Masks to numbers: densities, and distances between masks of the same layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError, unknown

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Layerwise:
    """A measure of each layer by itself and of all layers taken as one long mask."""

    layers: dict[str, float]
    total: float


def layerwise(measure: Callable[..., float], *masks: Mapping[str, Mask]) -> Layerwise:
    """Apply a measure of one or two masks to each layer and to all layers together.

    Args:
        measure: ``density``, ``jaccard_distance`` or ``hamming_distance``.
        masks: One or two sets of masks by parameter name; the order of the first counts.

    Raises:
        InputError: The sets are of different layers or shapes, or empty.
    """
    names = list(masks[0])
    for other in masks[1:]:
        for name in [*names, *other]:
            if name not in other or name not in masks[0]:
                raise InputError(unknown("mask", name, masks[0] if name in other else other))
    if not names:
        raise InputError("expected the masks of at least one layer, got none")
    layers = {name: measure(*(given[name] for given in masks)) for name in names}
    whole = [np.concatenate([np.ravel(given[name]) for name in names]) for given in masks]
    return Layerwise(layers, measure(*whole))


def density(mask: Mask) -> float:
    """Share of the weights that are kept, in [0, 1].

    Raises:
        InputError: The mask is not bool or has no entry.
    """
    return float(np.count_nonzero(_checked(mask)) / mask.size)


def jaccard_distance(a: Mask, b: Mask) -> float:
    """1 - |a and b| / |a or b| over the kept weights, in [0, 1]. Two empty masks are the same: 0.

    Raises:
        InputError: A mask is not bool or has no entry, or the shapes differ.

    Source:
        Jaccard 1901; as in Paganini and Forde 2020, arXiv:2001.05050.
    """
    _check_pair(a, b)
    union = np.count_nonzero(a | b)
    return float(1 - np.count_nonzero(a & b) / union) if union else 0.0


def hamming_distance(a: Mask, b: Mask) -> float:
    """Share of the weights that one mask keeps and the other prunes, in [0, 1].

    Raises:
        InputError: A mask is not bool or has no entry, or the shapes differ.
    """
    _check_pair(a, b)
    return float(np.count_nonzero(a ^ b) / a.size)


def _check_pair(a: Mask, b: Mask) -> None:
    if _checked(a).shape != _checked(b).shape:
        raise InputError(f"expected two masks of one shape, got {a.shape} and {b.shape}")


def _checked(mask: Mask) -> Mask:
    if mask.dtype != np.bool_:
        raise InputError(f"expected a mask as bool (True = kept), got {mask.dtype}")
    if mask.size == 0:
        raise InputError(f"expected a mask with at least one entry, got shape {mask.shape}")
    return mask
