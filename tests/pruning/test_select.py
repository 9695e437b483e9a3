import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import InputError
from pomona.pruning.select import kept_units, select_lowest, without_units


@st.composite
def pools(draw):
    """Few distinct signed scores, so that ties are everywhere."""
    size = draw(st.integers(1, 40))
    scores = draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size))
    remaining = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    count = draw(st.integers(0, sum(remaining)))
    return torch.tensor(scores, dtype=torch.float32), torch.tensor(remaining), count


@given(pools())
def test_select_has_the_order_of_a_stable_sort(pool):
    scores, remaining, count = pool
    order = [i for i in torch.argsort(scores, stable=True).tolist() if remaining[i]]
    expected = torch.zeros_like(remaining)
    expected[order[:count]] = True
    assert torch.equal(select_lowest(scores, remaining, count).pruned, expected)


@given(pools())
def test_select_is_exact_and_never_takes_what_is_gone(pool):
    scores, remaining, count = pool
    found = select_lowest(scores, remaining, count)
    assert int(found.pruned.sum()) == count
    assert not (found.pruned & ~remaining).any()


@given(pools())
def test_select_names_the_units_that_only_the_tie_rule_parts(pool):
    scores, remaining, count = pool
    found = select_lowest(scores, remaining, count)
    kept = remaining & ~found.pruned
    expected = [
        bool(found.pruned[i]) and bool((kept & (scores == scores[i])).any()) for i in range(len(scores))
    ]
    assert found.tied.tolist() == expected


def test_select_of_all_equal_takes_the_first():
    found = select_lowest(torch.ones(10), torch.ones(10, dtype=torch.bool), 3)
    assert found.pruned.tolist() == [True] * 3 + [False] * 7
    assert int(found.tied.sum()) == 3


def test_select_treats_both_zeros_as_equal():
    found = select_lowest(torch.tensor([0.0, -0.0, 1.0]), torch.ones(3, dtype=torch.bool), 1)
    assert found.pruned.tolist() == [True, False, False]


def test_select_of_more_than_remains_is_refused():
    with pytest.raises(InputError, match="cannot prune 3 units where 2 remain"):
        select_lowest(torch.zeros(4), torch.tensor([True, True, False, False]), 3)


def test_channel_is_kept_while_any_of_its_weights_is():
    mask = torch.tensor([[True, False, False], [False, False, False]])
    assert kept_units(mask, 1).tolist() == [True, False, False]
    assert kept_units(mask, 0).tolist() == [True, False]
    assert kept_units(mask, None).tolist() == mask.reshape(-1).tolist()


@pytest.mark.parametrize("axis", [0, 1])
def test_without_units_removes_whole_channels_and_revives_nothing(axis):
    mask = torch.rand((3, 4, 2, 2), generator=torch.Generator().manual_seed(0)) > 0.5
    pruned = torch.zeros(mask.shape[axis], dtype=torch.bool)
    pruned[1] = True
    found = without_units(mask, axis, pruned)
    assert not found.select(axis, 1).any()
    others = [i for i in range(mask.shape[axis]) if i != 1]
    assert torch.equal(
        found.index_select(axis, torch.tensor(others)), mask.index_select(axis, torch.tensor(others))
    )
