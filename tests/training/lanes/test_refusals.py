"""Everything that the lane engine refuses, in the words that a user reads."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune

from pomona.core.errors import InputError
from pomona.training.lanes.trace import Unsupported, trace

from .test_trace import SHAPE, Net, net

LAYERS = "the lane engine's layers (Conv2d, Linear, ReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Flatten, Dropout)"
FUNCTIONS = (
    "the lane engine's functions (relu, max_pool2d, avg_pool2d, adaptive_avg_pool2d, mean, flatten, view, reshape, "
    "dropout)"
)
SEQUENTIAL = "the lane engine runs sequential networks, without addition or concatenation"


def reasons(module, shape=SHAPE):
    with pytest.raises(Unsupported) as caught:
        trace(module, shape)
    assert all(f"  - {reason}" in str(caught.value) for reason in caught.value.reasons)
    return list(caught.value.reasons)


@pytest.fixture
def flat():
    """A network of one linear layer, which runs."""
    module = net(nn.Flatten(), nn.Linear(32, 4))
    trace(module, SHAPE)
    return module


class Weighted(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight / self.weight.std(), self.bias)


class Quiet(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight * 2, bias)


class Computed(nn.MaxPool2d):
    @property
    def padding(self):
        return 1

    @padding.setter
    def padding(self, given):
        pass


class Leaky(nn.ReLU):
    def __call__(self, x):
        return super().__call__(x) + x


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.BatchNorm2d(2), f"BatchNorm2d is not among {LAYERS}"),
        (nn.GELU(), f"GELU is not among {LAYERS}"),
        (nn.Dropout2d(), f"Dropout2d is not among {LAYERS}"),
        (nn.ZeroPad2d(1), f"ZeroPad2d is not among {LAYERS}"),
        (nn.MaxPool2d(2, dilation=2), "dilation=2; the lane engine's max-pools have none"),
        (nn.MaxPool2d(2, dilation=(1, 2)), "dilation=(1, 2); the lane engine's max-pools have none"),
        (
            nn.MaxPool2d(3, ceil_mode=True),
            "ceil_mode=True; the lane engine's pools leave out windows that do not fit",
        ),
        (
            nn.AvgPool2d(3, ceil_mode=True),
            "ceil_mode=True; the lane engine's pools leave out windows that do not fit",
        ),
        (
            nn.MaxPool2d(2, return_indices=True),
            "return_indices=True; the lane engine's pools give values alone",
        ),
        (
            nn.AdaptiveMaxPool2d(2, return_indices=True),
            "return_indices=True; the lane engine's pools give values alone",
        ),
        (
            nn.AdaptiveMaxPool2d((3, 2)),
            "windows of different sizes, since 4x4 is no multiple of 3x2; the lane engine's max-pools have one size",
        ),
        (nn.MaxPool2d(2.5), "kernel_size=2.5; expected one or two whole numbers, 1 or more"),
        (nn.MaxPool2d((1, 2, 3)), "kernel_size=(1, 2, 3); expected one or two whole numbers, 1 or more"),
        (nn.Conv2d(2, 3, 3, padding=-1), "padding=(-1, -1); expected one or two whole numbers, 0 or more"),
        (nn.AdaptiveAvgPool2d((0, 2)), "nothing is left of 2x4x4: the result has the shape (2, 2, 0, 2)"),
        (nn.Dropout(1.0), "p=1 drops everything; the lane engine's dropout has p below 1"),
        (Weighted(2, 3, 1), "Weighted overrides forward of Conv2d; use Conv2d itself"),
        (Quiet(2, 3, 1), "Quiet overrides _conv_forward of Conv2d; use Conv2d itself"),
        (Leaky(), "Leaky overrides __call__ of ReLU; use ReLU itself"),
        (Computed(2), "Computed overrides padding of MaxPool2d; use MaxPool2d itself"),
        (nn.Linear(4, 3), "it takes 2x4x4 for each image; flatten that to one row before it"),
    ],
)
def test_trace_refuses_a_layer_by_its_path(layer, reason):
    found = reasons(net(nn.Identity(), layer, nn.Flatten()))
    assert found[0] == f"1: {reason}"


def test_trace_says_all_that_is_wrong_with_a_layer_and_all_layers_that_are_wrong():
    first = nn.Conv2d(2, 4, 3, groups=2, padding_mode="circular", padding=1)
    module = net(
        first, nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, groups=4), nn.ELU(), nn.Flatten(), nn.Linear(64, 3)
    )
    assert reasons(module) == [
        "0: groups=2; the lane engine's convolutions have groups=1",
        "0: padding_mode='circular'; the lane engine pads with zeros",
        f"1: BatchNorm2d is not among {LAYERS}",
        "2: groups=4; the lane engine's convolutions have groups=1",
        f"3: ELU is not among {LAYERS}",
    ]
    with pytest.raises(
        Unsupported, match=r"^Sequential cannot run on the lane engine: 5 reasons\n  - 0: groups=2;"
    ):
        trace(module, SHAPE)


def test_trace_refuses_a_layer_whose_forward_was_replaced(flat):
    flat[1].forward = lambda x: F.linear(x, flat[1].weight)
    assert reasons(flat)[0] == "1: Linear overrides forward of Linear; use Linear itself"


FORWARDS = {
    "gelu": (lambda s, x: s.fc(F.gelu(s.conv(x)).flatten(1)), f"Net: gelu: it is not among {FUNCTIONS}"),
    "method": (lambda s, x: s.fc(s.conv(x).tanh().flatten(1)), f"Net: tanh: it is not among {FUNCTIONS}"),
    "scaled": (lambda s, x: s.fc(s.conv(x / 255).flatten(1)), f"Net: truediv: it is not among {FUNCTIONS}"),
    "index": (lambda s, x: s.fc(s.conv(x)[:, :, 0].flatten(1)), f"Net: getitem: it is not among {FUNCTIONS}"),
    "data": (lambda s, x: s.fc(s.conv(x).data.flatten(1)), f"Net: data: it is not among {FUNCTIONS}"),
    "detach": (lambda s, x: s.fc(s.conv(x).detach().flatten(1)), f"Net: detach: it is not among {FUNCTIONS}"),
    "random": (
        lambda s, x: s.fc((s.conv(x) + torch.rand(1)).flatten(1)),
        "Net: add: it computes with a tensor that forward makes, which is outside of the layers",
    ),
    "zeros": (
        lambda s, x: s.fc((s.conv(x) + torch.zeros(x.shape)).flatten(1)),
        f"Net: zeros: it is not among {FUNCTIONS}",
    ),
    "add": (
        lambda s, x: s.fc((s.conv(x) + s.other(x)).flatten(1)),
        f"Net: add: it joins 2 results; {SEQUENTIAL}",
    ),
    "add in place": (
        lambda s, x: s.fc(s.conv(x).add_(s.other(x)).flatten(1)),
        f"Net: add_: it joins 2 results; {SEQUENTIAL}",
    ),
    "cat": (
        lambda s, x: s.fc(torch.cat([s.conv(x), s.other(x)], 1).flatten(1)),
        f"Net: cat: it joins 2 results; {SEQUENTIAL}",
    ),
    "twice": (
        lambda s, x: s.fc((s.conv(x), s.other(x))[0].flatten(1)),
        f"other: it uses a result a second time; {SEQUENTIAL}",
    ),
    # What is changed in place is taken by two calls: the one that changes it and the next.
    "in place": (
        lambda s, x: s.fc([h := s.conv(x), h.relu_(), h][2].flatten(1)),
        f"Net: flatten: it uses a result a second time; {SEQUENTIAL}",
    ),
    "returned too": (
        lambda s, x: [h := s.fc(s.conv(x).flatten(1)), F.relu(h)][0],
        "Net: forward returns a result that another call takes too",
    ),
    "parameter": (
        lambda s, x: F.linear(s.conv(x).flatten(1), s.fc.weight, s.fc.bias),
        "Net: linear: it computes with the parameter 'fc.weight', which is outside of the layers",
    ),
    "buffer": (
        lambda s, x: s.fc((s.conv(x) * s.scale).flatten(1)),
        "Net: mul: it computes with the buffer 'scale', which is outside of the layers",
    ),
    "tensor": (
        lambda s, x: s.fc((s.conv(x) * s.constant).flatten(1)),
        "Net: mul: it computes with the tensor 'constant', which is outside of the layers",
    ),
    "control flow": (
        lambda s, x: s.fc(s.conv(x if x.sum() > 0 else -x).flatten(1)),
        "Net: forward cannot be traced: symbolically traced variables cannot be used as inputs to control flow",
    ),
    "buffer in control flow": (
        lambda s, x: s.fc(s.conv(x).flatten(1)) if s.scale > 0 else x,
        "Net: forward cannot be traced: symbolically traced variables cannot be used as inputs to control flow",
    ),
    "len": (
        lambda s, x: s.fc(s.conv(x).view(len(x), -1)),
        "Net: forward cannot be traced: 'len' is not supported in symbolic tracing by default. If you want this call "
        "to be recorded, please call torch.fx.wrap('len') at module scope",
    ),
    "dropout always": (
        lambda s, x: s.fc(F.dropout(s.conv(x)).flatten(1)),
        "Net: dropout: it drops in evaluation too; pass training=self.training or use nn.Dropout",
    ),
    "torch.dropout always": (
        lambda s, x: s.fc(torch.dropout(s.conv(x), 0.5, True).flatten(1)),
        "Net: dropout: it drops in evaluation too; pass training=self.training or use nn.Dropout",
    ),
    "dropout of channels": (
        lambda s, x: s.fc(F.dropout2d(s.conv(x), training=s.training).flatten(1)),
        f"Net: dropout2d: it is not among {FUNCTIONS}",
    ),
    "log_softmax": (
        lambda s, x: F.log_softmax(s.fc(s.conv(x).flatten(1)), dim=1),
        "Net: log_softmax: cross-entropy expects logits; return what goes into it",
    ),
    "softmax": (
        lambda s, x: s.fc(s.conv(x).flatten(1)).softmax(1),
        "Net: softmax: cross-entropy expects logits; return what goes into it",
    ),
    "softmax of evaluation": (
        lambda s, x: s.fc(s.conv(x).flatten(1)) if s.training else F.softmax(s.fc(s.conv(x).flatten(1)), 1),
        "Net: softmax: cross-entropy expects logits; return what goes into it",
    ),
    "softmax inside": (
        lambda s, x: s.fc(torch.softmax(s.conv(x).flatten(1), 1)),
        f"Net: softmax: it is not among {FUNCTIONS}",
    ),
    "clamp": (
        lambda s, x: s.fc(s.conv(x).clamp(min=0).flatten(1)),
        "Net: clamp: its gradient at 0 is 1, that of ReLU is 0; write relu",
    ),
    "clamp of a range": (
        lambda s, x: s.fc(torch.clamp(s.conv(x), 0, 6).flatten(1)),
        f"Net: clamp: min=0, max=6 is not among {FUNCTIONS}",
    ),
    "mean of rows": (
        lambda s, x: s.fc(s.conv(x).mean(3).flatten(1)),
        "Net: mean: dim=3 of (n, 3, 4, 4); the lane engine averages whole maps, as mean((2, 3)) does",
    ),
    "mean of all": (
        lambda s, x: s.fc(s.conv(x).mean()),
        "Net: mean: dim=None of (n, 3, 4, 4); the lane engine averages whole maps, as mean((2, 3)) does",
    ),
    "mean over reshaped maps": (
        lambda s, x: s.fc(s.conv(x).view(-1, 48, 1, 1).mean((2, 3))),
        "Net: mean: dim=(2, 3) of (n, 48, 1, 1); the lane engine averages whole maps, as mean((2, 3)) does",
    ),
    "other arguments": (
        lambda s, x: s.fc(torch.mean(s.conv(x), (2, 3), dtype=torch.float32)),
        "Net: mean: its arguments are not among those of the lane engine: got an unexpected keyword argument 'dtype'",
    ),
    "squeeze": (
        lambda s, x: s.small(F.adaptive_avg_pool2d(s.conv(x), 1).squeeze()),
        "Net: squeeze: a batch of 1 of 3x1x1 becomes 3; expected 1 rows of the same values, as flatten(1) gives",
    ),
    "flatten of all": (
        lambda s, x: s.fc(s.conv(x).flatten()),
        "Net: flatten: a batch of 2 of 3x4x4 becomes 96; expected 2 rows of the same values, as flatten(1) gives",
    ),
    "view of half images": (
        lambda s, x: s.fc(s.conv(x).view(-1, 24)),
        "Net: view: a batch of 2 of 3x4x4 becomes 4x24; expected 2 rows of the same values, as flatten(1) gives",
    ),
    "view as bits": (
        lambda s, x: s.fc(s.conv(x).view(torch.int32).flatten(1)),
        "Net: view: the result is int32, expected float32",
    ),
    "one size of a batch": (
        lambda s, x: s.fc(s.conv(x).view(64, -1)),
        "Net: view: a batch of 2 of 3x4x4: shape '[64, -1]' is invalid for input of size 96; write flatten(1)",
    ),
    "batch of two": (
        lambda s, x: s.fc(s.conv(x).view(2, -1)),
        "Net: view: a batch of 1 of 3x4x4 becomes 2x24; expected 1 rows of the same values, as flatten(1) gives",
    ),
    "size of the batch": (
        lambda s, x: s.fc(F.dropout(s.conv(x), 0.5 / x.size(0), s.training).flatten(1)),
        "Net: forward computes something else for another size of the batch",
    ),
    "other maps": (
        lambda s, x: s.fc(F.max_pool2d(s.conv(x).view(-1, 12, 2, 2), 2).flatten(1)),
        "Net: max_pool2d: it takes a result that was reshaped from 3x4x4 to 12x2x2",
    ),
    "evaluation": (
        lambda s, x: s.fc((s.conv(x) if s.training else F.relu(s.conv(x))).flatten(1)),
        "Net: forward computes something else in evaluation than in training",
    ),
    "isinstance": (
        lambda s, x: s.fc((F.relu(s.conv(x)) if isinstance(x, torch.Tensor) else s.conv(x)).flatten(1)),
        "Net: forward does something else when it is traced than when it runs",
    ),
    # What is traced does not fit, what runs does.
    "isinstance of a shape": (
        lambda s, x: s.fc(s.conv(x).flatten(1) if isinstance(x, torch.Tensor) else s.conv(x)),
        "Net: forward does something else when it is traced than when it runs",
    ),
    "python's random": (
        lambda s, x: s.fc((s.conv(x) if random.random() < 2 else x).flatten(1)),
        "Net: forward draws random numbers outside of dropout",
    ),
    "numpy's random": (
        lambda s, x: s.fc((s.conv(x) if np.random.rand() < 2 else x).flatten(1)),
        "Net: forward draws random numbers outside of dropout",
    ),
    "torch's random": (
        lambda s, x: s.fc((s.conv(x) if torch.rand(1) < 2 else x).flatten(1)),
        "Net: forward draws random numbers outside of dropout",
    ),
    "no gradient": (
        lambda s, x: s.fc(_without_gradient(s.conv, x).flatten(1)),
        "conv: it runs under no_grad; the lane engine trains every layer",
    ),
    "autocast": (
        lambda s, x: s.fc(_in_bfloat16(s.conv, x).flatten(1)),
        "conv: it runs under autocast; the lane engine computes in float32",
    ),
    "own gradient": (
        lambda s, x: s.fc(Straight.apply(s.conv(x)).flatten(1)),
        "Net: forward cannot be traced: Straight is an autograd.Function, whose backward cannot be read",
    ),
    "counts": (
        lambda s, x: s.fc(s.conv(x).flatten(1)) if _count(s) else x,
        "Net: forward changes 'calls' of the module",
    ),
    "changes its mode": (
        lambda s, x: s.fc(s.conv.eval()(x).flatten(1)),
        "conv: forward changes 'training' of the module",
    ),
    "maps": (lambda s, x: s.conv(x), "Net: forward returns a tensor (n, 3, 4, 4); expected (n, K)"),
    "tuple": (
        lambda s, x: (s.fc(s.conv(x).flatten(1)), 3),
        "Net: forward returns a tuple of 2; expected one tensor (n, K)",
    ),
    "dict": (
        lambda s, x: {"logits": s.fc(s.conv(x).flatten(1))},
        "Net: forward returns a dict of 1; expected one tensor (n, K)",
    ),
    "number": (lambda s, x: x.size(0), "Net: forward returns 2; expected one tensor (n, K)"),
    "shared weights": (
        lambda s, x: s.fc(s.conv2(s.conv2(s.conv(x))).flatten(1)),
        "conv2: it is called twice (shared weights); the lane engine has one call for each layer",
    ),
    "two arguments": (
        lambda s, x: s.fc(s.conv(x).flatten(1), x),
        "fc: it is called with a tuple of 2; expected one tensor",
    ),
    "argument missing": (
        lambda s, x: s.fc(s.needs(s.conv(x)).flatten(1)),
        "needs: forward cannot be traced: Needs.forward() missing 1 required positional argument: 'other'",
    ),
}


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.relu(x)

    @staticmethod
    def backward(ctx, grad):
        return grad


class Needs(nn.Module):
    def forward(self, x, other):
        return x


def _without_gradient(layer, x):
    with torch.no_grad():
        return layer(x)


def _in_bfloat16(layer, x):
    with torch.autocast("cpu", torch.bfloat16):
        return layer(x)


def _count(module):
    module.calls += 1
    return module.calls


@pytest.mark.parametrize(("forward", "reason"), FORWARDS.values(), ids=FORWARDS)
def test_trace_refuses_what_forward_does(forward, reason):
    module = Net(forward, other=nn.Conv2d(2, 3, 1), conv2=nn.Conv2d(3, 3, 1), needs=Needs(), calls=0)
    module.small = nn.Linear(3, 5)
    module.register_buffer("scale", torch.ones(()))
    module.constant = torch.ones(())
    # Which of the layers a forward leaves aside is not the point here.
    found = [r for r in reasons(module) if "forward does not use" not in r]
    if not found:
        for name in ("other", "conv2", "small"):
            delattr(module, name)
        found = reasons(module)
    assert reason in found
    assert module.calls == 0


def test_trace_says_what_forward_changes_beside_what_it_calls():
    def forward(self, x):
        self.calls += 1
        return self.fc(F.gelu(self.conv(x)).flatten(1))

    assert reasons(Net(forward, calls=0)) == [
        "Net: forward changes 'calls' of the module",
        f"Net: gelu: it is not among {FUNCTIONS}",
    ]


def test_trace_refuses_what_forward_changes_only_where_it_runs():
    def forward(self, x):
        self.calls += isinstance(x, torch.Tensor)
        return self.fc(self.conv(x).flatten(1))

    module = Net(forward, calls=1000)
    assert reasons(module) == ["Net: forward changes 'calls' of the module"]
    assert module.calls == 1000


def test_trace_names_functions_by_the_module_whose_forward_calls_them():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)

        def forward(self, x):
            return F.silu(self.conv(x) + x)

    module = Net(lambda s, x: s.fc(s.conv(s.blocks(x)).flatten(1)), blocks=net(Block(), Block()))
    assert reasons(module) == [
        f"blocks.0: add: it joins 2 results; {SEQUENTIAL}",
        f"blocks.0: silu: it is not among {FUNCTIONS}",
        f"blocks.1: add: it joins 2 results; {SEQUENTIAL}",
        f"blocks.1: silu: it is not among {FUNCTIONS}",
    ]


def test_trace_refuses_softmax_layers_at_the_end(flat):
    reason = "LogSoftmax: cross-entropy expects logits; return what goes into it"
    assert reasons(net(*flat, nn.LogSoftmax(1))) == [f"2: {reason}"]
    assert reasons(net(*flat, nn.Softmax(1)))[0].startswith("2: Softmax: cross-entropy")
    assert reasons(net(*flat, nn.Softmax(1), nn.Linear(4, 2))) == [f"2: Softmax is not among {LAYERS}"]


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_trace_refuses_other_types_of_parameters(flat, kind):
    name = str(kind).removeprefix("torch.")
    assert reasons(flat.to(kind)) == [
        f"1: weight is {name}; the lane engine computes in float32",
        f"1: bias is {name}; the lane engine computes in float32",
    ]


def test_trace_refuses_frozen_parameters(flat):
    flat[1].bias.requires_grad_(False)
    reason = "bias is frozen (requires_grad=False); the lane engine trains every parameter"
    assert reasons(flat) == [f"1: {reason}"]
    # The layer itself is the network: it has no path.
    linear = nn.Linear(4, 3)
    linear.bias.requires_grad_(False)
    assert reasons(linear)[0] == f"Linear: {reason}"


@pytest.mark.parametrize(
    ("register", "what"),
    [
        (lambda m: m.register_forward_hook(_hook), "it has forward hooks"),
        (lambda m: m.register_forward_pre_hook(_hook), "it has forward hooks"),
        (lambda m: m.register_full_backward_hook(_hook), "it has backward hooks"),
        (lambda m: m.register_full_backward_pre_hook(_hook), "it has backward hooks"),
        (lambda m: m.weight.register_hook(_hook), "weight has hooks on its gradient"),
        (lambda m: m.weight.register_post_accumulate_grad_hook(_hook), "weight has hooks on its gradient"),
    ],
)
def test_trace_refuses_hooks(flat, register, what):
    register(flat[1])
    assert reasons(flat) == [f"1: {what}; the lane engine calls none"]


def _hook(*args):
    raise AssertionError("a hook was called")


def test_trace_refuses_hooks_of_the_network_and_of_containers():
    module = Net(lambda s, x: s.fc(s.body(x).flatten(1)), body=net(nn.Conv2d(2, 3, 1)))
    del module.conv
    module.register_forward_hook(_hook)
    module.body.register_forward_pre_hook(_hook)
    assert reasons(module) == [
        "Net: it has forward hooks; the lane engine calls none",
        "body: it has forward hooks; the lane engine calls none",
    ]


def test_trace_refuses_parametrized_and_pruned_layers(flat):
    parametrizations.weight_norm(flat[1])
    assert reasons(flat) == ["1: its parameters are parametrized; the lane engine trains them as they are"]
    pruned = prune.random_unstructured(nn.Linear(32, 4), "weight", 0.5)
    assert reasons(net(nn.Flatten(), pruned)) == [
        "1: it has forward hooks; the lane engine calls none",
        "1: its weight and bias are not plain parameters of its own",
    ]


def test_trace_refuses_layers_without_a_shape_yet():
    found = reasons(net(nn.Flatten(), nn.LazyLinear(3)))
    assert "1: weight is a UninitializedParameter; expected a plain nn.Parameter with a shape" in found


def test_trace_refuses_a_bias_that_is_no_parameter(flat):
    del flat[1].bias
    flat[1].bias = torch.zeros(4)
    assert reasons(flat) == ["1: its bias is not a parameter of its own"]


def test_trace_refuses_tied_weights(flat):
    module = net(nn.Flatten(), nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 2))
    module[2].weight = module[1].weight
    assert reasons(module) == ["1: 1.weight and 2.weight are one tensor; the lane engine shares no weights"]


def test_trace_refuses_parameters_that_forward_does_not_use():
    module = Net(
        lambda s, x: s.fc(s.conv(x).flatten(1)), head=net(nn.Linear(3, 3), nn.Linear(3, 3, bias=False))
    )
    module.temperature = nn.Parameter(torch.ones(()))
    idle = "the lane engine holds only what it computes with"
    assert reasons(module) == [
        f"Net: forward does not use temperature; {idle}",
        f"head.0: forward does not use weight and bias; {idle}",
        f"head.1: forward does not use weight; {idle}",
    ]


def test_trace_refuses_modes_of_a_modules_own():
    class Frozen(nn.Sequential):
        def train(self, mode=True):
            return super().train(False)

    module = Net(lambda s, x: s.fc(s.body(x).flatten(1)), body=Frozen(nn.Conv2d(2, 3, 1), nn.Dropout()))
    del module.conv
    assert reasons(module) == ["body: it has a train() or eval() of its own; what that does cannot be read"]


def test_trace_refuses_networks_without_weights():
    assert reasons(net(nn.MaxPool2d(2), nn.Flatten())) == [
        "Sequential: it has no layer with weights; the lane engine trains Conv2d and Linear"
    ]


@pytest.mark.parametrize("shape", [(784,), (1, 1, 8, 8), ()])
def test_trace_refuses_examples_that_are_no_images(flat, shape):
    text = {1: "784", 4: "1x1x8x8", 0: "a number"}[len(shape)]
    expected = f"Sequential: an example has the shape {text}; expected channels, height and width"
    assert reasons(flat, shape) == [expected]


@pytest.mark.parametrize("shape", [(0, 4, 4), (1, 4, 2.5), (1, -4, 4)])
def test_trace_says_that_a_shape_is_none(flat, shape):
    with pytest.raises(
        InputError, match=r"Sequential: input shape .*expected three whole numbers, 1 or more"
    ):
        trace(flat, shape)


def test_trace_refuses_what_does_not_run_without_values():
    def forward(self, x):
        # Of a trace this is not asked.
        if isinstance(x, torch.Tensor) and x.sum().item() > 0:
            x = x.relu()
        return self.fc(self.conv(x).flatten(1))

    (reason,) = reasons(Net(forward))
    assert reason.startswith(
        "Net: forward does not run without values: Tensor.item() cannot be called on meta"
    )


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (
            net(nn.Conv2d(1, 2, 5), nn.Flatten(), nn.Linear(2, 2)),
            (1, 4, 6),
            r"^0: Calculated padded input size per channel: \(4 x 6\)\. Kernel size: \(5 x 5\)\. Kernel size can't be "
            r"greater than actual input size; it is given 1x4x6 for each image$",
        ),
        (
            net(nn.Conv2d(3, 2, 1), nn.Flatten()),
            (1, 4, 4),
            "^0: Given groups=1, weight of size .* to have 3 channels, but got 1 channels instead; it is given 1x4x4",
        ),
        (
            net(nn.Flatten(), nn.Linear(9, 2)),
            (1, 4, 4),
            r"^1: mat1 and mat2 shapes cannot be multiplied \(2x16 and 9x2\); it is given 16 for each image$",
        ),
        (
            net(nn.MaxPool2d(5), nn.Flatten()),
            (1, 4, 4),
            r"^0: Given input size: \(1x4x4\)\. .* is too small; it is",
        ),
        (
            net(nn.MaxPool2d(2, padding=2)),
            (1, 4, 4),
            "^0: pad should be at most half of effective kernel size",
        ),
        (net(nn.AvgPool2d(2, divisor_override=0)), (1, 4, 4), "^0: divisor must be not zero"),
        (
            net(nn.Flatten(), nn.Conv2d(1, 2, 1)),
            (1, 4, 4),
            r"^1: Expected 3D \(unbatched\) or 4D .* given 16 for",
        ),
        (
            Net(lambda s, x: F.max_pool2d(s.conv(x), 5)),
            SHAPE,
            "^Net: max_pool2d: Given input size.* given 3x4x4 for",
        ),
        (
            Net(lambda s, x: s.conv(x).view(x.size(4))),
            SHAPE,
            "^Net: size: Dimension out of range .* given 2x4x4 for",
        ),
        (
            Net(lambda s, x: s.conv(x).view(x.shape[4])),
            SHAPE,
            "^Net: getitem: IndexError: tuple index out of range",
        ),
        (
            Net(lambda s, x: s.fc(F.dropout(s.conv(x), 3, s.training).flatten(1))),
            SHAPE,
            "^Net: dropout: dropout probability has to be between 0 and 1, but got 3",
        ),
    ],
)
def test_trace_passes_on_what_torch_says_of_a_shape(module, shape, message):
    with pytest.raises(InputError, match=message) as caught:
        trace(module, shape)
    assert not isinstance(caught.value, Unsupported)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(32, 4)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x):
        self.steps += 1
        return self.fc(x.flatten(1)) + 0 * self.steps


def test_trace_refuses_a_network_that_counts_in_a_buffer_and_leaves_the_count():
    module = Counting()
    count = module.steps
    assert any("steps" in reason for reason in reasons(module))
    assert module.steps is count
    assert float(count) == 0
    module(torch.zeros(1, 2, 4, 4))
    assert float(module.steps) == 1
