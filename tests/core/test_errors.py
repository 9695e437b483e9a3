from __future__ import annotations

import pytest

from pomona.core import errors
from pomona.core.errors import InputError, ProblemsError, StateFailure, nearest, unknown


@pytest.mark.parametrize(
    ("given", "choices", "expected"),
    [
        ("magnitud", ["magnitude", "random"], "magnitude"),
        ("MAGNITUDE", ["magnitude", "random"], "magnitude"),
        ("lenett", ["LeNet", "VGG"], "LeNet"),
        ("VGGG", ["LENET", "VGG"], "VGG"),
        ("zzzzz", ["magnitude", "random"], None),
        ("any", [], None),
    ],
)
def test_nearest_finds_the_choice_most_alike(given: str, choices: list[str], expected: str | None) -> None:
    assert nearest(given, iter(choices)) == expected


def test_unknown_says_what_where_nearest_and_all() -> None:
    text = unknown("criterion", "magnitud", iter(["magnitude", "random"]), where="study.yaml: method")
    assert text == (
        "study.yaml: method: unknown criterion 'magnitud'; did you mean 'magnitude'? Known: magnitude, random"
    )


def test_unknown_without_anything_alike() -> None:
    assert unknown("data set", 3, ["mnist"]) == "unknown data set 3. Known: mnist"
    assert unknown("name", "net", []) == "unknown name 'net'. Known: (none)"


def test_problems_error_reports_all_and_counts() -> None:
    one = ProblemsError("study.yaml", ["no replicates"])
    assert str(one) == "study.yaml: 1 problem\n  - no replicates"
    two = ProblemsError("study.yaml", ["no replicates", "no steps"])
    assert str(two) == "study.yaml: 2 problems\n  - no replicates\n  - no steps"
    assert two.problems == ("no replicates", "no steps")


def test_state_failure_carries_its_kind() -> None:
    failure = StateFailure("diverged", "the loss is NaN at step 3")
    assert (failure.kind, str(failure)) == ("diverged", "the loss is NaN at step 3")


def test_every_error_of_a_user_has_one_root_and_bad_arguments_are_value_errors() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    assert len(classes) >= 8
    assert all(issubclass(c, errors.PomonaError) for c in classes)
    assert issubclass(InputError, ValueError)
    assert issubclass(errors.StoreWriteError, errors.StoreError)
