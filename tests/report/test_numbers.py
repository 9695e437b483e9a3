from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.report.numbers import density, percent, plus_minus, ranges


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "100"),
        (0.99999, "100"),
        (0.09996, "10.0"),
        (0.0115, "1.15"),
        (0.0, "0"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_density_has_three_digits(value: float | None, text: str) -> None:
    assert density(value) == text


@given(st.floats(1e-6, 1))
def test_density_reads_back_to_three_digits(value: float) -> None:
    assert float(density(value)) / 100 == pytest.approx(value, rel=6e-3)


def test_plus_minus_leaves_out_an_interval_that_is_not_there() -> None:
    assert plus_minus(0.5, None, None, 1) == "50.0"
    assert plus_minus(0.5, math.nan, math.nan, 1) == "50.0"
    assert plus_minus(None, None, None) == "–"


def test_percent_writes_a_missing_number_as_a_dash() -> None:
    assert percent(math.nan) == percent(None) == "–"


@given(st.lists(st.integers(0, 30)))
def test_ranges_name_every_number_once(numbers: list[int]) -> None:
    named: list[int] = []
    for part in filter(None, ranges(numbers).split(", ")):
        first, _, last = part.partition("–")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(set(numbers))
