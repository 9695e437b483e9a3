"""The unit that is removed: a weight, a channel, a kernel, a block, or weights out of each group.

A granularity arranges a weight as rows [units, members]. What does not fill a whole block is padded with
entries that no mask keeps, so that each row is one unit whatever the shape.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pomona.core.errors import InputError, unknown
from pomona.pruning.layers import axes_of, groups_of

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("weight", "channel-in", "channel-out", "kernel", "block-RxC", "N:M")
_BLOCK = re.compile(r"block-([1-9][0-9]*)x([1-9][0-9]*)")
_GROUP = re.compile(r"([1-9][0-9]*):([1-9][0-9]*)")


@dataclass(frozen=True)
class Unit:
    """A granularity, read.

    Args:
        form: Its family.
        rows: Outputs of a block.
        columns: Inputs of a block.
        keep: Weights that each group keeps.
        group: Consecutive inputs of a group.
    """

    form: Literal["weight", "channel-in", "channel-out", "kernel", "block", "n:m"]
    rows: int = 1
    columns: int = 1
    keep: int = 0
    group: int = 0

    def __str__(self) -> str:
        """As it is written."""
        if self.form == "block":
            return f"block-{self.rows}x{self.columns}"
        return f"{self.keep}:{self.group}" if self.form == "n:m" else self.form

    @property
    def members_are_units(self) -> bool:
        """Whether single weights are removed."""
        return self.form in ("weight", "n:m")

    def plural(self) -> str:
        """What its units are called in a sentence."""
        if self.form == "block":
            return f"blocks of {self.rows} outputs x {self.columns} inputs"
        if self.form == "n:m":
            return f"weights, {self.keep} kept of every {self.group} inputs,"
        return {
            "weight": "weights",
            "channel-in": "input channels",
            "channel-out": "output channels",
            "kernel": "kernels",
        }[self.form]


WEIGHT = Unit("weight")


def parse_unit(written: object) -> Unit:
    """Read ``weight``, ``channel-in``, ``channel-out``, ``kernel``, ``block-4x4`` or ``2:4``.

    Raises:
        InputError: It is none of these, or a group keeps more than it has.
    """
    if isinstance(written, str):
        if written in ("weight", "channel-in", "channel-out", "kernel"):
            return Unit(written)  # type: ignore[arg-type]
        if block := _BLOCK.fullmatch(written):
            return Unit("block", rows=int(block[1]), columns=int(block[2]))
        if group := _GROUP.fullmatch(written):
            keep, size = int(group[1]), int(group[2])
            if keep >= size:
                raise InputError(
                    f"granularity {written!r}: a group keeps fewer weights than it has, as in '2:4'"
                )
            return Unit("n:m", keep=keep, group=size)
    raise InputError(unknown("granularity", written, NAMES))


def rows_of(tensor: Tensor, unit: Unit, kind: str) -> Tensor:
    """A weight, or a tensor of its shape, as [units, members]; padding is zero (False).

    Args:
        tensor: In the weight's own shape.
        unit: The granularity. Weights of groups are units of one member.
        kind: Says where outputs and inputs lie, and how many groups a convolution has.
    """
    if unit.members_are_units:
        return tensor.reshape(-1, 1)
    if tensor.dim() < 2:
        raise InputError(f"a tensor of shape {tuple(tensor.shape)} has no {unit.plural()}")
    blocks = _grouped(tensor, kind)
    groups, outputs, inputs, rest = blocks.shape
    if unit.form == "channel-out":
        return blocks.reshape(groups * outputs, inputs * rest)
    if unit.form == "channel-in":
        return blocks.transpose(1, 2).reshape(groups * inputs, outputs * rest)
    if unit.form == "kernel":
        return blocks.reshape(groups * outputs * inputs, rest)
    r, c = unit.rows, unit.columns
    padded = _padded(blocks, -outputs % r, -inputs % c)
    high, wide = padded.shape[1] // r, padded.shape[2] // c
    cut = padded.reshape(groups, high, r, wide, c, rest)
    return cut.permute(0, 1, 3, 2, 4, 5).reshape(groups * high * wide, r * c * rest)


def spread(marks: Tensor, like: Tensor, unit: Unit, kind: str) -> Tensor:
    """One mark for each unit, as a tensor of the weight's shape: every member gets its unit's.

    Args:
        marks: One entry per unit, 1-D.
        like: Gives the shape.
        unit: The granularity.
        kind: As in ``rows_of``.
    """
    if unit.members_are_units:
        return marks.reshape(like.shape)
    # The place of every weight in the rows, arranged as the rows are, leads each mark back.
    import torch

    places = torch.arange(1, like.numel() + 1).reshape(like.shape)
    rows = rows_of(places, unit, kind)
    real = rows > 0
    found = marks.new_empty(like.numel())
    found[rows[real] - 1] = marks[:, None].expand(rows.shape)[real]
    return found.reshape(like.shape)


def groups_of_inputs(tensor: Tensor, unit: Unit, kind: str) -> Tensor:
    """The group of consecutive inputs that each weight is in, numbered from 0, in the weight's shape.

    Inputs of one output (and one place of a kernel) are cut into groups of ``unit.group``; the last may be
    short.
    """
    import torch

    _, in_axis = axes_of(kind)
    inputs = tensor.shape[in_axis]
    per_line = -(-inputs // unit.group)
    shape = list(tensor.shape)
    shape[in_axis] = 1
    lines = torch.arange(tensor.numel() // inputs).reshape(shape)
    along = [1] * tensor.dim()
    along[in_axis] = inputs
    return lines * per_line + (torch.arange(inputs) // unit.group).reshape(along)


def _grouped(tensor: Tensor, kind: str) -> Tensor:
    """As [groups, outputs of a group, inputs of a group, kernel]."""
    out_axis, in_axis = axes_of(kind)
    groups = groups_of(kind)
    matrix = tensor.movedim((out_axis, in_axis), (0, 1))
    split = matrix.reshape(*matrix.shape[:2], -1)
    outputs, inputs, rest = split.shape
    # The first axis of a weight lists the channels of all groups: outputs, or inputs where it is transposed.
    if out_axis < in_axis:
        return split.reshape(groups, outputs // groups, inputs, rest)
    return split.reshape(outputs, groups, inputs // groups, rest).transpose(0, 1)


def _padded(blocks: Tensor, rows: int, columns: int) -> Tensor:
    if not rows and not columns:
        return blocks
    groups, outputs, inputs, rest = blocks.shape
    found = blocks.new_zeros(groups, outputs + rows, inputs + columns, rest)
    found[:, :outputs, :inputs] = blocks
    return found


def kept_units(mask: Tensor, unit: Unit, kind: str) -> Tensor:
    """Which units a mask still keeps: a unit is kept while any of its weights is. 1-D, bool."""
    return mask.reshape(-1) if unit.members_are_units else rows_of(mask, unit, kind).any(dim=1)


def without_units(mask: Tensor, unit: Unit, kind: str, pruned: Tensor) -> Tensor:
    """A new mask without the pruned units; what was pruned before stays so."""
    return mask & ~spread(pruned, mask, unit, kind)
