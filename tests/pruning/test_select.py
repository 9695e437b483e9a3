import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import InputError
from pomona.pruning.select import Selection, select_groups, select_lowest


@st.composite
def pools(draw):
    """Few distinct signed scores, so that ties are everywhere."""
    size = draw(st.integers(1, 40))
    scores = draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size))
    remaining = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    count = draw(st.integers(0, sum(remaining)))
    return torch.tensor(scores, dtype=torch.float32), torch.tensor(remaining), count


def lowest(scores: torch.Tensor, remaining: torch.Tensor, count: int) -> Selection:
    return select_lowest([scores], [remaining], count)[0]


@given(pools())
def test_select_has_the_order_of_a_stable_sort(pool):
    scores, remaining, count = pool
    order = [i for i in torch.argsort(scores, stable=True).tolist() if remaining[i]]
    expected = torch.zeros_like(remaining)
    expected[order[:count]] = True
    assert torch.equal(lowest(scores, remaining, count).pruned, expected)


@given(pools())
def test_select_is_exact_and_never_takes_what_is_gone(pool):
    scores, remaining, count = pool
    found = lowest(scores, remaining, count)
    assert int(found.pruned.sum()) == count
    assert not (found.pruned & ~remaining).any()


@given(pools())
def test_select_names_the_units_that_only_the_tie_rule_parts(pool):
    scores, remaining, count = pool
    found = lowest(scores, remaining, count)
    kept = remaining & ~found.pruned
    expected = [
        bool(found.pruned[i]) and bool((kept & (scores == scores[i])).any()) for i in range(len(scores))
    ]
    assert found.tied.tolist() == expected


def test_select_of_all_equal_takes_the_first():
    found = lowest(torch.ones(10), torch.ones(10, dtype=torch.bool), 3)
    assert found.pruned.tolist() == [True] * 3 + [False] * 7
    assert int(found.tied.sum()) == 3


def test_select_treats_both_zeros_as_equal():
    found = lowest(torch.tensor([0.0, -0.0, 1.0]), torch.ones(3, dtype=torch.bool), 1)
    assert found.pruned.tolist() == [True, False, False]


def test_select_of_more_than_remains_is_refused():
    with pytest.raises(InputError, match="cannot prune 3 units where 2 remain"):
        lowest(torch.zeros(4), torch.tensor([True, True, False, False]), 3)


def test_negative_and_positive_infinity_are_the_ends():
    scores = torch.tensor([math.inf, 0.0, -math.inf, 1.0])
    left = torch.ones(4, dtype=torch.bool)
    assert lowest(scores, left, 1).pruned.tolist() == [False, False, True, False]
    assert lowest(scores, left, 3).pruned.tolist() == [False, True, True, True]


@given(pools(), st.integers(0, 40))
def test_a_pool_of_several_layers_is_one_long_layer(pool, cut):
    scores, remaining, count = pool
    found = select_lowest([scores[:cut], scores[cut:]], [remaining[:cut], remaining[cut:]], count)
    assert torch.equal(torch.cat([x.pruned for x in found]), lowest(scores, remaining, count).pruned)
    assert torch.equal(torch.cat([x.tied for x in found]), lowest(scores, remaining, count).tied)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64])
@pytest.mark.parametrize("values", ["distinct", "tied", "one", "two far apart"])
@pytest.mark.parametrize("part", [0.0001, 0.3, 0.97, 1.0])
def test_selection_of_many_goes_by_a_sample_and_stays_exact(dtype, values, part):
    size = 300_000
    draw = torch.Generator().manual_seed(3)
    scores = {
        "distinct": torch.randn(size, generator=draw) * 1000,
        "tied": torch.randn(size, generator=draw).mul(3).round(),
        "one": torch.zeros(size),
        "two far apart": torch.where(torch.rand(size, generator=draw) < 0.01, -7.0, 9.0),
    }[values].to(dtype)
    left = torch.rand(size, generator=draw) < 0.9
    count = int(part * int(left.sum()))
    order = [scores.double().masked_fill(~left, math.inf).argsort(stable=True)[:count]]
    expected = torch.zeros(size, dtype=torch.bool)
    expected[order[0]] = True
    thirds = [100_000, 150_000, 50_000]
    found = select_lowest(scores.split(thirds), left.split(thirds), count)
    assert torch.equal(torch.cat([x.pruned for x in found]), expected)


def test_a_sample_that_misleads_costs_time_and_nothing_else():
    # The sample sees every fifth score: all of them are high where it looks, and low elsewhere.
    size = 400_001
    scores = torch.zeros(size)
    scores[:: (size // (1 << 16)) | 1] = 1.0
    left = torch.ones(size, dtype=torch.bool)
    count = size // 2
    found = lowest(scores, left, count)
    expected = torch.zeros(size, dtype=torch.bool)
    expected[scores.argsort(stable=True)[:count]] = True
    assert torch.equal(found.pruned, expected)


@given(pools())
def test_ties_cut_at_random_follow_the_numbers(pool):
    scores, remaining, count = pool
    numbers = torch.linspace(1, 0, len(scores))
    found = select_lowest([scores], [remaining], count, [lambda: numbers])[0]
    order = sorted(
        (i for i in range(len(scores)) if remaining[i]), key=lambda i: (float(scores[i]), float(numbers[i]))
    )
    expected = torch.zeros_like(remaining)
    expected[order[:count]] = True
    assert torch.equal(found.pruned, expected)


@given(pools(), st.integers(1, 4), st.integers(1, 5))
def test_groups_keep_their_highest(pool, keep, size):
    scores, remaining, _ = pool
    groups = torch.arange(len(scores)) // size
    found = select_groups(scores, remaining, groups, keep)
    for group in range(int(groups.max()) + 1):
        members = [i for i in range(len(scores)) if int(groups[i]) == group and remaining[i]]
        gone = sorted(members, key=lambda i: (float(scores[i]), i))[: max(0, len(members) - keep)]
        assert [i for i in members if found.pruned[i]] == sorted(gone)
    assert not (found.pruned & ~remaining).any()
