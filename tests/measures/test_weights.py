import numpy as np
import pytest

from pomona.core.errors import InputError
from pomona.measures.weights import weight_stability

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
