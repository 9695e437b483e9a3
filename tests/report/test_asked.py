from __future__ import annotations

from typing import Any

import pytest

from pomona.report.asked import describe_training
from pomona.report.hypotheses import written_out
from pomona.studies.schema import Hypothesis
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


def test_hypothesis_of_a_regression_is_written_out() -> None:
    hypothesis = Hypothesis.model_validate(
        {
            "claim": "Harm grows.",
            "model": {"rows": "state x class", "formula": "harm ~ density", "cluster": ["lineage"]},
            "primary": False,
            "test": "sign",
            "expect": {"text": "a slope below 0"},
        }
    )
    ((claim, parts),) = written_out([hypothesis])
    assert claim == "Harm grows."
    assert parts == [
        ("Regression", "harm ~ density, one row for each state x class, clustered by lineage"),
        ("Test", "sign (sign test); level 0.05, secondary"),
        ("Expected", "a slope below 0"),
    ]


def test_contrast_says_what_is_fixed_matched_and_averaged() -> None:
    hypothesis = Hypothesis.model_validate(
        {
            "claim": "A beats B.",
            "contrast": {
                "a": {"method": "x"},
                "b": {"method": "y"},
                "fix": {"treatment": "rewind"},
                "match": ["data"],
                "average": ["width"],
            },
            "of": {"measure": "mask-distance", "layer": "fc1", "match": "level", "value": 3},
        }
    )
    ((_, parts),) = written_out([hypothesis])
    assert parts == [
        ("Compares", "method x with method y; at treatment rewind; matched in data; averaged over width"),
        ("In", "mask-distance of fc1, at level 3"),
    ]
