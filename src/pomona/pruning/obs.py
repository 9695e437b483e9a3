"""Optimal Brain Surgeon: inverse curvature in blocks, and the change of the weights that survive a prune.

A layer's weights, flattened, are cut into blocks of at most 512; the curvature between blocks is left out.
Only kept weights take part: for all others the rows and columns of a block are those of a damped zero matrix.
Source: Hassibi and Stork 1993; in blocks as Singh and Alistarh 2020, arXiv:2004.14340.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pomona.core.errors import InputError

BLOCK = 512
# Added to the diagonal, relative to the mean diagonal of the layer's kept weights.
DAMPING = 0.01
# A layer without any curvature still has an inverse: every weight of it costs next to nothing.
_FLOOR = 1e-30
LIMIT_BYTES = 4 << 30


def update(weight: Tensor, before: Tensor, after: Tensor, inverse_blocks: Tensor) -> Tensor:
    """Change the survivors of each block as is best when the pruned weights Q go together.

    dw = -H^-1[:, Q] (H^-1[Q, Q])^-1 w_Q, the minimum of dw' H dw where w + dw is zero on Q.

    Args:
        weight: Values of one parameter.
        before: Mask that the inverses were taken under; True where kept.
        after: Mask after the prune.
        inverse_blocks: The inverses, as ``damped_inverses`` gives them.

    Returns:
        New values in the same dtype: zero where the prune removed them, unchanged where they were pruned
        before.

    Raises:
        InputError: The mask keeps what was pruned before, or the blocks do not fit.
    """
    if bool((after & ~before).any()):
        raise InputError("the mask keeps weights that were pruned before, of which there is no curvature")
    gone = in_blocks(before & ~after)
    expected = (*gone.shape, gone.shape[1])
    if inverse_blocks.shape != expected:
        raise InputError(
            f"expected inverse blocks of shape {expected} for {weight.numel()} weights, got "
            f"{tuple(inverse_blocks.shape)}"
        )
    values = in_blocks(weight.detach().double())
    for block in gone.any(dim=1).nonzero().flatten().tolist():
        q = gone[block].nonzero().flatten()
        columns = inverse_blocks[block][:, q]
        values[block] -= columns @ torch.linalg.solve(columns[q], values[block, q])
        values[block, q] = 0.0
    return values.flatten()[: weight.numel()].reshape(weight.shape).to(weight.dtype)


def in_blocks(tensor: Tensor, batched: bool = False) -> Tensor:
    """A copy in blocks of consecutive entries, [blocks, entries]; the last is filled up with zeros (False).

    Args:
        tensor: Of a parameter's shape.
        batched: The first dimension counts such tensors, and stays the first.
    """
    flat = tensor.flatten(1) if batched else tensor.reshape(1, -1)
    size = max(1, min(BLOCK, flat.shape[1]))
    padded = F.pad(flat, (0, -flat.shape[1] % size))
    blocks = padded.reshape(len(flat), -1, size)
    return blocks if batched else blocks[0].clone()


def damped_inverses(blocks: Tensor, keep: Tensor) -> Tensor:
    """Invert each block, restricted to the kept weights and damped. The blocks are overwritten.

    Args:
        blocks: Symmetric and positive semidefinite, finite. Shape [blocks, entries, entries], float64.
        keep: True for the kept weights. Shape [blocks, entries], bool.

    Returns:
        The same tensor. Outside of the kept weights it is diagonal, with 1 / damping.
    """
    diagonal = blocks.diagonal(dim1=1, dim2=2)[keep]
    damping = max(DAMPING * float(diagonal.mean()) if len(diagonal) else 0.0, _FLOOR)
    for block, kept in zip(blocks, keep, strict=True):
        block.masked_fill_(~(kept[:, None] & kept), 0.0)
        block.diagonal().add_(damping)
        block.copy_(torch.cholesky_inverse(torch.linalg.cholesky(block)))
    return blocks


def diagonal_of(inverses: Tensor, shape: Sequence[int]) -> Tensor:
    """The diagonals of the blocks, in the shape of their parameter."""
    count = torch.Size(shape).numel()
    return inverses.diagonal(dim1=1, dim2=2).flatten()[:count].reshape(tuple(shape)).clone()


def refuse_too_large(sizes: Mapping[str, int]) -> None:
    """Refuse blocks that would not fit in memory.

    Args:
        sizes: Number of weights by parameter.

    Raises:
        InputError: They need more than 4 GiB (says how much, and what can be done).
    """
    needed = sum(-(-size // BLOCK) * BLOCK * min(size, BLOCK) * 8 for size in sizes.values())
    if needed > LIMIT_BYTES:
        raise InputError(
            f"obs needs {needed / 2**30:.1f} GiB for the inverse curvature of {', '.join(sizes)}, more than "
            f"{LIMIT_BYTES >> 30} GiB; prune fewer layers with 'layers:', or use the criterion 'obd', which "
            "needs only the diagonal"
        )
