"""Queries, tags, notes, log, show, why, diff and graph as a user meets them; and docs/provenance.md as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sqlite3
import xml.etree.ElementTree as ElementTree
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from .test_commands import ok, pomona

DOC = Path(__file__).parents[2] / "docs" / "provenance.md"
COMMANDS = ("query", "tag", "note", "log", "show", "why", "diff", "graph")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOC.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the study of the page was run."""
    folder = tmp_path_factory.mktemp("provenance")
    (folder / "orchard.yaml").write_text(blocks("yaml")[0])
    ok("run", "orchard.yaml", "--workers", "1", cwd=folder)
    return folder


@pytest.fixture
def place(ran: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(ran, tmp_path / "copy"))


def keys(place: Path, query: str) -> list[str]:
    return [row["key"] for row in json.loads(ok("query", query, "--json", cwd=place))]


def test_every_command_of_the_page_runs(place: Path) -> None:
    first, other = keys(place, "level == 3 and replicate == 0")
    for line in "".join(blocks("sh")).splitlines():
        arguments = shlex.split(line.partition(" > ")[0] if line.endswith(".csv") else line)
        assert arguments[0] == "pomona"
        named = [{"KEY": first[:10], "OTHER": other[:10]}.get(word, word) for word in arguments[1:]]
        assert ok(*named, cwd=place).strip(), line
    assert (place / "lineage.svg").is_file()


def test_python_of_the_page_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    names: dict[str, object] = {}
    exec(compile(blocks("python")[0], "provenance.md", "exec"), names)
    said = capsys.readouterr().out
    assert said.startswith("4 ")  # two replicates of levels 2 and 3
    assert re.search(r"ticket l1-unstructured replicate [01] level [23] done 2ep 0\.[4-9]", said)
    table = names["table"]
    assert isinstance(table, pd.DataFrame)
    assert {"accuracy", "accuracy.validation", "method", "density"} <= set(table.columns)
    assert names["kept"] > 0  # type: ignore[operator]


def test_why_of_the_page_says_what_the_page_says(place: Path) -> None:
    study = place / "orchard.yaml"
    study.write_text(study.read_text().replace("duration: 2ep", "duration: 3ep"))
    ok("run", "orchard.yaml", "--workers", "1", cwd=place)
    query = "level == 3 and method == l1-unstructured and replicate == 0 and params.train.duration == 3ep"
    (key,) = keys(place, query)
    wanted = next(block for block in blocks("text") if block.startswith("another"))
    form = re.sub(r"[0-9a-f]{12}", "[0-9a-f]{12}", re.escape(wanted.rstrip()))
    assert re.search(form, ok("why", key, cwd=place))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    assert "Example: pomona " in ok(command, "--help")


def test_query_is_the_same_in_every_form(place: Path) -> None:
    text = "step == ticket and level >= 1"
    said = ok("query", text, cwd=place)
    table = pd.read_csv(StringIO(ok("query", text, "--csv", cwd=place)))
    records = json.loads(ok("query", text, "--json", cwd=place))
    assert said.endswith("12 states\n")
    assert table.key.tolist() == [record["key"] for record in records]
    assert [line.split()[0] for line in said.splitlines()[1:13]] == [key[:12] for key in table.key]
    accuracies = [float(line.split()[-1]) for line in said.splitlines()[1:13]]
    assert accuracies == pytest.approx((100 * table.accuracy).tolist(), abs=0.005)
    assert "the first 2 shown; see --limit" in ok("query", text, "--limit", "2", cwd=place)
    assert ok("query", "tag == nobody", cwd=place) == "0 states\n"


def test_bad_query_is_one_line_and_code_2(place: Path) -> None:
    for command in (["query"], ["log", "--where"], ["log", "--graph", "--where"], ["graph", "--where"]):
        done = pomona(*command, "recpe == train", cwd=place)
        assert done.returncode == 2
        assert done.stderr.startswith(
            "error: query 'recpe == train', column 1: unknown term 'recpe'; did you mean"
        )
        assert done.stderr.count("\n") == 1
    done = pomona("query", "level == 1", "--csv", "--json", cwd=place)
    assert (done.returncode, "give one of them" in done.stderr) == (2, True)


def test_tags_and_notes_are_shown(place: Path) -> None:
    key = keys(place, "step == dense and replicate == 0")[0]
    assert ok("tag", cwd=place) == "no state has a tag\n"
    assert (
        ok("tag", key[:8], "keep", "v1", cwd=place)
        == "keep: given to 1 of 1 state\nv1: given to 1 of 1 state\n"
    )
    assert "good: given to 4 of 4 states" in ok("tag", "--where", "level == 3", "good", cwd=place)
    assert ok("tag", cwd=place) == "good: 4 states\nkeep: 1 state\nv1: 1 state\n"
    ok("note", key[:8], "odd: ünïcode", cwd=place)
    said = ok("show", key, cwd=place)
    assert "tags\n  keep v1\n" in said
    assert re.search(r"notes\n  20\d\d-.*: odd: ünïcode\n", said)
    assert "#keep #v1" in ok("query", "tag == keep", cwd=place)
    ok("tag", key[:8], "keep", "--remove", cwd=place)
    assert keys(place, "tag == keep") == []
    assert "nothing was computed" in pomona("run", "orchard.yaml", cwd=place).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tag", "KEY", "a b"], "the name of a tag is up to 100 letters, digits and . _ -, got 'a b'"),
        (["tag", "KEY"], "expected KEY NAME, or --where QUERY NAME"),
        (["tag", "--where", "level == 3"], "expected KEY NAME"),
        (["tag", "KEY", "fine", "not fine"], "got 'not fine'"),
        (["note", "KEY", " "], "expected the text of a note"),
        (["note", "zz", "text"], "no state in"),
        (["why", "zz"], "no state in"),
        (["diff", "KEY", "zz"], "no state in"),
        (["show", ""], "several states have a key"),
        (["graph", "--output", "x.png"], "expected a name that ends in .svg"),
        (["graph", "--where", "tag == nobody"], "there is no state to draw"),
        (["graph", "--output", "no/such/folder/x.svg"], "could not be written"),
    ],
)
def test_what_cannot_be_done_is_said(place: Path, arguments: list[str], message: str) -> None:
    key = keys(place, "step == dense and replicate == 0")[0]
    done = pomona(*(key if word == "KEY" else word for word in arguments), cwd=place)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    # Several tags are given together or not at all.
    assert ok("tag", cwd=place) == "no state has a tag\n"


def test_log_draws_levels_and_lists_events(place: Path) -> None:
    trained = "recipe == train and replicate == 0 and method == l1-unstructured"
    said = ok("log", "--graph", "--where", trained, cwd=place).splitlines()
    assert [re.search(r"level (\d)", line)[1] for line in said] == ["3", "2", "1", "0"]  # type: ignore[index]
    assert all(line.startswith("● ") for line in said)
    assert "events" not in ok("log", cwd=place)
    with sqlite3.connect(place / "pomona-store" / "ledger.sqlite") as ledger:
        ledger.execute(
            "INSERT INTO events (run, at, kind, node, text) VALUES (1, 5.0, 'repaired', 'abc', 'a blob')"
        )
    said = ok("log", "--where", trained, cwd=place)
    assert re.search(r"1970-01-01 \S+  repaired  abc    a blob", said)
    assert len(re.findall(r"^[0-9a-f]{12} ", said, re.MULTILINE)) == 4


def test_log_draws_in_ascii_where_there_is_nothing_else(place: Path) -> None:
    done = pomona("log", "--graph", "-n", "100", cwd=place, environment={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "*-+  " in done.stdout
    assert done.stdout.isascii()


def test_show_has_probes_with_others_and_what_was_let_go(place: Path) -> None:
    key = keys(place, "level == 2 and replicate == 0 and method == l1-unstructured")[0]
    said = ok("show", key, cwd=place)
    assert "accuracy (test): 0." in said
    assert "accuracy (validation): 0." in said
    probe = re.search(r"weight-stability ([0-9a-f]{12}) with ([0-9a-f]{12})", said)
    assert probe is not None
    of_probe = ok("show", probe[1], cwd=place)
    assert "weight-stability version 1, done" in of_probe
    assert f"  {key[:12]} train\n" in of_probe
    assert f"  {probe[2]} train\n" in of_probe
    assert re.search(r"numbers\n  weight-stability\[fc1\.weight\]: \d", of_probe)
    with sqlite3.connect(place / "pomona-store" / "ledger.sqlite") as ledger:
        ledger.execute("UPDATE outputs SET dropped_at = 1.0 WHERE state = ? AND name = 'weights'", [key])
    assert re.search(r"weights: .* tensors, let go: the digests are kept\n", ok("show", key, cwd=place))


def test_show_says_who_computes_a_state_now(place: Path) -> None:
    from pomona.graph.leases import Leases
    from pomona.graph.store import Store

    key = keys(place, "step == dense and replicate == 0")[0]
    with Store(place / "pomona-store") as store:
        with store.ledger.transaction() as write:
            write.execute("UPDATE states SET status = 'planned' WHERE key = ?", (key,))
        with Leases(store.folder, store.folder / "ledger.sqlite", 1) as leases:
            assert leases.claim([key], "0").mine == key
            assert re.search(
                r"now\n  process \d+ \(run 1\) has been computing it for", ok("show", key, cwd=place)
            )
            assert re.search(
                r"status\n  process \d+ \(run 1\) has been computing it", ok("why", key, cwd=place)
            )
    assert "now\n" not in ok("show", key, cwd=place)


def test_diff_has_every_part(place: Path) -> None:
    one, other = keys(place, "level == 3 and replicate == 0")
    said = ok("diff", one, other, cwd=place)
    assert re.search(r"lineage\n  their last common ancestor is [0-9a-f]{12} \(train\)", said)
    assert "params.method.criterion" in said
    for part in (
        "parameters\n  the same",
        "environment\n  the same",
        "masks (kept, overlap",
        "L2 distance",
        "metrics",
    ):
        assert part in said
    assert re.search(r"accuracy\.validation +0\.\d+ +0\.\d+", said)
    assert "nothing differs: they are the same state" in ok("diff", one, one, cwd=place)


def test_why_shows_the_code_that_was_edited(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n\ndef score(weight: torch.Tensor) -> torch.Tensor:\n    return weight.abs()\n"
    )
    (tmp_path / "own.yaml").write_text(
        "study: own\ndata: digits\nmodel: fc\n"
        "train: {optimizer: {sgd: {lr: 0.1}}, batch_size: 64, duration: 1ep}\n"
        "method: {criterion: 'mine.py:score', granularity: weight, scope: layer}\n"
        "prune: {amount: 20%, levels: 1}\ntreatment: rewind\nmeasure: [accuracy]\n"
    )
    ok("run", "own.yaml", "--workers", "0", cwd=tmp_path)
    mine = tmp_path / "mine.py"
    mine.write_text("# a comment\n" + mine.read_text().replace("weight.abs()", "weight.square()"))
    ok("run", "own.yaml", "--workers", "0", cwd=tmp_path)
    found = keys(tmp_path, "level == 1")
    said = next(said for key in found if "planned earlier" in (said := ok("why", key, cwd=tmp_path)))
    assert re.search(r"first cause: prune [0-9a-f]{12} -> [0-9a-f]{12}\n", said)
    assert "source of mine.py:score changed:" in said
    assert "-    return weight.abs()" in said
    assert "+    return weight.square()" in said
    assert "a comment" not in said
    assert "the source of mine.py:score as it was" in said
    assert "-    return weight" in ok("diff", *found, cwd=tmp_path)


def test_graph_is_a_picture_of_all_states(place: Path) -> None:
    assert ok("graph", cwd=place) == "graph.svg\n"
    root = ElementTree.parse(place / "graph.svg").getroot()
    titles = list(root.iter("{http://www.w3.org/2000/svg}title"))
    assert len(titles) == 2 * (2 + 2 * 3 * 3)


@pytest.mark.parametrize(
    "command", [["query", "level == 3"], ["why", "KEY"], ["diff", "KEY", "KEY"], ["graph"], ["tag"]]
)
def test_asking_imports_no_torch(place: Path, command: list[str]) -> None:
    import subprocess
    import sys

    key = keys(place, "step == dense and replicate == 0")[0]
    arguments = [key if word == "KEY" else word for word in command]
    code = (
        "import sys, atexit\nfrom pomona.cli import main\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().endswith("False")
