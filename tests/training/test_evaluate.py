import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pomona.core.errors import InputError, StateFailure
from pomona.training.evaluate import evaluate

from .conftest import Dropping, Small


@pytest.mark.parametrize("batch", [7, 100, 5000])
@pytest.mark.parametrize("indices", [None, np.arange(1700, 1600, -1)])
def test_evaluate_equals_a_direct_computation(digits, start, batch, indices):
    found = evaluate(Small(), start, digits, indices, 10, batch=batch)
    chosen = np.arange(1797) if indices is None else indices
    module = Small()
    module.load_state_dict(start)
    module.eval()
    with torch.no_grad():
        logits = module(torch.from_numpy(digits.images[chosen]).float() / 64 - 1.2)
    labels = digits.labels[chosen]
    hits = logits.argmax(1).numpy() == labels
    assert found.correct.tolist() == [int((hits & (labels == c)).sum()) for c in range(10)]
    assert found.count.tolist() == [int((labels == c).sum()) for c in range(10)]
    assert found.accuracy == hits.mean()
    wanted = F.cross_entropy(logits, torch.from_numpy(labels).long()).item()
    assert found.loss == pytest.approx(wanted, rel=1e-5)
    assert found.loss_sum == pytest.approx(wanted * len(chosen), rel=1e-5)


def test_evaluate_counts_classes_that_do_not_occur(digits, start):
    found = evaluate(Small(), start, digits, np.flatnonzero(digits.labels == 3), 10)
    assert found.count.tolist() == [0, 0, 0, 183, 0, 0, 0, 0, 0, 0]


def test_evaluate_of_a_random_module_is_the_same_each_time_and_leaves_global_state_alone(digits, start):
    before = torch.get_rng_state()
    module = Dropping()
    torch.set_rng_state(before)
    first, again = (evaluate(module, start, digits, None, 10) for _ in range(2))
    assert first.loss_sum == again.loss_sum
    assert torch.equal(torch.get_rng_state(), before)
    assert not module.training


def test_evaluate_says_what_is_wrong(digits, start):
    with pytest.raises(InputError, match="no example to evaluate on"):
        evaluate(Small(), start, digits, np.arange(0), 10)
    with pytest.raises(StateFailure, match="with 11 classes or more"):
        evaluate(Small(), start, digits, None, 11)
