"""Jobs of a study as threads of one process: the same bits, nothing shared that must not be."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pomona.core.global_state import LOCK
from pomona.core.reference import Reference
from pomona.graph.nodes import SNAPSHOT, Graph, Probe, State
from pomona.graph.pool import Executor, HereExecutor, LocalPool
from pomona.graph.store import Store
from pomona.graph.threads import ThreadPool
from pomona.measures.connectivity import effective_masks
from pomona.models.own import own_network
from pomona.pruning.method import Method
from pomona.pruning.prune import prune
from pomona.studies import bench, executors, plan
from pomona.studies.executors import engines_of, open_executor
from pomona.studies.expand import expand
from pomona.studies.run import run
from pomona.studies.study import Study, parse_study
from pomona.training.batches import Examples
from pomona.training.config import Train
from pomona.training.evaluate import evaluate
from pomona.training.loop import train
from pomona.training.placing import taken

from .conftest import SMALL, small_study
from .test_run import TINY, contents, in_folder

MINE = """
import random
import numpy as np
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        print("a network is made")
        self.first = nn.Linear(64, 16)
        self.scale = nn.Parameter(torch.tensor([random.random(), np.random.rand()]))
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(16, 10)
    def forward(self, x):
        return self.last(self.drop(torch.relu(self.first(x.flatten(1))))) * self.scale.sum()

def noisy(weight):
    return weight.abs() * torch.rand_like(weight) * float(np.random.rand())
"""

ANY = frozenset({"torch", "lanes"})


@pytest.fixture
def any_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "THREADED", ANY)


def own_study(folder: Path) -> Study:
    (folder / "mine.py").write_text(MINE)
    text = TINY.replace("{name: fc, options: {hidden: 12-8}}", "mine.py:Net")
    text = text.replace("[l1-unstructured, random-unstructured]", "{small: {criterion: 'mine.py:noisy'}}")
    return in_folder(text.replace("replicates: 1", "replicates: 4"), folder)


@pytest.mark.usefixtures("any_on_threads")
def test_threads_give_the_keys_and_bits_of_one_job_after_the_other(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks of the catalogue, every kind of probe."""
    monkeypatch.setattr(executors, "LocalPool", None)
    run(small_study(), store=tmp_path / "store", workers=3)
    assert (tmp_path / "store" / "logs" / "worker-2.log").exists()
    assert contents(tmp_path / "store") == contents(small_store)


def test_threads_give_the_keys_and_bits_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of torch, whose modules are called and traced in one process then."""
    text = SMALL.replace("repeat: 3", "repeat: 2") + "engine: torch\n"
    for name, threaded in (("threads", ANY), ("processes", frozenset[str]())):
        monkeypatch.setattr(executors, "THREADED", threaded)
        run(small_study(text), store=tmp_path / name, workers=2)
    assert contents(tmp_path / "threads") == contents(tmp_path / "processes")


def test_threads_lend_random_state_to_one_job_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A user's network draws in its constructor and at every step, a user's criterion at every call."""
    study = own_study(tmp_path)
    monkeypatch.setattr(executors, "THREADED", frozenset())
    run(study, store=tmp_path / "processes", workers=2)
    capfd.readouterr()
    monkeypatch.setattr(executors, "THREADED", ANY)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    threads = torch.get_num_threads()
    assert not run(study, store=tmp_path / "threads", workers=4).lost()
    assert contents(tmp_path / "threads") == contents(tmp_path / "processes")
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())
    assert torch.get_num_threads() == threads
    assert capfd.readouterr().out == ""
    assert "a network is made" in (tmp_path / "threads" / "logs" / "worker-0.log").read_text()


def examples() -> Examples:
    return Examples(np.zeros((8, 1, 2, 2), np.uint8), np.arange(8, dtype=np.uint8) % 2, (1.0,), (0.0,))


def learn() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    config = Train.model_validate({"optimizer": {"sgd": {"lr": 0.1}}, "batch_size": 4, "duration": "1ep"})
    train(
        module,
        taken(module),
        {},
        examples(),
        np.arange(8),
        np.arange(0),
        config,
        order=lambda epoch: np.arange(8),
        dropout_seed=lambda step: 0,
        random_forward=False,
    )


def follow() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    effective_masks(module, {"1.weight": np.ones((2, 4), bool)}, (1, 2, 2))


def judge() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    evaluate(module, taken(module), examples(), None, 2)


def score(folder: Path) -> None:
    method = Method(criterion="mine.py:noisy")
    prune({"w": torch.ones(4, 4)}, {}, {"w": "linear"}, method, 0.5, folder=folder)


ALONE: dict[str, Callable[[Path], object]] = {
    "train": lambda folder: learn(),
    "trace": lambda folder: follow(),
    "evaluate": lambda folder: judge(),
    "a user's network": lambda folder: own_network("mine.py:Net", (1, 8, 8), 10, {}, 0, folder),
    "a user's criterion": score,
    "a user's file": lambda folder: Reference(folder / "mine.py", "Net").load(),
    "a user's source": lambda folder: Reference(folder / "mine.py", "Net").digest(),
}


@pytest.mark.parametrize("what", ALONE)
def test_what_uses_the_state_of_the_process_waits_for_the_lock(what: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    ended = threading.Event()

    def work() -> None:
        ALONE[what](tmp_path)
        ended.set()

    thread = threading.Thread(target=work)
    with LOCK:
        thread.start()
        assert not ended.wait(0.2)
    thread.join()
    assert ended.is_set()


def test_each_thread_keeps_a_network_of_its_own() -> None:
    how = {
        "model": {"name": "fc", "options": {"hidden": "4"}},
        "input_shape": [1, 2, 2],
        "classes": 3,
        "folder": ".",
        "sources": {},
    }
    others: list[nn.Module] = []
    thread = threading.Thread(target=lambda: others.append(bench.network(how)))
    thread.start()
    thread.join()
    assert bench.network(how) is bench.network(how)
    assert bench.network(how) is not others[0]


def test_threads_that_ask_for_the_same_data_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprint = bench.load("digits").info.fingerprint
    calls: list[str] = []
    real = bench.load

    def slow(name: str, folder: Path) -> object:
        calls.append(name)
        time.sleep(0.1)
        return real(name, folder)

    monkeypatch.setattr(bench, "load", slow)
    bench._dataset.cache_clear()
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(bench.dataset("digits", ".", fingerprint)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == ["digits"]
    assert len({id(data) for data in found}) == 1


def test_a_jobs_thread_computes_on_one_core(tmp_path: Path) -> None:
    """Also where torch's first operation there is a convolution, which asks for no number of threads."""
    code = f"""
import os
from pathlib import Path
import torch
from pomona.graph.jobs import Job, Outcome
from pomona.graph.pool import Progress
from pomona.studies import execute, executors

def convolve(job, files, context):
    before = len(os.listdir("/proc/self/task"))
    with torch.no_grad():
        module(images)
    return Outcome(facts={{"new": len(os.listdir("/proc/self/task")) - before}})

torch.set_num_threads(4)
execute.RECIPES["convolve"] = convolve
with executors.open_executor(1, Path({str(tmp_path)!r}), {{"lanes"}}) as executor:
    module, images = torch.nn.Conv2d(16, 64, 3), torch.empty(64, 16, 32, 32).fill_(0.5)
    executor.submit(0, Job("k", "convolve", {{}}, {{}}, (), {str(tmp_path)!r}))
    said = []
    while not said:
        said += executor.poll(0.1)
print(said[0].what.facts, torch.get_num_threads())
"""
    environment = {key: value for key, value in os.environ.items() if "_NUM_THREADS" not in key}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert found.stdout == "{'new': 0} 4\n"


def state(recipe: str, engine: str | None, *parents: State) -> State:
    params = {"engine": {"name": engine}} if engine else {"of": recipe}
    return State(recipe, 1, params, tuple(parent.key for parent in parents))


def test_engines_are_those_of_what_is_missing() -> None:
    graph = Graph()
    init = graph.add(state("init", None))
    lanes, other = (graph.add(state("train", engine, init)) for engine in ("lanes", "torch"))
    late = graph.add(state(SNAPSHOT, None, other))
    probe = graph.measure(Probe("evaluate", 1, {"engine": {"name": "torch-cuda"}}, (init.key,)))
    distance = graph.measure(Probe("mask-distance", 1, {}, (init.key,)))
    assert engines_of(graph, {init.key, lanes.key, distance.key}) == {"lanes"}
    assert engines_of(graph, {late.key}) == {"torch"}
    assert engines_of(graph, {lanes.key, probe.key}) == {"lanes", "torch-cuda"}
    assert engines_of(graph, {init.key, distance.key}) == set()


@pytest.mark.parametrize(
    ("size", "engines", "kind"),
    [
        (2, {"lanes"}, ThreadPool),
        (2, {"torch"}, LocalPool),
        (2, {"lanes", "torch"}, LocalPool),
        (2, set(), LocalPool),
        (0, {"lanes"}, HereExecutor),
        (0, {"torch"}, HereExecutor),
    ],
)
def test_threads_are_for_the_lane_engine_alone(
    size: int, engines: set[str], kind: type[Executor], tmp_path: Path
) -> None:
    with open_executor(size, tmp_path, engines) as executor:
        assert type(executor) is kind


@pytest.mark.usefixtures("any_on_threads")
def test_plan_calibrates_where_the_run_would_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Executor] = []

    def calibrate(states: dict[str, State], workers: int, executor: Executor, *_: str) -> dict[str, float]:
        used.append(executor)
        return dict.fromkeys(states, 100.0)

    monkeypatch.setattr(plan, "calibrate", calibrate)
    population = expand(parse_study(TINY), "cpu")
    assert plan.make_plan(population, None, 3).rates
    assert [(type(executor), executor.size) for executor in used] == [(ThreadPool, 3)]


@pytest.mark.usefixtures("any_on_threads")
def test_plan_measures_a_rate_on_threads() -> None:
    made = plan.make_plan(expand(parse_study(TINY), "cpu"), None, 2)
    assert made.source.startswith("a calibration")
    assert all(rate > 0 for rate in made.rates.values())


START = """
from pathlib import Path
from pomona.studies import executors
from pomona.studies.document import parse_document
from pomona.studies.run import run
from pomona.studies.study import check_study

executors.THREADED = frozenset({{"torch", "lanes"}})
folder = Path({folder!r})

def note(tally):
    if any(0.1 < share < 0.9 for _, share in tally.workers.values()):
        (folder / "midway").touch()

run(check_study(parse_document({text!r}, "mine.yaml", folder)), store=folder / "stopped", workers=2, on_change=note)
"""


def interrupted(text: str, folder: Path, when: str) -> tuple[int, str]:
    """Start a run on threads, press Ctrl-C when a file is there, and say how it ended."""
    code = START.format(text=text, folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while not (folder / when).exists():
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def test_ctrl_c_on_threads_leaves_a_checkpoint_to_go_on_from(tmp_path: Path) -> None:
    text = TINY.replace("duration: 1ep", "duration: 30ep").replace("12-8", "300-100")
    text = text.replace("repeat: 2", "repeat: 1").replace(", random-unstructured]", "]") + "engine: torch\n"
    status, said = interrupted(text, tmp_path, "midway")
    assert status == -signal.SIGINT
    assert said.count("Traceback") == 1
    assert said.strip().splitlines()[-1] == "KeyboardInterrupt"
    stopped = tmp_path / "stopped"
    assert len(list((stopped / "checkpoints").glob("*.safetensors"))) == 1
    with Store(stopped) as store:
        assert [row["outcome"] for row in store.ledger.rows("SELECT outcome FROM runs")] == ["interrupted"]
    for store_folder in (stopped, tmp_path / "whole"):
        run(parse_study(text), store=store_folder, workers=1)
    assert contents(stopped) == contents(tmp_path / "whole")


def test_ctrl_c_ends_a_run_whose_native_code_does_not_listen(tmp_path: Path) -> None:
    """Without a word of the C++ runtime, which would else abort when the code comes back."""
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom pathlib import Path\n"
        "def deaf(weight):\n"
        "    Path(__file__).with_name('begun').touch()\n"
        "    large = torch.ones(1000, 1000)\n"
        "    while True:\n"
        "        large @ large\n"
    )
    text = TINY.replace("[l1-unstructured, random-unstructured]", "{small: {criterion: 'mine.py:deaf'}}")
    status, said = interrupted(text, tmp_path, "begun")
    assert status == 130
    assert said.count("Traceback") == 1
    assert said.strip().splitlines()[-1] == "KeyboardInterrupt"
