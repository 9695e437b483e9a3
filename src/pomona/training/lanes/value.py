"""What flows through a network while it is read: shapes without values, and why something is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

Maps = tuple[int, int, int]


class Refused(Exception):
    """The engine cannot run it.

    Args:
        reasons: Why, without the path.
    """

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


class Unread(Exception):
    """What comes in has no known shape, since something before it was refused."""


class Fails(Exception):
    """Torch itself cannot compute it; the text is torch's."""


@dataclass
class Value:
    """A tensor between two ops.

    Args:
        meta: A tensor of its shape, with the batch, on the meta device; None where that is not known.
        maps: How the engine holds it: channels, height, width. Another shape of ``meta`` is a view of that.
        taken: Whether an op takes it already.
    """

    meta: Tensor | None
    maps: Maps = (0, 0, 0)
    taken: bool = False

    @property
    def text(self) -> str:
        """Its shape in messages, without the batch: ``16x5x5``."""
        return sizes(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape without the batch.

        Raises:
            Unread: It is not known.
        """
        if self.meta is None:
            raise Unread
        return tuple(self.meta.shape[1:])

    def run(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """What torch makes of it.

        Raises:
            Unread: Its shape is not known.
            Fails: Torch raises.
            Refused: The result has no values.
        """
        if self.meta is None:
            raise Unread
        with contextlib.suppress(Exception):
            out = function(self.meta)
            if out.numel():
                return out
        # The CPU has the last word: the meta device checks less, and says less.
        try:
            out = function(torch.zeros(self.meta.shape))
        except Exception as error:
            raise Fails(first_line(error)) from error
        if not out.numel():
            raise Refused(f"nothing is left of {self.text}: the result has the shape {tuple(out.shape)}")
        return out.to("meta")

    def need_maps(self) -> None:
        """Refuse what was reshaped into other maps: the engine would take those that it holds."""
        if self.shape != self.maps:
            raise Refused(f"it takes a result that was reshaped from {sizes(self.maps)} to {self.text}")


@dataclass(frozen=True)
class Result:
    """How a layer or function is read.

    Args:
        kind: Of the op, or None where there is nothing to compute.
        meta: The output, as ``Value.meta``.
        maps: The output, as ``Value.maps``.
        attributes: Of the op.
    """

    kind: str | None
    meta: Tensor
    maps: Maps
    attributes: Mapping[str, float] = field(default_factory=dict)


def sizes(shape: Sequence[int]) -> str:
    """A shape in messages.

    >>> sizes((16, 5, 5))
    '16x5x5'
    """
    return "x".join(str(size) for size in shape) or "a number"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its class where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
