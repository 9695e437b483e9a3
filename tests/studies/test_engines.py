"""Which engine a network gets, what is said where it gets none, and where that shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from pomona.core.errors import InputError, ProblemsError
from pomona.graph.store import Store
from pomona.report.write import write_report
from pomona.studies import bench, engines, probes, recipes
from pomona.studies.document import parse_document
from pomona.studies.engines import kernels_here
from pomona.studies.expand import expand
from pomona.studies.plan import make_plan
from pomona.studies.points import Population
from pomona.studies.results import Results
from pomona.studies.run import Run, run
from pomona.studies.study import Study, check_study, parse_study
from pomona.training.lanes import native

from .test_run import TINY, contents

NETS = """
from torch import nn

class Plain(nn.Module):
    def __init__(self, hidden=16, drop=0.0):
        super().__init__()
        print("a network is made")
        self.first, self.drop, self.last = nn.Linear(64, hidden), nn.Dropout(drop), nn.Linear(hidden, 10)
    def forward(self, x):
        return self.last(self.drop(self.first(x.flatten(1)).relu()))

class Residual(Plain):
    def forward(self, x):
        hidden = self.first(x.flatten(1)).relu()
        return self.last(hidden + hidden.relu())

class Normed(Plain):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.BatchNorm1d(16), nn.BatchNorm1d(16)
    def forward(self, x):
        return self.last(self.two(self.one(self.first(x.flatten(1)))))

class TooWide(Plain):
    def forward(self, x):
        return self.first(self.last(x.flatten(1)))

def fails():
    raise RuntimeError("no network today")

def load():
    import numpy as np
    labels = np.arange(100) % 10
    images = np.broadcast_to(20 * labels[:, None, None], (100, 8, 8)).astype(np.uint8)
    return images, labels, images, labels
"""

NORM = (
    "BatchNorm2d is not among the lane engine's layers "
    "(Conv2d, Linear, ReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Flatten, Dropout)"
)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(NETS)
    return tmp_path


@pytest.fixture
def no_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where none were compiled."""
    monkeypatch.setenv(native.FOLDER, str(tmp_path / "nothing"))


def text(model: str = "fc", engine: str = "auto", data: str = "digits") -> str:
    changed = TINY.replace("{name: fc, options: {hidden: 12-8}}", model).replace(
        "name: digits", f"name: {data}"
    )
    return f"{changed}engine: {engine}\n"


def study(written: str, folder: Path | None = None) -> Study:
    return check_study(parse_document(written, "s.yaml", folder or Path.cwd()))


def records(population: Population) -> set[tuple[str, str]]:
    """Name and precision of every engine that enters a key, by recipe or probe."""
    nodes = [(s.recipe, s.params) for s in population.graph.states.values()]
    nodes += [(p.name, p.params) for p in population.graph.probes.values()]
    found: list[tuple[str, Any]] = [(name, params["engine"]) for name, params in nodes if "engine" in params]
    assert {record["precision"] for _, record in found} == {"float32"}
    return {(name, record["name"]) for name, record in found}


@pytest.mark.parametrize(
    ("model", "engine", "reason"),
    [
        ("lenet", "lanes", ""),
        ("fc", "lanes", ""),
        ("{name: fc, options: {hidden: '30'}}", "lanes", ""),
        ("conv-2", "lanes", ""),
        ("conv-4", "lanes", ""),
        ("conv-6", "lanes", ""),
        ("vgg-11", "lanes", ""),
        ("{name: vgg-11, options: {batch_norm: true}}", "torch", f"norms.0: {NORM}"),
        ("vgg-19", "torch", f"norms.0: {NORM}"),
        ("{name: vgg-19, options: {batch_norm: false, width: 8}}", "lanes", ""),
        ("resnet-20", "torch", f"bn: {NORM}"),
        ("{name: resnet-20, options: {width: 4}}", "torch", f"bn: {NORM}"),
    ],
)
def test_auto_takes_lanes_where_a_catalogue_network_can_run_there(
    model: str, engine: str, reason: str
) -> None:
    population = expand(study(text(model, data="mnist")))
    assert records(population) == {("train", engine), ("evaluate", engine)}
    assert {p.network.engine.reasons for p in population.points} == {(reason,) if reason else ()}
    assert [e.text for e in population.engines().values()] == [f"torch ({reason})" if reason else "lanes"]
    # Asked for by name it has the same keys.
    asked = expand(study(text(model, engine, data="mnist")))
    assert set(asked.graph.states) == set(population.graph.states)
    assert set(asked.graph.probes) == set(population.graph.probes)


@pytest.mark.parametrize(
    ("model", "engine", "reason"),
    [
        ("mine.py:Plain", "lanes", ""),
        ("{name: 'mine.py:Plain', options: {drop: 0.5}}", "lanes", ""),
        ("mine.py:Residual", "torch", "Residual: "),
        ("mine.py:Normed", "torch", "one: BatchNorm1d"),
    ],
)
def test_auto_looks_into_a_users_own_network(model: str, engine: str, reason: str, mine: Path) -> None:
    population = expand(study(text(model), mine))
    assert records(population) == {("train", engine), ("evaluate", engine)}
    (found,) = population.engines().values()
    assert found.text.startswith(f"torch ({reason}" if reason else "lanes")
    assert expand(study(text(model, "torch"), mine)).engines()[""].text == "torch"


def test_further_reasons_are_counted_in_a_plan_and_kept(mine: Path) -> None:
    found = expand(study(text("mine.py:Normed"), mine)).engines()[""]
    assert [reason.split(":")[0] for reason in found.reasons] == ["one", "two"]
    assert found.text.endswith("; and 1 more)")


def test_network_that_upsets_the_tracer_goes_to_torch(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def upset(*args: object) -> None:
        raise KeyError("sin\n1")

    monkeypatch.setattr(engines, "_known", {})
    monkeypatch.setattr("pomona.training.lanes.trace.trace", upset)
    found = expand(study(text("mine.py:Plain"), mine)).engines()[""]
    assert found.text == r"torch (mine.py:Plain: it cannot be traced: KeyError: 'sin\n1')"
    with pytest.raises(ProblemsError, match="it cannot be traced"):
        study(text("mine.py:Plain", "lanes"), mine)


def test_torch_is_taken_without_a_look_at_the_network(mine: Path) -> None:
    assert expand(study(text("mine.py:fails", "torch"), mine)).graph.states
    torch_only = expand(study(text("resnet-20", "torch")))
    assert torch_only.engines()[""].text == "torch"
    assert torch_only.engines()[""].reasons == ()


def test_on_a_gpu_auto_is_torch_and_lanes_an_error(mine: Path) -> None:
    for model in ("fc", "mine.py:fails"):
        population = expand(study(text(model), mine), "cuda")
        assert records(population) == {("train", "torch-cuda"), ("evaluate", "torch-cuda")}
        reason = "the lane engine computes on the CPU, not on cuda"
        assert population.engines()[""].text == f"torch-cuda ({reason})"
    with pytest.raises(
        ProblemsError, match=r"line \d+, engine: .*CPU, and the device is cuda:0; write"
    ) as caught:
        expand(study(text("fc", "lanes")), "cuda:0")
    assert len(caught.value.problems) == 1


def test_lanes_that_cannot_be_is_reported_with_all_other_faults(mine: Path) -> None:
    written = text("resnet-20", "lanes", data="cifar-10").replace("measure: [accuracy", "measure: [acuracy")
    with pytest.raises(ProblemsError) as caught:
        study(written)
    first, second = caught.value.problems
    assert "did you mean 'accuracy'" in first
    assert re.fullmatch(
        r"s\.yaml line 9, steps\.dense\.init: resnet-20 cannot run on the lane engine; write engine: auto, "
        rf"which takes torch for it, or engine: torch\n +bn: {re.escape(NORM)}",
        second,
    )
    # A user's own is looked into as well, for images that are known already.
    with pytest.raises(ProblemsError) as caught:
        study(text("mine.py:Normed", "lanes").replace("measure: [accuracy", "measure: [acuracy"), mine)
    own = caught.value.problems[1]
    assert "steps.dense.init: mine.py:Normed cannot run on the lane engine" in own
    assert [line.split(":")[0].strip() for line in own.splitlines()[1:]] == ["one", "two"]


def test_lanes_that_cannot_be_on_a_users_data_is_said_at_expansion(mine: Path) -> None:
    checked = study(text("mine.py:Residual", "lanes", "mine.py:load"), mine)
    with pytest.raises(ProblemsError, match=r"mine\.py:Residual cannot run on the lane engine"):
        expand(checked)
    assert records(expand(study(text("mine.py:Plain", "lanes", "mine.py:load"), mine)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("mine.py:fails", r"line 9, steps\.dense\.init: mine\.py:\d+: in fails: .*no network today"),
        ("mine.py:TooWide", r"line 9, steps\.dense\.init: mine\.py:TooWide: last: .*64 for each image"),
        ("{name: 'mine.py:Plain', options: {hiden: 3}}", "did you mean 'hidden'"),
    ],
)
def test_users_network_that_cannot_be_is_named_before_any_compute(
    model: str, message: str, mine: Path, tmp_path: Path
) -> None:
    for engine in ("auto", "lanes"):
        with pytest.raises(ProblemsError, match=message):
            run(study(text(model, engine), mine), store=tmp_path / "store", workers=0)


def test_users_network_is_looked_into_once_for_its_source_options_and_images(
    mine: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_known", {})

    def looked(model: str = "mine.py:Plain", data: str = "digits") -> int:
        expand(study(text(model, data=data), mine))
        captured = capfd.readouterr()
        # What it prints is no part of a table of results.
        assert captured.out == ""
        return captured.err.count("a network is made")

    assert looked() == 1
    assert looked() == 0
    assert looked("{name: 'mine.py:Plain', options: {hidden: 8}}") == 1
    assert looked(data="mine.py:load") == 0
    (mine / "mine.py").write_text(NETS.replace("class Plain", "# a comment\nclass Plain"))
    assert looked() == 0
    (mine / "mine.py").write_text(NETS.replace(".relu()", ".relu().relu()"))
    assert looked() == 1


def test_networks_with_other_engines_are_told_apart() -> None:
    written = TINY.replace("{name: fc, options: {hidden: 12-8}}", "$net").replace(
        "factors: {", "factors: {net: [fc, vgg-11, vgg-19], "
    )
    written = written.replace("name: digits", "name: cifar-10")
    population = expand(parse_study(written))
    assert {name: engine.name for name, engine in population.engines().items()} == {
        "fc 3x32x32": "lanes",
        "vgg-11 3x32x32": "lanes",
        "vgg-19 3x32x32": "torch",
    }
    assert records(population) == {(of, name) for of in ("train", "evaluate") for name in ("lanes", "torch")}


@pytest.mark.parametrize("engine", ["lanes", "torch"])
def test_recipes_probes_and_calibration_compute_with_the_engine(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def spied(name: str, function: Any) -> Any:
        def call(*args: Any, engine: str, **keywords: Any) -> Any:
            asked.append((name, engine))
            return function(*args, engine=engine, **keywords)

        return call

    monkeypatch.setattr(recipes, "train", spied("train", recipes.train))
    monkeypatch.setattr(probes, "evaluate", spied("evaluate", probes.evaluate))
    late = (
        text(engine=engine).replace("treat: rewind", "treat: {rewind: 5it}").replace("repeat: 2", "repeat: 1")
    )
    results = run(parse_study(late), store=tmp_path / "store", workers=0)
    assert not results.lost()
    assert set(asked) == {("train", engine), ("evaluate", engine)}
    rate = spied("rate", lambda *args, **keywords: 7.0)
    monkeypatch.setattr("pomona.training.calibrate.steps_per_second", rate)
    monkeypatch.setattr("pomona.studies.plan.open_executor", lambda size, logs, engines: executors_here(logs))
    assert set(make_plan(expand(parse_study(late)), None, 1).rates.values()) == {7.0}
    assert asked[-1] == ("rate", engine)


def executors_here(logs: Path) -> Any:
    from pomona.studies.executors import open_executor

    return open_executor(0, logs, set())


def test_engine_of_a_record_from_a_gpu_is_torch() -> None:
    names = ("lanes", "torch", "torch-cuda")
    assert [bench.engine_of({"engine": {"name": name}}) for name in names] == ["lanes", "torch", "torch"]


def test_both_engines_find_about_the_same_and_share_the_start(tmp_path: Path) -> None:
    found = {}
    for engine in ("lanes", "torch"):
        results = run(parse_study(text(engine=engine)), store=tmp_path / "store", workers=0)
        assert not results.lost()
        found[engine] = results
    starts = {results.point(0, step="dense").start.key for results in found.values()}
    assert len(starts) == 1
    ends = [r.store.weights(r.point(0, step="dense").state.key) for r in found.values()]
    for name in ends[0]:
        torch.testing.assert_close(
            *(torch.from_numpy(end[name].copy()) for end in ends), rtol=1e-3, atol=1e-4
        )


@pytest.mark.usefixtures("no_kernels")
def test_missing_kernels_are_said_once_before_any_compute(tmp_path: Path) -> None:
    for engine in ("auto", "lanes"):
        with pytest.raises(InputError) as caught:
            run(parse_study(text(engine=engine)), store=tmp_path / "store", workers=2)
        assert str(caught.value).startswith("tiny: nothing was computed: ")
        assert str(caught.value).count("engine: torch") == 1
    with Store(tmp_path / "store") as store:
        assert not store.ledger.rows("SELECT * FROM runs")
        assert not store.ledger.rows("SELECT * FROM attempts")
    assert kernels_here() is None
    assert not run(parse_study(text(engine="torch")), store=tmp_path / "store", workers=0).lost()


def test_finished_study_needs_no_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "store") as store:
        assert not run(parse_study(text()), store=store, workers=0).lost()
        before = contents(tmp_path / "store")
        monkeypatch.setenv(native.FOLDER, str(tmp_path / "nothing"))
        prepared = Run(parse_study(text()), store)
        results = prepared.execute(workers=2)
        assert prepared.tally.done == 0
        assert write_report(results).is_file()
        made = make_plan(expand(parse_study(text())), store, 1)
        assert (made.seconds, made.source) == (0.0, "nothing to train")
        # More of it does need them, and what needs none is no reason to refuse.
        with pytest.raises(InputError, match="engine: torch"):
            run(parse_study(text().replace("repeat: 2", "repeat: 3")), store=store, workers=0)
        more = text().replace("density,", "density, weight-stability,")
        assert not run(parse_study(more), store=store, workers=0).lost()
    assert contents(tmp_path / "store")[0] == before[0]


@pytest.mark.usefixtures("no_kernels")
def test_plan_says_that_kernels_are_missing() -> None:
    made = make_plan(expand(parse_study(text())), None, 2)
    assert made.seconds is None
    assert made.rates == {}
    assert "engine: torch" in made.source
    assert made.engines == {"": "lanes"}
    assert made.trainings > 0


def test_instruction_set_that_is_not_there_is_an_error_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(native.FORCED, "avx1024")
    with pytest.raises(InputError, match=r"tiny: nothing was computed: POMONA_INSTRUCTION_SET.*avx1024"):
        run(parse_study(text()), store=tmp_path / "store", workers=0)


def test_environment_of_a_run_has_the_instruction_set_and_no_key_does(tmp_path: Path) -> None:
    results: Results = run(parse_study(text()), store=tmp_path / "store", workers=0)
    (row,) = results.store.ledger.rows("SELECT document FROM environments")
    assert f'"kernels": "{native.instruction_set()}"' in row["document"]
    nodes = [*results.population.graph.states.values(), *results.population.graph.probes.values()]
    assert "avx" not in repr([node.params for node in nodes])
