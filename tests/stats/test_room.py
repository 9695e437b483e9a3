"""What holds for every function of the room."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pomona.stats
from pomona.stats.aggregate import interquartile_mean
from pomona.stats.bootstrap import bca, two_level
from pomona.stats.examples import fleiss_kappa
from pomona.stats.multiplicity import max_t
from pomona.stats.paired import sign_flip
from pomona.stats.power import simulated_power
from pomona.stats.regression import ols
from pomona.stats.unpaired import permutation
from pomona.stats.variance import variance_components

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
# Kinds of standard errors, which the page names beside `ols`.
KINDS = {"hc3", "hac", "cluster", "cr2", "wild"}
MODULES = sorted(name for _, name, _ in pkgutil.iter_modules(pomona.stats.__path__))
# The rooms within the room whose functions answer a question with a procedure of the literature.
PROCEDURES = ("aggregate", "bootstrap", "effects", "equivalence", "examples", "mixed", "multiplicity", "paired",
              "regression", "trends", "unpaired", "variance")  # fmt: skip
# They choose among procedures, prepare data or share a procedure that is named elsewhere.
UNSOURCED = {"paired.paired", "unpaired.unpaired", "unpaired.permutation_p", "bootstrap.mean", "bootstrap.matching",
             "bootstrap.resamples", "equivalence.margin_of", "aggregate.tasks_of", "regression.terms_of",
             "trends.clustered_trend"}  # fmt: skip


def procedures():
    for name in PROCEDURES:
        module = importlib.import_module(f"pomona.stats.{name}")
        for label, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not label.startswith("_"):
                yield f"{name}.{label}", function


@pytest.mark.parametrize(("name", "function"), list(procedures()))
def test_every_procedure_names_its_source(name, function):
    assert ("Source:" in function.__doc__) == (name not in UNSOURCED)


def test_the_page_names_every_procedure_and_no_other():
    table = [line.split("|")[2] for line in PAGE.read_text().splitlines() if line.startswith("| ")][2:]
    named = set()
    for cell in table:
        module = ""
        for word in re.findall(r"`([\w.]+)[`(]", cell):
            module, _, label = word.rpartition(".") if "." in word else (module, "", word)
            if hasattr(importlib.import_module(f"pomona.stats.{module}"), label):
                named.add(f"{module}.{label}")
            else:
                assert label in KINDS, word
    shared = UNSOURCED | {"bootstrap.percentile"}
    assert {name for name, _ in procedures()} - named <= shared


def test_no_module_imports_torch_or_another_room():
    lines = [f"import pomona.stats.{name}" for name in MODULES]
    check = "import sys; print([m for m in sys.modules if m == 'torch' or m.startswith('pomona.')])"
    found = subprocess.run(
        [sys.executable, "-c", "\n".join([*lines, check])], capture_output=True, text=True, check=True
    )
    loaded = found.stdout.strip().strip("[]").replace("'", "").split(", ")
    assert "torch" not in loaded
    assert {name.split(".")[1] for name in loaded} == {"core", "stats"}


def test_intervals_come_without_statsmodels():
    # The commands that only read results need no second for it.
    check = "import sys, pomona.stats.intervals; print('statsmodels' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


RNG = np.random.default_rng(0)
VALUES = RNG.normal(0.4, 1, 24)
FRAME = pd.DataFrame({"y": VALUES, "x": RNG.normal(size=24), "g": np.repeat(range(6), 4)})
RANDOM = {
    "sign_flip": lambda seed: sign_flip(VALUES, seed=seed, draws=499),
    "permutation": lambda seed: permutation(VALUES, VALUES[::-1] + 0.3, seed=seed, draws=499),
    "max_t": lambda seed: max_t(VALUES.reshape(-1, 1), seed=seed, draws=499).tolist(),
    "bca": lambda seed: bca(VALUES, seed=seed, draws=499),
    "two_level": lambda seed: two_level(VALUES.reshape(4, 6), seed=seed, draws=499),
    "interquartile_mean": lambda seed: interquartile_mean(VALUES.reshape(8, 3), seed=seed, draws=499),
    "fleiss_kappa": lambda seed: fleiss_kappa(np.sign(VALUES.reshape(8, 3)), seed=seed, draws=499),
    "wild": lambda seed: ols(FRAME, "y ~ x", errors="wild", cluster="g", seed=seed, draws=499),
    "variance_components": lambda seed: variance_components(FRAME, "y", ["g"], seed=seed, draws=499),
    "simulated_power": lambda seed: simulated_power("wilcoxon", 1.0, 7, seed=seed, studies=500),
}


@pytest.mark.parametrize("name", RANDOM)
def test_what_is_drawn_is_its_seed_and_global_state_stays(name):
    call = RANDOM[name]
    random.seed(3)
    np.random.seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist()
    first = call(0)
    np.random.seed(4)
    assert call(0) == first
    assert call(1) != first
    np.random.seed(3)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
