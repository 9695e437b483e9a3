import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from pomona.core.errors import InputError
from pomona.measures.weights import magnitude_sd, moved, rank_correlation, weight_stability

BEFORE = np.array([1.0, 2.0, 4.0, 5.0], dtype=np.float32)
ALL = np.ones(4, dtype=bool)


def test_weight_stability_is_the_mean_move_in_sample_sds():
    after = BEFORE + np.array([0.5, -0.5, 1.0, 0.0], dtype=np.float32)
    assert weight_stability(BEFORE, after, ALL, ALL) == pytest.approx(0.5 / np.std(BEFORE, ddof=1))


def test_weight_stability_counts_only_weights_alive_at_both_levels():
    after = np.array([1.5, 0.0, 4.0, 0.0])
    kept = np.array([True, True, True, False])
    then = np.array([True, False, True, False])
    assert weight_stability(BEFORE, after, kept, then) == pytest.approx(0.25 / np.std(BEFORE[:3], ddof=1))


def test_weight_stability_does_not_depend_on_the_scale():
    after = BEFORE[::-1].copy()
    assert weight_stability(BEFORE * 8, after * 8, ALL, ALL) == weight_stability(BEFORE, after, ALL, ALL)


def test_weight_stability_of_equal_weights_is_zero():
    assert weight_stability(BEFORE, BEFORE, ALL, ALL) == 0


def test_weight_stability_is_none_where_it_has_no_meaning():
    one = np.array([True, False, False, False])
    assert weight_stability(BEFORE, BEFORE, ALL, ~ALL) is None
    assert weight_stability(BEFORE, BEFORE, one, ~one) is None
    assert weight_stability(BEFORE, BEFORE, one, one) is None
    assert weight_stability(np.full(4, 0.1), BEFORE, ALL, ALL) is None


def test_weight_stability_ignores_what_is_pruned_and_refuses_nan_that_is_not():
    after = np.array([np.nan, 2.0, 4.0, 5.0])
    assert weight_stability(BEFORE, after, ALL, np.array([False, True, True, True])) == 0
    with pytest.raises(InputError, match="an alive weight is not finite"):
        weight_stability(BEFORE, after, ALL, ALL)


def test_weight_stability_refuses_other_shapes():
    with pytest.raises(InputError, match=r"one shape, got \(4,\), \(3,\), \(4,\), \(4,\)"):
        weight_stability(BEFORE, BEFORE[:3], ALL, ALL)


def midranks(values):
    return [1 + sum(v < x for v in values) + (sum(v == x for v in values) - 1) / 2 for x in values]


@given(st.data())
def test_rank_correlation_is_spearmans_of_the_survivors(data):
    count = data.draw(st.integers(2, 30))
    values = st.lists(st.sampled_from([-2, -1, -0.5, 0, 0.5, 1, 3]), min_size=count, max_size=count)
    flags = st.lists(st.booleans(), min_size=count, max_size=count)
    before, after = (np.array(data.draw(values), dtype=np.float32) for _ in range(2))
    kept, then = (np.array(data.draw(flags)) for _ in range(2))
    found = rank_correlation(before, after, kept, then)
    x, y = (np.abs(w[kept & then]).tolist() for w in (before, after))
    if len(set(x)) < 2 or len(set(y)) < 2:
        assert found is None
        return
    assert found == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    assert found == pytest.approx(np.corrcoef(midranks(x), midranks(y))[0, 1], abs=1e-12)


def test_rank_correlation_of_a_layer_is_scipys():
    draw = np.random.default_rng(3)
    before = draw.normal(size=(120, 400)).astype(np.float32)
    after = (before + draw.normal(size=before.shape)).astype(np.float32)
    kept = draw.random(before.shape) < 0.5
    expected = spearmanr(np.abs(before[kept]), np.abs(after[kept])).statistic
    found = rank_correlation(before, after, np.ones_like(kept), kept)
    assert found == pytest.approx(expected, abs=1e-13)
    assert 0.1 < found < 0.9


def test_rank_correlation_reads_magnitudes_only():
    assert rank_correlation(BEFORE, -3 * BEFORE**3, ALL, ALL) == 1
    assert rank_correlation(BEFORE, 1 / BEFORE, ALL, ALL) == -1


def test_rank_correlation_ignores_what_is_pruned_and_refuses_nan_that_is_not():
    after = np.array([np.nan, 2.0, 4.0, 5.0])
    assert rank_correlation(BEFORE, after, ALL, np.array([False, True, True, True])) == 1
    with pytest.raises(InputError, match="an alive weight is not finite"):
        rank_correlation(BEFORE, after, ALL, ALL)
    with pytest.raises(InputError, match=r"one shape, got \(4,\), \(3,\), \(4,\), \(4,\)"):
        rank_correlation(BEFORE, BEFORE[:3], ALL, ALL)


def test_magnitude_and_sd_of_layers_are_those_of_all_their_weights():
    draw = np.random.default_rng(4)
    parts = [draw.normal(2, 3, size=n).astype(np.float32) for n in (700, 0, 1, 53)]
    whole = np.concatenate(parts).astype(np.float64)
    magnitude, sd = magnitude_sd(parts)
    assert magnitude == pytest.approx(np.mean(np.abs(whole)), rel=1e-14)
    assert sd == pytest.approx(np.std(whole, ddof=1), rel=1e-14)


def test_magnitude_and_sd_are_none_where_there_are_none():
    assert magnitude_sd([]) == (None, None)
    assert magnitude_sd([np.zeros(0)]) == (None, None)
    assert magnitude_sd([np.array([-2.0])]) == (2, None)
    with pytest.raises(InputError, match="a weight is not finite"):
        magnitude_sd([np.array([1.0]), np.array([np.inf])])


@pytest.mark.parametrize("type_", [np.float16, np.float32, np.float64])
def test_what_moved_is_told_by_every_bit(type_):
    before = np.array([[1, 0.1, 0, np.nan], [2, -3, 0, 5]], dtype=type_)
    after = before.copy()
    after[0, 1] = np.nextafter(before[0, 1], type_(1))
    after[1, 2] = -0.0
    assert np.argwhere(moved(before, after)).tolist() == [[0, 1], [1, 2]]
    # Also where the memory of one is not in order.
    assert not moved(before, np.asfortranarray(before)).any()


def test_what_moved_needs_weights_alike():
    with pytest.raises(InputError, match="of one type, got float32 and float64"):
        moved(BEFORE, BEFORE.astype(np.float64))
    with pytest.raises(InputError, match=r"one shape, got \(4,\), \(3,\)"):
        moved(BEFORE, BEFORE[:3])
