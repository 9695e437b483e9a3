import numpy as np
import torch

from pomona.core.streams import Stream
from pomona.pruning.criteria.chance import random
from pomona.pruning.granularity import parse_unit

from ..networks import normal
from .tensors import scores


def test_random_is_the_stream_and_ignores_the_weights():
    stream = Stream("mask", 3, "fc1.weight", 4)
    found = random(normal((10, 84)), stream)
    assert np.array_equal(found.numpy().ravel(), stream.uniform(840))
    assert torch.equal(random(torch.zeros(10, 84), stream), found)


def test_random_gives_a_larger_unit_one_number():
    stream = Stream("mask", 3, "fc1.weight", 4)
    weight = normal((10, 84))
    evidence = {"weight": weight, "mask": torch.ones_like(weight, dtype=torch.bool), "stream": stream}
    for unit, count in (("channel-in", 84), ("channel-out", 10), ("block-4x4", 63), ("kernel", 840)):
        found = scores("random", evidence, parse_unit(unit))
        assert np.array_equal(found.numpy(), stream.uniform(count))


def test_random_differs_by_level_replicate_and_parameter():
    weight = torch.zeros(5, 4)
    base = random(weight, Stream("mask", 0, "a", 1))
    others = [Stream("mask", 0, "a", 2), Stream("mask", 1, "a", 1), Stream("mask", 0, "b", 1)]
    assert all(not torch.equal(base, random(weight, other)) for other in others)
