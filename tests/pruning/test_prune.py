import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from pomona.core.errors import InputError, StateFailure
from pomona.pruning.masks import apply_masks
from pomona.pruning.method import METHODS, Method
from pomona.pruning.prune import prune

from .networks import KINDS, lenet_weights, mask_stream, normal

ONE = {"w": "linear"}
# What needs nothing but weights and a stream.
PLAIN = [name for name, method in METHODS.items() if not method.needs]


def method(**fields) -> Method:
    return Method.model_validate(fields)


def levels(chosen: Method, count: int, amount=0.2, rounding="nearest"):
    weights = lenet_weights()
    masks: dict[str, torch.Tensor] = {}
    for level in range(1, count + 1):
        found = prune(weights, masks, KINDS, chosen, amount, rounding, stream=mask_stream(level))
        masks = found.masks
        yield found


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("l1-unstructured", 691),
        ("random-unstructured", 691),
        ("l1-structured", 1130),
        ("l2-structured", 1130),
        ("neg-inf-structured", 1130),
        ("random-structured", 1130),
        ("global-unstructured", 690),
        ("fc-only", 1597),
        ("hybrid", 1021),
    ],
)
def test_prune_keeps_the_papers_counts_after_20_levels(name, kept):
    *_, last = levels(METHODS[name], 20)
    assert sum(int(mask.sum()) for mask in last.masks.values()) == kept


def test_prune_structured_never_touches_one_input_and_stalls_at_two():
    *_, last = levels(METHODS["l1-structured"], 20)
    assert last.masks["conv1.weight"].all()
    assert int(last.masks["conv2.weight"].any(dim=(0, 2, 3)).sum()) == 2


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("rounding", ["nearest", "floor"])
def test_every_method_is_exact_nested_and_leaves_its_input_alone(name, rounding):
    weights = lenet_weights()
    given = {key: x.clone() for key, x in weights.items()}
    masks = {key: torch.ones_like(x, dtype=torch.bool) for key, x in weights.items()}
    before = torch.get_rng_state()
    for level in range(1, 5):
        kept = {key: x.clone() for key, x in masks.items()}
        found = prune(weights, masks, KINDS, METHODS[name], 0.3, rounding, stream=mask_stream(level))
        again = prune(weights, masks, KINDS, METHODS[name], 0.3, rounding, stream=mask_stream(level))
        assert found.audit == again.audit
        assert found.audit.requested == found.audit.achieved > 0
        for key, mask in found.masks.items():
            assert torch.equal(mask, again.masks[key])
            assert not (mask & ~kept[key]).any()
            assert torch.equal(masks[key], kept[key])
            assert mask.data_ptr() != masks[key].data_ptr()
        masks = found.masks
    assert list(masks) == list(KINDS)
    assert all(torch.equal(weights[key], x) for key, x in given.items())
    assert torch.equal(torch.get_rng_state(), before)


def test_prune_of_a_parameter_without_a_mask_starts_dense():
    full = {"w": torch.ones(4, 5, dtype=torch.bool)}
    weights = {"w": normal((4, 5))}
    one = prune(weights, {}, ONE, METHODS["l1-unstructured"], 0.5)
    other = prune(weights, full, ONE, METHODS["l1-unstructured"], 0.5)
    assert torch.equal(one.masks["w"], other.masks["w"])


# Oracle: torch.nn.utils.prune where no two scores are equal.

SHAPES = st.one_of(
    st.tuples(st.integers(1, 8), st.integers(1, 9)),
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3), st.just(3)),
)
AMOUNTS = st.lists(
    st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.5, 0.9, 1.0]) | st.floats(0, 1), min_size=1, max_size=4
)


def module_of(weight: torch.Tensor) -> nn.Module:
    module = nn.Module()
    module.register_parameter("weight", nn.Parameter(weight.clone()))
    return module


def ours(weight, amounts, chosen, kind="linear"):
    masks: dict[str, torch.Tensor] = {}
    for level, amount in enumerate(amounts):
        found = prune({"w": weight}, masks, {"w": kind}, chosen, amount, stream=mask_stream(level))
        masks = found.masks
    return masks["w"]


@settings(deadline=None)
@given(SHAPES, AMOUNTS)
def test_prune_magnitude_agrees_with_torch(shape, amounts):
    weight = normal(shape)
    module = module_of(weight)
    for amount in amounts:
        torch_prune.l1_unstructured(module, "weight", amount)
    assert torch.equal(ours(weight, amounts, METHODS["l1-unstructured"]), module.weight_mask.bool())


@settings(deadline=None)
@given(
    SHAPES,
    st.lists(st.floats(0, 0.7), min_size=1, max_size=4),
    st.sampled_from([1, 2, float("inf"), float("-inf")]),
    st.sampled_from([("channel-in", 1), ("channel-out", 0)]),
)
def test_prune_norms_agree_with_torch(shape, amounts, n, axis):
    granularity, dim = axis
    weight = normal(shape)
    module = module_of(weight)
    for amount in amounts:
        torch_prune.ln_structured(module, "weight", amount, n=n, dim=dim)
    chosen = method(criterion={"norm": n}, granularity=granularity)
    assert torch.equal(ours(weight, amounts, chosen), module.weight_mask.bool())


@settings(deadline=None)
@given(SHAPES, AMOUNTS)
def test_prune_random_removes_as_many_as_torch(shape, amounts):
    weight = normal(shape)
    module = module_of(weight)
    with torch.random.fork_rng(devices=[]):
        for amount in amounts:
            torch_prune.random_unstructured(module, "weight", amount)
    assert int(ours(weight, amounts, METHODS["random-unstructured"]).sum()) == int(module.weight_mask.sum())


@settings(deadline=None, max_examples=40)
@given(st.lists(SHAPES, min_size=1, max_size=4), AMOUNTS)
def test_prune_global_agrees_with_torch(shapes, amounts):
    weights = {f"l{i}.weight": normal(shape, f"l{i}") for i, shape in enumerate(shapes)}
    modules = [module_of(weight) for weight in weights.values()]
    masks: dict[str, torch.Tensor] = {}
    for amount in amounts:
        parameters = [(module, "weight") for module in modules]
        torch_prune.global_unstructured(parameters, torch_prune.L1Unstructured, amount=amount)
        masks = prune(
            weights, masks, dict.fromkeys(weights, "linear"), METHODS["global-unstructured"], amount
        ).masks
    for module, mask in zip(modules, masks.values(), strict=True):
        assert torch.equal(mask, module.weight_mask.bool())


# Known defects of other code, each kept out.


def test_prune_takes_no_extra_weight_per_level():
    weight, kept = normal((20, 50)), []
    for count in range(1, 5):
        kept.append(int(ours(weight, [0.2] * count, METHODS["l1-unstructured"]).sum()))
    assert kept == [800, 640, 512, 410]


def test_prune_of_ties_is_exact_and_takes_the_lowest_index():
    found = prune({"w": torch.ones(2, 5)}, {}, ONE, METHODS["l1-unstructured"], 0.3)
    assert found.masks["w"].reshape(-1).tolist() == [False] * 3 + [True] * 7
    assert found.audit.layers[0].ties_cut == 3


def test_prune_of_ties_in_a_global_pool_goes_in_network_order():
    weights = {"a.weight": torch.ones(1, 4), "b.weight": torch.ones(1, 4)}
    kinds = {"b.weight": "linear", "a.weight": "linear"}
    found = prune(weights, {}, kinds, METHODS["global-unstructured"], 0.5)
    assert not found.masks["b.weight"].any()
    assert found.masks["a.weight"].all()
    assert [layer.ties_cut for layer in found.audit.layers] == [4, 0]


def test_prune_of_quantised_weights_is_a_stable_sort():
    weight = (normal((200, 100)) * 8).round() / 8
    order = weight.abs().reshape(-1).argsort(stable=True)
    expected = torch.ones(20_000, dtype=torch.bool)
    expected[order[:4000]] = False
    assert torch.equal(ours(weight, [0.2], METHODS["l1-unstructured"]).reshape(-1), expected)


def test_prune_of_many_zeros_still_prunes():
    # A threshold at the quantile keeps everything where the quantile is 0.
    weight = torch.zeros(10, 10)
    weight[0, 0] = 1
    assert int(ours(weight, [0.5], METHODS["l1-unstructured"]).sum()) == 50


def test_prune_never_revives_a_weight_that_has_grown():
    masks = {"w": torch.tensor([[False, True, True, True]])}
    found = prune({"w": torch.tensor([[9.0, 1.0, 2.0, 3.0]])}, masks, ONE, METHODS["l1-unstructured"], 0.34)
    assert found.masks["w"].tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("name", PLAIN)
def test_prune_does_not_depend_on_the_memory_layout(name):
    weights = lenet_weights()
    strided = {
        key: x.to(memory_format=torch.channels_last) if x.dim() == 4 else x.T.contiguous().T
        for key, x in weights.items()
    }
    one, other = (
        prune(given, {}, KINDS, METHODS[name], 0.3, stream=mask_stream(1)).masks
        for given in (weights, strided)
    )
    assert all(torch.equal(mask, other[key]) for key, mask in one.items())
    assert all(mask.is_contiguous() for mask in other.values())


def test_prune_random_draws_anew_at_each_level_and_replicate():
    weights = {"w": torch.zeros(20, 20)}
    chosen = METHODS["random-unstructured"]
    base = prune(weights, {}, ONE, chosen, 0.5, stream=mask_stream(1)).masks["w"]
    for other in (mask_stream(2), mask_stream(1, index=1)):
        assert not torch.equal(base, prune(weights, {}, ONE, chosen, 0.5, stream=other).masks["w"])


def test_prune_random_without_a_stream_is_refused():
    with pytest.raises(InputError, match="needs the mask stream of the replicate"):
        prune({"w": torch.zeros(2, 2)}, {}, ONE, METHODS["random-unstructured"], 0.5)


# Layers, amounts, pools.


def test_prune_fc_only_leaves_convolutions_dense_and_says_so():
    (found,) = levels(METHODS["fc-only"], 1)
    conv1, conv2, fc1, *_ = found.audit.layers
    assert found.masks["conv1.weight"].all()
    assert (conv1.unit, conv2.unit, fc1.unit) == (None, None, "weight")
    assert (conv2.requested, conv2.achieved, conv2.remaining) == (0, 0, 864)
    assert (fc1.requested, fc1.achieved, fc1.remaining) == (9600, 9600, 38_400)


def test_prune_hybrid_removes_channels_of_convolutions_and_weights_of_linear_layers():
    (found,) = levels(METHODS["hybrid"], 1)
    conv2 = found.masks["conv2.weight"]
    assert int(conv2.any(dim=(0, 2, 3)).sum()) == 5
    assert int(conv2.sum()) == 5 * 16 * 9
    assert int(found.masks["fc3.weight"].sum()) == 840 - 168
    assert found.masks["fc3.weight"].any(dim=0).sum() > 70


def test_prune_takes_amounts_by_kind_and_layer():
    (found,) = levels(METHODS["l1-unstructured"], 1, amount={"conv": 0.1, "linear": 0.2, "fc3": 0.1})
    assert [layer.achieved for layer in found.audit.layers] == [5, 86, 9600, 2016, 84]


def test_prune_layer_without_an_amount_says_what_to_add():
    with pytest.raises(
        InputError, match="nothing is given for layer 'fc1'; add 'fc1', its kind 'linear', or"
    ):
        list(levels(METHODS["l1-unstructured"], 1, amount={"conv": 0.1}))


def test_prune_amount_for_layers_that_the_method_leaves_alone_is_allowed():
    (found,) = levels(METHODS["fc-only"], 1, amount={"conv": 0.5, "linear": 0.2})
    assert found.masks["conv2.weight"].all()


def test_prune_amount_of_an_unknown_layer_names_the_nearest():
    with pytest.raises(InputError, match="amount: unknown layer 'conv3'; did you mean 'conv"):
        list(levels(METHODS["l1-unstructured"], 1, amount={"conv3": 0.1, "default": 0.2}))


def test_prune_global_refuses_amounts_that_differ():
    with pytest.raises(InputError, match=r"takes one fraction, got 0\.1, 0\.2"):
        list(levels(METHODS["global-unstructured"], 1, amount={"conv": 0.1, "linear": 0.2}))


def test_prune_global_channels_counts_channels_of_the_whole_network():
    chosen = method(criterion={"norm": 2}, granularity="channel-in", scope="global")
    (found,) = levels(chosen, 1)
    assert found.audit.requested == found.audit.achieved == round(0.2 * (1 + 6 + 400 + 120 + 84))
    assert all(layer.requested is None for layer in found.audit.layers)


def test_prune_to_nothing_is_flagged_as_collapsed():
    found = prune({"a": normal((3, 3)), "b": normal((2, 3))}, {}, {"a": "linear", "b": "linear"},
                  METHODS["l1-unstructured"], {"a": 1.0, "b": 0.5})  # fmt: skip
    assert found.audit.collapsed == ("a",)
    assert [layer.kept_weights for layer in found.audit.layers] == [0, 3]


def test_prune_of_a_collapsed_layer_asks_for_nothing():
    masks = {"w": torch.zeros(3, 3, dtype=torch.bool)}
    found = prune({"w": normal((3, 3))}, masks, ONE, METHODS["l1-structured"], 0.5)
    assert (found.audit.requested, found.audit.achieved) == (0, 0)


# What cannot be used.


def test_prune_of_a_nan_weight_is_a_divergence_that_says_where():
    weights = lenet_weights()
    weights["fc1.weight"][3, 17] = float("nan")
    with pytest.raises(StateFailure, match=r"NaN weight at fc1.weight\[3, 17\]") as caught:
        prune(weights, {}, KINDS, METHODS["l1-unstructured"], 0.2)
    assert caught.value.kind == "diverged"


def test_prune_ignores_nan_where_nothing_is_kept():
    weight = torch.tensor([[float("nan"), 1.0, 2.0]])
    masks = {"w": torch.tensor([[False, True, True]])}
    found = prune({"w": weight}, masks, ONE, METHODS["l1-unstructured"], 0.5)
    assert found.masks["w"].tolist() == [[False, False, True]]


def test_prune_refuses_masks_that_do_not_fit():
    weights = {"w": normal((3, 4))}
    chosen = METHODS["l1-unstructured"]
    with pytest.raises(InputError, match=r"mask of 'w': expected the weight's shape \(3, 4\), got \(4, 3\)"):
        prune(weights, {"w": torch.ones(4, 3, dtype=torch.bool)}, ONE, chosen, 0.5)
    with pytest.raises(InputError, match=r"mask of 'w': expected bool \(True = kept\), got torch.float32"):
        prune(weights, {"w": torch.ones(3, 4)}, ONE, chosen, 0.5)
    with pytest.raises(InputError, match="unknown masked parameter 'v'"):
        prune(weights, {"v": torch.ones(3, 4, dtype=torch.bool)}, ONE, chosen, 0.5)


def test_prune_of_a_missing_weight_names_the_nearest():
    with pytest.raises(
        InputError, match="unknown prunable parameter 'fc1_weigth'; did you mean 'fc1_weight'"
    ):
        prune({"fc1_weight": normal((2, 2))}, {}, {"fc1_weigth": "linear"}, METHODS["l1-unstructured"], 0.5)


# A user's criterion.


def written(folder, body: str) -> Method:
    (folder / "mine.py").write_text(f"import torch\n\ndef score(weight):\n    {body}\n")
    return method(criterion="mine.py:score")


def test_users_criterion_is_called_and_its_signs_are_honoured(tmp_path):
    weight = torch.tensor([[1.0, -10.0, 5.0, -2.0]])
    found = prune({"w": weight}, {}, ONE, written(tmp_path, "return weight"), 0.5, folder=tmp_path)
    # -10 is the least important score, not the most.
    assert found.masks["w"].tolist() == [[True, False, True, False]]


def test_users_criterion_of_channels_is_the_signed_sum(tmp_path):
    weight = torch.tensor([[1.0, -9.0, 2.0], [1.0, 8.0, -3.0]])
    chosen = written(tmp_path, "return weight").model_copy(update={"granularity": "channel-in"})
    found = prune({"w": weight}, {}, ONE, chosen, 0.67, folder=tmp_path)
    assert found.masks["w"].any(dim=0).tolist() == [True, False, False]


NOISY = """import random
import numpy as np
import torch

AT_IMPORT = torch.rand(3, 4) + random.random()

def score(weight):
    return (weight.abs() + AT_IMPORT) * torch.rand_like(weight) * (np.random.rand() * random.random())
"""


def test_users_criterion_that_draws_gives_the_same_mask_again_and_leaves_global_state(tmp_path):
    weight, masks = normal((3, 4)), []
    for run in range(2):
        # A folder of its own: the file is imported again.
        folder = tmp_path / str(run)
        folder.mkdir()
        (folder / "mine.py").write_text(NOISY)
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
        found = prune({"w": weight}, {}, ONE, method(criterion="mine.py:score"), 0.5, folder=folder)
        masks.append(found.masks["w"])
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]
        assert np.array_equal(np.random.get_state()[1], before[2])
        # Whatever the rest of the process draws meanwhile makes no difference.
        torch.rand(1), random.random(), np.random.rand()
    assert torch.equal(masks[0], masks[1])


def test_users_criterion_that_fails_leaves_global_state(tmp_path):
    before = torch.get_rng_state()
    with pytest.raises(InputError, match="NameError"):
        prune({"w": normal((2, 2))}, {}, ONE, written(tmp_path, "torch.rand(1); oops"), 0.5, folder=tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_users_criterion_cannot_change_the_weights(tmp_path):
    weight = normal((3, 4))
    given = weight.clone()
    prune({"w": weight}, {}, ONE, written(tmp_path, "return weight.abs_()"), 0.5, folder=tmp_path)
    assert torch.equal(weight, given)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return weight.log()", r"gives NaN at w\[0, 1\]"),
        ("return 3.0", "expected a tensor of scores, got float"),
        ("return weight.sum(0)", r"one score for each weight of 'w', shape \(1, 2\), got shape \(2,\)"),
        ("return weight > 0", "scores as real numbers, got torch.bool"),
        ("return weight / undefined", r"failed on 'w' \(mine.py:4: in score\): NameError"),
    ],
)
def test_users_criterion_that_fails_says_how(tmp_path, body, message):
    with pytest.raises(InputError, match=message):
        prune({"w": torch.tensor([[1.0, -1.0]])}, {}, ONE, written(tmp_path, body), 0.5, folder=tmp_path)


def test_users_criterion_in_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        prune({"w": normal((2, 2))}, {}, ONE, method(criterion="none.py:score"), 0.5, folder=tmp_path)


# Applying.


def test_apply_masks_gives_exact_positive_zeros_and_copies():
    weights = {"w": torch.tensor([-1.0, float("nan"), 2.0]), "b": torch.tensor([3.0])}
    found = apply_masks(weights, {"w": torch.tensor([False, False, True])})
    assert found["w"].tolist() == [0, 0, 2]
    assert not torch.signbit(found["w"]).any()
    assert found["b"].data_ptr() != weights["b"].data_ptr()
    assert weights["w"][0] == -1


def test_apply_masks_of_an_unknown_parameter_names_the_nearest():
    with pytest.raises(InputError, match="unknown masked parameter 'fc1'; did you mean 'fc2'"):
        apply_masks({"fc2": torch.zeros(1)}, {"fc1": torch.ones(1, dtype=torch.bool)})


def test_a_density_leaves_a_layer_of_one_channel_its_channel():
    chosen = METHODS["l1-structured"]
    found = prune(lenet_weights(), {}, KINDS, chosen, density=0.2)
    assert found.masks["conv1.weight"].all()
    assert not prune(lenet_weights(), {}, KINDS, chosen, density=0.0).masks["conv1.weight"].any()


def test_an_allocation_over_other_masks_takes_no_more_than_asked():
    weights = {"a": normal((10, 10)), "b": normal((20, 20))}
    masks = {"a": torch.zeros(10, 10, dtype=torch.bool)}
    masks["a"][0] = True
    kinds = {"a": "linear", "b": "linear"}
    found = prune(weights, masks, kinds, method(criterion="magnitude", allocation="erk"), 0.1)
    assert found.audit.requested == found.audit.achieved == round(0.1 * 410)
