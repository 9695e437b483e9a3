import math

import pytest

from pomona.core.errors import InputError
from pomona.measures.predictions import accuracy, at_chance, chance_accuracy

MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_accuracy_in_total_and_per_class():
    found = accuracy([1, 0, 6], [2, 2, 6])
    assert found.total == 0.7
    assert found.classes == (0.5, 0.0, 1.0)


def test_accuracy_of_a_class_without_examples_is_nan():
    found = accuracy([1, 0], [2, 0])
    assert found.total == 0.5
    assert math.isnan(found.classes[1])


def test_accuracy_refuses_impossible_counts():
    with pytest.raises(InputError, match="class 1: 3 right predictions of 2 examples"):
        accuracy([1, 3], [2, 2])
    with pytest.raises(InputError, match=r"shapes \(1,\) and \(2,\)"):
        accuracy([1], [2, 2])
    with pytest.raises(InputError, match="at least one example"):
        accuracy([0], [0])


def test_chance_accuracy_of_mnist_is_its_largest_class():
    assert chance_accuracy(MNIST_TEST) == 0.1135


def test_chance_accuracy_without_examples_is_refused():
    with pytest.raises(InputError, match="at least one example"):
        chance_accuracy([])


def test_at_chance_is_two_standard_errors_above_guessing():
    # sqrt(.25 / 100) = .05: up to 60 of 100 is guessing.
    assert at_chance(60, 100, 0.5)
    assert not at_chance(61, 100, 0.5)
    assert at_chance(1135, 10_000, 0.1135)
    assert not at_chance(1200, 10_000, 0.1135)


def test_at_chance_includes_worse_than_guessing():
    assert at_chance(0, 100, 0.5)


def test_at_chance_refuses_impossible_numbers():
    with pytest.raises(InputError, match="got 11 of 10"):
        at_chance(11, 10, 0.5)
    with pytest.raises(InputError, match=r"from 0 to 1, got 1\.5"):
        at_chance(1, 10, 1.5)
