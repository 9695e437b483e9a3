from __future__ import annotations

from typing import Any

import pytest

from pomona.report.hypotheses import parts_of
from pomona.report.units import POINTS, unit_of
from pomona.studies.hypotheses.spec import Hypothesis

ARMS = {"a": {"method": "x"}, "b": {"method": "y"}}
ACCURACY = {"measure": "accuracy", "match": "density", "value": 0.17}


def hypothesis(**given: Any) -> Hypothesis:
    return Hypothesis.model_validate({"claim": "A beats B.", "contrast": ARMS, "of": ACCURACY, **given})


def parts(**given: Any) -> dict[str, str]:
    return dict(parts_of(hypothesis(**given)))


def test_hypothesis_of_a_regression_is_written_out() -> None:
    found = parts(
        contrast=None,
        of=None,
        model={
            "rows": "state x class",
            "formula": "accuracy ~ density",
            "term": "density",
            "cluster": ["lineage", "dataset:class"],
            "errors": "cr2",
            "where": "level > 0",
        },
        primary=False,
        test={"regression": "less"},
        expect={"effect": -1, "text": "a slope below 0"},
    )
    assert found == {
        "Regression": "accuracy ~ density, one row for each state x class; the term density is tested; rows where "
        "level > 0; clustered by lineage and dataset:class; CR2 errors",
        "Test": "regression (t of one term of a regression), alternative: less; level 0.05, secondary",
        "Expected": "an effect of -1 (coefficient of density); a slope below 0",
    }


def test_contrast_says_what_is_fixed_matched_and_averaged() -> None:
    contrast = {**ARMS, "fix": {"treatment": "rewind"}, "match": ["data"], "average": ["width"]}
    assert parts(contrast=contrast)["Compares"] == (
        "method x (a) with method y (b); at treatment rewind; matched in data; averaged over width; "
        "paired by replicate"
    )


@pytest.mark.parametrize(
    ("contrast", "of", "text"),
    [
        ({"a": {"method": "x"}, "value": "90%"}, {}, "method x (a) held against 90 %; paired by replicate"),
        (
            {"a": {"method": "x"}},
            {"value": None, "slope": "all"},
            "method x (a) held against 0; paired by replicate",
        ),
        (
            {**ARMS, "across": {"data": ["clean", "noisy"]}},
            {},
            "method x (a) with method y (b), at data clean less at noisy; paired by replicate",
        ),
        (
            {"a": {"method": "x"}, "across": {"data": ["clean", "noisy"]}},
            {},
            "method x (a), at data clean less at noisy; paired by replicate",
        ),
    ],
)
def test_sides_of_a_contrast_are_named(contrast: dict[str, Any], of: dict[str, Any], text: str) -> None:
    assert parts(contrast=contrast, of={**ACCURACY, **of})["Compares"] == text


@pytest.mark.parametrize(
    ("of", "text"),
    [
        (ACCURACY, "test accuracy, at density 0.17"),
        ({"measure": "loss", "part": "validation"}, "validation loss"),
        (
            {"measure": "class-accuracy", "class": 3, "match": "level", "value": 2},
            "test accuracy of class 3, at level 2",
        ),
        ({"measure": "class-accuracy", "class": "worst"}, "test accuracy of the worst class"),
        (
            {"measure": "accuracy", "match": "effective-density", "area": [1, 0.1]},
            "mean of test accuracy over log effective density from 1 to 0.1",
        ),
        (
            {"measure": "accuracy", "match": "level", "area": [0, 6]},
            "mean of test accuracy over level from 0 to 6",
        ),
        (
            {"measure": "accuracy", "match": "density", "slope": "all"},
            "slope of test accuracy per doubling of density, over all pruned levels",
        ),
        (
            {"measure": "accuracy", "match": "level", "slope": [1, 4]},
            "slope of test accuracy per level, from 1 to 4",
        ),
        (
            {"measure": "accuracy", "match": "density", "below": "90%"},
            "log2 density at which test accuracy first falls below 90 %",
        ),
        (
            {
                "measure": "mask-distance",
                "layer": "fc1.weight",
                "match": "level",
                "value": 3,
                "to": {"method": "z"},
            },
            "mask-distance of fc1.weight to the masks of method z (a share of that of independent masks), at level 3",
        ),
        (
            {
                "measure": "mask-distance",
                "match": "level",
                "value": 3,
                "to": {"method": "z"},
                "corrected": False,
            },
            "mask-distance to the masks of method z (not corrected for chance), at level 3",
        ),
    ],
)
def test_outcome_is_written_out(of: dict[str, Any], text: str) -> None:
    assert parts(of=of)["In"] == text


def test_margin_exclusion_family_null_and_assumption_are_written_out() -> None:
    found = parts(
        null="There is no difference.",
        test="equivalence",
        margin="1pp",
        exclude="at-chance",
        family="rewinding",
        assume={"sd": "2pp"},
        alpha=0.01,
    )
    assert found["Null"] == "There is no difference."
    assert found["Equivalent within"] == "1 percentage point"
    assert found["Leaves out"] == "replicates of which an arm is at chance"
    assert found["Planned with"] == "an SD of 2 percentage points"
    assert found["Test"] == (
        "equivalence (two one-sided t tests within the registered margin); level 0.01, primary, "
        "in the family rewinding"
    )


@pytest.mark.parametrize(
    ("of", "written"),
    [
        (ACCURACY, "1 percentage point|-3 percentage points"),
        ({"measure": "loss"}, "0.01 nats|-0.03 nats"),
        (
            {"measure": "accuracy", "match": "density", "below": 0.9},
            "0.01 doublings of density|-0.03 doublings of density",
        ),
        ({"measure": "accuracy", "match": "level", "below": 0.9}, "0.01 levels|-0.03 levels"),
        (
            {"measure": "accuracy", "match": "level", "slope": "all"},
            "1 percentage point per level|-3 percentage points per level",
        ),
        (
            {"measure": "accuracy", "match": "density", "slope": "all"},
            "1 percentage point per doubling of density|-3 percentage points per doubling of density",
        ),
    ],
)
def test_units_follow_the_estimand_and_are_singular_where_they_are_one(
    of: dict[str, Any], written: str
) -> None:
    unit = unit_of(hypothesis(of=of))
    assert f"{unit.written(0.01)}|{unit.written(-0.03)}" == written


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((0.1213, 0.0981, 0.1442), "12.1 [9.8, 14.4] percentage points"),
        ((0.12134, 0.12128, 0.12140), "12.1340 [12.1280, 12.1400] percentage points"),
        ((-0.3, -0.9, 0.3), "-30 [-90, 30] percentage points"),
        ((0.0, 0.0, 0.0), "0.0 [0.0, 0.0] percentage points"),
        ((-1e-9, -0.01, 0.01), "0.0 [-1.0, 1.0] percentage points"),
        ((0.1213, None, None), "12.1 percentage points"),
        ((0.1213, float("-inf"), float("inf")), "12.1 [-inf, inf] percentage points"),
        ((None, None, None), "–"),
    ],
)
def test_intervals_have_two_digits_of_their_half(given: tuple[float | None, ...], text: str) -> None:
    assert POINTS.interval(*given) == text
