import json

import pytest
import torch

from pomona.core.errors import InputError
from pomona.training.checkpoint import Checkpoint
from pomona.training.stopping import Check


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("best", [None, {"fc.weight": torch.ones(2)}])
def test_checkpoint_survives_its_parts_and_json(best):
    before = Checkpoint(
        17,
        {"fc.weight": torch.arange(2.0), "a/b": torch.zeros(1)},
        {"momentum": {"fc.weight": torch.ones(2), "a/b": torch.ones(1)}},
        (Check(10, 0.1, 1 / 3), Check(17, 0.7, 2.5)),
        best,
    )
    tensors, record = before.parts()
    after = Checkpoint.from_parts(tensors, json.loads(json.dumps(record)))
    assert (after.step, after.checks) == (before.step, before.checks)
    assert _same(after.weights, before.weights)
    assert after.optimizer.keys() == before.optimizer.keys()
    assert _same(after.optimizer["momentum"], before.optimizer["momentum"])
    assert (after.best is None) == (best is None)
    assert best is None or _same(after.best, best)


def test_checkpoint_says_what_is_no_part_of_it():
    with pytest.raises(InputError, match="not a part of a checkpoint: 'other/x'"):
        Checkpoint.from_parts({"other/x": torch.zeros(1)}, {"step": 1, "checks": []})
    with pytest.raises(InputError, match="not the record of a checkpoint"):
        Checkpoint.from_parts({}, {"step": 1})
