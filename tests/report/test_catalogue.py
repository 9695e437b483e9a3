"""Everything registered is listed, and the page of methods is what the catalogue makes of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from pomona.cli.app import app
from pomona.pruning.actions import ACTIONS
from pomona.pruning.allocation import ALLOCATIONS
from pomona.pruning.controls import CONTROLS
from pomona.pruning.counts import ROUNDINGS
from pomona.pruning.criteria import CRITERIA
from pomona.pruning.granularity import parse_unit
from pomona.pruning.method import METHODS, Scope
from pomona.pruning.schedule import SCHEDULES
from pomona.pruning.stopping import parse_stop
from pomona.pruning.treatments import TREATMENTS
from pomona.report.catalogue import GRANULARITIES, SCOPES, STOPS, names
from pomona.report.catalogue import ROUNDINGS as LISTED_ROUNDINGS
from pomona.report.methods import document
from pomona.studies.schema import MEASURES
from pomona.studies.study import parse_study

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
RUN = CliRunner()


def test_the_page_is_made_from_the_catalogue():
    assert PAGE.read_text() == document(), "make it anew: pomona methods --markdown > docs/methods.md"


@pytest.mark.parametrize(
    "catalogue",
    [METHODS, CRITERIA, ALLOCATIONS, SCHEDULES, TREATMENTS, ACTIONS, CONTROLS, MEASURES, ROUNDINGS],
)
def test_everything_registered_is_listed_by_the_command(catalogue):
    found = RUN.invoke(app, ["methods"])
    assert found.exit_code == 0
    words = set(re.findall(r"[\w.:<-]+", found.output))
    assert {name for name in catalogue if name not in words and f"{name}:" not in words} == set()
    assert set(catalogue) <= set(names())


def test_what_is_listed_by_hand_is_what_can_be_written():
    assert all(str(parse_unit(name)) == name for name in GRANULARITIES)
    assert set(SCOPES) == set(Scope.__args__)  # type: ignore[attr-defined]
    assert set(LISTED_ROUNDINGS) == set(ROUNDINGS)
    assert all(parse_stop(name) for name in STOPS)


def test_one_of_them_is_shown_with_all_that_is_known_of_it():
    found = RUN.invoke(app, ["methods", "grasp"]).output
    for word in ("w (H g)", "reads:", "128 training examples", "arXiv:2002.07376", "checked against:"):
        assert word in found


HEAD = """
study: page
let:
  data: {clean: {name: mnist}}
  train: {full: {optimizer: {sgd: {lr: 0.1}}, batch_size: 32, duration: 30ep}}
"""


def test_the_examples_of_the_page_are_valid():
    steps, gradual = re.findall(r"```yaml\n(.*?)```", document(), re.DOTALL)
    assert set(parse_study(HEAD + steps + gradual).spec.steps) == {"dense", "ticket", "gradual"}


def test_the_ten_lines_of_the_page_run():
    (code,) = re.findall(r"```python\n(.*?)```", document(), re.DOTALL)
    draw = torch.Generator().manual_seed(0)
    names = {
        "model": nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 3)),
        "inputs": torch.randn(20, 6, generator=draw),
        "labels": torch.randint(0, 3, (20,), generator=draw),
    }
    exec(compile(code, "methods.md", "exec"), names)
    kept = sum(int((p != 0).sum()) for name, p in names["model"].named_parameters() if "weight" in name)
    assert kept == round(0.05 * 360)
