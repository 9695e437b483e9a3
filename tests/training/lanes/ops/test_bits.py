"""The same bits from every instruction set and however the work is cut.

Dense and sparse kernels give the same bits too, but for dense convolutions in Winograd's form.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pomona.training.lanes import native

from . import drawn, driving, philox
from .checking import RATE_OF_WIDE, expected_gradients, safe_step
from .driving import OPTIMIZERS, Result
from .nets import (
    Examples,
    Net,
    adaptive_avgpool,
    avgpool,
    conv,
    draw,
    dropout,
    examples,
    in_winograd_form,
    linear,
    maxpool,
    relu,
)

KERNELS = ("dense", "sparse", "auto")
# What outputs and gradients of a convolution in Winograd's form may be off, of the largest of the tensor, and how many
# times as much as in the sparse kernels. 8e-7 and 1.2 were seen; most often they are less off, having shorter chains.
OFF, TIMES = 1.5e-6, 2
LENET = [
    conv(6, 3, relu=True, pool=2),
    conv(16, 3, relu=True, pool=2),
    linear(120, relu=True),
    linear(84, relu=True),
]
NETWORKS = {
    "LeNet": ((1, 20, 20), [*LENET, linear(10)]),
    "FC": ((1, 20, 20), [linear(120, relu=True), linear(50, relu=True), linear(10)]),
    "many taps": ((3, 9, 8), [conv(35, 3, relu=True), conv(9, 3, padding=1, relu=True), linear(10)]),
    "everything": (
        (3, 17, 15),
        [
            conv(8, 3, padding=1, relu=True),
            conv(7, 5, stride=2, padding=(2, 1, 0, 3)),
            maxpool((3, 2), (2, 1), 1),
            relu(),
            dropout(0.2),
            conv(12, 3, padding=1, relu=True, pool=2),
            avgpool(2, 1, 1, include_pad=False),
            conv(9, 2, padding=1, stride=3, dilation=2),
            adaptive_avgpool(2, 3),
            linear(20, relu=True),
            linear(10),
        ],
    ),
}
TILES = (
    (3, 12, 11),
    [
        conv(33, 3, padding=1, relu=True),
        conv(35, 3, padding=(2, 1, 0, 1), relu=True),
        dropout(0.2),
        conv(32, 3, padding=1, relu=True, pool=2),
        conv(34, 3, padding=(2, 3), relu=True),
        linear(10),
    ],
)
ALL = {**NETWORKS, "tiles": TILES}


def results(
    net: Net, data: Examples, variant, optimizer: str, size: int, *, slices: float = 1e9, rate: float = 0.05
) -> Result:
    """Logits and gradients before, numbers and loss after twenty steps."""
    network = driving.load(net, variant)
    batch = np.random.default_rng(3).permutation(len(data.images))[:size]
    found = driving.differentiate(network, net, data, batch, 11).arrays
    network.set_optimizer(*OPTIMIZERS[optimizer])
    order = np.random.default_rng(4).integers(0, len(data.images), 20 * size)
    rates = np.linspace(rate, 0.02 * rate, 20)
    done = 0
    while done < 20:
        taken = driving.train(
            network, data, order[size * done :], size, rates[done:], first_step=done, slice_seconds=slices
        )
        assert taken == 20 - done if slices > 1 else taken >= 1
        done += taken
    after = driving.numbers(network, net).arrays
    loss = network.evaluate(data.images, data.labels, np.arange(len(data.images)), driving.never)[1]
    return Result(
        {f"before {k}": v for k, v in found.items()}
        | {f"after {k}": v for k, v in after.items()}
        | {"loss": np.array(loss)}
    )


@pytest.fixture
def both() -> tuple[str, str]:
    sets = native.kernels().instruction_sets()
    if len(sets) < 2:
        pytest.skip(f"this processor runs {', '.join(sets)} alone: there is nothing to compare it with")
    return sets[0], sets[1]


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("density", [1, 0.3, 0.02])
@pytest.mark.parametrize("name", ALL)
def test_bits_do_not_depend_on_the_instruction_set(both, name, density, optimizer):
    net = draw(*ALL[name], density=density)
    data = examples(net, 64)
    for kernels in KERNELS[:2]:
        wide, narrow = (results(net, data, (each, kernels), optimizer, 45) for each in both)
        wide.assert_same_bits(narrow, kernels)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn.networks(), st.sampled_from(drawn.SIZES), st.sampled_from(list(OPTIMIZERS)))
def test_bits_of_any_network_do_not_depend_on_the_instruction_set(both, net, size, optimizer):
    data, rate = examples(net, 60), RATE_OF_WIDE if in_winograd_form(net) else 0.05
    for kernels in KERNELS[:2]:
        wide, narrow = (
            results(net, data, (each, kernels), optimizer, min(size, 60), rate=rate) for each in both
        )
        wide.assert_same_bits(narrow, kernels)


@pytest.mark.parametrize("instruction_set", native.INSTRUCTION_SETS)
@pytest.mark.parametrize("optimizer", ["momentum", "adam-decay"])
@pytest.mark.parametrize("density", [1, 0.3, 0.02])
@pytest.mark.parametrize("name", NETWORKS)
def test_bits_do_not_depend_on_the_kernels(name, density, optimizer, instruction_set):
    if instruction_set not in native.kernels().instruction_sets():
        pytest.skip(f"this processor has no {instruction_set}")
    net = draw(*NETWORKS[name], density=density, seed=3)
    data = examples(net, 64)
    first, *others = (results(net, data, (instruction_set, each), optimizer, 45) for each in KERNELS)
    for other, kernels in zip(others, KERNELS[1:], strict=True):
        other.assert_same_bits(first, kernels)


@pytest.mark.parametrize("density", [1, 0.3, 0.2, 0.02])
def test_bits_of_winograds_form_are_those_of_dense_kernels_alone(density):
    # And the kernels are chosen by the mask: never dense ones in one step and sparse ones in the next.
    net, (instruction_set, _) = draw(*TILES, density=density, seed=3), driving.variants()[0]
    assert in_winograd_form(net) == [1, 3, 4]
    data = examples(net, 64)
    dense, sparse, auto = (results(net, data, (instruction_set, each), "momentum", 45) for each in KERNELS)
    auto.assert_same_bits(dense if density > 0.25 else sparse)
    for op in (1, 3, 4):
        assert not np.array_equal(dense.arrays[f"before weight {op}"], sparse.arrays[f"before weight {op}"])


@pytest.mark.parametrize(("channels", "size"), [(32, 8), (64, 32), (128, 16), (256, 8)])
def test_winograds_form_is_about_as_exact_as_the_sparse_kernels(channels, size):
    # Every logit is one number that the second convolution makes. Without ReLUs there is no kink.
    ops = [conv(channels, 1), conv(channels, 3, padding=1), linear(200)]
    net = draw((3, size, size), ops, seed=1)
    units = np.random.default_rng(5).permutation(net.weights[2].shape[1])[:200]
    net.weights[2][:] = 0
    net.weights[2][np.arange(200), units] = 1
    step = safe_step(net, 33)
    exact = expected_gradients(step).result.arrays
    off = {}
    for kernels in ("dense", "sparse"):
        network = driving.load(net, (driving.variants()[0][0], kernels))
        found = driving.differentiate(network, net, step.data, step.batch, step.seed).arrays
        off[kernels] = {
            k: np.abs(found[k] - exact[k]).max() / np.abs(exact[k]).max()
            for k in ("logits", "weight 0", "weight 1")
        }
    for name, dense in off["dense"].items():
        assert dense < OFF, name
        assert dense < TIMES * off["sparse"][name], name


@pytest.mark.parametrize("kernels", ["dense", "auto"])
@pytest.mark.parametrize("pruned", ["filters", "channels", "both"])
def test_bits_of_a_smaller_dense_layer_are_those_of_one_full_of_zeros(pruned, kernels):
    net, data, batch = draw(*TILES, seed=2), examples(draw(*TILES), 50), np.arange(50)
    mask = np.ones(net.weights[3].shape, bool)
    if pruned != "channels":
        mask[::3] = False
    if pruned != "filters":
        mask[:, 1::2] = False
    net = net.pruned({3: mask})
    for instruction_set in native.kernels().instruction_sets():
        variant = (instruction_set, kernels)
        masked = driving.differentiate(driving.load(net, variant), net, data, batch, 4)
        zeros = driving.differentiate(driving.load(net, variant, masked=False), net, data, batch, 4)
        # What does not reach the logits has no gradient where it is left out.
        zeros.arrays["weight 3"] = zeros.arrays["weight 3"] * mask
        zeros.assert_same_bits(masked, variant)


@pytest.mark.parametrize("variant", ["dense", "sparse"])
@pytest.mark.parametrize("optimizer", ["plain", "momentum", "adam"])
@pytest.mark.parametrize("name", ["everything", "tiles"])
def test_bits_do_not_depend_on_runs_or_slices(name, variant, optimizer):
    net = draw(*ALL[name], density=0.4)
    data = examples(net, 64)
    variant = (driving.variants()[0][0], variant)
    first = results(net, data, variant, optimizer, 33)
    results(net, data, variant, optimizer, 33).assert_same_bits(first)
    for slices in (0, 1e-3, 3e-3):
        results(net, data, variant, optimizer, 33, slices=slices).assert_same_bits(first, slices)


@pytest.mark.parametrize("density", [0.5, 0.1])
@pytest.mark.parametrize("name", ALL)
def test_bits_do_not_depend_on_masks_where_zeros_do(name, density):
    # Without masks the zeros have gradients too; all others are the same.
    net = draw(*ALL[name], density=density)
    data, batch = examples(net, 50), np.arange(50)
    for variant in driving.variants():
        masked = driving.differentiate(driving.load(net, variant), net, data, batch, 4)
        zeros = driving.differentiate(driving.load(net, variant, masked=False), net, data, batch, 4)
        for op, mask in net.masks.items():
            zeros.arrays[f"weight {op}"] = zeros.arrays[f"weight {op}"] * mask
        zeros.assert_same_bits(masked, variant)


@pytest.mark.parametrize("kernels", ["dense", "sparse"])
@pytest.mark.parametrize("optimizer", ["plain", "momentum", "adam-decay"])
def test_bits_do_not_depend_on_where_the_update_is_made(kernels, optimizer):
    # A step of so large a batch may be interrupted, so it changes nothing before its end.
    net = draw(*NETWORKS["LeNet"], density=0.6)
    data, order = examples(net, 90), np.arange(90)
    found = []
    for size in (90, 2**24):
        network = driving.load(net, (driving.variants()[0][0], kernels))
        network.set_optimizer(*OPTIMIZERS[optimizer])
        for step in range(3):
            driving.train(network, data, order, size, [0.02], first_step=step)
        found.append(driving.numbers(network, net))
    found[1].assert_same_bits(found[0])


def test_bits_do_not_depend_on_where_the_arrays_lie():
    net = draw(*NETWORKS["FC"], density=0.5)
    data = examples(net, 40)
    expected = driving.differentiate(driving.load(net), net, data, np.arange(40)).arrays
    for offset in (1, 2, 7, 33):
        room = np.zeros(data.images.size + 64, np.uint8)
        images = room[offset : offset + data.images.size].reshape(data.images.shape)
        images[:] = data.images
        moved = Examples(images, np.concatenate([data.labels[:1], data.labels])[1:])
        found = driving.differentiate(driving.load(net), net, moved, np.arange(40))
        found.assert_same_bits(Result(expected), offset)


def test_bits_do_not_depend_on_what_runs_beside():
    nets = [draw(*NETWORKS["everything"], density=d, seed=s) for s, d in enumerate((1, 0.5, 0.2, 0.1))]
    data = examples(nets[0], 64)
    variants = driving.variants()

    def train(k: int) -> Result:
        return results(nets[k], data, variants[k % len(variants)], "adam", 40, slices=2e-3)

    alone = [train(k) for k in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for k, found in enumerate(pool.map(train, range(4))):
            found.assert_same_bits(alone[k], k)


def test_bits_do_not_depend_on_how_the_thread_rounds_tiny_numbers():
    # A library that is loaded, or torch, may have the processor take numbers below 1e-38 for zero.
    net = draw((1, 4, 4), [linear(6), linear(3, bias=False)])
    for weight in (*net.weights.values(), *net.biases.values()):
        weight *= np.float32(1e-20)
    data, batch = examples(net, 40), np.arange(40)
    expected = driving.differentiate(driving.load(net), net, data, batch)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot take tiny numbers for zero")
    try:
        found = driving.differentiate(driving.load(net), net, data, batch)
    finally:
        torch.set_flush_denormal(False)
    found.assert_same_bits(expected)


def integers(what: int, shape: tuple[int, ...], below: int) -> np.ndarray:
    """The same on every machine and with every version of NumPy."""
    words = philox.dropout_words(what, 0, 1, int(np.prod(shape)))
    return (words % np.uint64(below)).astype(np.int64).reshape(shape)


@pytest.mark.parametrize(
    ("name", "expected"), [("everything", "4571e4878bdaca04"), ("tiles", "b8a4cd6d4b6a7adb")]
)
def test_bits_are_those_of_numerics_2(name, expected):
    # Whatever compiler and processor: states in stores say ``numerics: 2`` and mean these bits. A change here
    # is a reason to stop, and then for another number of the numerics beside another digest.
    shape, ops = ALL[name]
    net = draw(shape, ops, density=0.5)
    for op, weight in net.weights.items():
        net.masks[op] = integers(op, weight.shape, 2) == 1
        weight[:] = (integers(op + 100, weight.shape, 4096) - 2048) / 8192 * net.masks[op]
    for op, bias in net.biases.items():
        bias[:] = (integers(op + 200, bias.shape, 4096) - 2048) / 8192
    net.scale[:], net.shift[:] = np.float32(1 / 64), np.float32(-1.7)
    data = Examples(
        integers(300, (64, *shape), 256).astype(np.uint8), integers(301, (64,), 10).astype(np.uint8)
    )
    digest = hashlib.sha256()
    for optimizer, rule in OPTIMIZERS.items():
        network = driving.load(net)
        network.set_optimizer(*rule)
        order, seeds = integers(302, (400,), 64), integers(303, (10,), 2**32).astype(np.uint64)
        driving.train(network, data, order, 40, np.full(10, 1 / 32), seeds=seeds)
        found = driving.numbers(network, net).arrays
        found["loss"] = np.array(network.evaluate(data.images, data.labels, order, driving.never)[1])
        for name, array in found.items():
            # Zeros of either sign are equal.
            digest.update(f"{optimizer} {name}".encode() + (array + np.zeros((), array.dtype)).tobytes())
    assert digest.hexdigest()[:16] == expected
