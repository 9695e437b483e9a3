import math

import pytest
import torch

from pomona.training.config import Train
from pomona.training.schedule import learning_rates


def _rates(schedule, duration="10ep", lr=0.1, per_epoch=5):
    config = Train.model_validate(
        {"optimizer": {"sgd": {"lr": lr}}, "batch_size": 1, "duration": duration, "schedule": schedule}
    )
    rate = learning_rates(config, per_epoch)
    return [rate(step) for step in range(config.duration.iterations(per_epoch))]


def _torch_rates(make, steps, lr=0.1):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    schedule = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_learning_rates_are_constant_by_default():
    assert set(_rates({})) == {0.1}


def test_learning_rates_milestones_equal_torch():
    ours = _rates({"milestones": ["4ep", "31it"], "gamma": 0.2})
    theirs = _torch_rates(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [20, 31], gamma=0.2), 50)
    assert ours == pytest.approx(theirs)
    assert ours[19] == 0.1
    assert ours[20] == pytest.approx(0.02)


def test_learning_rates_cosine_equals_torch():
    theirs = _torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 50), 50)
    assert _rates({"cosine": True}) == pytest.approx(theirs)


def test_learning_rates_warm_up_rises_to_the_full_rate_and_then_follows_the_rest():
    rates = _rates({"warmup": "10it", "cosine": True})
    assert rates[:10] == pytest.approx([0.1 * (i + 1) / 10 for i in range(10)])
    assert rates[10] == 0.1
    assert rates[30] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 0.5)))
