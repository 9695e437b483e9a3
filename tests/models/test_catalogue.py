import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from pomona.core.errors import InputError
from pomona.models.build import build, initial_weights
from pomona.models.catalogue import MODELS
from pomona.models.choice import ModelChoice
from pomona.models.networks import NETWORKS, catalogue_network
from pomona.pruning.kinds import layer_kinds

# Parameters and prunable weights, from the papers or by hand: input shape and classes as in their source.
KNOWN = {
    "lenet": ((1, 28, 28), 60_074, 59_838),
    "fc": ((1, 28, 28), 266_610, 266_200),
    "conv-2": ((3, 32, 32), 4_301_642, 4_300_992),
    "conv-4": ((3, 32, 32), 2_425_930, 2_425_024),
    "conv-6": ((3, 32, 32), 2_262_602, 2_261_184),
    "resnet-20": ((3, 32, 32), 272_474, 270_896),
    "vgg-11": ((3, 32, 32), 9_225_610, 9_222_848),
    "vgg-19": ((3, 32, 32), 20_035_018, 20_024_000),
    # With the 1000 outputs of ImageNet, as printed in the paper on pruning: 61,100k and 132,863k.
    "alexnet": ((1, 28, 28), 61_100_840, 61_090_496),
    "vgg-11-imagenet": ((3, 32, 32), 132_863_336, 132_851_392),
}
IMAGENET = ("alexnet", "vgg-11-imagenet")


def test_catalogue_every_name_has_a_network_and_a_known_size():
    assert set(MODELS) == set(NETWORKS) == set(KNOWN)
    assert all(info.name == name and info.source and info.note for name, info in MODELS.items())


@pytest.mark.parametrize("name", KNOWN)
def test_catalogue_network_has_the_published_number_of_parameters(name):
    shape, parameters, weights = KNOWN[name]
    with torch.device("meta"):
        module = catalogue_network(name, shape, 10, MODELS[name].options)
    sizes = {key: p.numel() for key, p in module.named_parameters()}
    assert sum(sizes.values()) == parameters
    assert sum(sizes[key] for key in layer_kinds(module)) == weights


def _small(name, classes=10):
    if name in IMAGENET:
        return ModelChoice(name=name, options={"width": 4, "resize": 64, "outputs": classes})
    if name.startswith("vgg"):
        return ModelChoice(name=name, options={"width": 4, "batch_norm": True})
    return ModelChoice(name=name, options={"width": 4} if name == "resnet-20" else {})


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize(("shape", "classes"), [((1, 28, 28), 10), ((3, 33, 17), 7), ((2, 10, 10), 3)])
def test_catalogue_network_adapts_to_the_data(name, shape, classes):
    choice = _small(name, classes)
    module = build(choice, shape, classes)
    module.load_state_dict(initial_weights(choice, shape, classes, 0))
    images = torch.linspace(-1, 1, 5 * shape[0] * shape[1] * shape[2]).reshape(5, *shape)
    logits = module(images)
    assert logits.shape == (5, classes)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0


@pytest.mark.parametrize("name", ["vgg-11", "vgg-19", "resnet-20", "conv-2", "fc", *IMAGENET])
def test_catalogue_network_takes_the_eight_by_eight_digits(name):
    choice = _small(name)
    module = build(choice, (1, 8, 8), 10)
    module.load_state_dict(initial_weights(choice, (1, 8, 8), 10, 0))
    assert module(torch.ones(4, 1, 8, 8)).shape == (4, 10)


@pytest.mark.parametrize(
    ("name", "needs"), [("lenet", "10x10 pixels or more, got 8x9"), ("conv-6", "got 4x4")]
)
def test_catalogue_network_says_that_images_are_too_small(name, needs):
    shape = (1, 8, 9) if name == "lenet" else (1, 4, 4)
    with pytest.raises(InputError, match=needs):
        build(ModelChoice(name=name), shape, 10)


@pytest.mark.parametrize("name", ["vgg-11", "vgg-19"])
def test_catalogue_batch_norm_is_an_option(name):
    for wanted in (True, False):
        choice = ModelChoice(name=name, options={"width": 4, "batch_norm": wanted})
        names = initial_weights(choice, (3, 32, 32), 10, 0)
        assert any("running_mean" in key for key in names) is wanted


def test_catalogue_relu_after_pooling_equals_relu_before_it():
    choice = ModelChoice(name="lenet")
    module = build(choice, (1, 28, 28), 10)
    weights = initial_weights(choice, (1, 28, 28), 10, 1)
    module.load_state_dict(weights)
    images = torch.sin(torch.arange(3 * 784.0)).reshape(3, 1, 28, 28)
    hidden = images
    for i in (1, 2):
        conv = F.conv2d(hidden, weights[f"conv{i}.weight"], weights[f"conv{i}.bias"])
        hidden = F.max_pool2d(F.relu(conv), 2)
    hidden = hidden.flatten(1)
    for i in (1, 2, 3):
        hidden = F.linear(hidden, weights[f"fc{i}.weight"], weights[f"fc{i}.bias"])
        hidden = F.relu(hidden) if i < 3 else hidden
    torch.testing.assert_close(module(images), hidden)


def test_catalogue_and_choice_cost_no_torch():
    code = "import sys, pomona.models.choice, pomona.training.config, pomona.training.engine; "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
