import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from pomona.core.errors import InputError
from pomona.measures.chance import chance_distance, chance_distance_of_all
from pomona.measures.layout import Layout
from pomona.measures.masks import jaccard_distance

UNITS = ["weight", "channel-in", "channel-out"]


def all_masks(shape, kept, granularity):
    """Every mask of a granularity that keeps this many weights."""
    if granularity == "weight":
        for chosen in itertools.combinations(range(int(np.prod(shape))), kept):
            mask = np.zeros(int(np.prod(shape)), dtype=bool)
            mask[list(chosen)] = True
            yield mask.reshape(shape)
        return
    axis = 1 if granularity == "channel-in" else 0
    channel = int(np.prod(shape)) // shape[axis]
    for chosen in itertools.combinations(range(shape[axis]), kept // channel):
        mask = np.zeros(shape, dtype=bool)
        mask.swapaxes(0, axis)[list(chosen)] = True
        yield mask


@pytest.mark.parametrize("a", UNITS)
@pytest.mark.parametrize("b", UNITS)
@pytest.mark.parametrize(("kept_a", "kept_b"), [(4, 4), (4, 0), (0, 0), (4, 8), (8, 8)])
def test_chance_distance_is_the_mean_over_all_masks(a, b, kept_a, kept_b):
    shape = (2, 4)
    pairs = itertools.product(all_masks(shape, kept_a, a), all_masks(shape, kept_b, b))
    expected = np.mean([jaccard_distance(x, y) for x, y in pairs])
    assert chance_distance(shape, kept_a, kept_b, a, b) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("a", "kept_a", "b", "kept_b"),
    [
        ("weight", 300, "weight", 700),
        ("weight", 300, "channel-in", 400),
        ("channel-in", 400, "channel-in", 800),
        ("channel-out", 250, "channel-out", 500),
        ("channel-in", 400, "channel-out", 500),
    ],
)
def test_chance_distance_is_what_random_masks_have(a, kept_a, b, kept_b):
    shape, generator = (40, 25), np.random.default_rng(0)

    def draw(kept, granularity):
        if granularity == "weight":
            return (generator.permutation(1000) < kept).reshape(shape)
        size = shape[1] if granularity == "channel-in" else shape[0]
        channels = generator.permutation(size) < kept * size // 1000
        return np.broadcast_to(channels if granularity == "channel-in" else channels[:, None], shape)

    mean = np.mean([jaccard_distance(draw(kept_a, a), draw(kept_b, b)) for _ in range(1000)])
    assert chance_distance(shape, kept_a, kept_b, a, b) == pytest.approx(mean, abs=0.01)


CONV, TRANSPOSED = Layout(groups=2), Layout(outputs=1, inputs=0, groups=2)


def draw(shape, granularity, units, layout, generator):
    """A random mask that keeps so many units, cut along the weight itself."""
    if ":" in granularity:
        keep, size = map(int, granularity.split(":"))
        lines = np.moveaxis(np.zeros(shape, bool), layout.inputs, -1)
        for line in np.ndindex(lines.shape[:-1]):
            for start in range(0, lines.shape[-1], size):
                end = min(start + size, lines.shape[-1])
                lines[(*line, start + generator.permutation(end - start)[:keep])] = True
        return np.moveaxis(lines, -1, layout.inputs)
    groups, outputs, inputs, places = layout.sizes(shape)
    rows, columns = {"channel-in": (outputs, 1), "channel-out": (1, inputs)}.get(granularity, (1, 1))
    if granularity.startswith("block"):
        rows, columns = map(int, granularity.removeprefix("block-").split("x"))
    high, wide = -(-outputs // rows), -(-inputs // columns)
    many = groups * high * wide * (places if granularity == "weight" else 1)
    chosen = (generator.permutation(many) < units).reshape(groups, high, wide, -1)
    arranged = chosen.repeat(rows, 1)[:, :outputs].repeat(columns, 2)[:, :, :inputs]
    arranged = np.broadcast_to(arranged, (groups, outputs, inputs, places))
    if layout.outputs < layout.inputs:
        return arranged.reshape(shape)
    return np.moveaxis(arranged, 1, 2).reshape(shape)


@pytest.mark.parametrize(
    ("shape", "layout", "a", "units_a", "b", "units_b"),
    [
        ((8, 6, 3, 3), Layout(), "kernel", 12, "kernel", 20),
        ((8, 6, 3, 3), Layout(), "kernel", 12, "channel-in", 2),
        ((8, 6, 3, 3), Layout(), "channel-out", 5, "kernel", 20),
        ((8, 6, 3, 3), Layout(), "weight", 100, "kernel", 20),
        ((8, 6, 3, 3), Layout(), "block-2x3", 3, "block-2x3", 5),
        ((8, 6, 3, 3), Layout(), "block-2x3", 3, "block-4x6", 1),
        ((8, 6, 3, 3), Layout(), "block-2x1", 8, "channel-in", 2),
        ((8, 6, 3, 3), Layout(), "block-1x3", 3, "channel-out", 2),
        ((8, 6, 3, 3), Layout(), "block-3x4", 3, "kernel", 10),
        ((8, 6, 3, 3), Layout(), "block-3x4", 3, "weight", 100),
        ((8, 6, 3, 3), Layout(), "channel-in", 2, "channel-out", 3),
        ((12, 14), Layout(), "2:4", 0, "2:4", 0),
        ((12, 14), Layout(), "1:4", 0, "3:4", 0),
        ((12, 14), Layout(), "2:4", 0, "weight", 50),
        ((4, 6, 3, 3), Layout(), "1:4", 0, "2:4", 0),
        ((12, 4, 3), CONV, "channel-in", 3, "channel-in", 5),
        ((12, 4, 3), CONV, "channel-out", 3, "channel-out", 6),
        ((12, 4, 3), CONV, "block-2x2", 3, "block-2x2", 6),
        ((6, 4, 3), TRANSPOSED, "channel-in", 2, "channel-in", 3),
        ((6, 4, 3), TRANSPOSED, "channel-out", 3, "channel-out", 5),
        ((6, 4, 3), TRANSPOSED, "kernel", 9, "channel-in", 3),
        ((6, 4, 3), TRANSPOSED, "2:4", 0, "2:4", 0),
        ((9, 5), Layout(1, 0), "channel-in", 4, "channel-out", 2),
        ((9, 5), Layout(1, 0), "1:2", 0, "1:2", 0),
    ],
)
def test_chance_distance_of_every_granularity_is_what_random_masks_have(
    shape, layout, a, units_a, b, units_b
):
    generator = np.random.default_rng(0)
    found, expected = [], []
    for _ in range(1500):
        one, other = (draw(shape, *given, layout, generator) for given in ((a, units_a), (b, units_b)))
        found.append(jaccard_distance(one, other))
        # Blocks at the edge are smaller, so that as many of them do not always keep as many weights.
        expected.append(chance_distance(shape, int(one.sum()), int(other.sum()), a, b, layout))
    assert np.mean(expected) == pytest.approx(np.mean(found), abs=0.01)


@pytest.mark.parametrize("inputs", [1, 3, 4, 5, 6, 7])
@pytest.mark.parametrize(("a", "b"), [("2:4", "2:4"), ("1:4", "2:4"), ("3:4", "1:4"), ("1:2", "1:2")])
def test_chance_distance_of_groups_is_the_mean_over_all_masks(inputs, a, b):
    def every(granularity):
        keep, size = map(int, granularity.split(":"))
        spans = [range(start, min(start + size, inputs)) for start in range(0, inputs, size)]
        for chosen in itertools.product(*(itertools.combinations(s, min(keep, len(s))) for s in spans)):
            yield np.isin(np.arange(inputs), list(itertools.chain(*chosen)))

    ones, others = list(every(a)), list(every(b))
    expected = np.mean([jaccard_distance(x, y) for x in ones for y in others])
    kept = int(ones[0].sum()), int(others[0].sum())
    assert chance_distance((1, inputs), *kept, a, b) == pytest.approx(expected, abs=1e-12)


def test_chance_distance_of_many_groups_tends_to_the_ratio():
    half = 4096 * 25_088 // 2
    assert chance_distance((4096, 25_088), half, half, "2:4", "2:4") == pytest.approx(2 / 3, abs=1e-7)


@given(st.integers(1, 300), st.data())
def test_chance_distance_is_the_hypergeometric_expectation(size, data):
    a, b = (data.draw(st.integers(0, size)) for _ in range(2))
    common = np.arange(max(0, a + b - size), min(a, b) + 1)
    union = np.maximum(a + b - common, 1)
    mass = hypergeom.pmf(common, size, a, b)
    expected = float((mass * (a + b - 2 * common) / union).sum()) if a + b else 0.0
    assert chance_distance((size, 1), a, b) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.5), (0.01, 0.2), (0.9, 0.1), (0.001, 0.001)])
def test_chance_distance_of_large_layers_tends_to_the_ratio(p, q):
    size = 100_000_000
    found = chance_distance((10_000, 10_000), int(p * size), int(q * size))
    assert found == pytest.approx(1 - p * q / (p + q - p * q), abs=1e-6)


@given(st.integers(0, 60), st.integers(0, 60))
def test_chance_distance_does_not_depend_on_the_order(a, b):
    assert chance_distance((6, 10), a, b) == pytest.approx(chance_distance((6, 10), b, a), abs=1e-12)


def test_chance_distance_of_full_masks_is_zero():
    assert chance_distance((6, 10), 60, 60) == 0
    assert chance_distance((6, 10), 0, 0) == 0
    assert chance_distance((6, 10), 0, 5) == 1


def test_chance_distance_refuses_what_does_not_fit():
    with pytest.raises(InputError, match="unknown granularity 'channel'; did you mean 'channel-in'"):
        chance_distance((6, 10), 10, 10, "channel")
    with pytest.raises(InputError, match=r"keeps whole channels of 6 weights, got 10"):
        chance_distance((6, 10), 10, 10, "channel-in")
    with pytest.raises(InputError, match=r"from 0 to the 60 weights of shape \(6, 10\), got 61"):
        chance_distance((6, 10), 61, 10)
    with pytest.raises(InputError, match=r"shape \(60,\) has no channel-in"):
        chance_distance((60,), 10, 10, "channel-in")
    with pytest.raises(InputError, match=r"keeps whole kernels of 9 weights, got 10"):
        chance_distance((4, 4, 3, 3), 10, 9, "kernel", "kernel")
    with pytest.raises(InputError, match=r"granularity '2:4' of shape \(6, 8\) keeps 24 weights, got 20"):
        chance_distance((6, 8), 20, 24, "2:4", "2:4")


@pytest.mark.parametrize(
    ("a", "kept_a", "b", "kept_b"),
    [
        ("block-4x4", 24, "block-4x4", 36),  # the last blocks are cut
        ("block-2x2", 16, "block-3x3", 18),
        ("2:4", 36, "channel-in", 12),
        ("2:4", 36, "1:2", 30),
        ("block-2x5", 20, "channel-in", 12),
    ],
)
def test_chance_distance_without_a_closed_form_is_refused(a, kept_a, b, kept_b):
    with pytest.raises(InputError, match="closed form"):
        chance_distance((6, 10), kept_a, kept_b, a, b)


def test_chance_distance_of_grouped_channels_of_both_sides_is_refused():
    with pytest.raises(InputError, match="closed form"):
        chance_distance((4, 4), 4, 8, "channel-in", "channel-out", Layout(groups=2))


def test_chance_distance_of_all_layers_is_what_random_masks_of_mixed_granularities_have():
    """Whole inputs of the first layer against single weights, single weights of the second."""
    draw = np.random.default_rng(3)
    shapes, kept = {"conv": (16, 6, 3, 3), "fc": (84, 120)}, {"conv": (2, 288), "fc": (3000, 1000)}

    def masks(side):
        inputs = np.isin(np.arange(6), draw.permutation(6)[: kept["conv"][0]])[None, :, None, None]
        single = {n: draw.permutation(np.arange(np.prod(s)) < kept[n][side]) for n, s in shapes.items()}
        found = {n: flat.reshape(shapes[n]) for n, flat in single.items()}
        return found if side else {**found, "conv": np.broadcast_to(inputs, shapes["conv"]).copy()}

    def whole(given):
        return np.concatenate([mask.ravel() for mask in given.values()])

    seen = [(masks(0), masks(1)) for _ in range(400)]
    drawn = [jaccard_distance(whole(a), whole(b)) for a, b in seen]
    error = np.std(drawn) / np.sqrt(len(drawn))
    assert chance_distance_of_all(*seen[0]) == pytest.approx(np.mean(drawn), abs=4 * error + 1e-4)


def test_chance_distance_of_one_layer_taken_as_all_is_that_of_the_layer():
    a, b = np.arange(10_000) < 2_000, np.arange(10_000) < 500
    assert chance_distance_of_all({"w": a}, {"w": b}) == pytest.approx(
        chance_distance((10_000,), 2_000, 500), abs=1e-4
    )
    empty = np.zeros(4, dtype=bool)
    assert chance_distance_of_all({"w": empty}, {"w": empty}) == 0
