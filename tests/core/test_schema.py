from __future__ import annotations

from fractions import Fraction as Exact
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pomona.core.canonical import digest
from pomona.core.errors import InputError
from pomona.core.schema import Fraction, Late, Part, StepField, parse_fraction
from pomona.core.step import Step


class Sgd(Part):
    lr: float
    momentum: float = 0


class Old(Part):
    optimizer: Sgd
    duration: StepField
    amount: Fraction = 0.2
    sizes: dict[str, tuple[int, ...]] = {}


class New(Old):
    """The same part, after a release that added fields."""

    clip: Annotated[float | None, Late(None)] = None
    warmup: Annotated[StepField, Late(Step(0, "it"))] = Step(0, "it")
    nesterov: Annotated[bool, Late(False)] = False


GIVEN = {"optimizer": {"lr": 0.1}, "duration": "30ep"}


def test_part_late_fields_at_their_neutral_value_leave_the_identity() -> None:
    old, new = Old.model_validate(GIVEN), New.model_validate({**GIVEN, "clip": None, "warmup": "0it"})
    assert new.identity() == old.identity()
    assert digest(new.identity()) == digest(old.identity())


@pytest.mark.parametrize("change", [{"clip": 1.0}, {"warmup": "1it"}, {"warmup": "0ep"}, {"nesterov": True}])
def test_part_late_fields_with_another_value_enter_it(change: dict[str, Any]) -> None:
    identity = New.model_validate({**GIVEN, **change}).identity()
    assert set(identity) - set(Old.model_validate(GIVEN).identity()) == set(change)


def test_part_a_field_without_a_mark_enters_at_its_default() -> None:
    assert Old.model_validate(GIVEN).identity() == {
        "optimizer": {"lr": 0.1, "momentum": 0.0},
        "duration": Step(30, "ep"),
        "amount": 0.2,
        "sizes": {},
    }


def test_part_an_integer_for_a_float_field_gives_the_same_key() -> None:
    one = Sgd.model_validate({"lr": 1, "momentum": 0})
    assert digest(one.identity()) == digest(Sgd(lr=1.0, momentum=0.0).identity())


def test_part_an_integer_default_of_a_float_field_gives_the_same_key() -> None:
    assert digest(Sgd(lr=1.0).identity()) == digest(Sgd(lr=1.0, momentum=0.0).identity())


def test_part_nested_parts_and_lists_enter_as_plain_values() -> None:
    part = Old.model_validate({**GIVEN, "sizes": {"a": [1, 2]}})
    assert part.identity()["sizes"] == {"a": [1, 2]}


def test_part_a_value_without_a_plain_form_is_refused() -> None:
    class Odd(Part):
        what: Any

    with pytest.raises(TypeError, match="set cannot enter an identity"):
        Odd(what={1}).identity()


def test_part_unknown_keys_and_changes_are_refused() -> None:
    with pytest.raises(ValidationError, match="leraning"):
        Sgd.model_validate({"lr": 0.1, "leraning": 1})
    with pytest.raises(ValidationError, match="frozen"):
        Sgd(lr=0.1).lr = 0.2  # type: ignore[misc]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_part_numbers_must_be_finite(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Sgd(lr=value)


@given(st.integers(0, 10**25), st.integers(0, 20))
def test_parse_fraction_is_the_double_nearest_to_a_hundredth(digits: int, places: int) -> None:
    text = f"{digits:0{places + 1}d}"
    written = f"{text[: len(text) - places]}.{text[len(text) - places :]}" if places else text
    assert parse_fraction(f"{written}%") == float(Exact(digits, 10**places) / 100)


@pytest.mark.parametrize(
    ("written", "expected"),
    [("20%", 0.2), ("10pp", 0.1), ("7%", 0.07), (".5 %", 0.005), ("1e-1%", 0.001), (0.2, 0.2), (1, 1)],
)
def test_parse_fraction_reads(written: object, expected: float) -> None:
    assert parse_fraction(written) == expected


@pytest.mark.parametrize("written", ["20", "20 percent", "-5%", "", "%", True, "20%%"])
def test_parse_fraction_refuses_and_says_the_form(written: object) -> None:
    with pytest.raises(InputError) as caught:
        parse_fraction(written)
    assert str(caught.value) == f"expected a fraction as '20%' or 0.2, got {written!r}"


@pytest.mark.parametrize("written", ["101%", 1.5, -0.1, "1e999999999%"])
def test_fraction_outside_of_its_range_is_refused(written: object) -> None:
    with pytest.raises(ValidationError, match=r"less than or equal to 1|greater than or equal to 0|finite"):
        Old.model_validate({**GIVEN, "amount": written})


def test_step_field_is_read_and_written_as_text() -> None:
    part = Old.model_validate(GIVEN)
    assert part.duration == Step(30, "ep")
    assert part.model_dump()["duration"] == "30ep"
    with pytest.raises(ValidationError, match="expected epochs as '30ep' or iterations as '500it', got 30"):
        Old.model_validate({**GIVEN, "duration": 30})


def test_step_field_and_fraction_have_a_json_schema() -> None:
    properties = Old.model_json_schema()["properties"]
    assert properties["duration"]["pattern"] == "^[0-9]+(ep|it)$"
    assert {entry["type"] for entry in properties["amount"]["anyOf"]} == {"number", "string"}
