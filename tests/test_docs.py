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
from pomona.studies.yamltext import dump, load_yaml
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


FRAME = """
study: page
let:
  data: {d: {name: digits, validation: 100}}
  train: {full: {optimizer: {sgd: {lr: LR}}, batch_size: 32, duration: 2ep}}
replicates: 3
factors:
  method: [l1-unstructured, random-unstructured, random-structured]
  treatment: [rewind, finetune]
steps:
  dense: {init: fc, on: d, train: full}
  ticket: {from: dense, repeat: 14, prune: {method: $method, amount: 20%}, treat: $treatment, on: d, train: full}
measure: [accuracy, class-accuracy, moving-stability]
"""
MASKS = """
  - claim: Masks differ.
    contrast: {{a: {{method: random-unstructured}}, value: floor, fix: {{treatment: rewind, order: 0}}}}
    {of}
"""


def framed(written: str) -> str:
    """A block of a page as a whole study: what it is a part of is added around it."""
    if written.startswith("study:"):
        return written
    part = load_yaml(written)[0]
    frame = load_yaml(FRAME.replace("LR", "$lr" if "lr" in written and "variation" in part else "0.1"))[0]
    if isinstance(part, list):
        part = {"hypotheses": part}
    if "train" in part:
        return dump({**frame, "let": {**frame["let"], "train": part["train"]}})
    if "variation" in part:
        factors = {**frame["factors"], "lr": [0.1, 0.2]}
        return dump({**frame, "factors": factors, "vary": {"init": 2, "order": 2}, **part})
    if "steps" in part:
        frame = {**frame, "factors": {"method": ["l1-unstructured"]}}
    return dump({**frame, **part})


def blocks() -> list[object]:
    """Every block of YAML on the pages of studies, hypotheses and registrations."""
    found: list[object] = []
    for page in ("study", "hypotheses", "registration"):
        written = re.findall(r"```yaml\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)
        found += [pytest.param(one, id=f"{page} {i}") for i, one in enumerate(written, 1)]
    return found


@pytest.mark.parametrize("written", blocks())
def test_every_block_of_a_page_is_read(written: str, tmp_path: Path) -> None:
    assert parse_study(framed(written), folder=tmp_path).order


def test_the_estimands_of_the_page_are_read() -> None:
    page = (DOCS / "hypotheses.md").read_text()
    start = framed(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    rows = [
        line.split(" | ")[0]
        for line in page.splitlines()
        if re.match(r"\| `(value|area|slope|below): ", line)
    ]
    keys = [key for row in rows for key in re.findall("`(.*?)`", row)]
    assert len(keys) == 5
    for key in keys:
        study = parse_study(start.replace("value: 17%", key))
        assert study.spec.hypotheses[0].of.aggregate == key.partition(":")[0]  # type: ignore[union-attr]
    (of,) = re.findall("`(of: {measure: mask-distance.*?})`", page)
    lenet = (
        FRAME.replace("LR", "0.1").replace("init: fc", "init: lenet").replace("name: digits", "name: mnist")
    )
    lenet = lenet.replace("[accuracy, class-accuracy, moving-stability]", "[mask-distance]\nvary: {order: 2}")
    assert parse_study(f"{lenet}hypotheses:{MASKS.format(of=of)}").spec.hypotheses


def test_the_example_of_a_registration_can_be_registered(tmp_path: Path) -> None:
    found = re.search(r"```yaml\n(study: survivors.*?)```", (DOCS / "registration.md").read_text(), re.DOTALL)
    assert found is not None
    registered = register(parse_study(found[1], folder=tmp_path), Store(tmp_path / "store"))
    assert [one["held"] for one in registered.hypotheses] == [0, 0]
