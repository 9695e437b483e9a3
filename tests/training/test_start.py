"""Trainings that begin at a later step of their schedule."""

import pytest
import torch
import torch.nn.functional as F

from pomona.core.errors import InputError, Interrupted
from pomona.core.step import Step
from pomona.core.streams import Stream
from pomona.training.checkpoint import CheckpointError

from .conftest import Dropping, Small
from .shrinking import StopAfter, equal, from_a_file, smallest

SGD = {"sgd": {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}}
ADAM = {"adam": {"lr": 2e-3, "weight_decay": 1e-3}}


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_train_equals_a_loop_of_torch_whose_schedule_is_at_the_start(run, digits, start, optimizer):
    schedule = {"milestones": ["5it", "1ep", "30it"], "gamma": 0.5}
    ours = run({"optimizer": optimizer, "duration": "35it", "start": "13it", "schedule": schedule})
    assert ours.steps == 22
    module = Small()
    module.load_state_dict(start)
    kind, settings = next(iter(optimizer.items()))
    theirs = (torch.optim.SGD if kind == "sgd" else torch.optim.Adam)(module.parameters(), **settings)
    for step in range(13, 35):
        epoch, batch = divmod(step, 21)
        chosen = Stream("order", 0).permutation(1000, round=epoch)[batch * 48 : batch * 48 + 48]
        for group in theirs.param_groups:
            group["lr"] = settings["lr"] * 0.5 ** sum(step >= fall for fall in (5, 21, 30))
        images = torch.from_numpy(digits.images[chosen]).float() / 64 - 1.2
        theirs.zero_grad()
        F.cross_entropy(module(images), torch.from_numpy(digits.labels[chosen]).long()).backward()
        theirs.step()
    for name, value in module.state_dict().items():
        torch.testing.assert_close(ours.weights[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("at", ["1it", "13it", "1ep", "41it"])
def test_train_from_a_moment_of_a_run_gives_the_bits_of_the_run(run, at):
    # Without momentum the weights are all that a moment consists of.
    config = {"optimizer": {"sgd": {"lr": 0.1}}, "schedule": {"cosine": True, "warmup": "20it"}}
    asked = {"module": Dropping(), "random_forward": True}
    whole = run(config, **asked, snapshots=[Step.parse(at)])
    (_, moment), *_ = run.seen.snapshots
    rest = run({**config, "start": at}, weights=moment, **asked, snapshots=[Step.parse(at), Step(2, "ep")])
    assert equal(rest.weights, whole.weights)
    assert [str(step) for step, _ in run.seen.snapshots] == [at, "2ep"]
    assert equal(run.seen.snapshots[0][1], moment)
    assert rest.steps == 42 - Step.parse(at).iterations(21)


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
@pytest.mark.parametrize("after", [0, 1, 7, 8, 28])
def test_train_from_a_later_step_resumes_with_the_same_bits(run, masks, optimizer, after):
    config = {
        "optimizer": optimizer,
        "start": "13it",
        "stop": {"best": "val-loss"},
        "check": "5it",
        "schedule": {"cosine": True, "warmup": "15it"},
    }
    asked = {"masks": masks, "prune_at": [13, 21], "on_prune": smallest(0.2)}
    whole = run(config, **asked)
    assert [check.step for check in whole.checks] == [15, 20, 25, 30, 35, 40]
    assert run.seen.progress[-1] == (29, 29)
    with pytest.raises(Interrupted, match=f"stopped on request after {after} of 29 steps"):
        run(config, **asked, interrupted=StopAfter(after))
    kept = from_a_file(run.seen.checkpoints[-1])
    assert kept.step == 13 + after
    resumed = run(config, **asked, checkpoint=kept)
    assert equal(whole.weights, resumed.weights)
    assert equal(whole.masks, resumed.masks)
    assert (whole.checks, whole.steps, whole.stopped_at) == (
        resumed.checks,
        resumed.steps,
        resumed.stopped_at,
    )


def test_train_from_a_later_step_stops_at_a_step_of_the_schedule(run):
    config = {"start": "4it", "duration": "20ep", "stop": "val-accuracy >= .5", "check": "3it"}
    result = run(config)
    assert [check.step for check in result.checks] == list(range(6, result.steps + 5, 3))
    assert result.stopped_at == Step(result.steps + 4, "it")
    assert equal(result.weights, run({"start": "4it", "duration": str(result.stopped_at)}).weights)


def test_train_refuses_what_lies_before_its_start(run):
    config = {"start": "13it"}
    with pytest.raises(
        InputError, match="snapshot at 12it lies before the training, which starts at step 13"
    ):
        run(config, snapshots=[Step(12, "it")])
    with pytest.raises(InputError, match="pruning at step 12 is not within the training from step 13 to 42"):
        run(config, prune_at=[12], on_prune=smallest(0.1))
    with pytest.raises(Interrupted):
        run(interrupted=StopAfter(12))
    with pytest.raises(CheckpointError, match="is of step 12"):
        run(config, checkpoint=run.seen.checkpoints[-1])
    with pytest.raises(
        InputError, match=r"start must lie before the end .* at step 42, got 42it \(step 42\)"
    ):
        run({"start": "42it"})
    with pytest.raises(InputError, match="check: 1ep never happens in a training from step 22 to 41"):
        run({"start": "22it", "duration": "41it", "stop": "val-loss <= 1", "check": "1ep"})
    assert not run.seen.progress
