"""What users' recipes and probes give back: what is taken, in which form, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pomona.core.errors import InputError, StateFailure
from pomona.graph.custom import Measure, Recipe
from pomona.graph.given import Made
from pomona.graph.ledger import Measurement
from pomona.studies.made import Checked, check_made, described, measurements
from tests.users import HEAD, declare, own_modules

LINE = HEAD.count("\n") + 1
WEIGHTS = {
    "fc.weight": np.array([[1.0, 0.0], [2.0, 3.0]], np.float32),
    "fc.bias": np.zeros(2, np.float32),
    "count": np.array(3),
}
MASKS = {"fc.weight": np.array([[True, False], [True, True]])}
GROWN = {"fc.weight": np.ones((2, 2), bool)}


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    with own_modules():
        yield


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return declare(tmp_path, "@pomona.recipe\ndef work(state: pomona.Given): ...\n")


@pytest.fixture
def probe(tmp_path: Path) -> Measure:
    return declare(tmp_path, "@pomona.probe\ndef work(state: pomona.Given): ...\n", kind=Measure)


def check(recipe: Recipe, masks: Any = None, facts: Any = (), **changed: Any) -> Checked:
    weights = {**WEIGHTS, **{name.replace("_", "."): value for name, value in changed.items()}}
    return check_made(recipe, Made(weights, masks, dict(facts)), WEIGHTS, MASKS)


def test_masks_are_the_first_parents_where_none_are_given(recipe: Recipe) -> None:
    found = check(recipe)
    assert np.array_equal(found.masks["fc.weight"], MASKS["fc.weight"])
    assert list(found.weights) == list(WEIGHTS)


def test_tensors_and_wider_floats_take_the_parents_type(recipe: Recipe) -> None:
    tensor = torch.tensor([[1.0, 0.0], [5.0, 3.0]], dtype=torch.float64, requires_grad=True)
    found = check(recipe, fc_weight=tensor, masks={"fc.weight": torch.tensor([[True, False], [True, True]])})
    assert found.weights["fc.weight"].dtype == np.float32
    assert found.weights["fc.weight"][1, 0] == 5
    assert found.weights["count"].shape == ()
    assert check(recipe, count=WEIGHTS["count"] + 1).weights["count"] == 4
    turned = np.asfortranarray(WEIGHTS["fc.weight"])
    assert check(recipe, fc_weight=turned).weights["fc.weight"].flags.c_contiguous


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (WEIGHTS, "expected pomona.Made(weights=...), got a mapping ('fc.weight', 'fc.bias', 'count')"),
        (None, "expected pomona.Made(weights=...), got NoneType"),
        (Made([1]), "weights: expected a mapping from name to array, got list"),
        (Made({"fc.weight": WEIGHTS["fc.weight"]}), "weights: fc.bias is missing; give all of the first state's"),
        (Made({**WEIGHTS, "fc.wieght": 0}), "weights: unknown name 'fc.wieght'; did you mean 'fc.weight'?"),
        (Made({**WEIGHTS, "fc.bias": [0, 0]}), "weights: fc.bias: expected an array or a tensor, got list"),
        (Made({**WEIGHTS, "fc.bias": np.zeros(3, np.float32)}), "weights: fc.bias has the shape (3,), expected (2,)"),
        (Made({**WEIGHTS, "fc.bias": np.zeros(2, int)}), "weights: fc.bias is of type int64, expected float32"),
        (Made(WEIGHTS, {"fc.bias": np.ones(2, bool)}), "masks: unknown name 'fc.bias'"),
        (Made(WEIGHTS, {"fc.weight": np.ones((2, 2))}), "masks: fc.weight is of type float64, expected bool, as weight != 0"),
        (Made(WEIGHTS, {"fc.weight": np.ones(4, bool)}), "masks: fc.weight has the shape (4,), expected (2, 2)"),
        (Made(WEIGHTS, [1]), "masks: expected a mapping from name to array, got list"),
        (Made(WEIGHTS, facts=3), "facts: expected a mapping, got int"),
        (Made(WEIGHTS, facts={"kept": 1}), "facts: 'kept': that name is of Pomona's own"),
        (Made(WEIGHTS, facts={1: 1}), "facts: 1: a name is text"),
        (Made(WEIGHTS, facts={"a": {1, 2}}), "facts cannot be kept: set has no form in JSON; give JSON values"),
        (Made(WEIGHTS, facts={"a": float("nan")}), "facts cannot be kept: Out of range float values"),
        (Made(WEIGHTS, facts={"a": "x" * 100_001}), "facts are small values: 100,010 characters, at most 100,000"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_says_where_and_what_is_expected(made: Any, said: str, recipe: Recipe) -> None:
    with pytest.raises(InputError) as caught:
        check_made(recipe, made, WEIGHTS, MASKS)
    assert str(caught.value).startswith(f"mine.py:{LINE}: work: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_value_that_is_not_finite_is_diverged(value: float, recipe: Recipe) -> None:
    with pytest.raises(StateFailure, match=r"weights: fc\.bias has values that are not finite") as caught:
        check(recipe, fc_bias=np.array([0, value]))
    assert caught.value.kind == "diverged"


def test_pruned_weights_are_zero_unless_frozen(recipe: Recipe, tmp_path: Path) -> None:
    filled = np.ones((2, 2), np.float32)
    with pytest.raises(
        StateFailure, match=r"pruned weights of fc\.weight are not zero; multiply by the mask"
    ) as caught:
        check(recipe, fc_weight=filled)
    assert caught.value.kind == "error"
    frozen = declare(tmp_path, '@pomona.recipe(pruned_value="frozen")\ndef work(state: pomona.Given): ...\n')
    assert check(frozen, fc_weight=filled).weights["fc.weight"][0, 1] == 1


def test_masks_only_shrink_unless_not_nested(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(StateFailure, match=r"the mask of fc\.weight keeps weights that were pruned before"):
        check(recipe, masks=GROWN)
    free = declare(tmp_path, "@pomona.recipe(nested=False)\ndef work(state: pomona.Given): ...\n")
    assert check(free, masks=GROWN).masks["fc.weight"].all()


def test_a_join_may_keep_what_one_of_its_parents_keeps(recipe: Recipe) -> None:
    found = check_made(recipe, Made(WEIGHTS, GROWN), WEIGHTS, MASKS, [GROWN])
    assert found.masks["fc.weight"].all()


def test_facts_are_the_users_and_what_is_known_of_the_masks(recipe: Recipe) -> None:
    shrunk = {"fc.weight": np.zeros((2, 2), bool)}
    inherited = {"granularity": {"fc.weight": "channel-in"}, "steps": 3}
    found = check(recipe, facts={"bits": np.int64(4), "scales": np.ones(2)})
    assert described(found, MASKS, inherited) == {
        "bits": 4,
        "scales": [1.0, 1.0],
        "kept": {"fc.weight": [3, 4]},
        "collapsed": [],
        "granularity": {"fc.weight": "channel-in"},
    }
    found = check(recipe, masks=shrunk, fc_weight=np.zeros((2, 2), np.float32))
    assert described(found, MASKS, inherited) == {
        "kept": {"fc.weight": [0, 4]},
        "collapsed": ["fc.weight"],
        "granularity": {},
    }


@pytest.mark.parametrize(
    ("found", "rows"),
    [
        (3, [("work", "", 3.0)]),
        (True, [("work", "", 1.0)]),
        (None, [("work", "", None)]),
        (np.float32(0.5), [("work", "", 0.5)]),
        (np.array([0.5]), [("work", "", 0.5)]),
        (torch.tensor(0.5, requires_grad=True), [("work", "", 0.5)]),
        ({"a": 1, "b-c": None}, [("a", "", 1.0), ("b-c", "", None)]),
        ({"a": {"fc1": 1, "fc2": 2.5}, "b": 3}, [("a", "fc1", 1.0), ("a", "fc2", 2.5), ("b", "", 3.0)]),
    ],
)
def test_numbers_come_in_three_forms(
    found: object, rows: list[tuple[str, str, float]], probe: Measure
) -> None:
    assert measurements(probe, found) == tuple(Measurement(q, value, layer) for q, layer, value in rows)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("0.5", "work: expected a number, got str"),
        ([0.5, 1], "work: expected a number, got list"),
        (np.ones(3), "work: expected a number, got ndarray"),
        (np.ones(0), "work: expected a number, got ndarray"),
        (1j, "work: expected a number, got complex"),
        (float("nan"), "work: nan cannot be kept; give None where there is no number"),
        (10**400, "work: inf cannot be kept"),
        ({}, "expected a number or a mapping of numbers, got none"),
        ({"a": {}}, "expected a number or a mapping of numbers, got none"),
        ({"a": {"fc": {"x": 1}}}, "fc: expected a number, got a mapping ('x')"),
        ({"accuracy": 1}, "'accuracy' is measured by Pomona itself; give yours another name"),
        ({"a b": 1}, "a quantity is named by letters, digits, '-' and '_', got 'a b'"),
        ({3: 1}, "a quantity is named by letters, digits, '-' and '_', got 3"),
    ],
)
def test_what_is_no_number_says_where(found: object, said: str, probe: Measure) -> None:
    with pytest.raises(InputError) as caught:
        measurements(probe, found)
    assert str(caught.value).startswith(f"mine.py:{LINE}: work: ")
    assert said in str(caught.value)


def test_measurements_of_pomonas_own_probes_are_all_known(small_results: Any) -> None:
    """A name that is missing in the list could be taken by a user's probe."""
    from pomona.studies.made import _OWN_QUANTITIES

    rows: Callable[..., Any] = small_results.store.ledger.rows
    assert {row["quantity"] for row in rows("SELECT DISTINCT quantity FROM measurements")} <= _OWN_QUANTITIES
