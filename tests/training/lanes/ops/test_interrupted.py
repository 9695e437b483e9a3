"""Training that is interrupted or used by two at once."""

import threading

import numpy as np
import pytest

from . import driving
from .driving import OPTIMIZERS, never
from .small import DATA, NET, call_train

# Steps, or examples of one step, for longer than what passes between two questions.
LONG = np.zeros(4_000_000, np.int64)


def long(network, interrupted, *, batch_size):
    rates = np.full(len(LONG), 1e-6)
    seeds = np.empty(0, np.uint64)
    changes = {"order": LONG, "rates": rates, "seeds": seeds, "batch_size": batch_size}
    return call_train(network, **changes, interrupted=interrupted)


def test_interrupted_within_a_step_leaves_no_trace():
    for kernels in ("dense", "sparse"):
        network = driving.load(NET, (driving.variants()[0][0], kernels))
        network.set_optimizer(*OPTIMIZERS["adam"])
        call_train(network, first_step=0)
        before = driving.numbers(network, NET)
        assert long(network, lambda: True, batch_size=2**24) == (0, -1)
        driving.numbers(network, NET).assert_same_bits(before)
        again = driving.load(NET, (driving.variants()[0][0], kernels))
        again.set_optimizer(*OPTIMIZERS["adam"])
        call_train(again, first_step=0)
        call_train(again)
        call_train(network)
        driving.numbers(network, NET).assert_same_bits(driving.numbers(again, NET))


def test_interrupted_between_steps_keeps_those_that_are_done():
    network, again = driving.load(NET), driving.load(NET)
    done, failed = long(network, lambda: True, batch_size=1)
    assert failed == -1
    assert 0 < done < len(LONG)
    order, rates = LONG[:done], np.full(done, 1e-6)
    call_train(again, order=order, rates=rates, seeds=np.empty(0, np.uint64), batch_size=1)
    driving.numbers(network, NET).assert_same_bits(driving.numbers(again, NET))


def test_interrupted_is_asked_again_and_again():
    asked = []

    def interrupted() -> bool:
        asked.append(1)
        return len(asked) == 3

    done, _ = long(driving.load(NET), interrupted, batch_size=1)
    assert (len(asked), done < len(LONG)) == (3, True)


@pytest.mark.parametrize("batch_size", [1, 2**24])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_interrupted_by_an_exception(error, batch_size):
    network = driving.load(NET)

    def interrupted() -> bool:
        raise error

    with pytest.raises(error):
        long(network, interrupted, batch_size=batch_size)
    assert all(np.isfinite(array).all() for array in driving.numbers(network, NET).arrays.values())
    assert call_train(network) == (2, -1)


@pytest.mark.parametrize("answer", [None, "yes", 1])
def test_interrupted_by_what_is_neither_yes_nor_no(answer):
    network = driving.load(NET)
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        long(network, lambda: answer, batch_size=1)
    assert call_train(network) == (2, -1)


def test_interrupted_evaluation_has_no_result():
    many = np.zeros(2_000_000, np.int64)
    network = driving.load(NET)
    assert network.evaluate(DATA.images, DATA.labels, many, lambda: True) is None
    assert network.evaluate(DATA.images, DATA.labels, many[:3], lambda: True)[0].shape == (3,)


def test_interrupted_may_not_use_the_network_itself():
    network = driving.load(NET)
    with pytest.raises(RuntimeError, match="another thread is using this network"):
        long(network, lambda: network.weight(0) is None, batch_size=1)
    assert call_train(network) == (2, -1)


def test_interrupted_second_thread_is_refused_and_the_first_goes_on():
    network, started, refused = driving.load(NET), threading.Event(), threading.Event()
    result = []

    def interrupted() -> bool:
        started.set()
        return refused.wait(60)

    def train() -> None:
        result.append(long(network, interrupted, batch_size=1))

    thread = threading.Thread(target=train)
    thread.start()
    try:
        assert started.wait(60)
        for call in (
            lambda: call_train(network),
            lambda: network.weight(0),
            lambda: network.set_weight(0, NET.weights[0]),
            lambda: network.set_masks({}),
            lambda: network.set_optimizer(*OPTIMIZERS["adam"]),
            lambda: network.kernels(),
            lambda: network.logits(DATA.images, np.arange(3)),
            lambda: network.evaluate(DATA.images, DATA.labels, np.arange(3), never),
            lambda: network.gradients(DATA.images, DATA.labels, np.arange(3), 0),
        ):
            with pytest.raises(RuntimeError, match="another thread is using this network"):
                call()
    finally:
        refused.set()
        thread.join()
    assert result[0][1] == -1
    assert result[0][0] > 0
    assert call_train(network) == (2, -1)
