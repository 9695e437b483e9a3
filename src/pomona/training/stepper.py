"""What the loop needs of an engine: a training that goes on, can be looked at, kept and taken up again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pomona.training.batches import Views
from pomona.training.checkpoint import Checkpoint
from pomona.training.evaluation import Evaluation
from pomona.training.stopping import Check


class Stepper(ABC):
    """A network under training.

    Attributes:
        steps: The step of the schedule that was reached: how many were taken where it begins at step 0.
    """

    steps: int = 0

    @abstractmethod
    def advance(
        self,
        goal: int,
        order: NDArray[np.int64],
        interrupted: Callable[[], bool],
        views: Views | None = None,
    ) -> None:
        """Take one step, or as many as fit into about a twentieth of a second.

        Args:
            goal: The last step to take, of the same epoch as the next one.
            order: The training part in the order of that epoch.
            interrupted: Asked while this takes longer; where it holds, a step may be given up that was
                begun, as if it had not been.
            views: What is seen of each image of the order; None for all of it.

        Raises:
            StateFailure: It diverged, the network failed, or memory ran out.
        """

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """Copies of the present weights: contiguous, on the CPU, in the order of ``state_dict``.

        Raises:
            StateFailure: One of them is not finite.
        """

    @abstractmethod
    def evaluate(self, indices: NDArray[np.int64]) -> Evaluation:
        """Evaluate the present weights on some examples; changes nothing of the training.

        Raises:
            StateFailure: The network fails, or memory runs out.
        """

    @abstractmethod
    def prune(self, masks: Mapping[str, Tensor]) -> None:
        """Go on under other masks; weights that they prune and their optimizer state are zero from now on.

        Args:
            masks: Bool, True = kept, by parameter; what was pruned is pruned in them.

        Raises:
            InputError: A mask does not fit, or the engine cannot prune there. Nothing has changed then.
            StateFailure: A weight is not finite.
        """

    @abstractmethod
    def checkpoint(self, checks: Sequence[Check] = (), best: dict[str, Tensor] | None = None) -> Checkpoint:
        """Copies of everything that the present moment consists of.

        Args:
            checks: The evaluations so far.
            best: The weights of the best of them, where they are kept.

        Raises:
            StateFailure: A weight is not finite.
        """

    @abstractmethod
    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from another moment of the same training, under its masks where it has its own.

        ``Checkpoint.check_fits`` says whether it is one.
        """
