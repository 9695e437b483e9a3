"""The examples that evidence is gathered from, cut into fixed pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

# From outputs and targets to the mean loss of a piece, as a scalar.
Loss = Callable[[Tensor, Tensor], Tensor]

# A batch norm in training mode takes its statistics from one piece.
PIECE = 128


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples and what they are labelled with.

    Args:
        inputs: One example for each entry of the first dimension.
        targets: As many; what the loss takes.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.inputs)

    def pieces(self, size: int = PIECE) -> Iterator[tuple[Tensor, Tensor]]:
        """In order, in pieces of at most ``size`` that differ by one example at most."""
        # Even pieces: a last one of a single example would have no batch statistics.
        count = max(1, -(-len(self) // size))
        yield from zip(self.inputs.tensor_split(count), self.targets.tensor_split(count), strict=True)
