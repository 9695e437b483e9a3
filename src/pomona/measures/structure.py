"""How far the kept weights of a mask lie together in whole outputs (rows) and inputs (columns)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError
from pomona.measures.layout import Layout

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Lines:
    """How the kept weights of a layer are spread over its rows, or over its columns.

    Args:
        dispersion: Variance of the kept counts over that expected of a random mask: 1 = as random. Above 1
            they crowd in some lines, below 1 they are spread evenly. The most that it can be grows with the
            size of a line, so layers do not compare by it.
        clustering: The same from 0 (as random) to 1 (every line is kept whole or not at all): layers compare.
        empty: Share of the lines that keep nothing.
        chance_empty: The share expected of a random mask.

    The first two are None where they have no meaning: there is one line only, all or nothing is kept, and
    for ``clustering`` a line of one weight.
    """

    dispersion: float | None
    clustering: float | None
    empty: float
    chance_empty: float


@dataclass(frozen=True)
class Structure:
    """The kept weights of a layer by output and by input."""

    rows: Lines
    columns: Lines


def mask_structure(mask: Mask, layout: Layout | None = None) -> Structure:
    """Compare where a mask keeps weights with a random mask that keeps as many of the layer.

    A row is all weights into one output, a column all weights from one input; the places of a kernel belong
    to both its channels. Where channels are in groups, each group has rows and columns of its own.

    The random mask draws single weights, so a method that prunes whole channels is far from it by
    construction: the numbers say how close one that prunes single weights comes to that.

    Args:
        mask: True where kept. Shape (out, in, ...), or as the layout has it.
        layout: Where outputs and inputs lie; (out, in, ...) of one group by default.

    Raises:
        InputError: The mask has less than two axes, or no entry.

    Source:
        The question is that of Paganini and Forde 2020, arXiv:2001.05050, Figs. 5 and 15, who answer it by
        eye; for the numbers see ``spread_over_lines``.
    """
    if mask.size == 0:
        raise InputError(f"expected a mask with at least one entry, got shape {mask.shape}")
    arranged = (layout or Layout()).arranged(mask)
    _, outputs, inputs, places = arranged.shape
    rows, columns = (np.count_nonzero(arranged, axis=axes).ravel() for axes in ((2, 3), (1, 3)))
    return Structure(
        spread_over_lines(rows.tolist(), inputs * places),
        spread_over_lines(columns.tolist(), outputs * places),
    )


def spread_over_lines(kept: Sequence[int], size: int) -> Lines:
    """How kept weights are spread over lines of one size, against random masks of the same count.

    Of K of N weights, drawn without replacement, a line of n weights keeps a hypergeometric number: its mean
    is n K/N, its variance n K/N (1 - K/N) (N - n)/(N - 1). The dispersion is the mean squared distance from
    this mean over this variance. It is also Pearson's chi-square of the table of kept and pruned weights by
    line over its expectation, and expected to be exactly 1. The clustering is the correlation of two weights
    of one line in being kept, less what it is by chance, -1/(N - 1), over the most that this difference can
    be.

    Args:
        kept: Kept weights of every line.
        size: Weights of a line.

    Raises:
        InputError: There is no line, or one keeps more weights than it has.

    Source:
        Haldane 1940 (the expectation of chi-square given the margins); the intraclass correlation of Fisher
        1925, corrected for chance as Cohen's kappa is.

    >>> spread_over_lines([4, 0, 4, 0], 4).clustering, spread_over_lines([2, 2, 2, 2], 4).dispersion
    (1.0, 0.0)
    """
    if not kept or not all(0 <= count <= size for count in kept):
        raise InputError(f"expected kept counts of at least one line, from 0 to {size}, got {list(kept)}")
    lines, all_kept = len(kept), sum(kept)
    total = lines * size
    dispersion = clustering = None
    if lines > 1 and 0 < all_kept < total:
        # In integers up to the division: the counts of a random mask are close to one another.
        squares = lines * sum(count * count for count in kept) - all_kept * all_kept
        pairs = all_kept * (total - all_kept)
        dispersion = squares * (total - 1) / (pairs * (lines - 1))
        if size > 1:
            clustering = (dispersion - 1) * (total - size) / (total * (size - 1))
    empty = sum(count == 0 for count in kept) / lines
    return Lines(dispersion, clustering, empty, _chance_empty(total, all_kept, size))


def _chance_empty(total: int, kept: int, size: int) -> float:
    """The chance that a line of a random mask keeps nothing."""
    if kept + size > total:
        return 0.0
    # C(total - size, kept) / C(total, kept) is the same with size and kept exchanged: the shorter product.
    short, long = sorted((kept, size))
    left = total - np.arange(short, dtype=np.float64)
    return float(np.exp(np.log1p(-long / left).sum()))
