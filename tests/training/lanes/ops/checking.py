"""The comparison with the oracle, and what counts as equal.

Every variant of the kernels must give the same bits, except that dense convolutions in Winograd's form have
other ones than sparse ones; one of those that are the same is compared with the oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from . import driving
from .driving import OPTIMIZERS, Result
from .nets import Examples, Net, examples, in_winograd_form
from .oracle import Oracle

# Of the largest sum of terms without signs of a tensor. Rounding is relative to the terms of a sum: what is
# left of terms that cancel, and a small gradient beside a large one, is as far off as they are. A unit of
# the last place is 6e-8; chains of some hundred terms through nine layers are seen to be 2e-6 off.
GRADIENT = 5e-6
# After steps: of the way of the weight of a tensor that went farthest, since what stayed is no evidence, and
# for each step the rounding of the largest weight to float32.
WAY = 2e-5
ROUNDING = 2**-24
RATE = 0.02
# Of networks with wide convolutions, whose many weights move every logit: they would diverge.
RATE_OF_WIDE = 0.001


class Undecided(Exception):
    """What float32 computes on these numbers tells nothing."""


class TooNear(Undecided):
    """Too few examples stay away from every kink."""


class Fragile(Undecided):
    """Numbers cancel: rounding what is given moves the results as far as an error would."""


@dataclass(frozen=True)
class Step:
    """A batch that may be compared: all of its examples stay away from kinks."""

    net: Net
    data: Examples
    batch: np.ndarray
    seed: int


def safe_step(net: Net, size: int, *, seed: int = 5, spare: int = 60) -> Step:
    """A batch of drawn examples.

    Args:
        spare: How many examples may come near a kink; the more units, the more of them do.

    Raises:
        TooNear: If too few of them stay away from kinks.
    """
    data = examples(net, size + spare)
    candidates = np.random.default_rng(3).permutation(len(data.images))
    batch = Oracle(net).safe_batch(data.images, candidates, size, seed)
    if batch is None:
        raise TooNear
    return Step(net, data, batch, seed)


@dataclass(frozen=True)
class Expected:
    """Logits and gradients, and how far those of each array may be off."""

    result: Result
    allowed: dict[str, float]


def expected_gradients(step: Step) -> Expected:
    oracle = Oracle(step.net)
    images, labels = step.data.images[step.batch], step.data.labels[step.batch]
    sums = oracle.backward(images, labels, step.seed)
    arrays = {f"weight {op}": w.grad.numpy() for op, w in oracle.weights.items()}
    arrays |= {f"bias {op}": b.grad.numpy() for op, b in oracle.biases.items()}
    logits, terms = oracle.logits(images)
    allowed = {name: GRADIENT * sums[name] for name in arrays} | {"logits": GRADIENT * terms}
    return Expected(Result(arrays | {"logits": logits}), allowed)


def assert_near(found: Result, expected: Result, allowed: dict[str, float]) -> None:
    """Compare each array; NaN fails.

    Args:
        allowed: How far the numbers of each array may be off.
    """
    assert found.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        off = np.nan_to_num(np.abs(found.arrays[name] - array), nan=np.inf)
        worst = np.unravel_index(np.argmax(off), off.shape)
        assert off[worst] <= allowed[name], (
            f"{name}{[int(i) for i in worst]}: {found.arrays[name][worst]} instead of {array[worst]}, "
            f"more than {allowed[name]:.1e} off"
        )


def shaken(net: Net) -> Net:
    """Every number off by up to one rounding to float32."""
    generator = np.random.default_rng(6)

    def shake(array: np.ndarray) -> np.ndarray:
        return array * (1 + ROUNDING * generator.uniform(-1, 1, array.shape))

    weights = {op: shake(weight) for op, weight in net.weights.items()}
    biases = {op: shake(bias) for op, bias in net.biases.items()}
    return replace(net, weights=weights, biases=biases, scale=shake(net.scale), shift=shake(net.shift))


def assert_near_or_fragile(
    found: Result, expected: Result, allowed: dict[str, float], again: Callable[[], Result]
) -> None:
    """Compare each array.

    Args:
        again: What is expected of the shaken network.

    Raises:
        Fragile: If arrays differ, and the oracle's own would if its network were shaken.
    """
    try:
        assert_near(found, expected, allowed)
    except AssertionError:
        moved = again().arrays
        if any(np.abs(moved[k] - v).max() > allowed[k] / 10 for k, v in expected.arrays.items()):
            raise Fragile from None
        raise


def assert_variants_agree(net: Net, found: Mapping[tuple[str, str], Result]) -> list[Result]:
    """Compare the bits of what variants found; says what is left to be compared with the oracle."""
    different: dict[str, Result] = {}
    for (instruction_set, kernels), one in found.items():
        first = different.setdefault(kernels if in_winograd_form(net) else "", one)
        first.assert_same_bits(one, (instruction_set, kernels))
    return list(different.values())


def check_gradients(step: Step) -> None:
    """Logits and gradients of a batch, in every variant.

    Raises:
        Fragile: If they cannot be compared.
    """
    found = {}
    for variant in driving.variants():
        network = driving.load(step.net, variant)
        found[variant] = driving.differentiate(network, step.net, step.data, step.batch, step.seed)
    expected = expected_gradients(step)
    for one in assert_variants_agree(step.net, found):
        assert_pruned_are_zero(one, step.net)
        assert_near_or_fragile(
            one,
            expected.result,
            expected.allowed,
            lambda: expected_gradients(replace(step, net=shaken(step.net))).result,
        )


def check(net: Net, size: int, *, spare: int = 60) -> None:
    """Gradients on a batch of ``size`` drawn examples; see ``safe_step``.

    Raises:
        Undecided: If they cannot be compared.
    """
    check_gradients(safe_step(net, size, spare=spare))


def gradient_of_taken(net: Net, data: Examples, taken: np.ndarray) -> np.ndarray:
    """Of the two weights of a 1x1 convolution without bias, before a max-pool and a linear layer.

    Args:
        taken: The pixels that the pool takes, whose weights are 1 for the first channel and 0 for the second.
    """
    count = len(taken)
    pixels = taken.astype(np.float64) * net.scale[:, None, None] + net.shift[:, None, None]
    pixels = pixels.reshape(count, 2, -1)
    last = len(net.ops) - 1
    logits = pixels[:, 0] @ net.weights[last].T.astype(np.float64) + net.biases[last]
    wrong = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong[np.arange(count), data.labels] -= 1
    return np.einsum("nk,kp,ncp->c", wrong, net.weights[last], pixels) / count


def _torch_optimizer(name: str, parameters, rate: float) -> torch.optim.Optimizer:
    kind, given = OPTIMIZERS[name]
    if kind == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=rate,
            momentum=given["momentum"],
            nesterov=bool(given["nesterov"]),
            weight_decay=given["weight_decay"],
        )
    betas = (given["beta1"], given["beta2"])
    return torch.optim.Adam(
        parameters, lr=rate / 10, betas=betas, eps=given["eps"], weight_decay=given["weight_decay"]
    )


@dataclass(frozen=True)
class Trained:
    """A training in float64 and the batches that it took."""

    net: Net
    data: Examples
    order: np.ndarray
    rates: np.ndarray
    numbers: Result


def expected_training(
    net: Net, optimizer: str, size: int, *, steps: int = 20, order: np.ndarray | None = None
) -> Trained:
    """Train with ``torch.optim``.

    Args:
        order: The batches; they are drawn if they are not given.

    Raises:
        TooNear: If too few examples stay away from kinks in a step.
    """
    data, oracle = examples(net, size + 60), Oracle(net)
    generator, seeds, taken = np.random.default_rng(4), driving.seeds_of(steps), []
    rate = RATE_OF_WIDE if in_winograd_form(net) else RATE
    rule = _torch_optimizer(optimizer, oracle.parameters(), rate)
    for step in range(steps):
        seed = int(seeds[step])
        if order is None:
            batch = oracle.safe_batch(data.images, generator.permutation(len(data.images)), size, seed)
        else:
            batch = order[size * step : size * step + size]
        if batch is None:
            raise TooNear
        taken.append(batch)
        oracle.backward(data.images[batch], data.labels[batch], seed)
        rule.step()
    numbers = {f"weight {op}": w.detach().numpy() for op, w in oracle.weights.items()}
    numbers |= {f"bias {op}": b.detach().numpy() for op, b in oracle.biases.items()}
    rates = np.full(steps, rule.param_groups[0]["lr"])
    return Trained(net, data, np.concatenate(taken), rates, Result(numbers))


def take_steps(network, trained: Trained, optimizer: str, *, seeds: np.ndarray | None = None) -> Result:
    """The same steps by the kernels."""
    network.set_optimizer(*OPTIMIZERS[optimizer])
    size = len(trained.order) // len(trained.rates)
    assert driving.train(network, trained.data, trained.order, size, trained.rates, seeds=seeds) == len(
        trained.rates
    )
    return driving.numbers(network, trained.net)


def values_of(numbers: Result) -> Result:
    """Weights and biases without the optimizer's state."""
    return Result({name: array for name, array in numbers.arrays.items() if "slot" not in name})


def assert_pruned_are_zero(found: Result, net: Net) -> None:
    """Of weights, gradients and state: what is pruned is exactly zero, and not minus zero."""
    for name, array in found.arrays.items():
        kind, _, op = name.partition(" ")
        mask = net.masks.get(int(op.split()[0])) if kind == "weight" else None
        if mask is not None:
            pruned = array[~mask]
            assert not pruned.any(), f"{name}: a pruned weight is {pruned[pruned != 0][0]}"
            assert not np.signbit(pruned).any(), f"{name}: a pruned weight is -0"


def allowed_steps(trained: Trained) -> dict[str, float]:
    """How far the numbers of each array may be off."""
    net, allowed = trained.net, {}
    for kind, starts in (("weight", net.weights), ("bias", net.biases)):
        for op, start in starts.items():
            end = trained.numbers.arrays[f"{kind} {op}"]
            largest = max(np.abs(start).max(), np.abs(end).max())
            rounding = len(trained.rates) * ROUNDING * largest
            allowed[f"{kind} {op}"] = float(WAY * np.abs(end - start).max() + rounding)
    return allowed


def assert_steps_near(found: Result, trained: Trained) -> None:
    """Weights and biases after training."""
    assert_pruned_are_zero(found, trained.net)
    assert_near(values_of(found), trained.numbers, allowed_steps(trained))


def check_training(net: Net, optimizer: str, size: int, *, steps: int = 20) -> None:
    """Steps of training, in every variant.

    Raises:
        Undecided: If they cannot be compared.
    """
    trained = expected_training(net, optimizer, size, steps=steps)
    found = {
        variant: take_steps(driving.load(net, variant), trained, optimizer) for variant in driving.variants()
    }
    for one in assert_variants_agree(net, found):
        assert_pruned_are_zero(one, net)
        assert_near_or_fragile(
            values_of(one),
            trained.numbers,
            allowed_steps(trained),
            lambda: expected_training(shaken(net), optimizer, size, steps=steps, order=trained.order).numbers,
        )
