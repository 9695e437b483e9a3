from __future__ import annotations

from typing import Any

import pytest

from pomona.report.asked import describe_training
from pomona.training.config import Train


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (
            {"optimizer": {"sgd": {"lr": 0.01, "momentum": 0.9, "nesterov": True}}},
            "SGD, lr 0.01, momentum 0.9, nesterov yes; batch 60; 30ep",
        ),
        (
            {"optimizer": {"adam": {"lr": 1.2e-3, "betas": [0.9, 0.99]}}, "schedule": {"cosine": True}},
            "Adam, lr 0.0012, betas (0.9, 0.99); batch 60; 30ep; learning rate falls along a cosine",
        ),
        (
            {
                "optimizer": {"sgd": {"lr": 0.1}},
                "schedule": {"milestones": ["10ep", "20ep"], "warmup": "100it"},
            },
            "SGD, lr 0.1; batch 60; 30ep; learning rate times 0.1 from 10ep, 20ep on; warmup over 100it",
        ),
        (
            {"optimizer": {"sgd": {"lr": 0.1}}, "stop": "val-accuracy >= .25", "check": "1it"},
            "SGD, lr 0.1; batch 60; 30ep; stops at val-accuracy >= 0.25, judged every 1it",
        ),
        (
            {"optimizer": {"sgd": {"lr": 0.1}}, "stop": {"best": "val-loss", "patience": 5}, "check": "1ep"},
            "SGD, lr 0.1; batch 60; 30ep; keeps the best val-loss, patience 5, judged every 1ep",
        ),
    ],
)
def test_training_is_described_in_one_line(written: dict[str, Any], text: str) -> None:
    assert describe_training(Train.model_validate({"batch_size": 60, "duration": "30ep", **written})) == text
