import pytest
import torch

from pomona.training.config import Adam, Sgd
from pomona.training.updates import make_update

CASES = {
    "sgd": (Sgd(lr=0.1), torch.optim.SGD, {}),
    "sgd-decay": (Sgd(lr=0.1, weight_decay=0.05), torch.optim.SGD, {"weight_decay": 0.05}),
    "momentum": (Sgd(lr=0.1, momentum=0.9), torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (
        Sgd(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    ),
    "adam": (Adam(lr=0.01), torch.optim.Adam, {}),
    "adam-decay": (
        Adam(lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
        torch.optim.Adam,
        {"betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1},
    ),
}


def _pair(generator):
    return [torch.randn(shape, generator=generator) for shape in ((4, 3, 2, 2), (7,), (5, 6))]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("masked", [False, True])
def test_update_equals_torch_optim_over_twenty_steps(name, masked):
    config, optimizer, keywords = CASES[name]
    generator = torch.Generator().manual_seed(1)
    start = _pair(generator)
    factors = [(torch.rand(p.shape, generator=generator) > 0.6).float() for p in start]
    if masked:
        start = [p * f for p, f in zip(start, factors, strict=True)]
    theirs = [p.clone().requires_grad_() for p in start]
    ours = [p.clone() for p in start]
    reference = optimizer(theirs, lr=config.lr, **keywords)
    update = make_update(config, ours)
    for step in range(20):
        gradients = _pair(generator)
        if masked:
            gradients = [g * f for g, f in zip(gradients, factors, strict=True)]
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient.clone()
        reference.step()
        update.apply([g.clone() for g in gradients], config.lr, step)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other.detach(), rtol=1e-6, atol=1e-7)
        if masked:
            for state in (ours, *update.state().values()):
                assert all(not t[f == 0].any() for t, f in zip(state, factors, strict=True))


@pytest.mark.parametrize("name", ["sgd", "sgd-decay", "momentum", "nesterov"])
def test_update_sgd_has_the_bits_of_torch_optim(name):
    config, optimizer, keywords = CASES[name]
    generator = torch.Generator().manual_seed(2)
    ours = _pair(generator)
    theirs = [p.clone().requires_grad_() for p in ours]
    reference = optimizer(theirs, lr=config.lr, foreach=True, **keywords)
    update = make_update(config, ours)
    for step in range(20):
        gradients = _pair(generator)
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient.clone()
        reference.step()
        update.apply(gradients, config.lr, step)
    assert all(torch.equal(a, b.detach()) for a, b in zip(ours, theirs, strict=True))


def test_update_keeps_the_layout_of_a_channels_last_parameter():
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    update = make_update(Sgd(lr=0.1, momentum=0.5), [weight])
    update.apply([torch.ones(4, 3, 2, 2)], 0.1, 0)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert update.state()["momentum"][0].stride() == weight.stride()
