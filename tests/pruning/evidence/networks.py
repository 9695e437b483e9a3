"""Small networks with what is awkward in them, weights and examples from streams, and what the tests compare with."""

import copy
import math

import torch
from torch import nn

from pomona.core.streams import Stream
from pomona.pruning.evidence import Batch
from pomona.pruning.kinds import layer_kinds


def drawn(shape, name, index=0):
    return torch.from_numpy(Stream("init", index, name).normal(math.prod(shape))).reshape(shape)


def filled(network, index=0):
    """In float64, with weights from a stream."""
    with torch.no_grad():
        for name, parameter in network.double().named_parameters():
            spread = 0.3 if parameter.dim() == 1 else (2 / max(1, parameter[0].numel())) ** 0.5
            parameter.copy_(drawn(parameter.shape, name, index) * spread)
        for name, buffer in network.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(drawn(buffer.shape, name, index).abs() * 0.5 + 0.2)
    return network


def conv_net():
    """Stride, padding and groups; all else piecewise linear. 5 x 5 images of 2 channels, 3 classes."""
    return filled(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False),
            nn.ReLU(),
            nn.MaxPool2d(3),
            nn.Flatten(),
            nn.Linear(6, 5),
            nn.ReLU(),
            nn.Linear(5, 3),
        )
    )


def norm_net():
    """Batch norm and dropout."""
    return filled(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(36, 3),
        )
    )


def transposed_net():
    return filled(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 3),
        )
    )


def examples(count=7, shape=(2, 5, 5), classes=3, index=0):
    targets = torch.from_numpy(Stream("label-noise", index).permutation(count)) % classes
    return Batch(drawn((count, *shape), "examples", index), targets)


def state_of(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def masks_of(network, index=0):
    """About a third of the weights of each layer pruned."""
    weights = dict(network.named_parameters())
    found = {}
    for name in layer_kinds(network):
        numbers = torch.from_numpy(Stream("mask", index, name).uniform(weights[name].numel()))
        found[name] = (numbers > 0.3).reshape(weights[name].shape)
    return found


def masked(network, masks, batch_statistics=False):
    """A copy with zeros where pruned, ready to be called; its prunable parameters by name."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(batch_statistics)
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(mask)
    return network, {name: parameters[name] for name in layer_kinds(network)}
