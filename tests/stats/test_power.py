from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from pomona.core.errors import InputError
from pomona.stats.power import (
    simulated_minimal_effect,
    simulated_power,
    t_minimal_effect,
    t_power,
    t_replicates,
    tost_power,
)


@pytest.mark.parametrize(("n", "effect"), [(3, 3.26), (5, 1.68), (10, 1.00), (20, 0.66)])
def test_minimal_effects_are_those_of_the_table(n, effect):
    found = t_minimal_effect(n)
    assert found == pytest.approx(effect, abs=0.005)
    assert t_power(found, n) == pytest.approx(0.8, abs=1e-6)
    assert TTestPower().power(found, n, 0.05) == pytest.approx(0.8, abs=1e-6)


def test_replicates_are_the_fewest_with_the_power():
    # Cohen 1988, table 2.4.1 for d_z = d / sqrt(2): a medium paired effect of .5 needs 34 pairs.
    assert t_replicates(0.5) == 34
    assert (t_power(0.5, 5000), t_power(-0.5, 5000, alternative="greater")) == (1, 0)
    for effect in (0.3, 1.0, 3.0):
        n = t_replicates(effect, alternative="greater")
        assert t_power(effect, n, alternative="greater") >= 0.8
        assert n == 2 or t_power(effect, n - 1, alternative="greater") < 0.8
    assert t_replicates(-1.0, alternative="less") == t_replicates(1.0, alternative="greater")


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_simulated_power_of_t_is_the_formula(alternative):
    effect = -0.9 if alternative == "less" else 0.9
    found = simulated_power("paired-t", effect, 8, alternative=alternative)
    assert found == pytest.approx(t_power(effect, 8, alternative=alternative), abs=0.015)


def test_simulation_tells_of_exact_tests_what_no_formula_does():
    assert simulated_power("sign-flip", 5.0, 5) == 0
    assert simulated_minimal_effect("sign-flip", 5) is None
    six = simulated_minimal_effect("sign-flip", 6, studies=2000)
    assert t_minimal_effect(6) < six < 2.5
    assert simulated_power("sign-flip", six, 6, studies=2000) == pytest.approx(0.8, abs=0.01)


def test_power_is_its_seed_and_a_pilot_gives_its_shape():
    assert simulated_power("sign", 1.0, 6) == simulated_power("sign", 1.0, 6)
    assert simulated_power("sign", 1.0, 6) != simulated_power("sign", 1.0, 6, seed=1)
    pilot = [0.0, 0.0, 0.0, 0.0, 5.0]
    assert abs(simulated_power("sign", 1.0, 6, pilot=pilot) - simulated_power("sign", 1.0, 6)) > 0.1


def test_equivalence_needs_its_margin_in_standard_deviations():
    assert tost_power(5, 0.3) < 0.01
    assert tost_power(10, 1.5) > 0.95
    assert tost_power(10, 1.5, effect=1.5) == pytest.approx(0.05, abs=0.01)


def test_power_refuses_what_has_no_answer():
    with pytest.raises(InputError, match="effect: expected one in the direction of 'less'"):
        t_replicates(1.0, alternative="less")
    with pytest.raises(InputError, match="needs more than 8192 replicates"):
        t_replicates(1e-4)
    with pytest.raises(InputError, match=r"power: expected a number above 0.05 and below 1, got 0.01"):
        t_minimal_effect(5, power=0.01)
    with pytest.raises(InputError, match="pilot: its differences are all equal"):
        simulated_power("sign", 1.0, 5, pilot=np.ones(4))
    with pytest.raises(InputError, match="unknown paired test"):
        simulated_power("tea", 1.0, 5)
