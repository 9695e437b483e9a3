"""Operations with any attributes at all: refused where torch refuses them, and otherwise computed."""

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from . import drawn, driving, oracle
from .nets import adaptive_avgpool, avgpool, conv, draw, dropout, examples, linear, maxpool, relu

fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

_small = st.integers(0, 5)
_sizes = st.tuples(st.integers(1, 5), st.integers(1, 5))
_sides = st.tuples(_small, _small, _small, _small)
_strides = st.tuples(st.integers(1, 4), st.integers(1, 4))
_ops = st.one_of(
    st.builds(
        conv,
        st.integers(1, 20),
        _sizes,
        stride=_strides,
        padding=_sides,
        dilation=_strides,
        bias=st.booleans(),
        relu=st.booleans(),
        pool=st.sampled_from((0, 2)),
    ),
    st.builds(linear, st.integers(1, 20), bias=st.booleans(), relu=st.booleans()),
    st.builds(maxpool, _sizes, _strides, _sides),
    st.builds(avgpool, _sizes, _strides, _sides, include_pad=st.booleans(), divisor=_small),
    st.builds(adaptive_avgpool, st.integers(1, 6), st.integers(1, 6)),
    st.builds(relu),
    st.builds(dropout, st.floats(0, 0.99)),
)
_shapes = st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8))


def fits(shape, ops) -> bool:
    """Whether torch can, with logits at the end."""
    for kind, a in ops:
        if kind in ("maxpool", "avgpool") and any(
            2 * a[side] > a[kernel]
            for side, kernel in (("pt", "kh"), ("pb", "kh"), ("pl", "kw"), ("pr", "kw"))
        ):
            return False
    try:
        _, height, width = oracle.shapes(shape, ops)[-1]
    except RuntimeError:
        return False
    return height == width == 1


@fuzz
@given(_shapes, st.lists(_ops, min_size=1, max_size=4), st.booleans(), st.data())
def test_any_ops_are_refused_or_run(shape, ops, ends, data):
    if ends:
        ops = [*ops, linear(data.draw(st.integers(1, 9), "outputs"))]
    if not fits(shape, ops):
        event("refused")
        with pytest.raises(ValueError, match=r"\w"):
            driving.make(shape, ops)
        return
    net = draw(shape, ops)
    generator = np.random.default_rng(0)
    kinds = [data.draw(st.sampled_from(drawn.MASKS), f"mask {op}") for op in net.weights]
    net = net.pruned(
        {
            op: drawn.mask(kind, w.shape, generator)
            for kind, (op, w) in zip(kinds, net.weights.items(), strict=True)
        }
    )
    given = examples(net, 40)
    size = data.draw(st.integers(1, 80), "batch size")
    order = generator.integers(0, 40, 2 * size)
    optimizer = data.draw(st.sampled_from(list(driving.OPTIMIZERS)), "optimizer")
    found = []
    for variant in driving.variants():
        network = driving.load(net, variant)
        network.set_optimizer(*driving.OPTIMIZERS[optimizer])
        result = driving.differentiate(network, net, given, order[:size], 3)
        assert result.arrays["logits"].shape == (size, oracle.shapes(shape, ops)[-1][0])
        driving.train(network, given, order, size, [0.01, 0.01])
        loss = network.evaluate(given.images, given.labels, order, driving.never)[1]
        assert np.isfinite(loss)
        arrays = result.arrays | {f"after {k}": v for k, v in driving.numbers(network, net).arrays.items()}
        found.append(driving.Result(arrays | {"loss": np.array(loss)}))
    for variant, other in zip(driving.variants(), found, strict=True):
        other.assert_same_bits(found[0], variant)


_attributes = st.one_of(st.integers(-3, 3000), st.floats(), st.booleans())
_kinds = st.sampled_from(
    [conv(2, 2), linear(3), maxpool(2), avgpool(2), adaptive_avgpool(2, 2), dropout(0.5)]
)


@fuzz
@given(_kinds, st.data())
def test_any_attribute_is_refused_or_run(op, data):
    kind, attributes = op
    name = data.draw(st.sampled_from(list(attributes)))
    value = data.draw(_attributes.filter(lambda v: name not in ("out", "oh", "ow") or not 100 < v < 1e6))
    shape, ops = (2, 5, 4), [(kind, attributes | {name: value}), linear(2)]
    try:
        network = driving.make(shape, ops)
    except ValueError as error:
        event("refused")
        if str(error).startswith(kind):
            return
        raise
    images = np.ones((3, *shape), np.uint8)
    assert network.logits(images, np.arange(3)).shape == (3, 2)
    network.gradients(images, np.zeros(3, np.uint8), np.arange(3), 0)
