"""Early stops: what the checks saw, whether training ends, and whose weights are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from pomona.training.config import Stop


class Check(NamedTuple):
    """One evaluation on the validation part.

    Args:
        step: After how many optimizer steps.
        val_accuracy: Share of correct predictions, 0 to 1.
        val_loss: Mean cross-entropy, in nats.
    """

    step: int
    val_accuracy: float
    val_loss: float


class Watch:
    """Judges the checks of one training.

    Args:
        stop: The rule, or None: nothing is ever judged.
        checks: Those before a resume.
        best_weights: The weights of the best of them, where the rule keeps them.
        best_masks: The masks of that moment.
    """

    def __init__(
        self,
        stop: Stop | None,
        checks: Sequence[Check] = (),
        best_weights: dict[str, Tensor] | None = None,
        best_masks: dict[str, Tensor] | None = None,
    ) -> None:
        self.stop = stop
        self.checks = list(checks)
        self.best_weights, self.best_masks = best_weights, best_masks

    def judge(self, check: Check, weights: dict[str, Tensor], masks: dict[str, Tensor]) -> bool:
        """Take note of a check and say whether training ends here.

        Args:
            check: The new one.
            weights: Copies of the present weights; kept where they are the best so far.
            masks: Copies of the present masks; kept with them.
        """
        assert self.stop is not None
        self.checks.append(check)
        if self.stop.when is not None:
            measure, threshold = self.stop.condition()
            return _reached(check, measure, threshold)
        since = len(self.checks) - 1 - self._best()
        if since == 0:
            self.best_weights, self.best_masks = weights, masks
        return self.stop.patience is not None and since >= self.stop.patience

    def best_step(self) -> int | None:
        """The step of the best check, where the rule keeps its weights."""
        if self.stop is None or self.stop.best is None or not self.checks:
            return None
        return self.checks[self._best()].step

    def _best(self) -> int:
        assert self.stop is not None
        if self.stop.best == "val-loss":
            return min(range(len(self.checks)), key=lambda i: self.checks[i].val_loss)
        return max(range(len(self.checks)), key=lambda i: self.checks[i].val_accuracy)


def _reached(check: Check, measure: str, threshold: float) -> bool:
    if measure == "val-accuracy":
        return check.val_accuracy >= threshold
    return check.val_loss <= threshold
