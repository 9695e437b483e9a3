"""The whole path on real MNIST: fetched, trained, pruned, measured, reported, and gone on with."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from pomona.studies.results import load_results
from pomona.studies.run import run
from pomona.studies.study import load_study, parse_study

from .studies.test_run import contents, killed_at_random

CHANGES = ["replicates=2", "steps.ticket.repeat=2", "let.train.full.duration=600it"]


def pomona(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pomona", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)


@pytest.mark.network
def test_library_study_runs_on_real_mnist(tmp_path: Path) -> None:
    study = ["iterative-pruning", "--preset", "quick", *(x for c in CHANGES for x in ("--set", c))]
    done = pomona("run", *study, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    page = tmp_path / re.search(r"report: (.*\.html)", done.stdout)[1]  # type: ignore[index]
    text = page.read_text()
    for part in ("l1-unstructured", "l1-structured", "random-unstructured", "<svg"):
        assert part in text
    for svg in (page.parent / "figures").glob("*.svg"):
        ElementTree.parse(svg)
    table = pomona("results", *study, "--csv", "--output", "table.csv", cwd=tmp_path)
    assert table.returncode == 0, table.stderr
    frame = pd.read_csv(tmp_path / "table.csv").query("quantity == 'accuracy' and part == 'test'")
    dense = frame.query("step == 'dense'")
    assert len(dense) == 2
    assert (dense.value > 0.7).all()
    results = load_results("iterative-pruning", "quick", tmp_path / "pomona-store", CHANGES)
    kept = {
        m: results.store.masks(results.point(2, method=m).state.key)[0]
        for m in ("l1-unstructured", "l1-structured")
    }
    assert sum(int(mask.sum()) for mask in kept["l1-unstructured"].values()) == 38296
    again = pomona("run", *study, cwd=tmp_path)
    assert "nothing was computed" in again.stderr


@pytest.mark.slow
@pytest.mark.network
def test_magnitude_beats_random_by_twenty_points_at_level_eight(tmp_path: Path) -> None:
    changes = [
        "steps.ticket.repeat=8",
        'where=["treatment == rewind", "method in [l1-unstructured, random-unstructured]"]',
    ]
    results = run(load_study("iterative-pruning", "quick", changes), store=tmp_path / "store", workers=2)
    frame = results.frame().query("quantity == 'accuracy' and part == 'test' and level == 8")
    by_replicate = frame.pivot(index="replicate", columns="method", values="value")
    assert len(by_replicate) == 3
    assert (by_replicate["l1-unstructured"] - by_replicate["random-unstructured"] > 0.20).all()
    # The better arm is far from chance, so the comparison says something.
    assert (by_replicate["l1-unstructured"] > 0.9).all()


TWICE = """
study: twice
let:
  data: {d: {name: mnist, validation: 0}}
  train: {t: {optimizer: {sgd: {lr: 0.01}}, batch_size: 32, duration: 3ep}}
replicates: 10
steps:
  dense: {init: lenet, on: d, train: t}
measure: [accuracy]
engine: lanes
"""


@pytest.mark.slow
@pytest.mark.network
def test_the_lane_engine_is_equivalent_to_torch(tmp_path: Path) -> None:
    accuracy = {}
    for engine in ("lanes", "torch"):
        study = parse_study(TWICE.replace("engine: lanes", f"engine: {engine}"))
        frame = run(study, store=tmp_path / "store", workers=2).frame()
        found = frame.query("quantity == 'accuracy' and part == 'test'").set_index("replicate").value
        accuracy[engine] = found.sort_index()
    difference = accuracy["lanes"] - accuracy["torch"]
    print(f"accuracy {accuracy}; lanes - torch {difference.mean():+.5f}, SD {difference.std():.5f}")
    assert len(difference) == 10
    assert (accuracy["torch"] > 0.95).all()
    # Two one-sided tests at 5 %: the 90 % interval of the paired difference lies within 0.3 points.
    half = stats.t.ppf(0.95, 9) * difference.std() / 10**0.5
    assert abs(difference.mean()) + half < 0.003


KILLED = """
study: killed
let:
  data: {d: {name: mnist, validation: 5000}}
  train: {t: {optimizer: {sgd: {lr: 0.01, momentum: 0.9}}, batch_size: 32, duration: 1ep}}
replicates: 2
factors: {method: [l1-unstructured, random-structured]}
steps:
  dense: {init: lenet, on: d, train: t}
  ticket: {from: dense, repeat: 3, prune: {method: $method}, treat: {rewind: 100it}, on: d, train: t}
measure: [accuracy, class-accuracy, mask-distance, weight-stability]
"""


@pytest.mark.slow
@pytest.mark.network
def test_ten_kills_change_no_bit(tmp_path: Path) -> None:
    from pomona.studies.study import parse_study

    run(parse_study(KILLED), store=tmp_path / "whole", workers=2)
    killed_at_random(KILLED, tmp_path / "killed", kills=10)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    run(parse_study(KILLED), store=tmp_path / "one", workers=1)
    assert contents(tmp_path / "one") == contents(tmp_path / "whole")
