"""Against brute force: what is said to be dead never shows, what is said to be alive does."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pomona.core.errors import InputError
from pomona.measures.audit import audit_masks
from pomona.measures.connectivity import effective_masks
from pomona.measures.layout import Layout
from pomona.measures.units import reached_units

DRAWS = 6


class Linears(nn.Module):
    shape = (5,)

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(5, 6), nn.Linear(6, 4, bias=False), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc3(torch.tanh(self.fc2(F.leaky_relu(self.fc1(x)))))


class Convolutions(nn.Module):
    """Grouped, strided and dilated, with a shortcut."""

    shape = (4, 6, 6)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.down = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(6, 6, 2, padding=1, dilation=2, groups=3, bias=False)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = torch.tanh(self.down(torch.tanh(self.stem(x))))
        x = x + torch.tanh(self.wide(x))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Normalised(nn.Module):
    """Convolutions without biases of their own; the weight of the first is used by a function."""

    shape = (2, 4, 4)

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 5, 3, padding=1, bias=False), nn.Conv2d(5, 4, 1, bias=False)
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = torch.tanh(self.norm(self.a(x)))
        x = F.avg_pool2d(F.conv2d(x, self.b.weight), 2)
        return self.head(x.view(x.size(0), -1))


NETWORKS = [Linears, Convolutions, Normalised]


def draw(kind, seed):
    """A network in which half of the constants are zero, and masks of it."""
    generator = np.random.default_rng(seed)
    module = kind().double().eval()
    with torch.no_grad():
        for tensor in module.parameters():
            if tensor.dim() == 1:
                values = generator.normal(size=tensor.shape) * (generator.random(tensor.shape) < 0.3)
                tensor.copy_(torch.from_numpy(values))
    density = generator.choice([0.1, 0.25, 0.5])
    masks = {
        name: generator.random(tensor.shape) < density
        for name, tensor in module.named_parameters()
        if tensor.dim() > 1
    }
    return module, masks


def fill(module, masks, generator):
    """Other values under the masks; constants that are not zero get other values too."""
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            where = masks[name] if name in masks else (tensor != 0).numpy()
            tensor.copy_(torch.from_numpy(np.where(where, generator.normal(size=tensor.shape), 0)))


def layers(module):
    return {
        name: layer
        for name, layer in module.named_modules()
        if hasattr(layer, "weight") and layer.weight.dim() > 1
    }


class Watched:
    """Runs a network while it notes what each layer gives, and adds noise to one unit of one layer."""

    def __init__(self, module):
        self.module, self.fed, self.emits, self.add = module, {}, {}, (None, 0)

    def run(self, x, add=(None, 0)):
        self.add = add
        plain = {"linear": F.linear, "conv2d": F.conv2d}
        try:
            for name, function in plain.items():
                setattr(F, name, partial(self._call, function))
            with torch.no_grad():
                return self.module(x).numpy()
        finally:
            for name, function in plain.items():
                setattr(F, name, function)

    def _call(self, function, x, weight, bias=None, *args):
        (name,) = (name for name, layer in layers(self.module).items() if layer.weight is weight)
        self.fed[name] = live(function(x, weight, None, *args))
        value = function(x, weight, bias, *args)
        self.emits[name] = live(value)
        if name == self.add[0]:
            value[:, self.add[1]] += 3 * torch.randn_like(value[:, self.add[1]])
        return value


def live(value):
    return (value.abs() > 1e-12).movedim(1, 0).flatten(1).any(1).numpy()


def brute_force(module, masks, seed):
    """For every unit whether it is ever fed, emits and is heard; for every kept weight whether it matters."""
    generator = np.random.default_rng(seed)
    watched = Watched(module)
    names = list(layers(module))
    units = {name: [np.zeros(len(masks[f"{name}.weight"]), bool) for _ in range(3)] for name in names}
    matters = {name: np.zeros(mask.shape, bool) for name, mask in masks.items()}
    for _ in range(DRAWS):
        fill(module, masks, generator)
        x = torch.from_numpy(generator.normal(size=(3, *module.shape)))
        base = watched.run(x)
        for name, (fed, emits, _) in units.items():
            fed |= watched.fed[name]
            emits |= watched.emits[name]
        for name, (_, _, heard) in units.items():
            for unit in np.flatnonzero(~heard):
                heard[unit] = (watched.run(x, (name, unit)) != base).any()
        for name, found in matters.items():
            weight = module.get_parameter(name)
            for place in zip(*np.nonzero(masks[name] & ~found), strict=True):
                value = weight[place].item()
                with torch.no_grad():
                    weight[place] = value + 1
                    found[place] = (watched.run(x) != base).any()
                    weight[place] = value
    return units, matters


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_is_dead_never_shows_and_what_is_alive_does(kind):
    seen = {what: set() for what in ("fed", "emits", "heard", "effective")}
    with torch.random.fork_rng():
        for seed in range(12):
            torch.manual_seed(seed)
            module, masks = draw(kind, seed)
            found = reached_units(module, masks, module.shape)
            units, matters = brute_force(module, masks, seed)
            for name, (fed, emits, heard) in units.items():
                reached = found[f"{name}.weight"]
                expected = {"fed": fed, "heard": heard, "effective": matters[f"{name}.weight"]}
                if name != "a":  # what the norm behind it adds is not the layer's own
                    expected["emits"] = emits
                for what, marks in expected.items():
                    assert np.array_equal(getattr(reached, what), marks), (seed, name, what)
                    seen[what] |= {*marks[masks[f"{name}.weight"]]} if what == "effective" else {*marks}
    assert all(values == {False, True} for values in seen.values()), seen


@pytest.mark.parametrize(("kind", "seed"), list(itertools.product(NETWORKS, range(4))))
def test_effective_weights_are_those_of_the_measure(kind, seed):
    module, masks = draw(kind, seed)
    found = reached_units(module, masks, module.shape)
    expected = effective_masks(module, masks, module.shape)
    assert all(np.array_equal(found[name].effective, expected[name]) for name in masks)
    audit = audit_masks(masks, module=module, input_shape=module.shape)
    effective = sum(int(mask.sum()) for mask in expected.values())
    assert audit.effective_density == effective / sum(mask.size for mask in masks.values())
    assert audit.unjudged == ""


def test_units_without_live_input_still_emit_their_bias():
    module = Linears()
    masks = {name: np.ones(x.shape, bool) for name, x in module.named_parameters() if x.dim() > 1}
    masks["fc1.weight"][:4] = False
    masks["fc3.weight"][:, 1] = False
    with torch.no_grad():
        module.fc1.bias[:] = torch.tensor([1.0, 0, -2, 0, 0, 3])
    first, second, third = audit_masks(masks, module=module, input_shape=(5,)).layers
    assert (first.empty_outputs, first.wiring.without_input, first.wiring.emitting) == (4, 4, 2)
    assert (second.wiring.without_input, second.wiring.without_output) == (0, 1)
    assert (third.empty_inputs, third.wiring.without_output) == (1, 0)
    # The two units that are silent take nothing away from those behind them, but their weights do nothing.
    assert second.wiring.effective == 4 * 3


def test_a_shift_behind_the_layer_is_emitted_too():
    module = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 1, 1))
    with torch.no_grad():
        module[1].bias[1] = 0.5
    masks = {"0.weight": np.zeros((3, 1, 1, 1), bool), "3.weight": np.ones((1, 3, 1, 1), bool)}
    first, last = audit_masks(masks, module=module, input_shape=(1, 2, 2)).layers
    assert (first.collapsed, first.wiring.without_input, first.wiring.emitting) == (True, 3, 1)
    assert (last.wiring.effective, last.wiring.without_input) == (1, 0)


def test_pruned_weights_that_are_held_connect():
    module = Linears()
    masks = {name: np.zeros(x.shape, bool) for name, x in module.named_parameters() if x.dim() > 1}
    masks["fc1.weight"][0, 0] = masks["fc2.weight"][1, 1] = True
    with torch.no_grad():
        module.fc3.weight[:, 1] = 0
        module.fc1.bias.zero_()
    cut = audit_masks(masks, module=module, input_shape=(5,))
    held = audit_masks(masks, module=module, input_shape=(5,), held=True)
    assert cut.effective_density == 0
    assert [layer.wiring.effective for layer in held.layers] == [1, 0, 0]
    assert [layer.wiring.without_output for layer in held.layers] == [0, 1, 0]


def test_a_layer_that_is_never_used_has_no_live_unit():
    module = Linears()
    module.spare = nn.Linear(5, 2)
    masks = {name: np.ones(x.shape, bool) for name, x in module.named_parameters() if x.dim() > 1}
    spare = audit_masks(masks, module=module, input_shape=(5,)).layers[-1]
    assert spare.parameter == "spare.weight"
    assert not spare.wiring.used
    assert (spare.wiring.effective, spare.wiring.without_input, spare.wiring.without_output) == (0, 2, 2)


def test_what_cannot_be_judged_is_said_with_its_module():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.ConvTranspose2d(2, 4, 3, groups=2))
    masks = {"0.weight": np.ones((2, 1, 3, 3), bool), "2.weight": np.ones((2, 2, 3, 3), bool)}
    masks["2.weight"][0] = False
    audit = audit_masks(masks, {"2.weight": Layout(1, 0, 2)}, module=module, input_shape=(1, 5, 5))
    assert "module '2' (ConvTranspose2d) is not understood" in audit.unjudged
    assert audit.effective_density is None
    assert audit.layers[1].wiring is None
    # Its first input reaches the two outputs of the first group alone.
    last = audit.layers[1]
    assert (last.inputs, last.outputs, last.empty_inputs, last.empty_outputs) == (2, 4, 1, 2)


def test_channels_of_groups_are_counted_by_group():
    mask = np.ones((6, 2, 1, 1), bool)
    mask[:3, 1] = False
    (layer,) = audit_masks({"w": mask}, {"w": Layout(groups=2)}).layers
    assert (layer.inputs, layer.outputs, layer.empty_inputs, layer.empty_outputs) == (4, 6, 1, 0)


def test_revived_and_unchanged_weights_are_counted():
    mask = np.array([[True, True, False], [True, False, True]])
    before = np.array([[True, False, False], [True, True, True]])
    initial = np.array([[1.0, 2, 3], [4, 5, 6]])
    now = np.array([[1.0, 2.5, 0], [4, 0, 7]])
    audit = audit_masks({"w": mask}, before={"w": before}, weights={"w": now}, initial={"w": initial})
    assert (audit.layers[0].revived, audit.layers[0].unchanged) == (1, 2)
    assert audit.density == pytest.approx(4 / 6)
    assert audit.changed_density == pytest.approx(2 / 6)
    other = audit_masks({"w": mask}, before={"w": before.T}, weights={"w": now}, initial={"w": initial.T})
    assert (other.layers[0].revived, other.layers[0].unchanged, other.changed_density) == (None, None, None)


def test_masks_that_fit_nothing_are_refused():
    module = Linears()
    with pytest.raises(InputError, match=r"unknown masked parameter 'fc9.weight'; did you mean 'fc"):
        audit_masks({"fc9.weight": np.ones((2, 2), bool)}, module=module, input_shape=(5,))
    with pytest.raises(InputError, match=r"mask of 'fc1.weight': expected shape \(6, 5\), got \(5, 6\)"):
        audit_masks({"fc1.weight": np.ones((5, 6), bool)}, module=module, input_shape=(5,))
    with pytest.raises(InputError, match="mask of 'w': expected a weight with outputs and inputs"):
        audit_masks({"w": np.ones(3, bool)})
    with pytest.raises(InputError, match="module and input_shape go together"):
        audit_masks({"w": np.ones((3, 2), bool)}, module=module)
    with pytest.raises(InputError, match="at least one layer"):
        audit_masks({})
