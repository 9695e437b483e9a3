import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import InputError
from pomona.pruning.counts import units


def levels(remaining: int, fraction: float, rounding: str, repeats: int) -> list[int]:
    found = []
    for _ in range(repeats):
        remaining -= units(fraction, remaining, rounding)
        found.append(remaining)
    return found


def test_nearest_takes_no_extra_weight_per_level():
    # One known code base prunes one too many: 799, 638, 509, 406.
    assert levels(1000, 0.2, "nearest", 4) == [800, 640, 512, 410]


def test_nearest_is_relative_to_what_remains():
    assert levels(100, 0.2, "nearest", 4) == [80, 64, 51, 41]


def test_nearest_rounds_halves_to_even():
    assert [units(0.5, n) for n in (1, 3, 5, 7, 9)] == [0, 2, 2, 4, 4]


def test_floor_has_the_counts_of_integer_percentages():
    for percent in range(101):
        for remaining in (0, 1, 7, 10, 99, 100, 300, 1000, 235_200):
            assert units(percent / 100, remaining, "floor") == remaining * percent // 100


def test_floor_is_not_misled_by_binary_fractions():
    assert int(0.29 * 100) == 28
    assert units(0.29, 100, "floor") == 29


@given(st.floats(0, 1), st.integers(0, 10**9), st.sampled_from(["nearest", "floor"]))
def test_count_fits_what_remains(fraction, remaining, rounding):
    assert 0 <= units(fraction, remaining, rounding) <= remaining


def test_ends_are_nothing_and_all():
    assert units(0.0, 17) == 0
    assert units(1.0, 17, "floor") == 17


def test_fraction_out_of_range_is_refused():
    with pytest.raises(InputError, match=r"fraction from 0 to 1, got 1\.5"):
        units(1.5, 10)
    with pytest.raises(InputError, match="got nan"):
        units(float("nan"), 10)


def test_unknown_rounding_names_the_nearest():
    with pytest.raises(InputError, match="unknown rounding 'flor'; did you mean 'floor'"):
        units(0.2, 10, "flor")


def test_negative_remaining_is_refused():
    with pytest.raises(InputError, match="0 or more, got -1"):
        units(0.2, -1)
