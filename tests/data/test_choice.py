from __future__ import annotations

import pytest
from pydantic import ValidationError

from pomona.data.catalogue import DATASETS
from pomona.data.choice import Corruption, DataChoice


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


def corrupted(**written: object) -> DataChoice:
    return DataChoice.model_validate({"name": "mnist", "corrupt": written})


@pytest.mark.parametrize(
    ("written", "identity", "streams"),
    [
        ({"labels": 1}, {"labels": 1.0}, ("label-noise",)),
        ({"labels": "30%"}, {"labels": 0.3}, ("label-noise",)),
        ({"pixels": "yes"}, {"pixels": True}, ("pixel-noise",)),
        ({"pixels": True, "labels": 1.0}, {"labels": 1.0, "pixels": True}, ("label-noise", "pixel-noise")),
        ({"examples": "50%"}, {"examples": 0.5}, ("subset",)),
        ({"examples": "50%", "labels": 0}, {"examples": 0.5}, ("subset",)),
    ],
)
def test_corruption_enters_the_identity_as_it_was_written(written, identity, streams) -> None:
    choice = corrupted(**written)
    assert choice.identity()["corrupt"] == identity
    assert choice.corrupt is not None
    assert choice.corrupt.streams == streams
    assert DataChoice.model_validate(choice.model_dump(mode="json")) == choice
    assert hash(choice) == hash(corrupted(**written))


@pytest.mark.parametrize(
    "written", [{"labels": 0}, {"pixels": False}, {"examples": "100%"}, {"labels": 0, "examples": 1}]
)
def test_corruption_that_changes_nothing_is_the_clean_data(written) -> None:
    """A factor over shares of random labels starts at the clean data, which are trained on once."""
    choice = corrupted(**written)
    assert choice == DataChoice(name="mnist")
    assert choice.identity() == DataChoice(name="mnist").identity()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({}, "expected at least one of labels, pixels and examples, got nothing"),
        ({"labels": 1.5}, "less than or equal to 1"),
        ({"examples": 0}, "greater than 0"),
        ({"lables": 1.0}, "lables"),
        ({"labels": "all"}, "expected a fraction as '20%' or 0.2, got 'all'"),
        ({"examples": "0.0001%"}, "examples 1e-06 of 60000 training images leaves 0 of them"),
        ({"labels": "0.0001%"}, "labels 1e-06 of 60000 training images is none of them"),
    ],
)
def test_corruption_that_cannot_be_read_says_why(written, message) -> None:
    with pytest.raises(ValidationError) as caught:
        corrupted(**written)
    assert message in str(caught.value)


def test_corruption_is_checked_against_what_validation_leaves() -> None:
    with pytest.raises(ValidationError, match=r"labels 0\.1 of 4 training images is none of them"):
        DataChoice(name="digits", validation=1433, corrupt=Corruption(labels=0.1))
