"""The commands as a user meets them: in a process of their own, with what they print and how they end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from io import BytesIO, StringIO
from pathlib import Path

import pandas as pd
import pytest

from pomona.graph.tables import FORMAT

STUDY = """
study: tiny
let:
  data: {d: {name: digits}}
  train: {t: {optimizer: {sgd: {lr: 0.1}}, batch_size: 32, duration: 1ep}}
replicates: 2
factors: {method: [l1-unstructured, random-unstructured]}
steps:
  dense: {init: {name: fc, options: {hidden: 12-8}}, on: d, train: t}
  ticket: {from: dense, repeat: 2, prune: {method: $method}, treat: rewind, on: d, train: t}
measure: [accuracy, class-accuracy, density, mask-distance]
presets: {short: {replicates: 1}}
"""
COMMANDS = ("run", "plan", "report", "results", "log", "show", "models", "methods", "data")


def pomona(
    *arguments: str, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from pomona.cli import main; main()", *arguments]
    whole = {**os.environ, **(environment or {})}
    return subprocess.run(command, cwd=cwd, env=whole, capture_output=True, text=True, timeout=120)


def ok(*arguments: str, cwd: Path | None = None) -> str:
    done = pomona(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that was run once, by the command."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.yaml").write_text(STUDY)
    done = pomona("run", "tiny.yaml", "--workers", "1", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stdout + done.stderr)
    return folder


def test_run_prints_the_summary_and_the_path_of_the_report(place: Path) -> None:
    said = (place / "said.txt").read_text()
    assert "l1-unstructured" in said
    assert re.search(r"states computed in", said)
    page = re.search(r"report: (.*\.html)", said)
    assert page is not None
    assert (place / page[1]).is_file()


def test_cached_run_says_so(place: Path) -> None:
    done = pomona("run", "tiny.yaml", cwd=place)
    assert done.returncode == 0
    assert "nothing was computed" in done.stderr
    assert "report:" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(command: str) -> None:
    said = ok(command, "--help")
    assert "Usage:" in said
    if command != "data":
        assert "Example: pomona" in said or "In a study:" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["log"],
        ["show", "KEY"],
        ["run", "tiny.yaml"],
        ["plan", "tiny.yaml"],
        ["report", "tiny.yaml"],
        ["results", "tiny.yaml", "--csv"],
        ["models"],
        ["methods"],
        ["data", "list"],
    ],
)
def test_commands_that_compute_nothing_import_no_torch(arguments: list[str], place: Path) -> None:
    key = first_key(place)
    arguments = [key if a == "KEY" else a for a in arguments]
    code = (
        "import sys, atexit\n"
        "from pomona.cli import main\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().endswith("False")


def first_key(place: Path) -> str:
    shown = ok("log", "-n", "100", cwd=place)
    return re.search(r"^([0-9a-f]{12})  train", shown, re.MULTILINE)[1]  # type: ignore[index]


def test_help_needs_no_numbers_either() -> None:
    code = "import sys; from pomona.cli import app; print(sorted({'numpy', 'pandas', 'pydantic', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_plan_counts_what_is_there_and_writes_nothing(place: Path, tmp_path: Path) -> None:
    said = ok("plan", "tiny.yaml", cwd=place)
    assert "28: 0 to run, 28 cached" in said
    assert "nothing to run" in said
    more = ok("plan", "tiny.yaml", "--set", "replicates=3", cwd=place)
    assert "42: 14 to run, 28 cached" in more
    assert "rates measured in earlier runs" in more
    fresh = ok("plan", str(place / "tiny.yaml"), "--workers", "1", cwd=tmp_path)
    assert "28: 28 to run, 0 cached" in fresh
    assert "a calibration of 2 seconds" in fresh
    assert "steps/s a worker" in fresh
    assert not list(tmp_path.iterdir())


def test_plan_says_which_engine_and_why(place: Path) -> None:
    assert re.search(r"^  engine +lanes$", ok("plan", "tiny.yaml", cwd=place), re.MULTILINE)
    own_way = ["--set", "engine=torch", "--workers", "1"]
    assert re.search(r"^  engine +torch$", ok("plan", "tiny.yaml", *own_way, cwd=place), re.MULTILINE)
    # Networks that differ have a line each. Without kernels nothing is measured for it.
    two = STUDY.replace("{name: fc, options: {hidden: 12-8}}", "$net")
    (place / "two.yaml").write_text(two.replace("factors: {", "factors: {net: [fc, resnet-20], "))
    environment = {"POMONA_KERNELS": str(place)}
    said = pomona("plan", "two.yaml", cwd=place, environment=environment)
    assert said.returncode == 0, said.stderr
    lines = re.findall(r"^  (?:engine|      ) +(\S+ 1x8x8: .*)$", said.stdout, re.MULTILINE)
    assert lines[0] == "fc 1x8x8: lanes"
    assert lines[1].startswith(
        "resnet-20 1x8x8: torch (bn: BatchNorm2d is not among the lane engine's layers"
    )
    assert re.search(r"^  time +not known: .*`engine: torch`", said.stdout, re.MULTILINE)


def test_run_without_kernels_says_so_once(place: Path, tmp_path: Path) -> None:
    environment = {"POMONA_KERNELS": str(tmp_path)}
    done = pomona("run", str(place / "tiny.yaml"), cwd=tmp_path, environment=environment)
    assert done.returncode == 2
    assert done.stderr.count("engine: torch") == 1
    assert "Traceback" not in done.stderr
    finished = pomona("run", "tiny.yaml", cwd=place, environment=environment)
    assert finished.returncode == 0, finished.stderr
    assert "nothing was computed" in finished.stderr


def test_models_says_what_runs_on_lanes() -> None:
    said = ok("models")
    first = {block.split()[0]: re.search(r"engine: (.*)", block)[1] for block in said.split("\n\n")[:-1]}  # type: ignore[index]
    assert first["lenet"] == first["fc"] == first["conv-6"] == "lanes"
    assert first["resnet-20"].startswith("torch (bn: BatchNorm2d is not among")
    assert first["vgg-11"].startswith("lanes; with batch_norm: True torch (norms.0: ")
    assert "with batch_norm: False lanes" in " ".join(said.split("vgg-19")[1].split())


def test_results_are_the_same_table_in_every_form(place: Path, tmp_path: Path) -> None:
    table = pd.read_csv(StringIO(ok("results", "tiny.yaml", "--csv", cwd=place)))
    records = json.loads(ok("results", "tiny.yaml", "--json", cwd=place))
    file = tmp_path / "t.parquet"
    ok("results", "tiny.yaml", "--parquet", "--output", str(file), cwd=place)
    parquet = pd.read_parquet(BytesIO(file.read_bytes()))
    assert len(table) == len(records) == len(parquet)
    assert list(table.columns) == list(parquet.columns) == list(records[0])
    assert table.value.tolist() == pytest.approx([r["value"] for r in records], abs=1e-14)
    assert parquet.value.tolist() == table.value.tolist()
    # 2 replicates of 1 dense and 2 arms of 3 levels.
    assert (table.quantity == "accuracy").sum() == 2 * (1 + 2 * 3)


def test_results_without_a_form_is_the_summary(place: Path) -> None:
    said = ok("results", "tiny.yaml", cwd=place)
    assert "random-unstructured" in said


def test_results_refuses_two_forms(place: Path) -> None:
    done = pomona("results", "tiny.yaml", "--csv", "--json", cwd=place)
    assert done.returncode == 2
    assert "give one of them" in done.stderr


def test_show_finds_a_state_by_its_beginning(place: Path) -> None:
    key = first_key(place)
    said = ok("show", key[:8], cwd=place)
    assert f"state {key}" in said
    for part in (
        "train version 1, done",
        "parameters",
        "lineage",
        "files",
        "masks",
        "accuracy (test)",
        "lr: 0.1",
    ):
        assert part in said


def test_show_of_nothing_says_so(place: Path) -> None:
    done = pomona("show", "zz", cwd=place)
    assert done.returncode == 2
    assert "no state in" in done.stderr
    assert "begins with 'zz'" in done.stderr


def test_log_lists_runs_and_states(place: Path) -> None:
    said = ok("log", cwd=place)
    assert re.search(r"28 done", said)
    assert "tiny" in said
    assert "ticket l1-unstructured replicate" in said


def test_preset_is_applied(place: Path) -> None:
    said = ok("plan", "tiny.yaml", "--preset", "short", cwd=place)
    assert "tiny, preset short" in said
    assert "14: 0 to run, 14 cached" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tiny.yml"], r"there is no study 'tiny\.yml'.*did you mean 'tiny\.yaml'"),
        (["run", "tiny.yaml", "--preset", "shrt"], "unknown preset 'shrt'; did you mean 'short'"),
        (["run", "tiny.yaml", "--set", "replicats=3"], "unknown key 'replicats'; did you mean 'replicates'"),
        (["run", "tiny.yaml", "--set", "replicates=0"], "greater than or equal to 1"),
        (["plan", "tiny.yaml", "--device", "tpu"], "unknown device 'tpu'"),
        (["data", "fetch", "mnst"], "unknown data set 'mnst'; did you mean 'mnist'"),
        (["report", "tiny.yaml", "--store", "nowhere"], "there is no store in .*nowhere"),
        (["log", "--store", "nowhere"], "there is no store in .*nowhere"),
    ],
)
def test_bad_input_is_one_message_and_exit_code(arguments: list[str], message: str, place: Path) -> None:
    done = pomona(*arguments, cwd=place)
    assert done.returncode in (1, 2)
    assert re.search(message, done.stderr, re.DOTALL), done.stderr
    assert "Traceback" not in done.stderr


def test_store_of_a_newer_version_is_refused_and_left_alone(place: Path, tmp_path: Path) -> None:
    import sqlite3

    (tmp_path / "tiny.yaml").write_text(STUDY)
    store = tmp_path / "pomona-store"
    store.mkdir()
    connection = sqlite3.connect(store / "ledger.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (store / "ledger.sqlite").read_bytes()
    done = pomona("run", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "format 99" in done.stderr
    assert f"reads format {FORMAT}" in done.stderr
    assert (store / "ledger.sqlite").read_bytes() == before


def test_failed_states_are_listed_and_the_exit_code_says_so(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY.replace("lr: 0.1", "lr: 1e30"))
    done = pomona("run", "tiny.yaml", "--preset", "short", "--workers", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert "failed (diverged): dense replicate 0 level 0" in done.stderr
    assert "descending from it" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_stops_says_how_to_go_on_and_the_same_command_does(tmp_path: Path) -> None:
    long = STUDY.replace("duration: 1ep", "duration: 400ep").replace("replicates: 2", "replicates: 1")
    (tmp_path / "tiny.yaml").write_text(long.replace("repeat: 2", "repeat: 1"))
    command = [
        sys.executable,
        "-c",
        "from pomona.cli import main; main()",
        "run",
        "tiny.yaml",
        "--workers",
        "2",
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("pomona-store/blobs/*/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert re.search(r"Stopped\. \d+ of 8 states are done and kept", said), said
    assert "run tiny.yaml --workers 2" in said
    assert "Traceback" not in said
    again = pomona("run", "tiny.yaml", "--workers", "2", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert re.search(r"[1-9]\d* cached", again.stderr)
