"""Which kept weights still lie on a live path from the input to the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import nn

Mask = NDArray[np.bool_]


def effective_masks(
    module: nn.Module, masks: Mapping[str, Mask], input_shape: Sequence[int]
) -> dict[str, Mask]:
    """The kept weights that can make a difference to the output.

    A kept weight counts if what it multiplies can be other than zero (there is a kept path to it from the
    input, or from a nonzero bias) and what it adds to reaches an output through kept weights. It is exact
    for the wiring: every kept weight counts as nonzero, whatever its value, and no path cancels another.
    Weights that only ever meet padding do not count. The module is traced, each operation is replaced by
    the one that says which of its outputs may be nonzero, and the gradient of the outputs then says which
    weights matter. A batch normalization keeps what is zero at zero unless its shift is nonzero.

    Args:
        module: The network; its biases are read. Not changed. Without hooks or control flow on values.
        masks: True where kept, by parameter name; a parameter without one is dense.
        input_shape: Shape of one example, without the batch: ``(1, 28, 28)``. All of it may be nonzero.

    Returns:
        For each given mask the effective one: a subset of it, same names and order.

    Raises:
        InputError: A mask fits no parameter; the module cannot be traced; an operation is not understood
            (says which).

    Source:
        Effective sparsity: Paganini and Forde 2020, arXiv:2001.05050, Fig. 12; Vysogorets and Kempe 2023,
        arXiv:2107.02306. The operations that are understood are listed in ``reachability``.
    """
    # Reading numbers from masks needs no torch; tracing a network does.
    from pomona.measures.reachability import reached_weights

    shapes = {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
    for name, mask in masks.items():
        if name not in shapes:
            raise InputError(unknown("masked parameter", name, shapes))
        if np.shape(mask) != shapes[name]:
            raise InputError(f"mask of {name!r}: expected shape {shapes[name]}, got {np.shape(mask)}")
    kept = {name: np.asarray(mask, dtype=np.bool_) for name, mask in masks.items()}
    reached = reached_weights(module, kept, tuple(input_shape))
    return {name: mask & reached[name] for name, mask in kept.items()}
