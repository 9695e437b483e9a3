"""``pomona register`` as a user meets it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .test_commands import STUDY, ok, pomona

REGISTERED = (
    STUDY.replace("replicates: 2\n", "replicates: 6\n")
    + """
registration:
  authors: Ada
  question: Does it matter what is pruned?
  sample_size: what one afternoon computes
  exclusions: none
  missing_data: replicates that fail are left out in pairs
  transformations: none
  exploratory: all else
hypotheses:
  - claim: Magnitude keeps accuracy.
    contrast: {a: {method: l1-unstructured}, b: {method: random-unstructured}}
    of: {measure: accuracy, match: level, value: 2}
    test: {paired-t: greater}
    expect: {effect: 5pp}
    assume: {sd: 4pp}
"""
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a study that can be registered."""
    (tmp_path / "tiny.yaml").write_text(REGISTERED)
    return tmp_path


def refused(place: Path, *arguments: str) -> str:
    done = pomona("register", "tiny.yaml", *arguments, cwd=place)
    assert done.returncode == 2, done.stdout
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_registration_fits_a_screen_and_says_what_to_write_down(place: Path) -> None:
    said = ok("register", "tiny.yaml", cwd=place)
    assert len(said.splitlines()) < 25
    digest = re.search(r"digest +([0-9a-f]{64})", said)[1]  # type: ignore[index]
    assert re.search(r"chain head +[0-9a-f]{64}\n +write it down elsewhere", said)
    assert "by Ada (from the study)" in said
    assert "no data yet: none of the 12 results they speak of is in the store" in said
    # Of six pairs, one-sided, from the noncentral t; an SD of 4 points is assumed.
    assert "minimal detectable effect 1.186 SD = 4.743 points (SD: assumed); expected 5 points" in " ".join(
        said.split()
    )
    text = (place / re.search(r"text +(\S+)", said)[1]).read_text()  # type: ignore[index]
    assert digest in text
    assert ok("register", "tiny.yaml", "--show", cwd=place) == text


def test_registering_again_says_since_when_and_a_change_is_a_deviation(place: Path) -> None:
    first = ok("register", "tiny.yaml", cwd=place)
    again = ok("register", "tiny.yaml", "--set", "title=Stripes", cwd=place)
    assert again.startswith("tiny: registered since 20")
    assert "title: nothing -> Stripes" in again
    assert "none of it touches the hypotheses" in again
    changed = ok("register", "tiny.yaml", "--set", "replicates=8", cwd=place)
    assert re.search(r"deviates +from the registration [0-9a-f]{12} of .*\n +replicates: 6 -> 8", changed)
    listed = ok("register", "tiny.yaml", "--list", cwd=place).splitlines()
    assert len(listed) == 3
    for said, line in zip((first, changed), listed[1:], strict=True):
        assert line.startswith(re.search(r"digest +([0-9a-f]{12})", said)[1])  # type: ignore[index]
    assert listed[1].endswith("as the study is now")
    assert listed[2].endswith("1 change since")


def test_a_refused_study_leaves_no_store(place: Path) -> None:
    said = refused(place, "--set", "hypotheses.0.test=permutation", "--set", "replicates=5")
    assert "tiny.yaml cannot be registered: 1 problem" in said
    assert "write 'replicates: 6'" in said
    assert not (place / "pomona-store").exists()
    assert "cannot be registered: 6 problems" in refused(place, "--set", "registration={}")
    assert "verdicts: no" in refused(place, "--set", "verdicts=false")


def test_what_is_not_registered_cannot_be_shown(place: Path) -> None:
    assert pomona("register", "tiny.yaml", "--list", cwd=place).returncode == 1
    ok("register", "tiny.yaml", cwd=place)
    assert "other is not registered in" in refused(place, "--set", "study=other", "--show")
    assert "give one of them" in refused(place, "--show", "--list")


def test_data_that_were_there_are_counted_with_what_follows(place: Path) -> None:
    ok("run", "tiny.yaml", "--workers", "0", "--set", "replicates=2", cwd=place)
    said = ok("register", "tiny.yaml", cwd=place)
    assert "4 of the 12 results they speak of are in the store already" in said
    assert "hypothesis 1 stays exploratory" in said
    advice = re.search(r"registration.pilot=(\d), replicates=(\d)", said)
    assert advice is not None
    better = ok("register", "tiny.yaml", *(f"--set={part}" for part in advice[0].split(", ")), cwd=place)
    assert "no data yet: none of the 12 results" in better


def test_one_state_counted_many_times_is_seen_when_it_is_planned(place: Path) -> None:
    held = ("--set", "hold={init: 0, order: 0}")
    said = ok("register", "tiny.yaml", *held, cwd=place)
    assert "a speaks for init 0 and order 0 only: it is the same in all replicates" in said
    all_held = ("--set", "hold={init: 0, order: 0, mask: 0}")
    reason = "hold leaves nothing that varies between replicates: all 6 of them are the same states"
    assert f"hypotheses.0: {reason}" in refused(place, *all_held)
    planned = ok("plan", "tiny.yaml", *all_held, cwd=place)
    assert f"cannot be registered: 1: {reason}" in " ".join(planned.split())


def test_a_blinded_study_says_what_cannot_be_hidden(place: Path) -> None:
    said = ok("register", "tiny.yaml", "--set", "registration.blind=true", cwd=place)
    assert "the labels of method stand under codes until 'pomona unblind tiny'" in said
    assert "Not hidden: Densities" in said
    assert max(map(len, said.splitlines())) <= 120


def test_nothing_is_computed_and_no_torch_is_imported(place: Path) -> None:
    code = (
        "import sys\n"
        "from pomona.cli.app import app\n"
        "app(['register', 'tiny.yaml'], standalone_mode=False)\n"
        "print('torch' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "False"
    assert not list((place / "pomona-store" / "blobs").iterdir())
    assert "pomona-store: empty" in ok("log", cwd=place)
