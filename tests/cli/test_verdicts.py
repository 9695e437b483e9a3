"""``pomona verdicts`` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pomona.cli.app import app
from pomona.studies.hypotheses.judge import judge
from pomona.studies.points import Point
from pomona.studies.registration.register import register
from pomona.studies.results import Results
from tests.studies.filled import STUDY, fill, opened, study_of

CLAIMS = """
  - claim: Zebras outlive quokkas, and this claim is so long that no terminal of a hundred columns has room for it.
    contrast: {a: {method: zebra}, b: {method: quokka}, fix: {treatment: rewind}}
    of: {measure: accuracy, match: level, value: 2}
    test: {paired-t: greater}
    expect: {effect: 10pp}
  - claim: Four doublings end them all.
    contrast: {a: {method: zebra}, b: {method: quokka}, fix: {treatment: rewind}}
    of: {measure: accuracy, match: density, below: 90%}
    test: {permutation: less}
"""
RUN = CliRunner()


def accuracy(point: Point) -> float:
    return 0.8 - (0.1 + 0.01 * (1 + point.replicate) ** 0.5) * ("quokka" in point.arm.values())


def wanted(point: Point) -> bool:
    return True


def made(folder: Path, text: str = STUDY + CLAIMS, registered: bool = True) -> Results:
    """A folder with a study's file and a store that holds its results."""
    (folder / "claims.yaml").write_text(text)
    study, store = study_of(CLAIMS, text=text.removesuffix(CLAIMS)), opened(folder)
    if registered:
        register(study, store)
    return fill(store, study, accuracy, wanted=wanted)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return made(tmp_path_factory.mktemp("verdicts"))


def said(results: Results, *arguments: str) -> str:
    folder = results.store.folder
    done = RUN.invoke(
        app, ["verdicts", str(folder.parent / "claims.yaml"), "--store", str(folder), *arguments]
    )
    assert done.exit_code == 0, done.output
    return done.output


def test_blocks_fit_100_columns_and_say_all(results: Results) -> None:
    text = said(results)
    assert max(map(len, text.splitlines())) <= 100
    words = " ".join(text.split())
    first, second = judge(results)
    assert f"verdict {first.verdict.upper()}: {first.reason}" in words  # type: ignore[union-attr]
    assert "so long that no terminal of a hundred columns has room for it." in words
    assert "percentage points, 95 % interval; paired t" in words
    assert "(Holm over 2 in family primary)" in words
    assert "replicates 6 of 6" in words
    assert "entry 1 of the chain" in words
    assert (second.verdict, second.n) == ("not answerable", 0)
    assert "NOT ANSWERABLE" in words
    assert words.endswith(f"claims: 1 {first.verdict}, 1 not answerable")


def test_json_has_every_bit_and_null_where_there_is_nothing(results: Results) -> None:
    record: dict[str, Any] = json.loads(said(results, "--json"))
    first, second = judge(results)
    assert first.result is not None
    assert first.observed is not None
    one, other = record["hypotheses"]
    assert one["result"]["estimate"] == first.result.estimate
    assert (one["p"], one["corrected_p"]) == (first.p, first.corrected_p)
    assert [row["difference"] for row in one["observed"]["rows"]] == first.observed.differences.tolist()
    assert one["hypothesis"] == results.study.spec.hypotheses[0].model_dump(
        mode="json", by_alias=True, exclude_defaults=True
    )
    assert one["registered"]["entry"] == 1
    assert other["result"] is None
    assert other["p"] is None
    assert other["verdict"] == second.verdict
    assert (record["study"], record["preset"], record["withheld"]) == ("claims", None, None)


def test_what_is_not_registered_is_exploratory(tmp_path: Path) -> None:
    text = said(made(tmp_path, registered=False))
    assert "EXPLORATORY: not registered" in text
    assert "\n    p  " not in text
    assert "\nclaims: 2 exploratory" in text


def test_missing_results_are_said_with_the_command_that_computes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "wanted", lambda point: point.replicate < 2)
    results = made(tmp_path)
    words = " ".join(said(results).split())
    assert "not complete: " in words
    assert f"to compute them: pomona run {tmp_path}/claims.yaml --store {results.store.folder}" in words


def test_a_blinded_study_is_withheld_in_text_and_json(tmp_path: Path) -> None:
    results = made(tmp_path, (STUDY + CLAIMS).replace("registration:\n", "registration:\n  blind: yes\n"))
    text = said(results)
    assert text == "claims: verdicts are withheld until 'pomona unblind claims'\n"
    record = json.loads(said(results, "--json"))
    assert record["hypotheses"] == []
    assert record["withheld"].startswith("verdicts are withheld")


def test_a_study_without_hypotheses_says_so(tmp_path: Path) -> None:
    text = STUDY.partition("registration:")[0]
    (tmp_path / "claims.yaml").write_text(text)
    opened(tmp_path).close()
    done = RUN.invoke(app, ["verdicts", str(tmp_path / "claims.yaml"), "--store", str(tmp_path / "store")])
    assert (done.exit_code, done.output) == (0, "claims states no hypothesis\n")


def test_command_imports_no_torch(results: Results) -> None:
    folder = results.store.folder
    code = (
        "import sys, atexit\n"
        "from pomona.cli import main\n"
        f"sys.argv[1:] = ['verdicts', {str(folder.parent / 'claims.yaml')!r}, '--store', {str(folder)!r}]\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().endswith("False")


def test_without_a_store_the_command_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_text(STUDY + CLAIMS)
    code = "from pomona.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "verdicts", "claims.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "run a study first" in done.stderr
    assert "Traceback" not in done.stderr
