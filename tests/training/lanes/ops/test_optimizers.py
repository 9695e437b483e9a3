import math

import numpy as np
import pytest
import torch

from . import driving
from .checking import check_training
from .driving import OPTIMIZERS
from .nets import conv, draw, dropout, examples, linear, maxpool

NETWORKS = {
    "linear": ((1, 4, 4), [linear(12, relu=True), linear(7, relu=True), linear(4)]),
    "conv": ((2, 7, 6), [conv(5, 3, relu=True, pool=2), conv(4, 2, padding=1, relu=True), linear(4)]),
    "mixed": (
        (1, 8, 8),
        [conv(4, 3), maxpool(2), linear(10, bias=False, relu=True), dropout(0.2), linear(3)],
    ),
}
# Small eps as studies have it, each step from the same weights.
EXACT = OPTIMIZERS | {
    "adam": ("adam", {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0}),
    "adam-decay": ("adam", {"beta1": 0.8, "beta2": 0.99, "eps": 1e-10, "weight_decay": 0.03}),
    "adam-short-memory": ("adam", {"beta1": 0.5, "beta2": 0.5, "eps": 1e-3, "weight_decay": 0}),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("density", [1, 0.4, 0.1])
@pytest.mark.parametrize("name", NETWORKS)
def test_twenty_steps_are_those_of_torch_optim(name, density, optimizer):
    shape, ops = NETWORKS[name]
    check_training(draw(shape, ops, seed=6, density=density), optimizer, 40)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("size", [1, 31, 32, 33, 100])
def test_twenty_steps_of_any_batch(size, optimizer):
    shape, ops = NETWORKS["linear"]
    check_training(draw(shape, ops, seed=3, density=0.5), optimizer, size)


class Reference:
    """``torch.optim`` in float64, moved by the kernels' own gradients from the kernels' own weights."""

    def __init__(self, name: str, net, lr: float) -> None:
        kind, given = EXACT[name]
        names = [f"weight {op}" for op in net.weights] + [f"bias {op}" for op in net.biases]
        self.parameters = {n: torch.nn.Parameter(torch.zeros(0, dtype=torch.float64)) for n in names}
        self.slots = {0: ["momentum_buffer"], 1: ["momentum_buffer"], 2: ["exp_avg", "exp_avg_sq"]}
        shared = {"lr": lr, "weight_decay": given["weight_decay"]}
        if kind == "sgd":
            shared |= {"momentum": given["momentum"], "nesterov": bool(given["nesterov"])}
            self.rule: torch.optim.Optimizer = torch.optim.SGD(self.parameters.values(), **shared)
        else:
            betas = (given["beta1"], given["beta2"])
            self.rule = torch.optim.Adam(self.parameters.values(), betas=betas, eps=given["eps"], **shared)

    def step(self, values: dict[str, np.ndarray], gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, parameter in self.parameters.items():
            parameter.data = torch.from_numpy(values[name]).double()
            parameter.grad = torch.from_numpy(gradients[name]).double()
        self.rule.step()
        return {name: parameter.detach().numpy() for name, parameter in self.parameters.items()}

    def state(self, name: str, slots: int) -> list[np.ndarray]:
        kept = self.rule.state[self.parameters[name]]
        return [kept[key].numpy() for key in self.slots[slots][:slots]]


@pytest.mark.parametrize("kernels", ["dense", "sparse"])
@pytest.mark.parametrize("optimizer", EXACT)
def test_each_step_is_the_arithmetic_of_torch_optim(optimizer, kernels):
    net = draw(*NETWORKS["conv"], seed=1, density=0.5)
    data, lr = examples(net, 40), 0.03
    network = driving.load(net, (driving.variants()[0][0], kernels))
    network.set_optimizer(*EXACT[optimizer])
    reference = Reference(optimizer, net, lr)
    for step in range(20):
        batch = np.random.default_rng(step).permutation(40)[:33]
        gradients = driving.differentiate(network, net, data, batch).arrays
        before = driving.numbers(network, net).arrays
        expected = reference.step(before, gradients)
        driving.train(network, data, batch, 33, [lr], first_step=step, seeds=np.zeros(1, np.uint64))
        found = driving.numbers(network, net).arrays
        for name, values in expected.items():
            # A few units of the last place of the step, and one of the weight.
            way = np.abs(values - before[name]).max()
            allowed = 2e-6 * way + 2**-23 * np.abs(values)
            assert (np.abs(found[name] - values) <= allowed).all(), (step, name)
            for slot, kept in enumerate(reference.state(name, network.slots())):
                state = found[f"{name} slot {slot}"]
                np.testing.assert_allclose(state, kept, rtol=2e-6, atol=1e-6 * np.abs(kept).max())


@pytest.mark.parametrize("first_step", [0, 1, 7, 1000, 10**6, 2**40])
def test_adam_corrects_its_bias_by_the_number_of_the_step(first_step):
    net = draw(*NETWORKS["linear"])
    data, network = examples(net, 33), driving.load(net)
    mean, square, lr = np.full((7, 12), 0.01), np.full((7, 12), 0.004), 0.01
    network.set_optimizer("adam", {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0})
    for slot, state in enumerate((mean, square)):
        network.set_state(1, "weight", slot, state.astype(np.float32))
    gradient = driving.differentiate(network, net, data, np.arange(33)).arrays["weight 1"].astype(np.float64)
    driving.train(network, data, np.arange(33), 33, [lr], first_step=first_step, seeds=np.zeros(1, np.uint64))
    mean = (0.9 * mean + 0.1 * gradient) / -math.expm1((first_step + 1) * math.log(0.9))
    square = (0.999 * square + 0.001 * gradient**2) / -math.expm1((first_step + 1) * math.log(0.999))
    expected = net.weights[1] - lr * mean / (np.sqrt(square) + 1e-8)
    np.testing.assert_allclose(network.weight(1), expected, rtol=2**-23, atol=1e-6 * lr)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_rates_are_those_of_their_steps(optimizer):
    net = draw(*NETWORKS["linear"])
    data, order = examples(net, 60), np.arange(60)
    network, reference = driving.load(net), driving.load(net)
    for each in (network, reference):
        each.set_optimizer(*OPTIMIZERS[optimizer])
    rates = [0.1, 0.0, 0.01, 0.003]
    driving.train(network, data, order, 15, rates)
    for step, rate in enumerate(rates):
        before = driving.numbers(reference, net)
        driving.train(reference, data, order[15 * step : 15 * step + 15], 15, [rate], first_step=step)
        after = driving.numbers(reference, net)
        stays = [np.array_equal(before.arrays[k], v) for k, v in after.arrays.items() if "slot" not in k]
        assert all(stays) if rate == 0 else not any(stays)
    driving.numbers(network, net).assert_same_bits(driving.numbers(reference, net))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kernels", ["dense", "sparse"])
def test_state_carries_on_where_it_was(kernels, optimizer):
    net = draw(*NETWORKS["mixed"], density=0.5)
    data = examples(net, 60)
    order = np.random.default_rng(0).integers(0, 60, 400)
    variant = (driving.variants()[0][0], kernels)
    whole, first, second = (driving.load(net, variant) for _ in range(3))
    rates = np.full(20, 0.01)
    for network in (whole, first, second):
        network.set_optimizer(*OPTIMIZERS[optimizer])
    driving.train(whole, data, order, 20, rates)
    driving.train(first, data, order[:160], 20, rates[:8])
    for name, array in driving.numbers(first, net).arrays.items():
        which, op, *slot = name.replace("slot ", "").split()
        if slot:
            second.set_state(int(op), which, int(slot[0]), array)
        else:
            (second.set_weight if which == "weight" else second.set_bias)(int(op), array)
    driving.train(second, data, order[160:], 20, rates[8:], first_step=8)
    driving.numbers(second, net).assert_same_bits(driving.numbers(whole, net))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kernels", ["dense", "sparse"])
def test_pruned_weights_and_their_state_stay_plus_zero(kernels, optimizer):
    for name, (shape, ops) in NETWORKS.items():
        net = draw(shape, ops, density=0.3)
        for weight in net.weights.values():
            weight[weight == 0] = -0.0
        network, data = driving.load(net, (driving.variants()[0][0], kernels)), examples(net, 60)
        network.set_optimizer(*OPTIMIZERS[optimizer])
        for steps in (0, 20):
            driving.train(network, data, np.tile(np.arange(60), 10), 30, np.full(steps, 0.05))
            found = driving.numbers(network, net).arrays
            for op, mask in net.masks.items():
                arrays = [v for k, v in found.items() if k.startswith(f"weight {op}")]
                assert len(arrays) == 1 + network.slots()
                for array in arrays:
                    assert not array[~mask].any(), (name, op, steps)
                    assert not np.signbit(array[~mask]).any(), (name, op, steps)


def test_set_optimizer_forgets_the_state():
    net = draw(*NETWORKS["linear"])
    network, data = driving.load(net), examples(net, 30)
    for optimizer, slots in (("plain", 0), ("adam", 2), ("momentum", 1), ("nesterov", 1), ("adam-decay", 2)):
        network.set_optimizer(*OPTIMIZERS[optimizer])
        assert network.slots() == slots
        state = {k: v for k, v in driving.numbers(network, net).arrays.items() if "slot" in k}
        assert len(state) == 6 * slots
        assert not any(v.any() for v in state.values())
        driving.train(network, data, np.arange(30), 30, [0.01])
        assert all(network.state(2, which, s).any() for which in ("weight", "bias") for s in range(slots))


@pytest.mark.parametrize("decays", [True, False])
@pytest.mark.parametrize("kernels", ["dense", "sparse"])
def test_weights_of_dead_units_move_by_decay_alone(kernels, decays):
    # Unit 3 of the first layer is read by nothing.
    net = draw((1, 3, 3), [linear(8, relu=True), linear(4)])
    mask = np.ones((4, 8), bool)
    mask[:, 3] = False
    net = net.pruned({1: mask})
    network, data = driving.load(net, (driving.variants()[0][0], kernels)), examples(net, 40)
    network.set_optimizer("sgd", {"momentum": 0.9, "nesterov": 0, "weight_decay": 0.1 if decays else 0})
    driving.train(network, data, np.tile(np.arange(40), 5), 20, np.full(10, 0.1))
    assert np.array_equal(network.weight(0)[3], net.weights[0][3]) != decays
    assert np.array_equal(network.bias(0)[3], net.biases[0][3]) != decays
    assert not np.array_equal(network.weight(0)[2], net.weights[0][2])


@pytest.mark.parametrize("eps", [0.0, 1e-60])
def test_adam_refuses_an_eps_that_is_zero_in_float32(eps):
    # It would make 0 / 0 of every weight without a gradient, the pruned ones first.
    network = driving.load(draw(*NETWORKS["linear"], density=0.4))
    with pytest.raises(ValueError, match="eps"):
        network.set_optimizer("adam", {"beta1": 0.9, "beta2": 0.999, "eps": eps, "weight_decay": 0})
