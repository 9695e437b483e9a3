"""What a network says of examples: its logits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pomona.core.errors import InputError
from pomona.training.batches import Batches, Examples
from pomona.training.engine import check_engine
from pomona.training.evaluate import BATCH
from pomona.training.failures import check_outputs, failed
from pomona.training.lanes.network import LaneNetwork
from pomona.training.placing import place
from pomona.training.randomness import seeded


def logits_of(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    examples: Examples,
    classes: int,
    device: str = "cpu",
    engine: str = "torch",
) -> NDArray[np.float32]:
    """The logits of all examples, in evaluation mode: those that ``evaluate`` counts right and wrong by.

    Args:
        module: What computes; may take on the weights.
        weights: Parameters and buffers by name.
        examples: Where the examples come from.
        classes: Number of classes.
        device: Where to compute.
        engine: ``torch`` or ``lanes``.

    Returns:
        Examples x outputs of the network, which may be more than the classes.

    Raises:
        InputError: There is no example, the weights do not fit, or the engine cannot run the module here.
        StateFailure: The module fails or returns no logits.
    """
    check_engine(engine, device)
    if len(examples) == 0:
        raise InputError("there is no example to predict")
    if engine == "lanes":
        network = LaneNetwork(module, weights, examples)
        network.prune({name: weights[name] == 0 for name in network.weight_names})
        return network.logits(np.arange(len(examples)), classes)
    place(module, weights, torch.device(device))
    return _by_torch(module, Batches(examples, torch.device(device)), len(examples), classes)


def probabilities_of(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax of each row, computed in float64.

    >>> probabilities_of(np.zeros((1, 4), np.float32)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    wide = logits.astype(np.float64)
    raised = np.exp(wide - wide.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _by_torch(module: nn.Module, batches: Batches, count: int, classes: int) -> NDArray[np.float32]:
    found = []
    module.eval()
    with torch.no_grad(), seeded(0, batches.device):
        for start in range(0, count, BATCH):
            inputs, labels = batches.gather(np.arange(start, min(start + BATCH, count)))
            try:
                logits = module(inputs)
            except Exception as error:
                raise failed(error, "prediction") from error
            if start == 0:
                check_outputs(logits, labels, classes)
            found.append(logits.float().cpu().numpy())
    return np.concatenate(found)
