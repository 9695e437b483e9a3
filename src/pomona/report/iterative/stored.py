"""Weights and masks of layers at the points of an arm, as far as the store has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import StoreError
from pomona.pruning.layers import kind_of
from pomona.studies.points import Point

if TYPE_CHECKING:
    from pomona.report.iterative.selection import Selection

Masked = tuple[NDArray[np.floating], NDArray[np.bool_]]


def convolutions(selection: Selection) -> list[str]:
    """Names of the weights of convolutions, in the order of the network."""
    return _of_kind(selection, "conv")


def linears(selection: Selection) -> list[str]:
    """Names of the weights of linear layers, in the order of the network."""
    return _of_kind(selection, "linear")


def second_convolution(selection: Selection) -> str:
    """The layer that most of the paper's figures look at; empty where a network has fewer than two."""
    return next(iter(convolutions(selection)[1:]), "")


def short(layer: str) -> str:
    """What a layer is called in figures.

    >>> short("conv2.weight")
    'conv2'
    """
    return layer.removesuffix(".weight")


def masked(selection: Selection, point: Point, layers: Iterable[str]) -> dict[str, Masked]:
    """Weights and masks of layers at the end of a level; empty where they are not stored (any more)."""
    store = selection.results.store
    try:
        weights = store.weights(point.state.key)
    except StoreError:
        return {}
    found = masks(selection, point)
    return {layer: (weights[layer], found[layer]) for layer in layers if layer in found}


def masks(selection: Selection, point: Point) -> dict[str, NDArray[np.bool_]]:
    """Masks of a point by layer; empty where they are not stored."""
    try:
        return selection.results.store.masks(point.masked.key)[0]
    except StoreError:
        return {}


def first_lineage(selection: Selection, method: str, treatment: str, **others: str) -> dict[int, Point]:
    """The points of replicate 0 of an arm by level; empty where there is no such arm."""
    lineages = selection.lineages(method, treatment, **others)
    return {point.level: point for point in lineages.get(0, [])}


def _of_kind(selection: Selection, kind: str) -> list[str]:
    return [layer for layer, text in selection.layers().items() if kind_of(text) == kind]
