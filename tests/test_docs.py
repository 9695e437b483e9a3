"""The pages on recipes and probes of one's own are run as they stand there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pomona.graph.store import Store
from pomona.studies.registration.register import register
from pomona.studies.run import run
from pomona.studies.study import load_study, parse_study
from tests.users import own_modules

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    with own_modules():
        yield
    sys.modules.pop("quantise", None)


def block(language: str, first: str) -> str:
    """A block of the page, by how it begins."""
    found = re.search(
        rf"```{language}\n({re.escape(first)}.*?)```", (DOCS / "custom.md").read_text(), re.DOTALL
    )
    assert found is not None
    return found[1]


def test_the_page_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "quantise.py").write_text(block("python", "# quantise.py"))
    (tmp_path / "low-bits.yaml").write_text(block("yaml", "study: low-bits"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block("python", "import pomona\nimport quantise"), "custom.md", "exec"), names)
    share, bits, kind = capsys.readouterr().out.split()[-3:]
    assert (bits, kind) == ("4", "float32")
    assert 0 < float(share) < 15 / 1000
    frame = names["results"].frame()  # type: ignore[attr-defined]
    low = frame.query("quantity == 'distinct' and step == 'low' and bits == '2' and part == ''")
    assert (low.value < 0.001).all()
    assert len(low) == 2


def test_the_examples_are_those_of_the_page() -> None:
    example = (DOCS / "examples" / "quantise.py").read_text()
    for line in block("python", "# quantise.py").splitlines():
        assert line in example.splitlines() or line == "# quantise.py", line


def test_the_example_study_gives_what_it_says(tmp_path: Path) -> None:
    study = load_study(
        DOCS / "examples" / "quantise.yaml", None, ["let.train.t.duration=1ep", "replicates=1"]
    )
    results = run(study, store=tmp_path / "store", workers=0)
    assert not results.lost()
    errors = {
        bits: results.summary("rounding-error", layer="fc1.weight")
        .query(f"bits == '{bits}'")["mean"]
        .dropna()
        for bits in ("8", "4", "2")
    }
    assert all(len(found) == 3 for found in errors.values())
    assert errors["8"].max() < errors["4"].min() < errors["4"].max() < errors["2"].min()
    point = results.point(2, step="low", bits="4")
    weights, (masks, _) = results.store.weights(point.state.key), results.store.masks(point.state.key)
    for name, mask in masks.items():
        assert len(np.unique(weights[name])) <= 15
        assert not weights[name][~mask].any()
    assert results.density(point) == pytest.approx(0.64, abs=0.001)


def test_the_example_of_a_registration_can_be_registered(tmp_path: Path) -> None:
    found = re.search(r"```yaml\n(study: survivors.*?)```", (DOCS / "registration.md").read_text(), re.DOTALL)
    assert found is not None
    registered = register(parse_study(found[1], folder=tmp_path), Store(tmp_path / "store"))
    assert [one["held"] for one in registered.hypotheses] == [0, 0]
