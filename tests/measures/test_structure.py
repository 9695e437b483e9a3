import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chi2_contingency, hypergeom

from pomona.core.errors import InputError
from pomona.measures.layout import Layout
from pomona.measures.structure import mask_structure, spread_over_lines


def every_mask(shape, kept):
    size = math.prod(shape)
    for places in itertools.combinations(range(size), kept):
        mask = np.zeros(size, dtype=bool)
        mask[list(places)] = True
        yield mask.reshape(shape)


@pytest.mark.parametrize(
    ("shape", "kept"),
    [((3, 4), 1), ((3, 4), 5), ((3, 4), 11), ((2, 2, 3), 4), ((2, 3, 2, 1), 7), ((4, 2), 3)],
)
def test_over_all_masks_of_a_count_the_numbers_average_to_those_of_chance(shape, kept):
    found = [mask_structure(mask) for mask in every_mask(shape, kept)]
    for side in ("rows", "columns"):
        lines = [getattr(one, side) for one in found]
        assert np.mean([one.dispersion for one in lines]) == pytest.approx(1, abs=1e-12)
        assert np.mean([one.clustering for one in lines]) == pytest.approx(0, abs=1e-12)
        assert np.mean([one.empty for one in lines]) == pytest.approx(lines[0].chance_empty, abs=1e-12)
        assert len({one.chance_empty for one in lines}) == 1


def test_random_masks_of_a_large_layer_average_to_chance():
    draw = np.random.default_rng(5)
    found = [mask_structure(draw.permutation(3456).reshape(16, 24, 3, 3) < 60) for _ in range(400)]
    for side in ("rows", "columns"):
        lines = [getattr(one, side) for one in found]
        for values, expected in (
            ([one.dispersion for one in lines], 1),
            ([one.clustering for one in lines], 0),
            ([one.empty for one in lines], lines[0].chance_empty),
        ):
            error = np.std(values, ddof=1) / math.sqrt(len(values))
            assert abs(np.mean(values) - expected) < 4 * error + 1e-12
    assert found[0].rows.chance_empty == pytest.approx(hypergeom.pmf(0, 3456, 60, 216), rel=1e-9)
    assert found[0].columns.chance_empty == pytest.approx(hypergeom.pmf(0, 3456, 60, 144), rel=1e-9)
    assert mask_structure(np.ones((16, 24, 3, 3), dtype=bool)).rows.chance_empty == 0


@given(arrays(np.bool_, st.tuples(st.integers(2, 7), st.integers(2, 7), st.integers(1, 3))))
def test_dispersion_is_chi_square_over_its_expectation_and_clustering_a_correlation(mask):
    kept, total = int(mask.sum()), mask.size
    found = mask_structure(mask)
    for lines, by_line in ((found.rows, mask), (found.columns, mask.swapaxes(0, 1))):
        flat = by_line.reshape(by_line.shape[0], -1)
        assert lines.empty == (~flat.any(axis=1)).mean()
        if kept in (0, total):
            assert (lines.dispersion, lines.clustering) == (None, None)
            continue
        table = np.stack([flat.sum(axis=1), (~flat).sum(axis=1)])
        chi = chi2_contingency(table, correction=False).statistic
        assert lines.dispersion == pytest.approx(chi / ((len(flat) - 1) * total / (total - 1)), abs=1e-9)
        # By brute force: the correlation over ordered pairs of one line, and what it is over all pairs.
        x = flat - kept / total
        inside = (x.sum(axis=1) ** 2 - (x**2).sum(axis=1)).sum() / (total * (flat.shape[1] - 1))
        correlation, chance = inside / x.var(), -1 / (total - 1)
        assert lines.clustering == pytest.approx((correlation - chance) / (1 - chance), abs=1e-9)


def test_whole_channels_are_clustered_fully_on_one_side_and_not_on_the_other():
    mask = np.zeros((16, 6, 3, 3), dtype=bool)
    mask[:, :2] = True
    found = mask_structure(mask)
    assert found.columns.clustering == pytest.approx(1)
    assert (found.columns.empty, found.rows.empty) == (4 / 6, 0)
    # Each output keeps as many: more evenly spread than a random mask.
    assert found.rows.dispersion == 0
    assert found.rows.clustering < 0


def test_rows_and_columns_are_those_of_the_layout():
    mask = np.zeros((4, 6), dtype=bool)
    mask[1] = True
    plain, transposed = mask_structure(mask), mask_structure(mask, Layout(outputs=1, inputs=0))
    assert (plain.rows, plain.columns) == (transposed.columns, transposed.rows)
    # Two groups of three channels each: (6, 2, 1, 1) has six outputs and four inputs.
    grouped = np.zeros((6, 2, 1, 1), dtype=bool)
    grouped[:3, 0] = True
    found = mask_structure(grouped, Layout(groups=2))
    assert (found.columns.empty, found.columns.clustering) == (3 / 4, pytest.approx(1))
    assert found.rows.empty == 1 / 2


def test_one_line_or_one_weight_a_line_says_nothing():
    mask = np.array([[True, False, True]])
    found = mask_structure(mask)
    assert (found.rows.dispersion, found.rows.clustering, found.rows.empty) == (None, None, 0)
    assert (found.columns.dispersion, found.columns.clustering) == (pytest.approx(1), None)
    assert found.columns.chance_empty == pytest.approx(1 / 3)


def test_the_chance_of_an_empty_line_holds_in_large_layers():
    kept = [0] * 24_999 + [4096]
    found = spread_over_lines(kept, 4096)
    # 1e8 weights: (1 - 1 / 25000) ** 4096 but for drawing without replacement.
    assert found.chance_empty == pytest.approx(hypergeom.pmf(0, 25_000 * 4096, 4096, 4096), rel=1e-6)
    assert found.clustering == pytest.approx(1)
    assert found.dispersion == pytest.approx(4096, rel=1e-3)


def test_what_is_no_mask_of_a_layer_is_refused():
    with pytest.raises(InputError, match=r"at least one entry, got shape \(0, 3\)"):
        mask_structure(np.ones((0, 3), dtype=bool))
    with pytest.raises(InputError, match=r"outputs and inputs, got shape \(3,\)"):
        mask_structure(np.ones(3, dtype=bool))
    with pytest.raises(InputError, match=r"from 0 to 2, got \[3\]"):
        spread_over_lines([3], 2)
