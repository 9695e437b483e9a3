"""A blinded study as a user meets it: every command searched for what would tell which arm is which."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from ..zoo import LABELS, TEXT, WORDS, words_below, words_in
from .test_commands import ok, pomona

ANIMALS = {"zebra", "quokka", "okapi"}
# Of other studies in the same store nothing is hidden.
OTHER = """
study: farm
let:
  data: {d: {name: digits, validation: 100}}
  train: {t: {optimizer: {sgd: {lr: 0.1}}, batch_size: 64, duration: 10it}}
factors: {way: {cow: random-unstructured, hen: {criterion: random, granularity: weight, scope: kind}}}
steps:
  dense: {init: {name: fc, options: {hidden: 8-8}}, on: d, train: t}
  ticket: {from: dense, repeat: 1, prune: {method: $way}, treat: rewind, on: d, train: t}
measure: [accuracy]
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the study was registered blind and run, beside another one."""
    folder = tmp_path_factory.mktemp("blind")
    (folder / "zoo.yaml").write_text(TEXT)
    (folder / "farm.yaml").write_text(OTHER)
    ok("run", "farm.yaml", "--workers", "0", cwd=folder)
    ok("register", "zoo.yaml", cwd=folder)
    done = pomona("run", "zoo.yaml", "--workers", "2", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stdout + done.stderr)
    return folder


@pytest.fixture
def place(ran: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(ran, tmp_path / "copy"))


def everything(*arguments: str, cwd: Path) -> str:
    """What a command prints, whether it is refused or not, and in which files."""
    done = pomona(*arguments, cwd=cwd)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def rows(place: Path, sql: str) -> list[tuple[str, ...]]:
    with sqlite3.connect(place / "pomona-store" / "ledger.sqlite") as ledger:
        return ledger.execute(sql).fetchall()


def keys(place: Path) -> list[str]:
    """A pruned state, a trained one and a dense one of the study."""
    sql = "SELECT MIN(s.key) FROM labels l JOIN states s ON s.key = l.state WHERE study = 'zoo' AND level {}"
    prune = "SELECT MIN(key) FROM states WHERE recipe = 'prune' AND params LIKE '%taylor%'"
    return [rows(place, q)[0][0] for q in (prune, sql.format("= 2"), sql.format("= 0"))]


LISTS = (
    ("run", "zoo.yaml"),
    ("results", "zoo.yaml"),
    ("results", "zoo.yaml", "--csv"),
    ("results", "zoo.yaml", "--json"),
    ("report", "zoo.yaml", "--output", "elsewhere"),
    ("verdicts", "zoo.yaml"),
    ("verdicts", "zoo.yaml", "--json"),
    ("log",),
    ("log", "--graph"),
    ("query",),
    ("query", "accuracy > 0", "--json"),
    ("graph", "--output", "all.svg"),
    ("tag",),
    ("tag", "--where", "level >= 0", "seen"),
    ("gc", "--dry-run"),
    ("verify", "--fraction", "0.02"),
    ("unblind", "--help"),
)


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_no_command_says_a_word_of_the_arms(place: Path, command: tuple[str, ...]) -> None:
    before = words_below(place)
    assert words_in(everything(*command, cwd=place)) == set()
    after = words_below(place)
    assert {name for name in after if name not in before and "ledger.sqlite" not in name} == set()


@pytest.mark.parametrize(
    "command",
    [("show",), ("audit",), ("why",), ("note", "a remark"), ("tag", "mine"), ("export", "x.safetensors")],
    ids=" ".join,
)
def test_single_states_of_a_blinded_study_are_refused(ran: Path, command: tuple[str, ...]) -> None:
    # A pruned, a trained or a dense state; which commands refuse which is tested of the gate itself.
    key = keys(ran)[len(command[0]) % 3]
    done = pomona(command[0], key[:12], *command[1:], cwd=ran)
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"state {key[:12]} belongs to the blinded study zoo" in done.stderr
    assert "'pomona unblind zoo'" in done.stderr
    assert words_in(done.stderr) == set()
    assert not (ran / "x.safetensors").exists()


def test_measurements_and_comparisons_are_refused_too(ran: Path) -> None:
    prune, trained, _ = keys(ran)
    (probe,) = rows(ran, f"SELECT probe FROM probe_states WHERE state = '{trained}' LIMIT 1")[0]
    assert f"measurement {probe[:12]} belongs to the blinded study zoo" in everything("show", probe, cwd=ran)
    done = pomona("diff", prune, trained, cwd=ran)
    assert done.returncode == 2
    assert "belongs to the blinded study zoo" in done.stderr


def test_what_was_said_while_the_study_ran_is_under_codes(ran: Path) -> None:
    said = (ran / "said.txt").read_text()
    assert words_in(said) == set()
    assert "blinded: the labels of method stand under codes" in " ".join(said.split())
    assert len(set(re.findall(r"method-[A-Z0-9]{4}", said))) == 3
    assert "reports/zoo-blind/index.html" in said
    # Neither do the files of the store but for the ledger, and the registration, which freezes the study.
    store = ran / "pomona-store"
    known = re.compile(r"ledger\.sqlite|registrations/zoo-")
    assert [name for name in words_below(store) if not known.match(name)] == []
    assert any(store.glob("reports/zoo-blind/figures/*.svg"))


def test_failures_of_a_run_are_said_under_codes(tmp_path: Path) -> None:
    text = TEXT.replace("lr: 0.1", "lr: 1.0e+18")
    (tmp_path / "zoo.yaml").write_text(text)
    ok("register", "zoo.yaml", cwd=tmp_path)
    done = pomona("run", "zoo.yaml", "--workers", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert "failed (diverged)" in done.stderr
    assert words_in(done.stdout + done.stderr) == set()
    assert words_in(everything("log", cwd=tmp_path)) == set()


def test_states_of_other_studies_are_listed_and_shown(ran: Path) -> None:
    listed = json.loads(ok("query", "recipe == train", "--json", cwd=ran))
    assert {row["study"] for row in listed} == {"farm"}
    assert "cow" in ok("show", listed[-1]["key"], cwd=ran) + ok("log", cwd=ran)
    assert "hen" in ok("results", "farm.yaml", cwd=ran)
    said = everything("query", cwd=ran)
    assert "belong to zoo, which is blinded" in said


def test_the_same_arms_under_another_name_are_refused(ran: Path) -> None:
    for command in ("results", "report", "run"):
        done = pomona(command, "zoo.yaml", "--set", "study=copy", cwd=ran)
        assert done.returncode == 2
        assert "belong to the blinded study zoo" in done.stderr
        assert words_in(done.stdout + done.stderr) == set()


def test_queries_that_free_weights_are_refused(ran: Path) -> None:
    done = pomona("gc", "--keep", "level >= 2", "--dry-run", cwd=ran)
    assert done.returncode == 2
    assert "those of zoo are blinded" in done.stderr


def test_after_the_reveal_the_search_finds_the_names_again(place: Path) -> None:
    """The control of this file: what was not found before is there now."""
    prune, trained, _ = keys(place)
    said = ok("unblind", "zoo.yaml", cwd=place)
    assert all(label in said for label in LABELS)
    assert re.search(r"zoo: revealed \d{4}-\d\d-\d\d .*, entry \d+ of the chain", said)
    assert "the codes are those that were committed to: " in said
    for command in (
        ("results", "zoo.yaml"),
        ("results", "zoo.yaml", "--csv"),
        ("log", "--graph", "--limit", "99"),
    ):
        assert words_in(everything(*command, cwd=place)) >= ANIMALS, command
    assert words_in(everything("query", "--csv", cwd=place)) >= ANIMALS
    assert "taylor" in ok("show", prune, cwd=place)
    assert words_in(ok("why", trained, cwd=place)) & ANIMALS
    assert ok("audit", prune, cwd=place)
    ok("report", "zoo.yaml", cwd=place)
    assert words_in((place / "pomona-store" / "reports" / "zoo" / "index.html").read_text()) == set(WORDS)
    assert "zebra" in ok("verdicts", "zoo.yaml", cwd=place)
    ok("graph", "--output", "all.svg", cwd=place)
    assert words_in((place / "all.svg").read_text()) >= ANIMALS
    # The codes that were printed are those that the outputs had.
    codes = dict(line.split()[::-1] for line in said.splitlines() if line.startswith("  method-"))
    assert all(code in (place / "said.txt").read_text() for code in codes.values())
    assert set(codes) == set(LABELS)


def test_a_reveal_happens_once_and_by_name_too(place: Path) -> None:
    (place / "zoo.yaml").unlink()  # the study's file need not be there
    ok("unblind", "zoo", cwd=place)
    done = pomona("unblind", "zoo", cwd=place)
    assert done.returncode == 2
    assert re.search(r"the codes of zoo were revealed already, \d{4}-\d\d-\d\d", done.stderr)
    done = pomona("unblind", "farm.yaml", cwd=place)
    assert done.returncode == 2
    assert "nothing of farm is blinded in this store" in done.stderr
    assert "unblinded" in {row[0] for row in rows(place, "SELECT kind FROM chain WHERE subject = 'zoo'")}


def test_a_salt_that_was_changed_reveals_nothing(place: Path) -> None:
    with sqlite3.connect(place / "pomona-store" / "ledger.sqlite") as ledger:
        ledger.execute("UPDATE blindings SET salt = ?", ("0" * 64,))
    ledger.close()
    done = pomona("unblind", "zoo.yaml", cwd=place)
    assert done.returncode == 1
    assert "not the one that was committed to" in done.stderr
    assert words_in(done.stdout + done.stderr) == set()
    assert words_in(everything("results", "zoo.yaml", cwd=place)) == set()
