from __future__ import annotations

import pytest
from pydantic import ValidationError

from pomona.data.catalogue import DATASETS
from pomona.data.choice import DataChoice


def test_choice_has_the_papers_defaults() -> None:
    assert DataChoice(name="mnist").identity() == {"name": "mnist", "validation": 0, "normalise": "standard"}


def test_choice_names_the_nearest_data_set() -> None:
    with pytest.raises(
        ValidationError, match=r"unknown data set 'mnits'; did you mean 'mnist'\?.*mine.py:load"
    ):
        DataChoice(name="mnits")


def test_choice_takes_a_users_function() -> None:
    assert DataChoice(name="folder/mine.py:load", validation=3).name == "folder/mine.py:load"


@pytest.mark.parametrize("validation", [-1, 2.5, "100", True])
def test_choice_refuses_what_is_no_count(validation: object) -> None:
    with pytest.raises(ValidationError, match="validation"):
        DataChoice.model_validate({"name": "mnist", "validation": validation})


def test_choice_leaves_something_to_train_on() -> None:
    assert DataChoice(name="digits", validation=1436).validation == 1436
    with pytest.raises(ValidationError, match="expected 0 to 1436 of the 1437 training images, got 1437"):
        DataChoice(name="digits", validation=1437)


def test_choice_refuses_other_normalisations_and_keys() -> None:
    with pytest.raises(ValidationError, match="'standard' or 'unit'"):
        DataChoice.model_validate({"name": "mnist", "normalise": "zca"})
    with pytest.raises(ValidationError, match="valdation"):
        DataChoice.model_validate({"name": "mnist", "valdation": 5})


def test_choice_says_what_normalises_a_pixel() -> None:
    info = DATASETS["cifar-10"]
    standard = DataChoice(name="cifar-10").pixel_mean_sd(info)
    assert standard == ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    assert DataChoice(name="cifar-10", normalise="unit").pixel_mean_sd(info) == ((0.0,) * 3, (1.0,) * 3)
