from __future__ import annotations

from pathlib import Path

import pytest

from pomona.graph.store import Store
from pomona.report.evidence import Evidence
from pomona.studies.results import Results
from pomona.studies.run import run
from pomona.studies.study import parse_study

TEXT = """
study: {name}
{head}
let:
  data: {{d: {{name: digits, validation: {validation}}}}}
  train: {{t: {{optimizer: {{sgd: {{lr: {lr}, momentum: 0.9}}}}, batch_size: 64, duration: 30it}}}}
replicates: {replicates}
{factors}
steps:
  dense: {{init: {{name: fc, options: {{hidden: 12-8}}}}, on: d, train: t}}
{ticket}
measure: [{measure}]
"""
MEASURE = "accuracy, class-accuracy, density, mask-distance, weight-stability, effective-density"
METHODS = """factors:
  method: {l1-unstructured: l1-unstructured, l1-structured: l1-structured, "<u>random</u>": random-unstructured}
  treatment: [rewind]"""
HEAD = """title: Roots & <script>alert(1)</script>
source: arXiv:2001.05050
description: What is left of a <b>small</b> network?
hypotheses:
  - claim: Magnitude beats <i>chance</i>.
    contrast:
      a: {method: l1-unstructured}
      b: {method: "<u>random</u>"}
      fix: {treatment: rewind}
      pair: replicate
    of: {measure: accuracy, match: density, value: 0.5}
    test: {paired-t: greater}
    expect: {effect: 10pp}"""


def ticket(levels: int, method: str = "$method", amount: str = "40%", treat: str = "rewind") -> str:
    return (
        f"  ticket: {{from: dense, repeat: {levels}, prune: {{method: {method}, amount: {amount}}}, "
        f"treat: {treat}, on: d, train: t}}"
    )


def study_text(
    name: str,
    head: str = "",
    validation: int = 0,
    lr: float = 0.1,
    replicates: int = 3,
    factors: str = "",
    step: str = "",
    measure: str = MEASURE,
) -> str:
    return TEXT.format(
        name=name,
        head=head,
        validation=validation,
        lr=lr,
        replicates=replicates,
        factors=factors,
        ticket=step,
        measure=measure,
    )


def results_of(text: str, folder: Path, compute: bool = True) -> Results:
    study = parse_study(text, folder=folder)
    return (
        run(study, store=folder / "store", workers=0) if compute else Results(study, Store(folder / "store"))
    )


def flat_text(page: str) -> str:
    """The page with every run of white space as one blank, as a browser shows it."""
    return " ".join(page.split())


@pytest.fixture(scope="session")
def main_results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Three arms, three replicates and two levels, with every measure and a hypothesis."""
    step = ticket(2, treat="$treatment")
    text = study_text("main", HEAD, factors=METHODS, step=step)
    return results_of(text, tmp_path_factory.mktemp("main"))


@pytest.fixture(scope="session")
def evidence(main_results: Results) -> Evidence:
    return Evidence(main_results)


@pytest.fixture(scope="session")
def failed_results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A study whose training diverges, so that nothing beyond the masks of some arms is there."""
    text = study_text(
        "failed",
        lr=1e18,
        replicates=2,
        factors="factors:\n  method: [l1-unstructured, l1-structured]",
        step=ticket(2),
    )
    return results_of(text, tmp_path_factory.mktemp("failed"))


@pytest.fixture(scope="session")
def single_results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """One arm, one replicate, and a method that leaves nothing of its layers in the end."""
    text = study_text("single", replicates=1, validation=100, step=ticket(2, "fc-only", "99.9%"))
    return results_of(text, tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="session")
def plain_results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A study that prunes nothing."""
    return results_of(study_text("plain"), tmp_path_factory.mktemp("plain"))


@pytest.fixture
def new_results(tmp_path: Path) -> Results:
    """A study that has not been run."""
    return results_of(study_text("new", factors=METHODS, step=ticket(2, treat="$treatment")), tmp_path, False)
