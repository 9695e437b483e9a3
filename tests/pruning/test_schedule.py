import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import InputError
from pomona.pruning.schedule import SCHEDULES, densities, density_at


@pytest.mark.parametrize("name", SCHEDULES)
@given(target=st.floats(0.001, 1.0), levels=st.integers(1, 40))
def test_schedules_fall_from_one_to_the_target_exactly(name, target, levels):
    found = densities(name, target, levels)
    assert found[-1] == target
    assert all(1 + 1e-12 >= a >= b - 1e-12 for a, b in zip([1.0, *found], found, strict=False))


def test_exponential_keeps_the_same_share_each_level():
    found = densities("exponential", 0.8**20, 20)
    assert all(math.isclose(d, 0.8**k, rel_tol=1e-11) for k, d in enumerate(found, 1))


def test_cubic_is_the_formula_of_zhu_and_gupta():
    # s_t = s_f + (s_i - s_f)(1 - t/n)^3 with s_i = 0
    final, steps = 0.875, 8
    for k, density in enumerate(densities("cubic", 1 - final, steps), 1):
        assert math.isclose(1 - density, final + (0 - final) * (1 - k / steps) ** 3, rel_tol=1e-12)


def test_what_cannot_be_reached_is_refused():
    with pytest.raises(InputError, match="unknown schedule 'cubik'; did you mean 'cubic'"):
        densities("cubik", 0.1, 3)
    with pytest.raises(InputError, match="expected a target density above 0"):
        density_at("exponential", 0.0, 0.5)
    with pytest.raises(InputError, match=r"got 1\.5"):
        density_at("linear", 1.5, 0.5)
