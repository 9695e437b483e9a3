import subprocess
import sys

import pytest

from pomona.core.errors import InputError
from pomona.training.engine import engine_record


def test_engine_record_stays_as_keys_have_it():
    assert engine_record("torch") == {"name": "torch", "numerics": 1, "precision": "float32"}
    assert engine_record("torch", "cuda:1") == {"name": "torch-cuda", "numerics": 1, "precision": "float32"}
    assert engine_record("lanes") == {"name": "lanes", "numerics": 2, "precision": "float32"}


def test_engine_record_names_the_nearest_engine():
    with pytest.raises(InputError) as caught:
        engine_record("lane")
    assert str(caught.value) == "unknown engine 'lane'; did you mean 'lanes'? Known: lanes, torch"


def test_engine_record_of_lanes_is_of_the_cpu():
    with pytest.raises(InputError, match="on the CPU, not on cuda:0: use `engine: torch`"):
        engine_record("lanes", "cuda:0")


def test_engine_record_costs_no_torch():
    program = "import sys, pomona.training.engine; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
