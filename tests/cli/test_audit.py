"""``pomona audit`` as a user meets it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.test_commands import ok, pomona

STUDY = """
study: audited
let:
  data: {d: {name: digits, validation: 100}}
factors:
  method: {weights: l1-unstructured, channels: l1-structured}
steps:
  start: {init: {name: fc, options: {hidden: 20-12}}, on: d, train: none}
  low: {weights: start, mask: {score: start, method: $method, amount: 60%, levels: 2}, on: d, train: none}
measure: [density]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    (folder / "audited.yaml").write_text(STUDY)
    ok("run", "audited.yaml", "--workers", "0", cwd=folder)
    return folder


def key(place: Path, method: str) -> str:
    (state,) = json.loads(ok("query", f"level == 2 and method == {method}", "--json", cwd=place))
    return str(state["key"])


def test_audit_prints_layers_totals_and_findings(place: Path) -> None:
    full = key(place, "channels")
    said = ok("audit", full[:10], cwd=place)
    assert said.startswith(f"state {full}\ntreat; masks made by ")
    head, first, *_ = said.partition("\n\n")[2].splitlines()
    names = ("layer", "unit", "requested", "achieved", "ties cut", "kept", "density", "effective")
    assert head.split("  ")[0] == "layer"
    assert all(name in head for name in (*names, "no live input", "no live output", "unchanged"))
    assert "collapsed" not in head.split()
    assert re.match(r"fc1 +channel-in +16 +16 +0 +200 of 1,280 +15.62% ", first)
    assert "explicit density: 15.6098% (256 of 1,640 weights)" in said
    assert "requested " in said
    assert "\nfindings\n  fc1 keeps 10 of 64 inputs\n" in said


def test_audit_as_json_has_the_same_numbers(place: Path) -> None:
    full = key(place, "weights")
    said = ok("audit", full, cwd=place)
    found = json.loads(ok("audit", full, "--json", cwd=place))
    assert found["key"] == full
    assert f"({found['masks']['kept']:,} of {found['masks']['total']:,} weights)" in said
    assert sum(layer["wiring"]["effective"] for layer in found["layers"]) == pytest.approx(
        found["masks"]["effective_density"] * found["masks"]["total"]
    )
    assert all(f"  {line}\n" in said for line in found["findings"])
    assert found["maker_recipe"] == "prune"
    assert found["requested"] == sum(layer["requested"] for layer in found["layers"])


def test_audit_takes_a_tag(place: Path) -> None:
    full = key(place, "weights")
    ok("tag", full, "mine", cwd=place)
    assert ok("audit", "mine", cwd=place).startswith(f"state {full}\n")


def test_what_cannot_be_audited_is_one_line(place: Path, tmp_path: Path) -> None:
    for arguments, code, text in (
        (["zzz"], 2, "no state in"),
        (["zzz", "--store", str(tmp_path / "none")], 1, "there is no store in"),
    ):
        done = pomona("audit", *arguments, cwd=place)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1)
        assert text in done.stderr
    assert "Example: pomona audit" in ok("audit", "--help")
