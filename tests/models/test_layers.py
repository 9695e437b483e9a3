"""Names of layers that are known without torch are those of the networks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pomona.core.errors import InputError
from pomona.models.catalogue import MODELS
from pomona.models.layers import prunable_kinds, prunable_weights
from pomona.models.networks import catalogue_network
from pomona.pruning.kinds import layer_kinds


@pytest.mark.parametrize("name", MODELS)
def test_prunable_weights_are_those_of_the_network(name: str) -> None:
    module = catalogue_network(name, (3, 32, 32), 10, MODELS[name].options)
    assert prunable_kinds(name, {}) == layer_kinds(module)
    assert prunable_weights(name, {}) == list(prunable_kinds(name, {}))


def test_options_say_how_many_there_are() -> None:
    options = {"hidden": "7"}
    module = catalogue_network("fc", (1, 8, 8), 10, options)
    assert prunable_weights("fc", options) == list(layer_kinds(module)) == ["fc1.weight", "fc2.weight"]
    with pytest.raises(InputError, match="unknown model 'lenett'"):
        prunable_weights("lenett", {})


def test_no_torch_is_imported() -> None:
    code = "import sys, pomona.models.layers; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
