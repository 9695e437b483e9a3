import random
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pomona.core.errors import InputError
from pomona.models.build import build, initial_weights
from pomona.models.catalogue import MODELS, lanes_blocker
from pomona.models.choice import ModelChoice
from pomona.training.lanes.trace import Unsupported, trace, trace_once

ATTRIBUTES = {
    "conv": "out kh kw sh sw pt pl pb pr dh dw bias relu pool",
    "linear": "out bias relu",
    "maxpool": "kh kw sh sw pt pl pb pr",
    "avgpool": "kh kw sh sw pt pl pb pr include_pad divisor",
    "adaptive_avgpool": "oh ow",
    "relu": "",
    "dropout": "p",
}


def interpret(program, weights, images, training=False):
    """Run a program with functions of torch alone: the meaning of each op, written a second time."""
    values = [images]
    for op in program.ops:
        a = {name: int(value) if name != "p" else value for name, value in op.attributes.items()}
        assert set(a) == set(ATTRIBUTES[op.kind].split())
        assert (op.weight is not None) == (op.kind in ("conv", "linear"))
        assert (op.bias is not None) == bool(a.get("bias"))
        (source,) = op.inputs
        weight, bias = weights.get(op.weight), weights.get(op.bias)
        values.append(OPS[op.kind](values[source], a, weight, bias, training))
    logits = values[-1].flatten(1)
    assert logits.shape == (len(images), program.outputs)
    return logits


def _conv(x, a, weight, bias, training):
    assert weight.shape == (a["out"], x.shape[1], a["kh"], a["kw"])
    x = F.pad(x, (a["pl"], a["pr"], a["pt"], a["pb"]))
    x = F.conv2d(x, weight, bias, (a["sh"], a["sw"]), dilation=(a["dh"], a["dw"]))
    x = F.relu(x) if a["relu"] else x
    return F.max_pool2d(x, 2, 2) if a["pool"] == 2 else x


def _linear(x, a, weight, bias, training):
    assert len(weight) == a["out"]
    x = F.linear(x.flatten(1), weight, bias)
    return F.relu(x) if a["relu"] else x


def _max_pool(x, a, *_):
    x = F.pad(x, (a["pl"], a["pr"], a["pt"], a["pb"]), value=-np.inf)
    return F.max_pool2d(x, (a["kh"], a["kw"]), (a["sh"], a["sw"]))


def _avg_pool(x, a, *_):
    pad = (a["pl"], a["pr"], a["pt"], a["pb"])
    kernel, stride = (a["kh"], a["kw"]), (a["sh"], a["sw"])
    sums = F.avg_pool2d(F.pad(x, pad), kernel, stride, divisor_override=1)
    if a["divisor"]:
        return sums / a["divisor"]
    ones = torch.ones_like(x[:1, :1])
    counted = F.pad(ones, pad, value=1.0 if a["include_pad"] else 0.0)
    return sums / F.avg_pool2d(counted, kernel, stride, divisor_override=1)


OPS = {
    "conv": _conv,
    "linear": _linear,
    "maxpool": _max_pool,
    "avgpool": _avg_pool,
    "adaptive_avgpool": lambda x, a, *_: F.adaptive_avg_pool2d(x, (a["oh"], a["ow"])),
    "relu": lambda x, *_: F.relu(x),
    "dropout": lambda x, a, w, b, training: F.dropout(x, a["p"], training),
}


def check(module, shape, n=3):
    """The program gives the logits and the gradients of the module, and its dropout; in double precision."""
    program = trace(module, shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = module.double()
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -0.4, 0.5)
        images = torch.randn(n, *shape, dtype=torch.float64)
        for training in (False, True):
            module.train(training)
            torch.manual_seed(1)
            expected = module(images.clone())
            torch.manual_seed(1)
            weights = dict(module.named_parameters())
            found = interpret(program, weights, images, training)
            assert expected.std() > 0 or expected.shape[1] == 1
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
            towards = torch.randn_like(expected)
            names = list(weights)
            ours, theirs = (
                torch.autograd.grad((out * towards).sum(), [weights[name] for name in names])
                for out in (found, expected)
            )
            for name, our, their in zip(names, ours, theirs, strict=True):
                torch.testing.assert_close(our, their, rtol=1e-6, atol=1e-9, msg=name)
    return program


def kinds(program):
    return " ".join(
        op.kind
        + ("+relu" if op.attributes.get("relu") else "")
        + ("+pool" if op.attributes.get("pool") else "")
        for op in program.ops
    )


def net(*layers):
    return nn.Sequential(*layers)


class Net(nn.Module):
    """Some layers, and a forward that is given."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.fc = nn.Linear(48, 5)
        for name, part in parts.items():
            setattr(self, name, part)
        self.given = forward

    def forward(self, x):
        return self.given(self, x)


SHAPE = (2, 4, 4)


class AlexNet(nn.Module):
    """As torchvision has it, with `width` for 64."""

    def __init__(self, width=64, hidden=4096, classes=10):
        super().__init__()
        a, b, c, d = width, 3 * width, 6 * width, 4 * width
        self.features = nn.Sequential(
            nn.Conv2d(3, a, kernel_size=11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(a, b, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(b, c, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c, d, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(d, d, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(p=0.5),
            nn.Linear(d * 36, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(p=0.5),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, classes),
        )

    def forward(self, x):
        x = self.features(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.classifier(x)


@pytest.mark.parametrize(
    ("name", "options", "shape", "expected"),
    [
        ("lenet", {}, (1, 28, 28), "conv+relu+pool conv+relu+pool linear+relu linear+relu linear"),
        ("lenet", {}, (3, 33, 17), "conv+relu+pool conv+relu+pool linear+relu linear+relu linear"),
        ("fc", {}, (1, 8, 8), "linear+relu linear+relu linear"),
        ("fc", {"hidden": "7"}, (2, 5, 3), "linear+relu linear"),
        ("conv-2", {}, (1, 7, 9), "conv+relu conv+relu+pool linear+relu linear+relu linear"),
        ("conv-4", {}, (3, 8, 8), "conv+relu conv+relu+pool " * 2 + "linear+relu linear+relu linear"),
        ("conv-6", {}, (3, 10, 9), "conv+relu conv+relu+pool " * 3 + "linear+relu linear+relu linear"),
        (
            "vgg-11",
            {"width": 4},
            (3, 32, 32),
            "conv+relu+pool " * 2
            + "conv+relu conv+relu+pool " * 2
            + "conv+relu conv+relu adaptive_avgpool linear",
        ),
        # At 8x8 the fourth pooling is left out, and at 1x1 there is nothing to average.
        (
            "vgg-11",
            {"width": 4},
            (1, 8, 8),
            "conv+relu+pool " * 2 + "conv+relu conv+relu+pool " + "conv+relu " * 4 + "linear",
        ),
        (
            "vgg-19",
            {"width": 3, "batch_norm": False},
            (1, 33, 38),
            "conv+relu conv+relu+pool " * 2
            + ("conv+relu " * 3 + "conv+relu+pool ") * 2
            + "conv+relu " * 4
            + "adaptive_avgpool linear",
        ),
    ],
)
def test_trace_catalogue_networks_are_what_they_are_in_torch(name, options, shape, expected):
    choice = ModelChoice(name=name, options=options)
    module = build(choice, shape, 7)
    module.load_state_dict(initial_weights(choice, shape, 7, 0))
    assert kinds(check(module, shape, n=2)) == expected


@pytest.mark.parametrize("size", [64, 75])
def test_trace_alexnet_is_what_it_is_in_torch(size):
    program = check(AlexNet(width=4, hidden=20), (3, size, size), n=2)
    features = "conv+relu maxpool conv+relu maxpool conv+relu conv+relu conv+relu maxpool "
    assert kinds(program) == features + "adaptive_avgpool dropout linear+relu dropout linear+relu linear"
    assert program.random


def test_trace_full_alexnet_needs_no_values_and_has_its_geometry():
    with torch.device("meta"):
        module = AlexNet(classes=1000)
    program = trace(module, (3, 224, 224))
    first, pool = program.ops[:2]
    assert first.weight == "features.0.weight"
    assert first.bias == "features.0.bias"
    assert first.module == "features.0"
    assert first.attributes == {
        "out": 64, "kh": 11, "kw": 11, "sh": 4, "sw": 4, "pt": 2, "pl": 2, "pb": 2, "pr": 2, "dh": 1, "dw": 1,
        "bias": 1, "relu": 1, "pool": 0,
    }  # fmt: skip
    assert pool.module == "features.2"
    assert pool.attributes == {"kh": 3, "kw": 3, "sh": 2, "sw": 2, "pt": 0, "pl": 0, "pb": 0, "pr": 0}
    # 13x13 becomes 6x6, of which the average to 6x6 is no work.
    assert "adaptive_avgpool" not in kinds(program)
    assert [op.attributes["p"] for op in program.ops if op.kind == "dropout"] == [0.5, 0.5]
    assert program.outputs == 1000
    assert [op.inputs for op in program.ops] == [(i,) for i in range(len(program.ops))]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Conv2d(2, 3, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2)], "conv+relu+pool"),
        ([nn.Conv2d(2, 3, 3, padding="same"), nn.MaxPool2d(2), nn.ReLU()], "conv+relu+pool"),
        ([nn.Conv2d(2, 3, 3), nn.MaxPool2d(2)], "conv+pool"),
        ([nn.Conv2d(2, 3, 3), nn.ReLU(), nn.ReLU()], "conv+relu"),
        ([nn.Conv2d(2, 3, 1), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.ReLU()], "conv+relu+pool maxpool"),
        ([nn.Conv2d(2, 3, 1), nn.MaxPool2d(3, 1), nn.ReLU(), nn.MaxPool2d(2)], "conv+relu maxpool maxpool"),
        ([nn.Conv2d(2, 3, 1), nn.ReLU(), nn.MaxPool2d(2, padding=1)], "conv+relu maxpool"),
        ([nn.Conv2d(2, 3, 1), nn.MaxPool2d(2, stride=1)], "conv maxpool"),
        ([nn.Conv2d(2, 3, 1), nn.MaxPool2d((2, 1))], "conv maxpool"),
        ([nn.Conv2d(2, 3, 1), nn.AvgPool2d(2), nn.ReLU()], "conv avgpool relu"),
        ([nn.Conv2d(2, 3, 1), nn.Dropout(0.3), nn.ReLU(), nn.MaxPool2d(2)], "conv dropout relu maxpool"),
        ([nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Dropout(0.3), nn.MaxPool2d(2)], "conv+relu dropout maxpool"),
        ([nn.Conv2d(2, 3, 1), nn.Dropout(0.0), nn.Identity(), nn.ReLU()], "conv+relu"),
        ([nn.ReLU(), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(2, 3, 1)], "relu maxpool conv"),
        ([nn.MaxPool2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 1)], "maxpool relu conv"),
        ([nn.Conv2d(2, 3, 1), nn.Flatten(), nn.ReLU(), nn.Linear(48, 4), nn.ReLU()], "conv+relu linear+relu"),
        ([nn.Conv2d(2, 3, 3), nn.AdaptiveMaxPool2d(1), nn.ReLU()], "conv+relu+pool"),
        ([nn.Conv2d(2, 4, 1), nn.AdaptiveMaxPool2d((None, 2)), nn.ReLU()], "conv+relu maxpool"),
        ([nn.Conv2d(2, 4, 1), nn.AdaptiveMaxPool2d(4)], "conv"),
        ([nn.Conv2d(2, 4, 1), nn.AdaptiveAvgPool2d((None, 3))], "conv adaptive_avgpool"),
        ([nn.Conv2d(2, 4, 1), nn.AdaptiveAvgPool2d((None, 4))], "conv"),
    ],
)
def test_trace_fuses_relu_and_halving_into_the_layer_before(layers, expected):
    assert kinds(check(net(*layers, nn.Flatten()), SHAPE)) == expected


def test_trace_names_what_is_fused_after_the_layer_and_functions_after_their_module():
    inner = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2))
    module = Net(lambda self, x: self.fc(F.avg_pool2d(self.inner(x), 1).flatten(1)), inner=inner)
    del module.conv
    module.fc = nn.Linear(3, 5)
    program = check(module, SHAPE)
    assert [(op.kind, op.module, op.weight, op.bias) for op in program.ops] == [
        ("conv", "inner.0", "inner.0.weight", None),
        ("avgpool", "Net", None, None),
        ("linear", "fc", "fc.weight", "fc.bias"),
    ]
    assert not program.random


def test_trace_takes_a_subclass_that_changes_nothing():
    class Head(nn.Conv2d):
        def __init__(self, channels):
            super().__init__(channels, 4, 4)
            self.note = "a constructor of its own"

        def extra_repr(self):
            return self.note

        def mine(self):
            return 3

    assert kinds(check(net(Head(2), nn.Flatten()), SHAPE)) == "conv"


def test_trace_reads_a_conversion_to_the_type_that_it_has_already():
    program = trace(Net(lambda s, x: s.fc(s.conv(x.float()).flatten(1))), SHAPE)
    assert kinds(program) == "conv linear"


FORWARDS = {
    "relu": lambda s, x: s.fc(s.conv(x).relu().flatten(1)),
    "relu_": lambda s, x: s.fc(s.conv(x).relu_().flatten(1)),
    "torch.relu": lambda s, x: s.fc(torch.relu(s.conv(x)).flatten(1)),
    "F.relu inplace": lambda s, x: s.fc(F.relu(s.conv(x), inplace=True).flatten(1)),
    "F.relu_": lambda s, x: s.fc(F.relu_(s.conv(x)).flatten(1)),
    "input by name": lambda s, x: s.fc(input=F.relu(input=s.conv(input=x)).flatten(1)),
    "view": lambda s, x: s.fc(s.conv(x).view(-1, 48)),
    "view of n": lambda s, x: s.fc(s.conv(x).view(x.size(0), -1)),
    "view of sizes": lambda s, x: s.fc(s.conv(x).view(x.shape[0], 3 * x.shape[2] * x.shape[3])),
    "reshape": lambda s, x: s.fc(torch.reshape(s.conv(x), (x.size()[0], -1))),
    "reshape inside": lambda s, x: s.fc(s.conv(x.reshape(-1, 2, 4, 4)).reshape(-1, 3, 16).flatten(1)),
    "flatten by dims": lambda s, x: s.fc(s.conv(x).flatten(start_dim=-3, end_dim=-1)),
    "torch.flatten": lambda s, x: s.fc(torch.flatten(s.conv(x), 1)),
    "flatten of flat": lambda s, x: s.fc(s.conv(x).flatten(1).flatten(1)),
    "contiguous": lambda s, x: s.fc(s.conv(x).contiguous().clone().flatten(1)),
    "max_pool2d": lambda s, x: s.fc(F.max_pool2d(s.conv(x), 3, 1, padding=1).flatten(1)),
    "torch.max_pool2d": lambda s, x: s.fc(
        torch.max_pool2d(s.conv(x), 3, stride=1, padding=(1, 1)).flatten(1)
    ),
    "avg_pool2d": lambda s, x: s.fc(F.avg_pool2d(s.conv(x), 3, 1, 1, False, False).flatten(1)),
    "divisor": lambda s, x: s.fc(F.avg_pool2d(s.conv(x), 3, 1, 1, divisor_override=4).flatten(1)),
    "dropout": lambda s, x: s.fc(F.dropout(s.conv(x), 0.3, training=s.training).flatten(1)),
    "dropout never": lambda s, x: s.fc(F.dropout(s.conv(x), 0.3, training=False).flatten(1)),
    "dropout if": lambda s, x: s.fc((F.dropout(s.conv(x), 0.2) if s.training else s.conv(x)).flatten(1)),
    "unsqueeze": lambda s, x: s.fc(s.conv(x).flatten(1).unsqueeze(1).squeeze(1)),
    "weight shape": lambda s, x: s.fc(s.conv(x).view(-1, s.fc.weight.shape[1])),
    "default argument": lambda s, x, scale=1: s.fc(s.conv(x).flatten(1)),
}


@pytest.mark.parametrize("forward", FORWARDS.values(), ids=FORWARDS)
def test_trace_reads_functions_and_methods(forward):
    program = check(Net(forward), SHAPE)
    assert kinds(program).startswith("conv")
    assert kinds(program).endswith("linear")


POOLED = {
    "mean": lambda s, x: s.fc(s.conv(x).mean((2, 3))),
    "mean keepdim": lambda s, x: s.fc(s.conv(x).mean([-1, -2], keepdim=True).flatten(1)),
    "torch.mean": lambda s, x: s.fc(torch.mean(s.conv(x), dim=(2, 3))),
    "mean of flat maps": lambda s, x: s.fc(s.conv(x).flatten(2).mean(-1)),
    "adaptive": lambda s, x: s.fc(F.adaptive_avg_pool2d(s.conv(x), 1).flatten(1)),
    "squeeze": lambda s, x: s.fc(F.adaptive_avg_pool2d(s.conv(x), 1).squeeze(-1).squeeze(-1)),
    "squeeze both": lambda s, x: s.fc(F.adaptive_avg_pool2d(s.conv(x), 1).squeeze((2, 3))),
    "window of the size": lambda s, x: s.fc(F.avg_pool2d(s.conv(x), x.size()[2:]).flatten(1)),
    "maximum": lambda s, x: s.fc(F.adaptive_max_pool2d(s.conv(x), 1).flatten(1)),
}


@pytest.mark.parametrize("forward", POOLED.values(), ids=POOLED)
def test_trace_reads_global_pooling(forward):
    module = Net(forward)
    module.fc = nn.Linear(3, 5)
    kind = {"window of the size": "avgpool", "maximum": "maxpool"}
    name = next(name for name, known in POOLED.items() if known is forward)
    assert kinds(check(module, SHAPE)) == f"conv {kind.get(name, 'adaptive_avgpool')} linear"


def test_trace_reads_loops_over_lists_of_modules():
    def forward(self, x):
        for conv, pool in zip(self.convs, self.pools, strict=True):
            x = pool(torch.relu(conv(x)))
        return self.fc(x.flatten(1))

    parts = {"convs": nn.ModuleList([nn.Conv2d(2, 3, 1), nn.Conv2d(3, 12, 1)])}
    module = Net(forward, **parts, pools=nn.ModuleList([nn.MaxPool2d(2), nn.Identity()]))
    del module.conv
    assert kinds(check(module, SHAPE)) == "conv+relu+pool conv+relu linear"


def test_trace_same_padding_of_an_even_kernel_is_longer_after():
    program = check(net(nn.Conv2d(2, 3, (2, 4), padding="same", dilation=(3, 1)), nn.Flatten()), (2, 6, 5))
    attributes = program.ops[0].attributes
    assert [attributes[key] for key in ("pt", "pb", "pl", "pr")] == [1, 2, 1, 2]


@st.composite
def sequential(draw):
    """A random stack of layers that runs on a random shape."""
    size = st.integers(1, 4)
    shape = draw(st.tuples(st.integers(1, 3), st.integers(3, 12), st.integers(3, 12)))
    layers = []
    x = torch.zeros(2, *shape)
    for _ in range(draw(st.integers(0, 6))):
        layer = draw(
            st.sampled_from([_a_conv, _a_conv, _a_max_pool, _halving, _an_avg_pool, _an_adaptive, _plain])
        )(draw, size, x.shape[1])
        try:
            x = layer(x)
        except RuntimeError:
            continue
        layers.append(layer)
    layers.append(nn.Flatten())
    x = x.flatten(1)
    for _ in range(draw(st.integers(0 if any(isinstance(m, nn.Conv2d) for m in layers) else 1, 3))):
        layers.append(nn.Linear(x.shape[1], draw(size), bias=draw(st.booleans())))
        x = layers[-1](x)
        if draw(st.booleans()):
            layers.append(_plain(draw, size, 0))
    return nn.Sequential(*layers), shape


def _a_conv(draw, size, channels):
    padding = draw(
        st.one_of(st.sampled_from(["same", "valid"]), st.tuples(st.integers(0, 3), st.integers(0, 3)))
    )
    stride = 1 if padding == "same" else (draw(size), draw(size))
    return nn.Conv2d(
        channels, draw(size), (draw(size), draw(size)), stride=stride, padding=padding,
        dilation=(draw(st.integers(1, 2)), draw(st.integers(1, 2))), bias=draw(st.booleans()),
    )  # fmt: skip


def _a_max_pool(draw, size, channels):
    kernel = draw(size), draw(size)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    return nn.MaxPool2d(kernel, draw(st.one_of(st.none(), st.tuples(size, size))), padding)


def _halving(draw, size, channels):
    return nn.MaxPool2d(2)


def _an_avg_pool(draw, size, channels):
    kernel = draw(size), draw(size)
    return nn.AvgPool2d(
        kernel, draw(st.one_of(st.none(), size)), tuple(draw(st.integers(0, k // 2)) for k in kernel),
        count_include_pad=draw(st.booleans()), divisor_override=draw(st.one_of(st.none(), size)),
    )  # fmt: skip


def _an_adaptive(draw, size, channels):
    return nn.AdaptiveAvgPool2d((draw(st.one_of(st.none(), size)), draw(size)))


def _plain(draw, size, channels):
    kinds = [nn.ReLU(), nn.ReLU(), nn.Identity(), nn.Dropout(draw(st.floats(0, 0.9)))]
    return draw(st.sampled_from(kinds))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=100, deadline=None)
@given(sequential())
def test_trace_random_stacks_are_what_they_are_in_torch(made):
    module, shape = made
    program = trace(module, shape)
    module = module.double()
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(3, *shape)))
    for training in (False, True):
        module.train(training)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            expected = module(images.clone())
            torch.manual_seed(1)
            found = interpret(program, dict(module.named_parameters()), images, training)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    for op, after in zip(program.ops, program.ops[1:], strict=False):
        assert not (op.kind in ("conv", "linear", "relu") and after.kind == "relu")


def test_trace_leaves_the_module_and_global_random_state_as_they_were():
    def forward(self, x):
        self.seen = x
        self.drop.eval()
        return self.fc(self.drop(self.conv(x)).flatten(1)) * random.random()

    for wanted, refused in [(FORWARDS["relu"], False), (forward, True)]:
        module = Net(wanted, drop=nn.Dropout())
        module.register_buffer("scale", torch.ones(2))
        module.conv.eval()
        called = []
        if refused:
            module.conv.register_forward_hook(lambda *a, called=called: called.append(1))
        before = {name: dict(vars(part)) for name, part in module.named_modules()}
        values = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        states = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()
        try:
            trace(module, SHAPE)
        except Unsupported:
            assert refused
        else:
            assert not refused
        after = {name: dict(vars(part)) for name, part in module.named_modules()}
        assert all(after[name].keys() == before[name].keys() for name in before)
        assert all(after[name][key] is value for name in before for key, value in before[name].items())
        assert all(torch.equal(tensor, values[name]) for name, tensor in module.state_dict().items())
        assert random.getstate() == states[0]
        assert torch.equal(torch.get_rng_state(), states[1])
        assert np.array_equal(np.random.get_state()[1], states[2])
        assert called == []
        assert module.conv.training is False
        assert module.training is True


def test_trace_and_catalogue_agree_on_every_network_and_option():
    agreed = {}
    for name, info in MODELS.items():
        choices = [{}]
        if "batch_norm" in info.options:
            choices += [{"batch_norm": wanted} for wanted in (True, False)]
        if "width" in info.options:
            choices = [
                {**choice, "width": width} for choice in choices for width in (3, info.options["width"])
            ]
        if "hidden" in info.options:
            choices.append({"hidden": "9-8-7"})
        for options in choices:
            for shape in [(1, 10, 10), (3, 32, 32)] if options.get("width") == 3 else [(3, 12, 12)]:
                # As a study gives it: without the options that have their default.
                choice = ModelChoice(name=name, options=options)
                module = build(choice, shape, 10)
                try:
                    trace(module, shape)
                except Unsupported as refused:
                    found = refused.reasons[0]
                else:
                    found = None
                assert lanes_blocker(name, choice.options) == lanes_blocker(name, options) == found
                agreed[name, options.get("batch_norm")] = found
    assert [key for key, found in agreed.items() if found is None] == [
        ("lenet", None), ("fc", None), ("conv-2", None), ("conv-4", None), ("conv-6", None),
        ("vgg-11", None), ("vgg-11", False), ("vgg-19", False),
    ]  # fmt: skip
    with pytest.raises(InputError, match="unknown model 'vgg-12'; did you mean 'vgg-1"):
        lanes_blocker("vgg-12", {})


def test_program_and_catalogue_need_no_torch():
    code = "import sys, pomona.training.lanes.program as p, pomona.models.catalogue as c\n"
    code += "assert c.lanes_blocker('vgg-19', {}) and 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_network_that_never_changes_is_traced_once_for_each_shape():
    module = trace_once(build(ModelChoice(name="fc"), (1, 8, 8), 10))
    first = trace(module, (1, 8, 8))
    assert trace(module, (1, 8, 8)) is first
    assert trace(module, [1, 8, 8]) is first
    with pytest.raises(InputError, match="fc1"):
        trace(module, (1, 9, 9))
    other = build(ModelChoice(name="fc"), (1, 8, 8), 10)
    assert trace(other, (1, 8, 8)) == first
    assert trace(other, (1, 8, 8)) is not trace(other, (1, 8, 8))
