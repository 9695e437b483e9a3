"""How well weights predict the labels of examples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pomona.core.errors import InputError
from pomona.training.batches import Batches, Examples
from pomona.training.engine import check_engine
from pomona.training.evaluation import Evaluation
from pomona.training.failures import check_outputs, failed
from pomona.training.lanes.network import LaneNetwork
from pomona.training.placing import place
from pomona.training.randomness import seeded

# Large enough to fill a core, small enough that the activations of small networks stay in its cache.
BATCH = 100


def evaluate(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    examples: Examples,
    indices: NDArray[np.int64] | None,
    classes: int,
    device: str = "cpu",
    batch: int = BATCH,
    engine: str = "torch",
) -> Evaluation:
    """Evaluate weights on examples, in evaluation mode.

    A module that draws random numbers even so draws the same ones each time.

    Args:
        module: What computes; may take on the weights.
        weights: Parameters and buffers by name.
        examples: Where the examples come from.
        indices: Which of them, or None for all.
        classes: Number of classes.
        device: Where to compute.
        batch: Examples at once, on torch. It belongs to the numerics: another one may change last bits of
            the loss.
        engine: ``torch`` or ``lanes``.

    Raises:
        InputError: There is no example, the weights do not fit, or the engine cannot run the module here.
        StateFailure: The module fails or returns no logits.
    """
    check_engine(engine, device)
    chosen = np.arange(len(examples)) if indices is None else indices
    if len(chosen) == 0:
        raise InputError("there is no example to evaluate on")
    if engine == "lanes":
        network = LaneNetwork(module, weights, examples)
        network.prune({name: weights[name] == 0 for name in network.weight_names})
        return network.evaluate(chosen, classes)
    place(module, weights, torch.device(device))
    return evaluate_placed(module, Batches(examples, torch.device(device)), chosen, classes, batch)


def evaluate_placed(
    module: nn.Module, batches: Batches, indices: NDArray[np.int64], classes: int, batch: int = BATCH
) -> Evaluation:
    """Evaluate the weights that a module has. Leaves it in evaluation mode; see ``evaluate``."""
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
