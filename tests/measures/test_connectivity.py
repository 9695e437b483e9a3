import itertools
import operator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pomona.core.errors import InputError
from pomona.measures.connectivity import effective_masks


class Wires:
    """A network written out unit by unit: what is live, and what reaches the output, by plain search."""

    def __init__(self, inputs):
        self.live_from = list(inputs)
        self.edges = []  # (source, target, (parameter, index) or None)

    def search(self, starts, forwards, kept):
        seen, todo = set(starts), list(starts)
        steps = {}
        for source, target, weight in self.edges:
            if weight is None or kept(weight):
                one, other = (source, target) if forwards else (target, source)
                steps.setdefault(one, []).append(other)
        while todo:
            for unit in steps.get(todo.pop(), []):
                if unit not in seen:
                    seen.add(unit)
                    todo.append(unit)
        return seen

    def effective(self, masks, outputs):
        def kept(weight):
            return bool(masks[weight[0]][weight[1]])

        live, reaching = self.search(self.live_from, True, kept), self.search(outputs, False, kept)
        found = {name: np.zeros_like(mask) for name, mask in masks.items()}
        for source, target, weight in self.edges:
            if weight is not None and kept(weight) and source in live and target in reaching:
                found[weight[0]][weight[1]] = True
        return found

    def linear(self, name, layer, sources):
        targets = [(name, i) for i in range(layer.out_features)]
        self.live_from += [t for t, bias in zip(targets, _biases(layer), strict=True) if bias != 0]
        for (i, target), (j, source) in itertools.product(enumerate(targets), enumerate(sources)):
            self.edges.append((source, target, (f"{name}.weight", (i, j))))
        return targets

    def conv(self, name, layer, sources, size):
        """3x3 with padding 1 on size x size; sources by (channel, y, x)."""
        targets = {}
        for o, y, x in itertools.product(range(layer.out_channels), range(size), range(size)):
            targets[o, y, x] = (name, o, y, x)
            if _biases(layer)[o] != 0:
                self.live_from.append(targets[o, y, x])
            for i, dy, dx in itertools.product(range(layer.in_channels), range(3), range(3)):
                source = sources.get((i, y + dy - 1, x + dx - 1))
                if source is not None:
                    self.edges.append((source, targets[o, y, x], (f"{name}.weight", (o, i, dy, dx))))
        return targets

    def pool(self, name, sources, size):
        targets = {}
        for (c, y, x), source in sources.items():
            targets[c, y // 2, x // 2] = (name, c, y // 2, x // 2)
            self.edges.append((source, targets[c, y // 2, x // 2], None))
        return targets


def _biases(layer):
    size = layer.weight.shape[0]
    return np.zeros(size) if layer.bias is None else layer.bias.detach().numpy()


def random_masks(module, generator, density):
    masks = {}
    for name, tensor in module.named_parameters():
        if tensor.dim() > 1:
            masks[name] = generator.random(tensor.shape) < density
        else:
            with torch.no_grad():
                tensor *= torch.from_numpy(generator.random(tensor.shape) < 0.2)
    return masks


class Mlp(nn.Module):
    def __init__(self, bias: bool = True):
        super().__init__()
        self.fc1 = nn.Linear(5, 6, bias=bias)
        self.fc2 = nn.Linear(6, 4, bias=bias)
        self.fc3 = nn.Linear(4, 3, bias=bias)

    def forward(self, x):
        x = torch.flatten(x, 1)
        return self.fc3(torch.relu(self.fc2(F.relu(self.fc1(x)))))


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 3, padding=1)
        self.conv2 = nn.Conv2d(3, 3, 3, padding=1)
        self.fc = nn.Linear(3, 2)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        x = self.pool(self.relu(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.log_softmax(self.fc(x.view(x.size(0), -1)), dim=1)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.2, 0.4]), st.booleans())
def test_effective_masks_of_linear_layers_are_those_of_a_path_search(seed, density, bias):
    module = Mlp(bias)
    masks = random_masks(module, np.random.default_rng(seed), density)
    units = [("in", i) for i in range(5)]
    wires = Wires(units)
    for name in ("fc1", "fc2", "fc3"):
        units = wires.linear(name, getattr(module, name), units)
    expected = wires.effective(masks, units)
    found = effective_masks(module, masks, (5,))
    assert all(np.array_equal(found[name], expected[name]) for name in masks)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.15, 0.4]))
def test_effective_masks_of_convolutions_are_those_of_a_path_search(seed, density):
    module = ConvNet()
    masks = random_masks(module, np.random.default_rng(seed), density)
    pixels = {key: ("in", *key) for key in itertools.product(range(2), range(4), range(4))}
    wires = Wires(pixels.values())
    units = wires.pool("pool1", wires.conv("conv1", module.conv1, pixels, 4), 4)
    units = wires.pool("pool2", wires.conv("conv2", module.conv2, units, 2), 2)
    outputs = wires.linear("fc", module.fc, [units[c, 0, 0] for c in range(3)])
    expected = wires.effective(masks, outputs)
    found = effective_masks(module, masks, (2, 4, 4))
    assert all(np.array_equal(found[name], expected[name]) for name in masks)


def dense(module):
    return {name: np.ones(x.shape, bool) for name, x in module.named_parameters() if x.dim() > 1}


def test_effective_masks_of_a_dense_network_are_dense_but_for_padding():
    found = effective_masks(ConvNet(), dense(ConvNet()), (2, 4, 4))
    assert all(mask.all() for mask in found.values())
    # On a single pixel all but the centre of a 3x3 kernel meets padding only.
    alone = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    (mask,) = effective_masks(alone, dense(alone), (1, 1, 1)).values()
    assert mask.sum() == 1
    assert mask[0, 0, 1, 1]


def test_effective_masks_of_a_cut_network_are_empty():
    module = Mlp(bias=False)
    masks = dense(module)
    masks["fc2.weight"][:] = False
    assert not any(mask.any() for mask in effective_masks(module, masks, (5,)).values())


def test_a_bias_keeps_the_weights_after_it_alive():
    module = Mlp()
    masks = dense(module)
    masks["fc1.weight"][:] = False
    with torch.no_grad():
        module.fc1.bias.zero_()
        module.fc2.bias.zero_()
        module.fc1.bias[2] = -1.0
    found = effective_masks(module, masks, (5,))
    assert found["fc2.weight"].any(axis=0).tolist() == [i == 2 for i in range(6)]
    assert found["fc3.weight"].all()


def test_batch_norm_passes_zeros_unless_it_shifts():
    module = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 1))
    masks = dense(module)
    masks["0.weight"][:] = False
    assert not effective_masks(module, masks, (1, 2, 2))["3.weight"].any()
    with torch.no_grad():
        module[1].bias[1] = 0.5
    assert effective_masks(module, masks, (1, 2, 2))["3.weight"].ravel().tolist() == [False, True]


def test_a_sigmoid_makes_a_constant_of_zero():
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Sigmoid(), nn.Linear(2, 1))
    masks = dense(module)
    masks["0.weight"][:] = False
    assert effective_masks(module, masks, (2,))["2.weight"].all()


def test_a_shortcut_carries_what_the_block_has_cut():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.inner, self.head = (nn.Linear(3, 3, bias=False) for _ in range(3))

        def forward(self, x):
            x = self.stem(x)
            return self.head(operator.add(x, self.inner(x)))

    module = Block()
    masks = dense(module)
    masks["inner.weight"][:] = False
    found = effective_masks(module, masks, (3,))
    assert found["stem.weight"].all()
    assert found["head.weight"].all()


def test_opposite_paths_do_not_cancel():
    class Difference(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2, bias=False)

        def forward(self, x):
            x = self.fc(x)
            return x - x * -1.0

    assert effective_masks(Difference(), dense(Difference()), (2,))["fc.weight"].all()


def test_every_output_of_a_network_counts():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.unused = (nn.Linear(2, 2) for _ in range(3))

        def forward(self, x):
            return {"a": self.a(x), "more": (self.b(x),)}

    found = effective_masks(Two(), dense(Two()), (2,))
    assert found["a.weight"].all()
    assert found["b.weight"].all()
    assert not found["unused.weight"].any()


def test_effective_masks_of_a_very_deep_network_do_not_overflow():
    module = nn.Sequential(*(nn.Linear(64, 64) for _ in range(200)))
    assert all(mask.all() for mask in effective_masks(module, dense(module), (64,)).values())


def test_effective_masks_change_nothing():
    module = ConvNet()
    state = {name: x.clone() for name, x in module.state_dict().items()}
    masks = {name: np.ones(x.shape, bool) for name, x in module.named_parameters() if x.dim() > 1}
    rng = torch.get_rng_state()
    effective_masks(module, masks, (2, 4, 4))
    assert all(mask.all() for mask in masks.values())
    assert all(torch.equal(x, state[name]) for name, x in module.state_dict().items())
    assert all(x.grad is None and x.requires_grad for x in module.parameters())
    assert torch.equal(torch.get_rng_state(), rng)


def test_module_with_control_flow_on_values_is_refused():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return self.fc(x) if x.sum() > 0 else x

    with pytest.raises(InputError, match="the module Branch cannot be traced"):
        effective_masks(Branch(), dense(Branch()), (2,))


def test_operation_that_is_not_understood_is_named():
    module = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    with pytest.raises(InputError, match=r"module '1' \(LayerNorm\) is not understood; known are linear"):
        effective_masks(module, dense(module), (2,))


def test_input_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"ConvNet does not run on an input of shape \(1, 4, 4\)"):
        effective_masks(ConvNet(), dense(ConvNet()), (1, 4, 4))


def test_mask_that_fits_no_parameter_is_refused():
    with pytest.raises(InputError, match=r"unknown masked parameter 'fc4.weight'; did you mean 'fc"):
        effective_masks(Mlp(), {"fc4.weight": np.ones((3, 4), bool)}, (5,))
    with pytest.raises(InputError, match=r"mask of 'fc3.weight': expected shape \(3, 4\), got \(4, 3\)"):
        effective_masks(Mlp(), {"fc3.weight": np.ones((4, 3), bool)}, (5,))


def test_module_without_values_is_refused():
    with torch.device("meta"):
        module = Mlp()
    with pytest.raises(InputError, match=r"parameter 'fc1.weight' has no values"):
        effective_masks(module, {}, (5,))
