"""Steps on views of images: those of the images that somebody else cut out, and what is no view."""

import numpy as np
import pytest

from . import driving
from .driving import OPTIMIZERS, never
from .nets import conv, draw, examples, linear, maxpool
from .small import DATA, call_train, strided, swapped

# Rows of less than 16 bytes, of 16, and of more that are no multiple; a first layer of each kind; a short tile.
NETS = {
    "conv of short rows": draw((2, 5, 7), [conv(3, 2, relu=True), linear(4)]),
    "linear": draw((1, 6, 16), [linear(6, relu=True), linear(4)]),
    "conv of long rows": draw((1, 28, 28), [conv(4, 3, relu=True), maxpool(4), linear(4)]),
    "three channels": draw((3, 33, 35), [conv(3, 5, stride=3, relu=True), linear(4)]),
}


def views_of(count, height, width):
    """Every kind of view, up to a corner of one pixel."""
    generator = np.random.default_rng(4)
    down, right = (generator.integers(1 - side, side, count) for side in (height, width))
    views = np.stack([down, right, generator.integers(0, 2, count)], axis=1).astype(np.int32)
    views[:4] = [[0, 0, 0], [0, 0, 1], [height - 1, 1 - width, 0], [1 - height, width - 1, 1]]
    return views


def cut_out(images, views):
    """By hand: pad on all sides by as much as there is, cut out, mirror."""
    _, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (height, height), (width, width)))
    found = np.empty_like(images)
    for image, room, (down, right, mirrored) in zip(found, padded, views, strict=True):
        window = room[:, height + down : 2 * height + down, width + right : 2 * width + right]
        image[:] = window[:, :, ::-1] if mirrored else window
    return found


@pytest.mark.parametrize("name", NETS)
def test_steps_on_views_are_steps_on_the_images_cut_out(name):
    net = NETS[name]
    data = examples(net, 50)
    order = np.random.default_rng(2).permutation(50)
    views = views_of(50, *net.shape[1:])
    cut = driving.Examples(cut_out(data.images[order], views), data.labels[order])
    assert len(np.unique(cut.images, axis=0)) > 40
    found = []
    for variant in driving.variants():
        pair = [driving.load(net, variant) for _ in range(2)]
        for network in pair:
            network.set_optimizer(*OPTIMIZERS["momentum"])
        seeds, rates = np.empty(0, np.uint64), np.full(2, 0.01)
        # A batch of 40 and one of 10.
        given = data.images, data.labels, order, 40, 0, rates, seeds, 1e9, never
        assert pair[0].train(*given, views) == (2, -1)
        assert driving.train(pair[1], cut, np.arange(50), 40, rates, seeds=seeds) == 2
        found += [driving.numbers(network, net) for network in pair]
    for other in found[1:]:
        found[0].assert_same_bits(other, name)


def test_views_of_all_of_an_image_change_nothing_and_are_not_kept():
    net = NETS["conv of long rows"]
    data, order, rates = examples(net, 40), np.arange(40), np.full(1, 0.01)
    plain, viewed = driving.load(net), driving.load(net)
    for network in (plain, viewed):
        network.set_optimizer(*OPTIMIZERS["plain"])
    given = data.images, data.labels, order, 40, 0, rates, np.empty(0, np.uint64), 1e9, never
    viewed.train(*given, np.zeros((40, 3), np.int32))
    plain.train(*given)
    driving.numbers(plain, net).assert_same_bits(driving.numbers(viewed, net))
    viewed.train(*given, views_of(40, 28, 28))
    logits = viewed.logits(data.images, order)
    # What is evaluated after that, and a later step without views, see the images as they are.
    other = driving.load(net)
    for op in net.weights:
        other.set_weight(op, viewed.weight(op))
        other.set_bias(op, viewed.bias(op))
    other.set_optimizer(*OPTIMIZERS["plain"])
    np.testing.assert_array_equal(other.logits(data.images, order), logits)
    viewed.train(*given)
    other.train(*given, None)
    driving.numbers(other, net).assert_same_bits(driving.numbers(viewed, net))


GOOD = np.zeros((40, 3), np.int32)


@pytest.mark.parametrize(
    "views",
    [
        GOOD[:39],
        np.zeros((41, 3), np.int32),
        GOOD[:0],
        GOOD[:, :2].copy(),
        GOOD.reshape(-1),
        GOOD.astype(np.int64),
        GOOD.astype(np.float32),
        strided(GOOD),
        swapped(GOOD),
        np.asfortranarray(GOOD),
        GOOD.tolist(),
    ],
    ids=lambda views: f"{np.shape(views)} {getattr(views, 'dtype', 'list')}",
)
def test_views_that_do_not_fit(network, views):
    with pytest.raises((TypeError, ValueError)):
        call_train(network, views=views)


@pytest.mark.parametrize("column", range(3))
@pytest.mark.parametrize("value", [4, -4, 2**31 - 1, -(2**31)])
def test_views_outside_of_the_image_name_themselves(network, column, value):
    views = GOOD.copy()
    views[33, column] = value
    with pytest.raises(
        ValueError, match="views: that of entry 33 leaves the image, or is not mirrored 0 or 1"
    ):
        call_train(network, views=views)
    assert DATA.images.shape[2:] == (4, 4)
