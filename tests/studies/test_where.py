from __future__ import annotations

import itertools

import pytest

from pomona.core.errors import InputError
from pomona.studies.where import parse_condition

FACTORS = {"method": ["l1-unstructured", "random", "2"], "treatment": ["rewind", "fine tune"]}
ARMS = [dict(zip(FACTORS, pair, strict=True)) for pair in itertools.product(*FACTORS.values())]


def chosen(text: str) -> list[tuple[str, ...]]:
    condition = parse_condition(text, FACTORS)
    return [tuple(arm.values()) for arm in ARMS if condition(arm)]


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("method == random", "m == 'random'"),
        ("method != random", "m != 'random'"),
        ("method in [l1-unstructured, 2]", "m in ('l1-unstructured', '2')"),
        ("method not in [l1-unstructured, 2]", "m not in ('l1-unstructured', '2')"),
        ("treatment == 'fine tune'", "t == 'fine tune'"),
        ('treatment == "fine tune" and method == 2', "t == 'fine tune' and m == '2'"),
        (
            "treatment == rewind or method == 2 and method != random",
            "t == 'rewind' or (m == '2' and m != 'random')",
        ),
        (
            "(treatment == rewind or method == 2) and not method == random",
            "(t == 'rewind' or m == '2') and m != 'random'",
        ),
        ("not (method == 2 or treatment == rewind)", "not (m == '2' or t == 'rewind')"),
    ],
)
def test_condition_means_what_python_means(text: str, python: str) -> None:
    wanted = [tuple(a.values()) for a in ARMS if eval(python, {"m": a["method"], "t": a["treatment"]})]
    assert chosen(text) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metod == random", "unknown factor 'metod'; did you mean 'method'"),
        ("method == randm", "unknown label of factor 'method' 'randm'; did you mean 'random'"),
        ("method", "expected ==, !=, in or not in after 'method'"),
        ("method == random treatment", "did not expect 'treatment'"),
        ("(method == random", r"expected '\)'"),
        ("method in random", r"expected '\[', got 'random'"),
        ("method ==", "expected a value of method at the end"),
        ("", "expected a name at the end"),
        ("method = random", "cannot read '= random'"),
    ],
)
def test_broken_condition_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_condition(text, FACTORS)
