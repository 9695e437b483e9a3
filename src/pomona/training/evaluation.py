"""How well a network predicts, as counts per class and the summed loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Evaluation:
    """Predictions against labels.

    Args:
        correct: Correct predictions by class of the label, int64.
        count: Examples by class of the label, int64.
        loss_sum: Summed cross-entropy, in nats; NaN where a logit is.
    """

    correct: NDArray[np.int64]
    count: NDArray[np.int64]
    loss_sum: float

    @property
    def accuracy(self) -> float:
        """Share of correct predictions."""
        return int(self.correct.sum()) / int(self.count.sum())

    @property
    def loss(self) -> float:
        """Mean cross-entropy, in nats."""
        return self.loss_sum / int(self.count.sum())
