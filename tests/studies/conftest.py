from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pomona.graph.store import Store
from pomona.studies.results import Results
from pomona.studies.run import run
from pomona.studies.study import Study, parse_study

SMALL = """
study: small
let:
  data: {d: {name: digits, validation: 100}}
  train: {t: {optimizer: {sgd: {lr: 0.1, momentum: 0.9}}, batch_size: 32, duration: 2ep}}
replicates: 2
factors:
  method: [l1-unstructured, l1-structured, random-unstructured]
  treatment: {rewind: rewind, finetune: finetune, late: {rewind: 20it}}
where: [treatment == rewind or method == l1-unstructured]
steps:
  dense: {init: {name: fc, options: {hidden: 30-20}}, on: d, train: t}
  ticket: {from: dense, repeat: 3, prune: {method: $method}, treat: $treatment, on: d, train: t}
measure: [accuracy, class-accuracy, density, mask-distance, weight-stability, effective-density]
"""


def small_study(text: str = SMALL, folder: Path | None = None) -> Study:
    return parse_study(text, "small.yaml", folder)


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the small study was run once, in this process."""
    folder = tmp_path_factory.mktemp("small") / "store"
    run(small_study(), store=folder, workers=0)
    return folder


@pytest.fixture
def small_results(small_store: Path) -> Iterator[Results]:
    with Store(small_store) as store:
        yield Results(small_study(), store)
