"""What `pomona plan` says of hypotheses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .test_commands import STUDY, ok, pomona

CLAIM = """
  - claim: {claim}
    contrast: {{a: {{method: l1-unstructured}}, b: {{method: random-unstructured}}}}
    of: {{measure: accuracy, match: level, value: 2}}
    test: {test}
    assume: {{sd: 2.5pp}}
    expect: {{effect: 4pp}}
"""
LONG = "Magnitude pruning keeps more accuracy than pruning at random does, in a network that is small and quickly trained."


def claims(*tests: str) -> str:
    return "hypotheses:" + "".join(CLAIM.format(claim=LONG, test=test) for test in tests)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of two replicates that was run once."""
    folder = tmp_path_factory.mktemp("designs")
    (folder / "tiny.yaml").write_text(STUDY)
    ok("run", "tiny.yaml", "--workers", "1", cwd=folder)
    five = STUDY.replace("replicates: 2", "replicates: 5")
    (folder / "three.yaml").write_text(
        five + claims("{paired-t: greater}", "permutation", "{equivalence: two-sided}\n    margin: 3pp").replace(
            "3pp\n    assume: {sd: 2.5pp}\n    expect: {effect: 4pp}", "3pp"
        )
    )  # fmt: skip
    return folder


def test_plan_says_what_every_hypothesis_can_see(place: Path) -> None:
    said = ok("plan", "three.yaml", cwd=place)
    assert max(map(len, said[said.index("hypotheses") :].splitlines())) <= 100
    flat = re.sub(r"\s+", " ", said)
    assert (
        "hypotheses 3 in family primary (Holm, the worst step: alpha / 3), alpha .05; not registered: "
        "estimates only" in flat
    )
    assert f"1. {LONG} test paired t, greater; smallest p: no bound (t)" in flat
    assert (
        "detects d_z 1.89 or more, 4.73 points (SD of differences 2.5 points, assumed) with 80 % power at "
        "alpha .0167 needs 6 replicates for the expected 4 points; 5 are planned (power .66) missing 6 of "
        "10 results, about" in flat
    )
    assert (
        "exact permutation, two-sided; smallest p .0625, .1875 by Holm over 3: cannot reach alpha .05" in flat
    )
    assert "detects nothing: no p of 5 replicates reaches alpha .05" in flat
    assert re.search(
        r"equivalence within 3 points; .*shows a margin of 2\.\d\d SD or more where there is no", flat
    )
    assert (
        "needs not known: the SD of the differences is not known; 5 are planned, enough for 3 points up to "
        "an SD of 1." in flat
    )
    assert flat.endswith(
        "cannot be registered: 2: the exact permutation test of 5 replicates reaches p .1875 at least (Holm "
        "over 3), alpha is .05: 7 replicates can "
    )


def test_plan_of_what_is_there_costs_nothing(place: Path) -> None:
    said = ok("plan", "three.yaml", "--set", "replicates=2", "--set", "verdicts=no", cwd=place)
    assert "nothing: all 4 results are there" in said
    assert "'verdicts: no': estimates only" in re.sub(r"\s+", " ", said)


def test_plan_with_hypotheses_needs_no_torch_and_without_them_no_statistics(place: Path) -> None:
    code = (
        "import sys; from pomona.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({'torch', 'statsmodels'} & set(sys.modules)))"
    )
    for study, loaded in (("three.yaml", "['statsmodels']"), ("tiny.yaml", "[]")):
        arguments = [sys.executable, "-c", code, "plan", study]
        done = subprocess.run(arguments, cwd=place, capture_output=True, text=True, check=True)
        assert done.stdout.rstrip().endswith(loaded), done.stderr


def test_plan_says_whether_a_hypothesis_is_registered(place: Path) -> None:
    text = STUDY.replace("study: tiny", "study: fresh").replace("replicates: 2", "replicates: 4")
    answers = "".join(
        f"  {name}: none\n"
        for name in (
            "question",
            "sample_size",
            "exclusions",
            "missing_data",
            "transformations",
            "exploratory",
        )
    )
    text = text.replace("lr: 0.1", "lr: 0.05") + claims("{paired-t: greater}") + f"registration:\n{answers}"
    (place / "fresh.yaml").write_text(text)
    done = pomona("register", "fresh.yaml", cwd=place)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"status +registered [0-9a-f]{12} on \d{4}-\d\d-\d\d", ok("plan", "fresh.yaml", cwd=place)
    )
    (place / "fresh.yaml").write_text(text.replace("greater", "two-sided"))
    assert re.search(r"status +exploratory: \w+", ok("plan", "fresh.yaml", cwd=place))
