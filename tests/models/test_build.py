import random
import textwrap

import numpy as np
import pytest
import torch

from pomona.core.errors import InputError
from pomona.models.build import build, initial_weights
from pomona.models.choice import ModelChoice
from pomona.pruning.kinds import layer_kinds
from pomona.training.placing import place, taken

SHAPE = (1, 8, 8)

OWN = """
import random
import numpy as np
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, input_shape, width=5):
        super().__init__()
        self.body = nn.Linear(input_shape[1] * input_shape[2], width)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(width, classes)
        self.noise = nn.Parameter(torch.tensor(random.random()))
        self.array_noise = nn.Parameter(torch.tensor(np.random.rand(), dtype=torch.float32))

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.body(x.view(len(x), -1)))))

def plain():
    return nn.Linear(3, 2)

def anything(**given):
    assert set(given) == {"input_shape", "classes", "depth"}
    return nn.Linear(given["depth"], given["classes"])

def needs(width):
    return nn.Linear(width, 2)

def fails(classes):
    size = classes - 10
    return nn.Linear(3 // size, 2)

def number():
    return 7

def a_class():
    return nn.Linear

def lazy():
    return nn.LazyLinear(3)

def tied():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Embedding(4, 4))
    net[1].weight = net[0].weight
    return net

def tied_to_an_embedding():
    net = nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    return net

def layer_twice():
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer)

def biases_tied():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].bias = net[0].bias
    return net

def half_parameter():
    return nn.Linear(4, 4, dtype=torch.bfloat16)

def half_buffer(persistent):
    net = nn.Linear(4, 4)
    net.register_buffer("scale", torch.ones(2, dtype=torch.bfloat16), persistent=persistent)
    return net

def storable():
    net = nn.Linear(4, 4, dtype=torch.float64)
    net.register_buffer("seen", torch.zeros(2, dtype=torch.bool))
    net.register_buffer("count", torch.zeros((), dtype=torch.int32))
    return net
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(textwrap.dedent(OWN))
    return tmp_path


def _own(name, **options):
    return ModelChoice(name=f"mine.py:{name}", options=options)


def test_build_own_class_takes_shape_classes_and_options(folder):
    module = build(_own("Net", width=6), SHAPE, 4, folder)
    assert module.body.weight.shape == (6, 64)
    assert module.head.weight.shape == (4, 6)


def test_build_own_function_may_take_nothing_or_anything(folder):
    assert build(_own("plain"), SHAPE, 4, folder).weight.shape == (2, 3)
    assert build(_own("anything", depth=9), SHAPE, 4, folder).weight.shape == (4, 9)


def test_build_own_weights_follow_the_init_seed(folder):
    first, other = (initial_weights(_own("Net"), SHAPE, 4, i, folder) for i in (0, 1))
    # Whatever the rest of the process drew meanwhile makes no difference.
    torch.rand(1), random.random(), np.random.rand()
    again = initial_weights(_own("Net"), SHAPE, 4, 0, folder)
    assert list(first) == list(build(_own("Net"), SHAPE, 4, folder).state_dict())
    for name in first:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


def test_build_leaves_global_random_state_alone(folder):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    initial_weights(_own("Net"), SHAPE, 4, 0, folder)
    build(_own("Net"), SHAPE, 4, folder)
    build(ModelChoice(name="conv-2"), SHAPE, 4)
    with pytest.raises(InputError):
        build(_own("fails"), SHAPE, 10, folder)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (_own("fails"), r"mine\.py:31: in fails: 'mine\.py:fails' failed: ZeroDivisionError"),
        (_own("number"), "expected a torch.nn.Module, got int"),
        (_own("a_class"), "got type; give the class or a function that makes one"),
        (_own("lazy"), "weight has no shape yet"),
        (_own("needs"), "argument 'width' has no value; it may take input_shape and classes"),
        (_own("Net", widht=3), "unknown option 'widht'; did you mean 'width'"),
        (_own("plain", width=3), r"unknown option 'width'. Known: \(none\)"),
        (_own("Nett"), "unknown name 'Nett'; did you mean 'Net'"),
    ],
)
def test_build_own_says_what_is_wrong(folder, choice, message):
    with pytest.raises(InputError, match=message):
        build(choice, SHAPE, 10, folder)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (_own("half_parameter"), r"weight is torch\.bfloat16.*expected float32, float64"),
        (_own("half_buffer", persistent=True), r"scale is torch\.bfloat16: expected float32, float64"),
        (_own("half_buffer", persistent=False), r"scale is torch\.bfloat16: expected float32, float64"),
    ],
)
def test_initial_weights_refuses_what_no_state_can_hold(folder, choice, message):
    with pytest.raises(InputError, match=message):
        initial_weights(choice, SHAPE, 4, 0, folder)


@pytest.mark.parametrize(
    ("name", "names", "kinds"),
    [
        (
            "tied",
            ["0.weight", "0.bias", "1.bias", "2.weight"],
            {"0.weight": "linear", "2.weight": "embedding"},
        ),
        ("tied_to_an_embedding", ["0.weight", "1.bias"], {"0.weight": "embedding"}),
        ("layer_twice", ["0.weight", "0.bias"], {"0.weight": "linear"}),
        ("biases_tied", ["0.weight", "0.bias", "1.weight"], {"0.weight": "linear", "1.weight": "linear"}),
    ],
)
def test_initial_weights_keeps_a_tied_parameter_once_under_its_first_name(folder, name, names, kinds):
    found = initial_weights(_own(name), SHAPE, 4, 0, folder)
    module = build(_own(name), SHAPE, 4, folder)
    assert list(found) == names
    assert layer_kinds(module) == kinds
    place(module, found, torch.device("cpu"))
    assert list(taken(module)) == names
    assert all(torch.equal(t, found[key]) for key, t in taken(module).items())


def test_initial_weights_keeps_types(folder):
    found = initial_weights(_own("storable"), SHAPE, 4, 0, folder)
    types = {"weight": torch.float64, "bias": torch.float64, "seen": torch.bool, "count": torch.int32}
    assert {name: tensor.dtype for name, tensor in found.items()} == types


def test_build_convolutions_are_channels_last_also_with_one_channel():
    module = build(ModelChoice(name="conv-2"), SHAPE, 4)
    assert module.conv1.weight.stride() == (9, 1, 3, 1)
    assert module.conv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_initial_weights_are_contiguous_and_in_the_order_of_the_state_dict():
    choice = ModelChoice(name="resnet-20", options={"width": 4})
    weights = initial_weights(choice, SHAPE, 4, 0)
    assert list(weights) == list(build(choice, SHAPE, 4).state_dict())
    assert all(t.is_contiguous() and t.device.type == "cpu" for t in weights.values())
