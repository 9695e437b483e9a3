import pytest

from pomona.core.errors import StateFailure
from pomona.training.calibrate import steps_per_second

from .conftest import Small


def test_steps_per_second_counts_the_steps_that_it_takes():
    module, calls = Small(), []
    module.register_forward_hook(lambda *_: calls.append(1))
    rate = steps_per_second(module, (1, 8, 8), 16, seconds=0.2)
    # Five steps warm up; the others took the asked time or more.
    assert len(calls) > 5
    assert 0 < rate <= (len(calls) - 5) / 0.2


def test_steps_per_second_fails_as_training_would():
    with pytest.raises(StateFailure, match="the network failed at step 1"):
        steps_per_second(Small(), (3, 8, 8), 16, seconds=0.1)
