"""AlexNet and VGG-11 with their whole heads: what they compute, and that they can be trained and pruned."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pomona.core.errors import InputError
from pomona.core.streams import Stream
from pomona.models.build import build, initial_weights
from pomona.models.catalogue import MODELS, draws, lanes_blocker
from pomona.models.choice import ModelChoice
from pomona.models.layers import prunable_weights
from pomona.models.networks import catalogue_network
from pomona.studies.run import run
from pomona.studies.study import parse_study
from pomona.training.batches import Examples
from pomona.training.config import Train
from pomona.training.evaluate import evaluate
from pomona.training.loop import train

NAMES = ("alexnet", "vgg-11-imagenet")
# Stride and padding of the convolutions and the kernel of the pool after each, None where there is none.
LAYERS = {
    "alexnet": [(4, 2, 3), (1, 2, 3), (1, 1, None), (1, 1, None), (1, 1, 3)],
    "vgg-11-imagenet": [(1, 1, pool) for pool in (2, 2, None, 2, None, 2, None, 2)],
}
GRID = {"alexnet": 6, "vgg-11-imagenet": 7}


def _choice(name, **options):
    return ModelChoice(name=name, options={"width": 4, "resize": 64, "outputs": 20, **options})


def _module(choice, shape=(1, 28, 28), classes=10):
    module = build(choice, shape, classes)
    module.load_state_dict(initial_weights(choice, shape, classes, 0))
    return module.eval()


def _images(n=2, shape=(1, 28, 28)):
    return torch.sin(torch.arange(float(n * math.prod(shape)))).reshape(n, *shape)


def _by_hand(name, weights, images):
    """Logits of images that have the right size and three channels, from the published description."""
    names = [key.removesuffix(".weight") for key in weights if key.endswith(".weight")]
    hidden = images
    convs = [key for key in names if key.startswith("features")]
    for key, (stride, padding, pool) in zip(convs, LAYERS[name], strict=True):
        weight, bias = weights[f"{key}.weight"], weights[f"{key}.bias"]
        hidden = F.relu(F.conv2d(hidden, weight, bias, stride, padding))
        hidden = F.max_pool2d(hidden, pool, 2) if pool else hidden
    hidden = F.adaptive_avg_pool2d(hidden, GRID[name]).flatten(1)
    linears = [key for key in names if key.startswith("classifier")]
    for i, key in enumerate(linears):
        hidden = F.linear(hidden, weights[f"{key}.weight"], weights[f"{key}.bias"])
        hidden = F.relu(hidden) if i < 2 else hidden
    return hidden


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [63, 64, 100, 224])
def test_imagenet_network_computes_what_was_published(name, size):
    choice = _choice(name, resize=size)
    images = _images(2, (3, size, size))
    weights = initial_weights(choice, (3, size, size), 10, 0)
    module = _module(choice, (3, size, size))
    torch.testing.assert_close(module(images), _by_hand(name, weights, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_imagenet_network_has_the_shapes_of_torchvision(name):
    with torch.device("meta"):
        module = catalogue_network(name, (1, 28, 28), 10, MODELS[name].options)
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    assert list(shapes)[::2] == prunable_weights(name, {})
    first, last = {"alexnet": ((64, 3, 11, 11), 1), "vgg-11-imagenet": ((64, 3, 3, 3), 0)}[name]
    assert shapes["features.0.weight"] == first
    assert shapes[f"classifier.{last}.weight"] == (4096, 9216 if name == "alexnet" else 25088)
    assert shapes["classifier.6.weight"] == (1000, 4096)


@pytest.mark.parametrize(("shape", "size"), [((1, 28, 28), 64), ((3, 32, 32), 224), ((3, 100, 80), 64)])
def test_imagenet_images_are_resized_as_pillow_does_it(shape, size):
    images = _images(1, shape)
    module = _module(_choice("alexnet", resize=size), shape)
    found = module.resize(images)[0]
    for ours, plane in zip(found, images[0], strict=True):
        theirs = Image.fromarray(plane.numpy(), mode="F").resize((size, size), Image.Resampling.BILINEAR)
        torch.testing.assert_close(ours, torch.from_numpy(np.array(theirs)), rtol=1e-4, atol=1e-5)


def test_imagenet_images_of_the_right_size_are_left_as_they_are():
    images = _images(2, (3, 32, 32))
    assert torch.equal(_module(_choice("vgg-11-imagenet", resize=32), (3, 32, 32)).resize(images), images)


@pytest.mark.parametrize("name", NAMES)
def test_imagenet_grey_images_are_repeated_in_three_channels(name):
    grey = _images()
    weights = initial_weights(_choice(name), (1, 28, 28), 10, 0)
    assert weights["features.0.weight"].shape[1] == 3
    of_grey = _module(_choice(name), (1, 28, 28))(grey)
    of_three = _module(_choice(name), (3, 28, 28))(grey.repeat(1, 3, 1, 1))
    torch.testing.assert_close(of_grey, of_three)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("alexnet", {"resize": 62}, "alexnet needs images of 63x63 pixels or more, got resize: 62"),
        ("vgg-11-imagenet", {"resize": 31}, "needs images of 32x32 pixels or more, got resize: 31"),
        ("alexnet", {"outputs": 9}, "9 outputs for 10 classes; give outputs: 10 or more"),
    ],
)
def test_imagenet_network_says_what_does_not_fit(name, options, message):
    with pytest.raises(InputError, match=message):
        build(_choice(name, **options), (1, 28, 28), 10)


@pytest.mark.parametrize("dropout", [1.0, -0.1, math.nan])
def test_imagenet_dropout_is_a_share(dropout):
    with pytest.raises(ValueError, match="dropout is a share of the units from 0 to less than 1"):
        _choice("alexnet", dropout=dropout)


@pytest.mark.parametrize("name", NAMES)
def test_imagenet_network_runs_on_torch_and_draws(name):
    assert lanes_blocker(name, {}).startswith("resize: interpolate: ")
    assert draws(name, {})
    assert not draws(name, {"dropout": 0})
    assert not draws("vgg-11", {})
    with pytest.raises(InputError, match="unknown model 'alexnett'; did you mean 'alexnet'"):
        draws("alexnett", {})


def _bars(n=64):
    """Images of 12x12 with a bright bar, whose row is the class."""
    draw = np.random.Generator(np.random.Philox(key=3))
    images = draw.integers(0, 60, (n, 1, 12, 12)).astype(np.uint8)
    labels = (np.arange(n) % 3).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 4 * label : 4 * label + 4] = 250
    return Examples(images, labels, (1 / 128,), (-1.0,))


def _trained(name, steps=25, start=None, **options):
    choice, bars = _choice(name, **options), _bars()
    weights = start or initial_weights(choice, (1, 12, 12), 3, 0)
    masks = {}
    for key in prunable_weights(name, {})[1:]:
        kept = torch.arange(weights[key].shape[1]) % 4 != 1
        masks[key] = kept.reshape(-1, *[1] * (weights[key].ndim - 2)).expand_as(weights[key]).contiguous()
    found = train(
        build(choice, (1, 12, 12), 3),
        {key: value * masks.get(key, 1) for key, value in weights.items()},
        masks,
        bars,
        np.arange(len(bars)),
        np.arange(0),
        Train.model_validate(
            {"optimizer": {"adam": {"lr": 2e-3}}, "batch_size": 32, "duration": f"{steps}it"}
        ),
        order=lambda epoch: Stream("order", 0).permutation(len(bars), round=epoch),
        dropout_seed=lambda step: Stream("dropout", 0).seed(step),
    )
    return choice, bars, masks, found.weights


@pytest.mark.parametrize("name", NAMES)
def test_imagenet_network_learns_under_masks_and_always_the_same(name):
    # Two steps of a network with dropout, twice; then, without it, enough of them to learn.
    first, again = (_trained(name, steps=2)[3] for _ in range(2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["classifier.6.bias"], _trained(name, 2, dropout=0.0)[3]["classifier.6.bias"])

    choice = _choice(name, dropout=0.0)
    start = initial_weights(choice.model_copy(update={"distribution": "vgg"}), (1, 12, 12), 3, 0)
    # At width 4 an SD of 0.01 is too little for the head.
    start = {key: value * 10 if key.startswith("classifier") else value for key, value in start.items()}
    _, bars, masks, weights = _trained(name, 40, start, dropout=0.0)
    assert all(not weights[key][~mask].any() for key, mask in masks.items())
    found = evaluate(build(choice, (1, 12, 12), 3), weights, bars, None, 3)
    # Twenty outputs for three classes: those that no label has count as wrong, and no class has them.
    assert len(found.correct) == len(found.count) == 3
    assert found.accuracy > 0.9


STUDY = """
study: photographs
let:
  data: {{d: {{name: digits, validation: 0}}}}
  train: {{t: {{optimizer: {{sgd: {{lr: 0.05}}}}, batch_size: 32, duration: 3it}}}}
replicates: 1
factors:
  method:
    l1-structured: {{criterion: {{norm: 1}}, granularity: channel-in, scope: layer}}
    hybrid: hybrid
steps:
  dense: {{init: {{name: {name}, options: {{width: 4, resize: 64, outputs: 30}}}}, on: d, train: t}}
  ticket: {{from: dense, repeat: 1, prune: {{method: $method, amount: 20%}}, treat: rewind, on: d, train: t}}
measure: [accuracy, class-accuracy, density, mask-distance, weight-stability, effective-density]
"""


@pytest.mark.parametrize("name", NAMES)
def test_imagenet_network_is_pruned_and_measured_in_a_study(name, tmp_path):
    results = run(parse_study(STUDY.format(name=name), tmp_path), store=tmp_path / "store", workers=0)
    assert results.lost() == []
    frame = results.frame()
    assert frame["value"].notna().all()
    classes = frame[(frame["quantity"] == "class-accuracy") & (frame["level"] == 1)]
    assert set(classes["class"]) == set(range(10))
    assert set(frame["quantity"]) >= {"jaccard-distance", "weight-stability", "effective-density"}
    masks, kinds = results.store.masks(results.point(1, method="l1-structured").masked.key)
    assert list(masks) == list(kinds) == prunable_weights(name, {})
    for key, mask in masks.items():
        by_input = np.moveaxis(np.asarray(mask), 1, 0).reshape(mask.shape[1], -1)
        assert (by_input.all(1) | ~by_input.any(1)).all(), key
        assert (~by_input.any(1)).sum() == round(0.2 * mask.shape[1])
    # Units are dropped from the replicate's own stream, which the key of the state holds.
    assert results.point(1, method="hybrid").run.params["seeds"] == {"order": 0, "dropout": 0}
    hybrid, _ = results.store.masks(results.point(1, method="hybrid").masked.key)
    assert np.array_equal(np.asarray(hybrid["features.3.weight"]), np.asarray(masks["features.3.weight"]))
    assert not np.array_equal(
        np.asarray(hybrid["classifier.6.weight"]), np.asarray(masks["classifier.6.weight"])
    )
