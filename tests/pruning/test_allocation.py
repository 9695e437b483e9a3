import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import InputError
from pomona.pruning.allocation import ALLOCATIONS, Layer, allocate, densities_of


def layers_of(sizes: list[tuple[tuple[int, ...], str]]) -> list[Layer]:
    return [
        Layer(f"l{i}.weight", shape, kind, torch.Size(shape).numel()) for i, (shape, kind) in enumerate(sizes)
    ]


def resnet_32() -> list[Layer]:
    """Widths 32, 64, 128; the 1x1 shortcuts are layers of their own."""
    sizes: list[tuple[tuple[int, ...], str]] = [((32, 3, 3, 3), "conv")]
    before = 32
    for width in (32, 64, 128):
        for _ in range(5):
            sizes += [((width, before, 3, 3), "conv"), ((width, width, 3, 3), "conv")]
            if before != width:
                sizes.append(((width, before, 1, 1), "conv"))
            before = width
    return layers_of([*sizes, ((10, 128), "linear")])


def vgg_19() -> list[Layer]:
    widths = [64, 64, 128, 128, *[256] * 4, *[512] * 8]
    sizes = [((w, b, 3, 3), "conv") for b, w in zip([3, *widths[:-1]], widths, strict=True)]
    return layers_of([*sizes, ((10, 512), "linear")])


def realised(name: str, layers: list[Layer], density: float) -> list[float]:
    kept = allocate(name, layers, density, "nearest")
    return [round(kept[layer.name] / layer.total, 4) for layer in layers]


def test_smart_ratio_has_the_papers_densities_on_resnet_32():
    assert realised("smart-ratio", resnet_32(), 0.1)[:4] == [0.7975, 0.7527, 0.7084, 0.6656]
    assert realised("smart-ratio", resnet_32(), 0.02)[:4] == [0.1574, 0.1493, 0.1405, 0.1319]


def test_smart_ratio_of_a_plain_network_has_the_papers_densities_on_vgg_19():
    assert realised("smart-ratio-plain", vgg_19(), 0.02)[:4] == [1.0, 1.0, 0.8384, 0.2635]


@pytest.mark.parametrize("name", [name for name in ALLOCATIONS if name.startswith("smart")])
def test_smart_ratios_keep_three_tenths_of_the_last_linear_layer(name):
    assert realised(name, resnet_32(), 0.05)[-1] == 0.3


SIZES = [
    ((8, 1, 3, 3), "conv"),
    ((16, 8, 3, 3), "conv"),
    ((16, 4, 3, 3), "conv groups=2"),
    ((50, 144), "linear"),
    ((10, 50), "linear"),
]


@pytest.mark.parametrize("name", ALLOCATIONS)
@given(density=st.floats(0.05, 1.0))
def test_allocations_keep_the_whole_density(name, density):
    layers = layers_of(SIZES)
    kept = allocate(name, layers, density, "nearest")
    total = sum(layer.total for layer in layers)
    assert all(0 <= kept[layer.name] <= layer.total for layer in layers)
    # One unit a layer is lost to rounding at most.
    assert abs(sum(kept.values()) - density * total) <= len(layers)


def test_erk_is_in_proportion_to_sides_over_size_below_one():
    layers = layers_of(SIZES)
    found = realised("erk", layers, 0.05)
    raw = [sum(layer.shape) / layer.total for layer in layers]
    ratios = [d / r for d, r in zip(found, raw, strict=True) if d < 1]
    assert max(ratios) / min(ratios) < 1.02
    assert all(0 < d <= 1 for d in found)


def test_erk_caps_a_layer_and_gives_the_rest_to_the_others():
    layers = layers_of([((2, 2), "linear"), ((400, 400), "linear")])
    assert realised("erk", layers, 0.1)[0] == 1.0
    kept = allocate("erk", layers, 0.1, "nearest")
    assert sum(kept.values()) == round(0.1 * 160_004)


def test_ablations_order_the_layers_as_their_names_say():
    layers = layers_of([((100, 100), "linear")] * 6 + [((10, 100), "linear")])
    for name in ("smart-ratio", "smart-ratio-linear", "smart-ratio-cubic", "smart-ratio-plain"):
        found = realised(name, layers, 0.1)[:-1]
        assert found == sorted(found, reverse=True), name
        assert found[0] > found[-1], name
    ascending = realised("smart-ratio-ascending", layers, 0.1)[:-1]
    assert ascending == sorted(ascending)
    assert ascending[0] < ascending[-1]
    even = realised("smart-ratio-uniform", layers, 0.1)[:-1]
    assert len(set(even)) == 1


def test_a_density_that_the_last_linear_layer_alone_exceeds_is_refused():
    layers = layers_of([((10, 10), "linear"), ((100, 10), "linear")])
    with pytest.raises(InputError, match="the last linear layer keeps 30% of its weights, which is more"):
        allocate("smart-ratio", layers, 0.01, "nearest")


def test_an_unknown_allocation_says_the_nearest():
    with pytest.raises(InputError, match="unknown allocation 'erd'; did you mean 'erk'"):
        allocate("erd", layers_of(SIZES), 0.1, "nearest")


def test_densities_of_a_mask_are_its_share_of_true():
    masks = {"a": torch.tensor([[True, False], [False, False]]), "b": torch.ones(3, dtype=torch.bool)}
    assert densities_of(masks) == {"a": 0.25, "b": 1.0}
