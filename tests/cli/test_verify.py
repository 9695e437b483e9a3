"""``pomona verify`` as a user meets it: the chain, a head that was written down, files, a sample."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from pomona.graph.ledger import Measurement
from pomona.graph.store import Store
from tests.graph.conftest import attempt

from .test_commands import STUDY, first_key, ok, pomona

CHAIN = re.compile(r"^chain: (\d+) entries, (.*); head ([0-9a-f]{64})$", re.MULTILINE)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a study was run."""
    folder = tmp_path_factory.mktemp("verify")
    (folder / "tiny.yaml").write_text(STUDY)
    ok("run", "tiny.yaml", "--workers", "1", cwd=folder)
    return folder


@pytest.fixture
def place(ran: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(ran, tmp_path / "copy"))


def edit(place: Path, sql: str) -> int:
    with closing(sqlite3.connect(place / "pomona-store" / "ledger.sqlite")) as ledger, ledger:
        return ledger.execute(sql).rowcount


def chain_of(said: str) -> tuple[int, str, str]:
    found = CHAIN.search(said)
    assert found is not None, said
    return int(found[1]), found[2], found[3]


def test_fraction_0_checks_the_chain_alone_and_changes_nothing(place: Path) -> None:
    ledger = place / "pomona-store" / "ledger.sqlite"
    before = ledger.read_bytes()
    said = ok("verify", "--fraction", "0", cwd=place)
    with Store(place / "pomona-store", create=False) as store:
        done = [
            s for table in ("states", "probes") for s in store.ledger.statuses(table).values() if s == "done"
        ]
    assert chain_of(said)[:2] == (len(done), "unbroken")
    assert said.count("\n") == 1
    assert ledger.read_bytes() == before
    # Also where a file is gone, which it does not look for.
    next((place / "pomona-store" / "blobs").rglob("*.safetensors")).unlink()
    assert ok("verify", "--fraction", "0", cwd=place) == said


def test_the_chain_is_checked_before_files_and_bits(place: Path) -> None:
    said = ok("verify", "--workers", "0", cwd=place)
    assert CHAIN.match(said)
    assert re.search(r"^\d+ files read, 0 not whole\n\d+ computed again, \d+ with the same bits$", said, re.M)


def test_breaks_are_listed_the_first_ten_and_the_rest_is_counted(place: Path) -> None:
    assert edit(place, "UPDATE measurements SET value = 0.999 WHERE quantity NOT LIKE 'class-%'") > 10
    done = pomona("verify", "--fraction", "0.001", "--workers", "0", cwd=place)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    breaks = re.search(r"(\d+) breaks", chain_of(done.stdout)[1])
    assert breaks is not None
    told = re.findall(
        r"^  \S.* or \S+ of probe [0-9a-f]{12} \((?:evaluate|mask-distance) of state [0-9a-f]{12}(?: and [0-9a-f]{12})?\)"
        r" was changed after it was measured$",
        done.stdout,
        re.MULTILINE,
    )
    assert len(told) == 10
    assert any("  accuracy, at-chance, " in line for line in told)
    assert f"\n  and {int(breaks[1]) - 10} more\n" in done.stdout
    # It goes on with the rest all the same.
    assert "files read, 0 not whole" in done.stdout


def test_one_break_is_code_1_whatever_else_is_whole(place: Path) -> None:
    assert edit(place, "UPDATE chain SET content = 'x' WHERE number = 7") == 1
    done = pomona("verify", "--fraction", "0", cwd=place)
    assert done.returncode == 1
    assert chain_of(done.stdout)[1] == "1 break"
    assert re.search(
        r"\n  entry 7 \((state|probe) [0-9a-f]{12}\) was changed after it was written", done.stdout
    )


def test_a_head_that_was_written_down_must_be_in_the_chain(place: Path) -> None:
    _, _, head = chain_of(ok("verify", "--fraction", "0", cwd=place))
    assert f"\n  {head} is in the chain\n" in ok("verify", "--fraction", "0", "--head", head, cwd=place)
    # Later entries come after it.
    ok("run", "tiny.yaml", "--set", "replicates=3", "--workers", "1", cwd=place)
    said = ok("verify", "--fraction", "0", "--head", f" {head.upper()}\n", cwd=place)
    assert chain_of(said)[2] != head
    assert f"  {head} is in the chain" in said
    other = "0" * 64
    done = pomona("verify", "--fraction", "0", "--head", other, cwd=place)
    assert done.returncode == 1
    assert chain_of(done.stdout)[1] == "unbroken"
    assert f"  {other} is not in the chain: its end was cut off, or it was written anew" in done.stdout
    done = pomona("verify", "--head", head[:12], cwd=place)
    assert done.returncode == 2
    assert done.stderr == f"error: --head: expected a link of 64 hex digits, got '{head[:12]}'\n"


def test_a_result_computed_again_with_other_numbers_is_mentioned_and_no_fault(place: Path) -> None:
    with Store(place / "pomona-store") as store:
        rows = store.ledger.rows("SELECT key FROM probes WHERE name = 'evaluate' ORDER BY key LIMIT 1")
        probe = rows[0]["key"]
        with store.ledger.transaction() as write:
            write.execute("UPDATE probes SET status = 'planned' WHERE key = ?", (probe,))
        store.ledger.commit_probe(probe, [Measurement("accuracy", 0.5)], attempt(probe), 1)
    said = ok("verify", "--fraction", "0", cwd=place)
    assert chain_of(said)[1] == "unbroken"
    assert re.search(
        rf"\n  probe {probe[:12]} \(evaluate of state .*\) was computed again with other numbers", said
    )


def test_gc_restore_and_import_leave_an_unbroken_chain(place: Path) -> None:
    before = chain_of(ok("verify", "--fraction", "0", cwd=place))
    ok("gc", "--keep", "none", cwd=place)
    key = first_key(place)
    ok("restore", key, "--workers", "0", cwd=place)
    assert chain_of(ok("verify", "--fraction", "0", cwd=place)) == before
    with Store(place / "pomona-store", create=False) as store:
        weights = store.weights(store.find(key))
    save_file(weights, place / "theirs.safetensors")
    model = ("--model", "fc", "--option", "hidden=12-8", "--data", "digits")
    assert "accuracy: " in ok("import", "theirs.safetensors", *model, cwd=place)
    after = chain_of(ok("verify", "--fraction", "0", "--head", before[2], cwd=place))
    assert after[1] == "unbroken"
    assert after[0] > before[0]
    with Store(place / "pomona-store", create=False) as store:
        (imported,) = store.ledger.rows(
            "SELECT kind FROM chain c JOIN states s ON s.key = c.subject WHERE s.recipe = 'import'"
        )
    assert imported["kind"] == "state"


def test_the_chain_is_checked_without_torch(place: Path) -> None:
    code = (
        "import sys, atexit\n"
        "from pomona.cli import main\n"
        "sys.argv[1:] = ['verify', '--fraction', '0']\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().endswith("False")
