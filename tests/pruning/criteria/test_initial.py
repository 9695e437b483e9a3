import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.streams import Stream

from .tensors import evidence_for, scores

#                grew     shrank   flipped and grew   flipped and shrank   from zero   to zero
INITIAL = torch.tensor([1.0, -4.0, 2.0, -4.0, 0.0, 2.0])
FINAL = torch.tensor([3.0, -1.0, -5.0, 3.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("large-final", [3, 1, 5, 3, 1, 0]),
        ("small-final", [-3, -1, -5, -3, -1, 0]),
        ("large-init", [1, 4, 2, 4, 0, 2]),
        ("small-init", [-1, -4, -2, -4, 0, -2]),
        ("magnitude-increase", [2, -3, 3, -1, 1, -2]),
        ("movement", [2, 3, 7, 7, 1, 2]),
        ("large-final-same-sign", [3, 1, -5, -3, 0, 0]),
        ("large-final-diff-sign", [-3, -1, 5, 3, 0, 0]),
        ("magnitude-increase-same-sign", [2, -3, -3, 1, 0, 0]),
        ("magnitude-increase-diff-sign", [-2, 3, 3, -1, 0, 0]),
        ("large-final-same-sign-zeroed", [3, 1, 0, 0, 0, 0]),
        ("large-final-diff-sign-zeroed", [0, 0, 5, 3, 1, 0]),
        ("magnitude-increase-same-sign-zeroed", [2, -3, 0, 0, 0, 0]),
        ("magnitude-increase-diff-sign-zeroed", [0, 0, 3, -1, 1, -2]),
    ],
)
def test_mask_criteria_by_hand(name, expected):
    evidence = {"weight": FINAL, "initial": INITIAL, "mask": torch.ones(6, dtype=torch.bool)}
    assert scores(name, evidence).tolist() == expected


def searched(final, initial, large, count):
    """Bisect a until both cut the same number, and ``count`` together. None where no a does."""
    low, high = -40.0, 40.0
    for _ in range(200):
        a = 2.0 ** ((low + high) / 2)
        # -max(x, y) is min(-x, -y): it falls where either is large.
        sides = (a * final, initial) if large else (-a * final, -initial)
        threshold = torch.minimum(*sides).sort().values[count - 1]
        by_final, by_initial = (side <= threshold for side in sides)
        if int(by_final.sum()) == int(by_initial.sum()):
            # Where a |w_f| of one weight and |w_i| of another are equal, one more than the count falls.
            both = by_final | by_initial
            return both if int(both.sum()) == count else None
        # A larger a spares what is large at the end.
        if (int(by_final.sum()) > int(by_initial.sum())) == large:
            low = (low + high) / 2
        else:
            high = (low + high) / 2
    return None


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("index", range(6))
def test_lower_rank_cuts_as_the_searched_a_does(large, index):
    evidence = evidence_for((6, 7), dtype=torch.float64, index=index)
    name = "large-init-large-final" if large else "small-init-small-final"
    mask = evidence["mask"].reshape(-1)
    found = scores(name, evidence)[mask]
    final, initial = (evidence[key].reshape(-1)[mask].abs() for key in ("weight", "initial"))
    agreed = 0
    for count in range(1, len(found)):
        expected = searched(final, initial, large, count)
        if expected is not None:
            agreed += 1
            pruned = torch.zeros(len(found), dtype=torch.bool)
            pruned[found.argsort(stable=True)[:count]] = True
            assert torch.equal(pruned, expected), count
    # Two weights share most ranks, so that about every second count can be cut equally.
    assert agreed >= len(found) // 3


def test_lower_ranks_are_shares_of_the_layer():
    evidence = evidence_for((9, 5))
    found = scores("large-init-large-final", evidence)[evidence["mask"].reshape(-1)]
    ranks = found * len(found)
    assert torch.equal(ranks, ranks.round())
    assert ranks.min() == 1
    assert found.max() <= 1


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(
        st.tuples(st.floats(-9, 9, width=16), st.floats(-9, 9, width=16)), min_size=1, max_size=30
    )
)
def test_pairs_are_opposites_and_forms_agree_where_they_must(values):
    weight, initial = torch.tensor(values, dtype=torch.float64).T
    evidence = {"weight": weight, "initial": initial, "mask": torch.ones(len(values), dtype=torch.bool)}

    def score(name):
        return scores(name, evidence)

    assert torch.equal(score("large-final"), -score("small-final"))
    assert torch.equal(score("large-init"), -score("small-init"))
    for name in ("large-final", "magnitude-increase"):
        same, diff = f"{name}-same-sign", f"{name}-diff-sign"
        assert torch.equal(score(same), -score(diff))
        assert torch.equal(score(f"{same}-zeroed") + score(f"{diff}-zeroed"), score(name))
        kept_sign = weight * initial > 0
        assert torch.equal(score(same)[kept_sign], score(f"{same}-zeroed")[kept_sign])
        assert not score(f"{same}-zeroed")[~kept_sign & ((weight != 0) | (initial != 0))].any()


def test_zeroed_variants_cut_their_ties_at_random():
    from pomona.pruning.criteria import CRITERIA

    at_random = {name for name, criterion in CRITERIA.items() if criterion.ties == "random"}
    assert at_random == {name for name in CRITERIA if name.endswith("-zeroed")}
    assert len(at_random) == 4


def test_ranks_of_equal_weights_follow_their_index():
    evidence = {"weight": torch.ones(4), "initial": torch.ones(4), "mask": torch.ones(4, dtype=torch.bool)}
    for name in ("large-init-large-final", "small-init-small-final"):
        assert scores(name, evidence).tolist() == [0.25, 0.5, 0.75, 1.0]


def test_ranks_are_among_the_kept_weights_only():
    stream = Stream("init", 0, "w")
    weight, initial = (torch.from_numpy(stream.normal(20, start)) for start in (0, 20))
    mask = torch.arange(20) % 3 > 0
    dense = torch.ones(int(mask.sum()), dtype=torch.bool)
    found = scores("large-init-large-final", {"weight": weight, "initial": initial, "mask": mask})[mask]
    alone = scores(
        "large-init-large-final", {"weight": weight[mask], "initial": initial[mask], "mask": dense}
    )
    assert torch.equal(found, alone)
