import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa

from pomona.core.errors import InputError
from pomona.measures.predictions import accuracy, agreement, at_chance, averaged, chance_accuracy, kappa

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


def _confusion(a, b, classes):
    table = [[0] * classes for _ in range(classes)]
    for i, j in zip(a, b, strict=True):
        table[i][j] += 1
    return table


def _kappa_by_hand(a, b, classes):
    table, n = _confusion(a, b, classes), Fraction(len(a))
    seen = sum(table[i][i] for i in range(classes)) / n
    rows = [sum(row) / n for row in table]
    columns = [sum(row[i] for row in table) / n for i in range(classes)]
    chance = sum(p * q for p, q in zip(rows, columns, strict=True))
    return None if chance == 1 else (seen - chance) / (1 - chance)


_PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@given(_PAIRS)
def test_agreement_and_kappa_are_those_of_the_confusion_matrix(pairs):
    a, b = (list(side) for side in zip(*pairs, strict=True))
    assert agreement(a, b) == sum(x == y for x, y in pairs) / len(pairs) == agreement(b, a)
    wanted = _kappa_by_hand(a, b, 5)
    found = kappa(np.array(a, np.uint8), np.array(b, np.uint8), 5)
    if wanted is None:
        assert found is None
    else:
        assert found == pytest.approx(float(wanted), abs=1e-15)
        assert kappa(a, b, 300) == found
        assert kappa(b, a, 5) == found


def test_kappa_is_that_of_statsmodels():
    draw = np.random.default_rng(0)
    a = draw.integers(0, 10, 5000)
    b = np.where(draw.random(5000) < 0.7, a, draw.integers(0, 10, 5000))
    theirs = cohens_kappa(np.array(_confusion(a, b, 10), float)).kappa
    assert 0.6 < theirs < 0.8
    assert kappa(a, b, 10) == pytest.approx(theirs, rel=1e-12)


def test_kappa_at_its_limits():
    assert kappa([0, 1, 2], [0, 1, 2], 3) == 1
    # Two networks that guess one class each, not the same: they never agree, and chance would not either.
    assert kappa([0, 0, 0], [1, 1, 1], 2) == 0
    assert kappa([0, 1], [1, 0], 2) == -1
    # Both say one same class: 0 / 0, however many examples there are.
    assert kappa([1] * 10_000, [1] * 10_000, 10) is None
    assert agreement([1] * 10_000, [1] * 10_000) == 1


def test_agreement_is_not_fooled_by_bytes_that_overflow():
    a = np.full(70_000, 255, np.uint8)
    b = np.where(np.arange(70_000) < 35_000, 255, 0).astype(np.uint8)
    assert agreement(a, b) == 0.5
    assert kappa(a, b, 256) == 0


def test_agreement_refuses_what_cannot_be_compared():
    with pytest.raises(InputError, match=r"got \(2,\) and \(3,\)"):
        agreement([1, 2], [1, 2, 3])
    with pytest.raises(InputError, match="at least one example"):
        agreement(np.empty(0, np.uint8), np.empty(0, np.uint8))
    with pytest.raises(InputError, match="whole numbers, got float64"):
        kappa([0.5], [1], 2)
    with pytest.raises(InputError, match="from 0 to 2, got 3"):
        kappa([0, 1], [0, 3], 3)
    with pytest.raises(InputError, match="from 0 to 2, got -1"):
        kappa([0, -1], [0, 1], 3)


def test_averaged_is_the_mean_in_float32():
    members = np.random.default_rng(1).random((3, 4, 5)).astype(np.float16)
    found = averaged(list(members))
    assert found.dtype == np.float32
    for i, j in itertools.product(range(4), range(5)):
        exact = sum(Fraction(float(member[i, j])) for member in members) / 3
        assert found[i, j] == np.float32(float(exact))
    assert np.array_equal(averaged([members[2], members[0], members[1]]), found)
    assert np.array_equal(averaged([members[0]]), members[0].astype(np.float32))


def test_averaged_leaves_its_members_and_ties_go_to_the_first_class():
    first, second = np.array([[0.7, 0.2, 0.1]], np.float16), np.array([[0.2, 0.7, 0.1]], np.float16)
    before = first.copy()
    assert averaged([first, second]).argmax(1).tolist() == [0]
    assert np.array_equal(first, before)


def test_averaged_refuses_members_that_do_not_fit():
    with pytest.raises(InputError, match="at least one member"):
        averaged([])
    with pytest.raises(InputError, match=r"got \(2, 3\), \(2, 4\)"):
        averaged([np.zeros((2, 3)), np.zeros((2, 4))])
    with pytest.raises(InputError, match=r"got \(3,\)"):
        averaged([np.zeros(3)])
