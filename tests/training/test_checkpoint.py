import json
import math
from dataclasses import replace

import pytest
import torch

from pomona.training.checkpoint import Checkpoint, CheckpointError
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
        {"seen": torch.full((2,), 3.0)},
    )
    tensors, record = before.parts()
    after = Checkpoint.from_parts(tensors, json.loads(json.dumps(record)))
    assert (after.step, after.checks) == (before.step, before.checks)
    assert _same(after.weights, before.weights)
    assert after.optimizer.keys() == before.optimizer.keys()
    assert _same(after.optimizer["momentum"], before.optimizer["momentum"])
    assert _same(after.unsaved, before.unsaved)
    assert (after.best is None) == (best is None)
    assert best is None or _same(after.best, best)


@pytest.mark.parametrize("masks", [{}, {"w": torch.tensor([True, False, False]), "b": torch.ones(2).bool()}])
@pytest.mark.parametrize("best", [None, {"w": torch.ones(3)}])
def test_checkpoint_with_masks_survives_its_parts_and_json(masks, best):
    best_masks = None if best is None else {"w": torch.tensor([True, True, False])}
    before = Checkpoint(3, {"w": torch.zeros(3)}, {}, best=best, masks=masks, best_masks=best_masks)
    tensors, record = before.parts()
    after = Checkpoint.from_parts(tensors, json.loads(json.dumps(record)))
    assert _same(after.masks, masks)
    assert (after.best_masks is None) == (best is None)
    assert best is None or _same(after.best_masks, best_masks)


def test_checkpoint_without_masks_is_stored_as_before_there_were_any():
    tensors, record = Checkpoint(3, {"w": torch.zeros(3)}, {}, best={"w": torch.ones(3)}).parts()
    assert list(tensors) == ["weights/w", "best/w"]
    assert record == {"step": 3, "checks": []}


def test_checkpoint_says_what_is_no_part_of_it():
    with pytest.raises(CheckpointError, match="not a part of a checkpoint: 'other/x'"):
        Checkpoint.from_parts({"other/x": torch.zeros(1)}, {"step": 1, "checks": []})


@pytest.mark.parametrize(
    "record",
    [
        {"step": 1},
        {"step": 1, "checks": [[1, 2]]},
        {"step": math.inf, "checks": []},
        {"checks": [], "step": "x"},
    ],
)
def test_checkpoint_says_what_is_no_record_of_it(record):
    with pytest.raises(CheckpointError, match="not the record of a checkpoint"):
        Checkpoint.from_parts({}, record)


MASKS = {"w": torch.tensor([True, False, True])}
START = Checkpoint(
    0,
    {"w": torch.tensor([1.0, 0.0, 1.0]), "b": torch.zeros(2)},
    {"momentum": {"w": torch.zeros(3), "b": torch.zeros(2)}},
    best={"w": torch.tensor([1.0, 0.0, 1.0]), "b": torch.zeros(2)},
    unsaved={"seen": torch.zeros((), dtype=torch.int64)},
)
GOOD = replace(START, step=7, checks=(Check(3, 0.5, 1.0), Check(6, 0.5, 1.0)))


@pytest.mark.parametrize("good", [GOOD, START, replace(GOOD, step=2, checks=(), best=None)])
def test_checkpoint_fits_its_own_training_in_any_order_of_names(good):
    if not good.checks:
        good = replace(good, best=None)
    good.check_fits(START, MASKS, total=10, every=3)
    tensors, record = good.parts()
    turned = Checkpoint.from_parts(dict(reversed(tensors.items())), record)
    turned.check_fits(START, MASKS, total=10, every=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 11}, "is of step 11, the training has 10"),
        ({"step": -1}, "is of step -1"),
        ({"step": 9}, r"other checks than the training: at the steps \[3, 6\]"),
        ({"checks": ()}, r"other checks than the training: at the steps \[\]"),
        ({"best": None}, "another optimizer or network than the training: best/b: expected torch.float32"),
        ({"unsaved": {}}, "unsaved/seen: expected torch.int64 of \\(\\), got none"),
        ({"optimizer": {}}, "optimizer/momentum/b: expected torch.float32"),
        ({"weights": {**START.weights, "c": torch.zeros(1)}}, "weights/c: expected none, got torch.float32"),
        ({"weights": {**START.weights, "b": torch.zeros(1)}}, r"weights/b: .*of \(2,\), got .*of \(1,\)"),
        ({"weights": {**START.weights, "b": torch.zeros(2).double()}}, "weights/b: .*got torch.float64"),
        ({"weights": {**START.weights, "b": torch.full((2,), math.nan)}}, "values of b that are not finite"),
        ({"weights": {**START.weights, "w": torch.ones(3)}}, "of other masks: w is not zero"),
        ({"best": {**START.weights, "w": torch.ones(3)}}, "of other masks: w is not zero"),
        (
            {"optimizer": {"momentum": {"w": torch.ones(3), "b": torch.zeros(2)}}},
            "of other masks: w is not zero",
        ),
    ],
)
def test_checkpoint_of_another_training_says_why(change, message):
    with pytest.raises(CheckpointError, match=message):
        replace(GOOD, **change).check_fits(START, MASKS, total=10, every=3)


def test_checkpoint_with_checks_fits_no_training_without_a_stop():
    with pytest.raises(CheckpointError, match="other checks than the training"):
        GOOD.check_fits(replace(START, best=None), MASKS, total=10, every=None)


SHRUNK = replace(
    GOOD,
    weights={**GOOD.weights, "w": torch.tensor([1.0, 0.0, 0.0])},
    masks={"w": torch.tensor([True, False, False])},
    best_masks=MASKS,
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"masks": {"w": torch.tensor([True, True, False])}}, "of other masks: w keeps what is pruned"),
        ({"best_masks": SHRUNK.masks}, "of other masks: w is not zero where it is pruned"),
        ({"best": SHRUNK.weights, "best_masks": {"w": torch.zeros(3).bool()}}, "w keeps what is pruned"),
        ({"masks": {"w": torch.ones(3)}}, "has a mask of w of torch.float32"),
        ({"masks": {"w": torch.ones(2).bool()}}, "has a mask of w that does not fit"),
        ({"masks": {"v": torch.ones(2).bool()}}, "has a mask of v that does not fit"),
        ({"masks": {}}, "of other masks: w keeps what is pruned"),
        ({"masks": None}, "step 7 has no masks of its own: it is of a training that prunes at other steps"),
        ({"weights": GOOD.weights}, "of other masks: w is not zero where it is pruned"),
        (
            {"optimizer": {"momentum": {"w": torch.tensor([0.0, 0.0, 1.0]), "b": torch.zeros(2)}}},
            "of other masks: w is not zero",
        ),
    ],
)
def test_checkpoint_after_a_pruning_fits_its_masks_alone(change, message):
    changed = replace(SHRUNK, **change)
    if message is None:
        changed.check_fits(START, MASKS, total=10, every=3, prune_at=[7, 9])
    else:
        with pytest.raises(CheckpointError, match=message):
            changed.check_fits(START, MASKS, total=10, every=3, prune_at=[7, 9])


def test_checkpoint_before_the_first_pruning_has_no_masks():
    GOOD.check_fits(START, MASKS, total=10, every=3, prune_at=[8])
    with pytest.raises(CheckpointError, match="has masks of its own"):
        SHRUNK.check_fits(START, MASKS, total=10, every=3, prune_at=[8])


def test_checkpoint_of_a_training_that_begins_later_counts_its_checks_from_step_0():
    later = replace(START, step=4)
    replace(GOOD, checks=(Check(6, 0.5, 1.0),)).check_fits(later, MASKS, total=10, every=3)
    with pytest.raises(CheckpointError, match="other checks than the training"):
        GOOD.check_fits(later, MASKS, total=10, every=3)
    with pytest.raises(CheckpointError, match="is of step 3"):
        replace(GOOD, step=3, checks=()).check_fits(later, MASKS, total=10, every=3)
