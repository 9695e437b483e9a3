from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import InputError, StateFailure
from pomona.pruning.actions import ACTIONS, check_pruned, pruned_values
from pomona.pruning.masks import apply_masks

from .networks import KINDS, lenet_weights, normal

MASK = torch.tensor([True, False, False, False, False])
INITIAL = torch.tensor([1.0, 2.0, -2.0, -0.5, 0.0])
FINAL = torch.tensor([5.0, 1.0, -3.0, 0.25, -0.0])


def held(action: str) -> torch.Tensor:
    values = pruned_values(action, {"w": FINAL}, {"w": INITIAL}, {"w": MASK})
    return apply_masks({"w": FINAL}, {"w": MASK}, values)["w"]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("zero", [5.0, 0.0, 0.0, 0.0, 0.0]),
        ("freeze", [5.0, 2.0, -2.0, -0.5, 0.0]),
        # |1| < |2| and |0.25| < |-0.5| moved towards zero; |-3| > |-2| did not.
        ("freeze-unless-shrunk", [5.0, 0.0, -2.0, 0.0, 0.0]),
    ],
)
def test_action_holds_pruned_weights_where_it_says(action, expected):
    assert held(action).tolist() == expected


def test_catalogue_describes_every_action():
    assert list(ACTIONS) == ["zero", "freeze", "freeze-unless-shrunk"]
    assert all(
        rule.name == name and rule.formula and rule.holds and rule.source for name, rule in ACTIONS.items()
    )


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_every_action_keeps_dtype_inputs_and_what_it_declares(action, dtype):
    final = {name: x.to(dtype) for name, x in lenet_weights(1).items()}
    initial = {name: x.to(dtype) for name, x in lenet_weights(2).items()}
    masks = {name: normal(tuple(x.shape), name, 3) > 0 for name, x in final.items()}
    copies = [{name: x.clone() for name, x in given.items()} for given in (final, initial, masks)]
    values = pruned_values(action, final, initial, masks)
    found = apply_masks(final, masks, values)
    check_pruned(found, masks, action, initial)
    for name in KINDS:
        assert found[name].dtype == values[name].dtype == dtype
        assert torch.equal(found[name][masks[name]], final[name][masks[name]])
        assert not values[name][masks[name]].any()
    for given_now, copy in zip((final, initial, masks), copies, strict=True):
        assert all(torch.equal(given_now[name], x) for name, x in copy.items())


@given(st.lists(st.tuples(st.floats(width=32), st.floats(width=32), st.booleans()), min_size=1, max_size=20))
def test_every_action_satisfies_its_own_check_on_any_bits(rows):
    """NaN, infinities and -0 are held bit for bit, and a second prune finds them where they are."""
    final = {"w": torch.tensor([row[0] for row in rows])}
    initial = {"w": torch.tensor([row[1] for row in rows])}
    masks = {"w": torch.tensor([row[2] for row in rows])}
    for action in ACTIONS:
        once = apply_masks(final, masks, pruned_values(action, final, initial, masks))
        check_pruned(once, masks, action, initial)
        twice = apply_masks(once, masks, pruned_values(action, once, initial, masks))
        assert torch.equal(once["w"].view(torch.int32), twice["w"].view(torch.int32))


def test_zero_needs_no_initial_weights_and_the_others_do():
    masks, final = {"w": MASK}, {"w": FINAL}
    check_pruned(apply_masks(final, masks, pruned_values("zero", final, None, masks)), masks)
    for action in ("freeze", "freeze-unless-shrunk"):
        with pytest.raises(InputError, match=f"action '{action}' needs the initial weights, got none"):
            pruned_values(action, final, None, masks)
        with pytest.raises(InputError, match=f"action '{action}' needs the initial weights, got none"):
            check_pruned(final, masks, action)


@pytest.mark.parametrize(
    ("action", "value", "message"),
    [
        ("zero", 0.5, r"pruned weight fc1\.weight\[1, 0\] is 0\.5; action 'zero' holds it at exactly \+0"),
        ("zero", -0.0, r"fc1\.weight\[1, 0\] is -0\.0"),
        ("zero", float("nan"), r"fc1\.weight\[1, 0\] is nan"),
        (
            "freeze",
            0.0,
            r"is 0\.0 \(initially 3\.0\); action 'freeze' holds it at its initial value, bit for bit",
        ),
        ("freeze-unless-shrunk", 2.0, r"is 2\.0 \(initially 3\.0\); action 'freeze-unless-shrunk' holds it"),
    ],
)
def test_check_names_the_layer_and_the_first_place(action, value, message):
    initial = {"fc1.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}
    masks = {"fc1.weight": torch.tensor([[True, True], [False, False]])}
    weights = apply_masks(initial, masks, pruned_values(action, initial, initial, masks))
    check_pruned(weights, masks, action, initial)
    weights["fc1.weight"][1] = value
    with pytest.raises(StateFailure, match=message) as caught:
        check_pruned(weights, masks, action, initial)
    assert caught.value.kind == "error"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, w: pruned_values("freze", w, w, m),
            "unknown action on pruned weights 'freze'; did you mean 'freeze'",
        ),
        (
            lambda m, w: pruned_values("freeze", w, {}, m),
            "unknown masked parameter among the initial weights 'w'",
        ),
        (
            lambda m, w: pruned_values("zero", {"w": w["w"][:2]}, None, m),
            r"'w' has the shape \(2,\), its mask \(5,\)",
        ),
        (
            lambda m, w: pruned_values("freeze", w, {"w": w["w"].double()}, m),
            r"'w' is torch\.float64 of shape \(5,\) initially and torch\.float32",
        ),
        (lambda m, w: apply_masks(w, m, {}), "unknown value of a pruned parameter 'w'"),
        (
            lambda m, w: apply_masks(w, m, {"w": w["w"].double()}),
            r"values of 'w': expected torch\.float32 of shape \(5,\), got torch\.float64",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call({"w": MASK}, {"w": FINAL})
