"""A training that was interrupted, and whose snapshot is gone when it goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pomona.graph.retention import collect
from pomona.graph.store import Store

from .recorder import ROOT

STUDY = """
study: tiny
let:
  data: {d: {name: digits}}
  train: {t: {optimizer: {sgd: {lr: 0.1}}, batch_size: 32, duration: 100ep}}
replicates: 1
steps:
  dense: {init: {name: fc, options: {hidden: 30-20}}, on: d, train: t}
  ticket: {from: dense, repeat: 1, prune: {method: l1-unstructured}, treat: {rewind: 20it}, on: d, train: t}
measure: [accuracy]
engine: torch
"""

INTERRUPTED = """
def stop(tally):
    if any(0.2 < share < 0.9 for _, share in tally.workers.values()):
        raise KeyboardInterrupt

try:
    prepared.execute(workers=1, on_change=stop)
except KeyboardInterrupt:
    print("interrupted")
"""

ENDED = "prepared.execute(workers=1); print(prepared.missing(), len(prepared.failures))"


def run(folder: Path, how: str) -> str:
    begin = (
        "import sys; from pomona.graph.store import Store; from pomona.studies.run import Run;"
        " from pomona.studies.study import parse_study\n"
        f"store = Store({str(folder)!r}); prepared = Run(parse_study({STUDY!r}), store)\n"
    )
    command = [sys.executable, "-c", begin + how]
    # The limit only keeps a run that never ends from standing still.
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted") / "store"
    assert run(folder, INTERRUPTED) == "interrupted\n"
    assert list(folder.glob("checkpoints/*"))
    return folder


def test_training_begins_anew_where_its_snapshot_was_freed(interrupted: Path, tmp_path: Path) -> None:
    """Nothing refers to it while the training is unfinished."""
    folder = tmp_path / "store"
    shutil.copytree(interrupted, folder)
    with Store(folder) as store:
        assert collect(store).orphans == 1
    assert run(folder, ENDED) == "0 0\n"


def test_training_begins_anew_where_its_snapshot_is_spoilt(interrupted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(interrupted, folder)
    for blob in folder.glob("blobs/*/*"):
        blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    assert run(folder, ENDED) == "0 0\n"
