"""How well a network predicts: counts per class and the summed loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pomona.core.errors import InputError
from pomona.training.batches import Batches, Examples
from pomona.training.failures import check_outputs, failed
from pomona.training.placing import place
from pomona.training.randomness import seeded

# Large enough to fill a core, small enough that the activations of small networks stay in its cache.
BATCH = 100


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


def evaluate(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    examples: Examples,
    indices: NDArray[np.int64] | None,
    classes: int,
    device: str = "cpu",
    batch: int = BATCH,
) -> Evaluation:
    """Evaluate weights on examples, in evaluation mode.

    A module that draws random numbers even so draws the same ones each time.

    Args:
        module: What computes; takes on the weights.
        weights: Parameters and buffers by name.
        examples: Where the examples come from.
        indices: Which of them, or None for all.
        classes: Number of classes.
        device: Where to compute.
        batch: Examples at once. It belongs to the numerics: another one may change last bits of the loss.

    Raises:
        InputError: There is no example, or the weights do not fit.
        StateFailure: The module fails or returns no logits.
    """
    chosen = np.arange(len(examples)) if indices is None else indices
    place(module, weights, torch.device(device))
    return evaluate_placed(module, Batches(examples, torch.device(device)), chosen, classes, batch)


def evaluate_placed(
    module: nn.Module, batches: Batches, indices: NDArray[np.int64], classes: int, batch: int = BATCH
) -> Evaluation:
    """Evaluate the weights that a module has. Leaves it in evaluation mode; see ``evaluate``."""
    if len(indices) == 0:
        raise InputError("there is no example to evaluate on")
    correct, count = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    loss_sum = 0.0
    module.eval()
    with torch.no_grad(), seeded(0, batches.device):
        for start in range(0, len(indices), batch):
            inputs, labels = batches.gather(indices[start : start + batch])
            try:
                logits = module(inputs)
            except Exception as error:
                raise failed(error, "evaluation") from error
            if start == 0:
                check_outputs(logits, labels, classes)
            loss_sum += float(F.cross_entropy(logits, labels, reduction="none").double().sum())
            truth = labels.cpu().numpy()
            hits = truth[(logits.argmax(1) == labels).cpu().numpy()]
            correct += np.bincount(hits, minlength=classes)
            count += np.bincount(truth, minlength=classes)
    return Evaluation(correct, count, loss_sum)
