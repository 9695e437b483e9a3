from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import InputError
from pomona.core.step import Step, steps_per_epoch


@given(st.integers(0, 10**9), st.sampled_from(["ep", "it"]))
def test_step_reads_back_what_it_writes(count: int, unit: str) -> None:
    step = Step.parse(f"{count}{unit}")
    assert (step.count, step.unit, str(step)) == (count, unit, f"{count}{unit}")
    assert Step.parse(step) is step


def test_step_units_are_different_values() -> None:
    assert Step(0, "ep") != Step(0, "it")


@pytest.mark.parametrize(
    "written", ["30", "ep", "30 ep", "-1ep", "030ep", "1.5ep", "30EP", "30ep\n", "", 30, None, 1.5]
)
def test_step_parse_refuses_and_says_the_form(written: object) -> None:
    with pytest.raises(InputError) as caught:
        Step.parse(written)  # type: ignore[arg-type]
    expected = f"expected epochs as '30ep' or iterations as '500it', got {written!r}"
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize("written", ["30", 30])
def test_step_parse_offers_both_units_for_a_bare_number(written: object) -> None:
    with pytest.raises(InputError, match="did you mean '30ep' or '30it'"):
        Step.parse(written)  # type: ignore[arg-type]


def test_step_counts_from_zero() -> None:
    with pytest.raises(InputError, match="a step counts from 0, got -1ep"):
        Step(-1, "ep")


def test_step_iterations() -> None:
    assert Step(3, "ep").iterations(917) == 2751
    assert Step(500, "it").iterations(917) == 500


@given(st.integers(1, 10**6), st.integers(1, 10**4))
def test_steps_per_epoch_keeps_the_short_batch(examples: int, batch: int) -> None:
    found = steps_per_epoch(examples, batch)
    assert (found - 1) * batch < examples <= found * batch
    assert found == math.ceil(examples / batch)
