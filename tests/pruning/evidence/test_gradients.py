import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pomona.pruning.criteria import CRITERIA
from pomona.pruning.evidence import Batch, gather
from pomona.pruning.granularity import parse_unit, rows_of
from pomona.pruning.kinds import layer_kinds

from .networks import conv_net, examples, filled, masked, masks_of, norm_net, state_of, transposed_net

NETWORKS = [conv_net, norm_net, transposed_net]


def gathered(names, network, masks, batch, **options):
    return gather(names, network, state_of(network), masks, layer_kinds(network), batch, **options)


def scores_of(name, network, masks, batch):
    """Of every weight, by parameter: zero weights are what the score sees where the mask prunes."""
    criterion = CRITERIA[name]
    found = gathered(criterion.needs, network, masks, batch)
    weights = masked(network, masks)[1]
    given = {
        n: {"weight": weights[n].detach(), "mask": masks[n], **{e: found[e][n] for e in found}} for n in masks
    }
    return {n: criterion.score(given[n]).reshape(masks[n].shape) for n in masks}


@pytest.mark.parametrize("build", [conv_net, transposed_net])
def test_snip_is_that_of_single_backward_passes(build):
    network, batch = build(), examples()
    masks = masks_of(network)
    twin, weights = masked(network, masks)
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for x, y in zip(batch.inputs, batch.targets, strict=True):
        twin.zero_grad()
        F.cross_entropy(twin(x[None]), y[None]).backward()
        for name, weight in weights.items():
            sums[name] += weight.grad
    found = scores_of("snip", network, masks, batch)
    gradients = gathered(["gradient"], network, masks, batch)["gradient"]
    for name, weight in weights.items():
        torch.testing.assert_close(gradients[name], sums[name] / 7, rtol=1e-11, atol=1e-15)
        torch.testing.assert_close(found[name], (weight * sums[name] / 7).abs(), rtol=1e-11, atol=1e-15)
        # Also what is pruned has a gradient.
        assert gradients[name][~masks[name]].any()


def test_gradient_takes_batch_statistics_and_no_dropout():
    network, batch = norm_net(), examples()
    masks = masks_of(network)
    twin, weights = masked(network, masks, batch_statistics=True)
    F.cross_entropy(twin(batch.inputs), batch.targets).backward()
    found = gathered(["gradient"], network, masks, batch)["gradient"]
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-11, atol=1e-15)
    twin, weights = masked(network, masks)
    F.cross_entropy(twin(batch.inputs), batch.targets).backward()
    assert not torch.allclose(found["0.weight"], weights["0.weight"].grad, rtol=1e-3)


def test_gradient_of_many_examples_is_the_mean_of_all():
    # Three pieces that are not of one size.
    network, batch = conv_net(), examples(301)
    masks = masks_of(network)
    twin, weights = masked(network, masks)
    F.cross_entropy(twin(batch.inputs), batch.targets).backward()
    found = gathered(["gradient"], network, masks, batch)["gradient"]
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-10, atol=1e-14)


def test_a_loss_may_be_given():
    network, masks = conv_net(), {}
    inputs = examples().inputs
    targets = torch.ones(7, 3, dtype=torch.float64)
    found = gathered(
        ["gradient", "squared_gradient"], network, masks, Batch(inputs, targets), loss=F.mse_loss
    )
    twin, weights = masked(network, masks)
    F.mse_loss(twin(inputs), targets).backward()
    for name, weight in weights.items():
        torch.testing.assert_close(found["gradient"][name], weight.grad, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("build", NETWORKS)
def test_grasp_is_the_full_hessian_times_the_gradient(build):
    network, batch = build(), examples()
    masks = masks_of(network)
    twin, weights = masked(network, masks, batch_statistics=True)
    sizes = [weight.numel() for weight in weights.values()]

    def loss(flat):
        parts = {
            name: part.reshape(weights[name].shape)
            for name, part in zip(weights, flat.split(sizes), strict=True)
        }
        return F.cross_entropy(torch.func.functional_call(twin, parts, (batch.inputs,)) / 200, batch.targets)

    flat = torch.cat([weight.detach().flatten() for weight in weights.values()])
    mask = torch.cat([masks[name].flatten() for name in weights])
    hessian = torch.autograd.functional.hessian(loss, flat)
    gradient = torch.autograd.functional.jacobian(loss, flat) * mask
    expected = dict(zip(weights, (flat * (hessian @ gradient)).split(sizes), strict=True))
    found = scores_of("grasp", network, masks, batch)
    for name in weights:
        assert found[name].min() < 0 < found[name].max()
        torch.testing.assert_close(found[name].flatten(), expected[name], rtol=1e-9, atol=1e-18)


def test_grasp_of_a_layer_whose_gradient_is_constant_is_zero():
    network = filled(nn.Sequential(nn.Flatten(), nn.Linear(50, 3)))
    batch = examples()
    found = gathered(
        ["hessian_gradient"], network, {}, batch, loss=lambda outputs, targets: outputs[:, 0].mean()
    )
    assert not found["hessian_gradient"]["1.weight"].any()


def test_synflow_is_the_sum_over_paths():
    network = filled(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)))
    masks = masks_of(network)
    batch = Batch(
        torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
        torch.arange(3) % 2,
    )
    a, b, c = (weight.detach().abs().tolist() for weight in masked(network, masks)[1].values())
    first = [abs(x) for x in network[0].bias.tolist()]
    second = [abs(x) for x in network[2].bias.tolist()]
    scores = {"0.weight": torch.zeros(3, 4), "2.weight": torch.zeros(5, 3), "4.weight": torch.zeros(2, 5)}
    for k in range(5):
        for m in range(2):
            # Paths that start at a bias flow through later weights only.
            scores["4.weight"][m][k] += c[m][k] * second[k]
            for j in range(3):
                started = b[k][j] * c[m][k] * first[j]
                scores["2.weight"][k][j] += started
                scores["4.weight"][m][k] += started
                for i in range(4):
                    path = a[j][i] * b[k][j] * c[m][k]
                    for name, place in (("0.weight", (j, i)), ("2.weight", (k, j)), ("4.weight", (m, k))):
                        scores[name][place] += path
    found = scores_of("synflow", network, masks, batch)
    for name, expected in scores.items():
        torch.testing.assert_close(found[name], expected.double(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("build", NETWORKS)
def test_flow_is_that_of_a_network_of_absolute_values(build):
    network, batch = build(), examples()
    masks = masks_of(network)
    twin, weights = masked(network, masks)
    with torch.no_grad():
        for tensor in (*twin.parameters(), *twin.buffers()):
            tensor.abs_()
    twin(torch.ones(1, 2, 5, 5, dtype=torch.float64)).sum().backward()
    found = gathered(["flow"], network, masks, batch)["flow"]
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-12, atol=0)
        assert (found[name] >= 0).all()


def test_flow_is_float64_whatever_the_network_is():
    network, batch = conv_net(), examples()
    exact = gathered(["flow"], network, {}, batch)["flow"]
    single = network.float()
    rounded = {name: x.double() for name, x in single.state_dict().items()}
    found = gathered(["flow"], single, {}, Batch(batch.inputs.float(), batch.targets))["flow"]
    network.double().load_state_dict(rounded)
    again = gathered(["flow"], network, {}, batch)["flow"]
    for name in exact:
        assert found[name].dtype == torch.float64
        assert torch.equal(found[name], again[name])


@pytest.mark.parametrize("granularity", ["weight", "channel-in", "channel-out", "kernel"])
def test_taylor_is_the_squared_change_of_the_loss_as_a_unit_goes(granularity):
    network, batch = conv_net(), examples()
    masks = masks_of(network)
    unit, kinds = parse_unit(granularity), layer_kinds(network)
    twin, weights = masked(network, masks)
    gradients = gathered(["gradient"], network, masks, batch)["gradient"]
    step = 1e-5

    def loss():
        with torch.no_grad():
            return float(F.cross_entropy(twin(batch.inputs), batch.targets))

    for name, weight in weights.items():
        base = weight.detach().clone()
        evidence = {"weight": base, "mask": masks[name], "gradient": gradients[name]}
        found = CRITERIA["taylor"].score(evidence, unit, kinds[name])
        places = rows_of(torch.arange(1, base.numel() + 1).reshape(base.shape), unit, kinds[name])
        for row in range(0, len(places), 5):
            at = places[row][places[row] > 0] - 1
            changes = []
            for share in (step, -step):
                changed = base.flatten().clone()
                changed[at] *= 1 - share
                weight.data = changed.reshape(base.shape)
                changes.append(loss())
            weight.data = base
            expected = ((changes[0] - changes[1]) / (2 * step)) ** 2
            assert float(found[row]) == pytest.approx(expected, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize("build", NETWORKS)
def test_fisher_is_the_mean_of_squared_gradients_of_single_examples(build):
    network, batch = build(), examples(9)
    masks = masks_of(network)
    twin, weights = masked(network, masks)
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for x, y in zip(batch.inputs, batch.targets, strict=True):
        twin.zero_grad()
        F.cross_entropy(twin(x[None]), y[None]).backward()
        for name, weight in weights.items():
            sums[name] += weight.grad**2
    found = scores_of("fisher", network, masks, batch)
    for name, weight in weights.items():
        expected = weight.detach() ** 2 * sums[name] / 9 / 2
        torch.testing.assert_close(found[name], expected, rtol=1e-10, atol=1e-18)
