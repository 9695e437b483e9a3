import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from pomona.core.errors import InputError
from pomona.measures.masks import density, hamming_distance, jaccard_distance, layerwise

MASKS = arrays(np.bool_, (3, 4))
KEEP_2 = np.array([True, True, False, False])
KEEP_1 = np.array([True, False, False, False])
NONE = np.zeros(4, dtype=bool)


def test_density_is_the_share_kept():
    assert density(KEEP_1) == 0.25


def test_jaccard_distance_of_known_masks():
    assert jaccard_distance(KEEP_2, KEEP_1) == 0.5
    assert jaccard_distance(KEEP_2, ~KEEP_2) == 1
    assert jaccard_distance(KEEP_2, NONE) == 1


def test_jaccard_distance_of_two_empty_masks_is_zero():
    assert jaccard_distance(NONE, NONE) == 0


def test_hamming_distance_of_known_masks():
    assert hamming_distance(KEEP_2, KEEP_1) == 0.25
    assert hamming_distance(KEEP_2, ~KEEP_2) == 1


@pytest.mark.parametrize("distance", [jaccard_distance, hamming_distance])
@given(MASKS, MASKS, MASKS)
def test_distance_is_a_metric(distance, a, b, c):
    assert distance(a, a) == 0
    assert distance(a, b) == distance(b, a)
    assert (distance(a, b) == 0) == bool((a == b).all())
    assert 0 <= distance(a, b) <= 1
    assert distance(a, c) <= distance(a, b) + distance(b, c) + 1e-12


def test_layerwise_gives_each_layer_and_the_whole():
    found = layerwise(jaccard_distance, {"a": KEEP_2, "b": NONE}, {"b": NONE, "a": KEEP_1})
    assert found.layers == {"a": 0.5, "b": 0}
    assert found.total == 0.5


def test_layerwise_total_weighs_layers_by_their_weights():
    found = layerwise(density, {"a": np.ones((2, 3), bool), "b": np.zeros(2, bool)})
    assert found.layers == {"a": 1, "b": 0}
    assert found.total == 0.75


def test_layerwise_of_other_layers_names_the_missing_one():
    with pytest.raises(InputError, match="unknown mask 'fc1'; did you mean 'fc2'"):
        layerwise(jaccard_distance, {"fc1": KEEP_1}, {"fc2": KEEP_1})
    with pytest.raises(InputError, match="unknown mask 'b'"):
        layerwise(jaccard_distance, {"a": KEEP_1}, {"a": KEEP_1, "b": KEEP_1})
    with pytest.raises(InputError, match="at least one layer"):
        layerwise(density, {})


def test_masks_that_are_none_are_refused():
    with pytest.raises(InputError, match=r"masks of one shape, got \(4,\) and \(2, 2\)"):
        jaccard_distance(KEEP_1, KEEP_1.reshape(2, 2))
    with pytest.raises(InputError, match="expected a mask as bool"):
        density(np.ones(3))
    with pytest.raises(InputError, match="at least one entry"):
        density(np.ones((0, 3), dtype=bool))
