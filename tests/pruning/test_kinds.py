import pytest
from torch import nn

from pomona.models.build import build
from pomona.models.choice import ModelChoice
from pomona.pruning.kinds import layer_kinds
from pomona.pruning.layers import KINDS, axes_of, groups_of, kind_of


def test_layer_kinds_names_convolutions_and_linear_layers_in_order():
    kinds = layer_kinds(build(ModelChoice(name="lenet"), (1, 28, 28), 10))
    assert kinds == {
        "conv1.weight": "conv",
        "conv2.weight": "conv",
        "fc1.weight": "linear",
        "fc2.weight": "linear",
        "fc3.weight": "linear",
    }
    resnet = layer_kinds(build(ModelChoice(name="resnet-20"), (3, 32, 32), 10))
    # 19 convolutions and the last layer give the name; two shortcuts of 1x1 come on top.
    assert list(resnet.values()) == ["conv"] * 21 + ["linear"]


def test_layer_kinds_counts_subclasses_and_shared_weights_once_and_no_norms():
    class Special(nn.Linear):
        pass

    first, second = nn.Linear(4, 4), Special(4, 4)
    second.weight = first.weight
    net = nn.Sequential(first, nn.BatchNorm1d(4), second, Special(4, 2), nn.Conv1d(2, 2, 1))
    assert layer_kinds(net) == {"0.weight": "linear", "3.weight": "linear", "4.weight": "conv"}
    assert layer_kinds(nn.Conv2d(1, 1, 1)) == {"weight": "conv"}


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv1d(4, 6, 3), "conv"),
        (nn.Conv2d(4, 6, 3, groups=2), "conv groups=2"),
        (nn.Conv3d(4, 4, 1, groups=4), "conv groups=4"),
        (nn.ConvTranspose1d(4, 6, 3), "conv-transposed"),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), "conv-transposed groups=2"),
        (nn.ConvTranspose3d(4, 6, 3), "conv-transposed"),
        (nn.Linear(4, 6), "linear"),
        (nn.Embedding(7, 4), "embedding"),
        (nn.EmbeddingBag(7, 4), "embedding"),
    ],
)
def test_layer_kinds_of_each_layer_and_what_its_text_says(layer, expected):
    assert layer_kinds(layer) == {"weight": expected}
    assert kind_of(expected) in KINDS
    assert groups_of(expected) == getattr(layer, "groups", 1)


@pytest.mark.parametrize(
    ("layer", "outputs", "inputs"),
    [
        (nn.Conv2d(4, 6, 3, groups=2), 6, 4),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), 6, 4),
        (nn.Linear(4, 6), 6, 4),
        (nn.Embedding(4, 6), 6, 4),
    ],
)
def test_axes_lead_to_the_outputs_and_inputs_of_a_layer(layer, outputs, inputs):
    text = layer_kinds(layer)["weight"]
    out_axis, in_axis = axes_of(text)
    sizes = layer.weight.shape[out_axis], layer.weight.shape[in_axis]
    # One of the two axes lists the channels of one group only.
    assert sizes in [(outputs, inputs // groups_of(text)), (outputs // groups_of(text), inputs)]


def test_layer_kinds_of_attention_names_its_projections():
    packed = nn.MultiheadAttention(8, 2)
    assert layer_kinds(packed) == {"in_proj_weight": "attention", "out_proj.weight": "linear"}
    apart = nn.Sequential(nn.MultiheadAttention(8, 2, kdim=4, vdim=6))
    assert layer_kinds(apart) == {
        "0.q_proj_weight": "attention",
        "0.k_proj_weight": "attention",
        "0.v_proj_weight": "attention",
        "0.out_proj.weight": "linear",
    }


def test_layer_kinds_leaves_out_what_is_computed_from_other_parameters():
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    assert layer_kinds(nn.Sequential(normed, nn.Linear(4, 2))) == {"1.weight": "linear"}


def test_layer_kinds_uses_the_name_that_named_parameters_has():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(nn.init.normal_(nn.Linear(3, 4).weight))
            self.head = nn.Linear(3, 4)
            self.head.weight = self.table

    assert layer_kinds(Tied()) == {"table": "linear"}
