"""Straight lines between networks of a study: which are walked, what is found on them, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pomona.core.errors import InputError, ProblemsError
from pomona.graph.jobs import Job, Stored
from pomona.graph.store import Files, Store
from pomona.studies import bench
from pomona.studies.blinding.blinded import blinded
from pomona.studies.expand import expand
from pomona.studies.identity import Identities
from pomona.studies.landscape import QUANTITIES, begun_as, place_text, turned
from pomona.studies.landscape_probes import measure_linear_connectivity
from pomona.studies.points import Pair, Population
from pomona.studies.results import Results
from pomona.studies.run import run
from pomona.studies.study import parse_study
from tests.studies.test_blinding import fixed
from tests.zoo import TEXT as ZOO
from tests.zoo import ran_blind, zoo

TEXT = """
study: lines
let:
  data: {d: {name: digits, validation: 100}}
  train: {t: {optimizer: {sgd: {lr: 0.1, momentum: 0.9}}, batch_size: 64, duration: 30it}}
replicates: 2
vary: {order: 2}
factors:
  method: [l1-unstructured, random-unstructured]
  treatment: [rewind, finetune]
where: method == l1-unstructured or treatment == rewind
steps:
  dense: {init: {name: fc, options: {hidden: 12-8}}, on: d, train: t}
  ticket: {from: dense, repeat: 2, prune: {method: $method, amount: 50%}, treat: $treatment, on: d, train: t}
measure: [accuracy, loss, mask-distance, linear-connectivity]
engine: auto
"""
ALL = "{linear-connectivity: {over: [order, method, treatment], points: 5}}"


def lines(*changes: tuple[str, str], folder: Path | None = None) -> Population:
    return expand(parse_study(changed(*changes), "lines.yaml", folder))


def changed(*changes: tuple[str, str]) -> str:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def apart(pair: Pair) -> list[str]:
    return [factor for factor, label in pair.a.arm.items() if pair.b.arm[factor] != label]


def test_an_order_that_varies_is_all_that_differs() -> None:
    population = lines()
    assert {tuple(apart(pair)) for pair in population.paths} == {("order",)}
    # 2 replicates; the dense step, and 3 arms of the tickets at 3 levels.
    assert len(population.paths) == 2 * (1 + 3 * 3)
    assert {pair.a.level for pair in population.paths} == {0, 1, 2}
    probes = [p for p in population.graph.probes.values() if p.name == "linear-connectivity"]
    # All arms have the same two dense networks, which are compared once.
    assert len(probes) == 2 * (1 + 3 * 2)
    assert all(p.params["points"] == 11 and p.params["engine"]["name"] == "lanes" for p in probes)  # type: ignore[index,call-overload]
    # Masks are compared as before, and their pairs are others.
    assert all(pair.probe.name == "mask-distance" for pair in population.pairs)
    assert len(population.pairs) == 2 * 2 * 15


def test_without_an_order_that_varies_arms_differ_in_one_factor() -> None:
    population = lines(("vary: {order: 2}\n", ""))
    # The dense network is one state for all arms: there is no line from it to itself.
    assert {pair.a.level for pair in population.paths} == {1, 2}
    found = sorted((*apart(pair), pair.a.level) for pair in population.paths if pair.a.replicate == 0)
    assert found == [("method", 1), ("method", 2), ("treatment", 1), ("treatment", 2)]
    assert len(population.paths) == 2 * len(found)


def test_the_factors_can_be_chosen() -> None:
    population = lines(("linear-connectivity", "{linear-connectivity: {over: treatment}}"))
    assert {tuple(apart(pair)) for pair in population.paths} == {("treatment",)}
    every = lines(("linear-connectivity", ALL))
    assert {tuple(apart(pair)) for pair in every.paths} == {("order",), ("method",), ("treatment",)}
    assert {pair.probe.params["points"] for pair in every.paths} == {5}


def test_both_ends_began_as_one_network() -> None:
    asked = ("linear-connectivity", "{linear-connectivity: {over: [init, order]}}")
    population = lines(("{order: 2}", "{init: 2, order: 2}"), asked)
    assert {tuple(apart(pair)) for pair in population.paths} == {("order",)}
    # A network drawn anew began as another one than its rewound counterpart.
    drawn = lines(("[rewind, finetune]", "[rewind, reinit]"), ("linear-connectivity", ALL))
    assert {tuple(apart(pair)) for pair in drawn.paths} == {("order",), ("method",)}
    for pair in drawn.paths:
        begun = begun_as(pair.a.state, drawn.graph)
        assert begun is begun_as(pair.b.state, drawn.graph)
        fresh = pair.a.arm.get("treatment") == "reinit" and pair.a.level > 0
        assert begun.recipe == "init"
        assert begun.params.get("draw") == (pair.a.level + 1 if fresh else None)


def test_the_key_is_of_both_ends_whichever_is_the_first() -> None:
    population = lines()
    pair = population.paths[0]
    make = Identities(Path.cwd(), {}, "auto", "cpu")
    assert pair.a.data is not None
    make.info(pair.a.data)
    there, back = (
        make.connect(*ends, pair.a.network, pair.a.data, 11)
        for ends in ((pair.a.state, pair.b.state), (pair.b.state, pair.a.state))
    )
    assert there.key == back.key == pair.probe.key
    other = make.connect(pair.a.state, pair.b.state, pair.a.network, pair.a.data, 12)
    assert other.key != there.key


@pytest.fixture(scope="module", params=["lanes", "torch"])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    text = changed(
        ("engine: auto", f"engine: {request.param}"),
        ("linear-connectivity", ALL),
        ("repeat: 2", "repeat: 1"),
        ("duration: 30it", "duration: 100it"),
    )
    folder = tmp_path_factory.mktemp(request.param) / "store"
    run(parse_study(text), store=folder, workers=0)
    with Store(folder) as store:
        yield Results(parse_study(text), store)


def test_every_number_is_that_of_the_line_walked_by_hand(ran: Results) -> None:
    pairs = [pair for pair in ran.population.paths if pair.a.replicate == 0]
    assert {apart(pair)[0] for pair in pairs} == {"order", "method", "treatment"}
    barriers = []
    for pair in pairs:
        how = pair.probe.how
        module, seen = bench.fresh_network(how), bench.examples(how, "test")
        images = torch.from_numpy(np.array(seen.images)).float() * seen.scale[0] + seen.shift[0]
        labels = torch.from_numpy(np.array(seen.labels)).long()
        one, other = ({n: torch.from_numpy(a) for n, a in weights.items()} for weights in ends(ran, pair))
        errors, losses = [], []
        for step in range(5):
            share = step / 4
            module.load_state_dict({n: (1 - share) * one[n] + share * other[n] for n in one})
            with torch.no_grad():
                logits = module(images)
            errors.append(float((logits.argmax(1) != labels).double().mean()))
            losses.append(float(torch.nn.functional.cross_entropy(logits, labels)))
        found = rows(ran.frame(), pair)
        for values, prefix, tolerance in ((errors, "", 1e-9), (losses, "loss-", 1e-5)):
            line = [(1 - i / 4) * values[0] + i / 4 * values[-1] for i in range(5)]
            high = max(value - below for value, below in zip(values, line, strict=True))
            mean = max(values) - (values[0] + values[-1]) / 2
            assert found[f"{prefix}barrier", ""] == pytest.approx(high, abs=tolerance)
            assert found[f"{prefix}instability", ""] == pytest.approx(mean, abs=tolerance)
            along = [
                found[f"{prefix or 'error-'}along", place] for place in ("0", "0.25", "0.5", "0.75", "1")
            ]
            assert along == pytest.approx(values, abs=tolerance)
        barriers.append(found["barrier", ""])
    # Otherwise little was tested.
    assert max(barriers) > 0.05


def ends(results: Results, pair: Pair) -> list[dict[str, np.ndarray]]:
    return [
        {name: np.array(array) for name, array in results.store.weights(point.state.key).items()}
        for point in (pair.a, pair.b)
    ]


def rows(frame: pd.DataFrame, pair: Pair) -> dict[tuple[str, str], float]:
    own = frame[frame["quantity"].isin(QUANTITIES) & (frame["step"] == pair.a.step)]
    place = {"replicate": pair.a.replicate, "level": pair.a.level, "against": " ".join(pair.b.arm.values())}
    for name, value in {**place, **pair.a.arm}.items():
        own = own[own[name] == value]
    found = {
        (quantity, layer): value
        for quantity, layer, value in own[["quantity", "layer", "value"]].itertuples(index=False)
    }
    assert len(found) == len(own) == 4 + 2 * 5
    assert set(own["part"]) == {"test"}
    assert own["class"].isna().all()
    return found


def test_the_line_goes_from_the_arm_of_the_row_to_the_other(ran: Results) -> None:
    assert directions(ran) == {True, False}


def directions(results: Results) -> set[bool]:
    """Whether lines are turned, after a check that 0 is the arm of the row and 1 the other one."""
    frame, found = results.frame(), set()
    for pair in results.population.paths:
        along = rows(frame, pair)
        for point, place in ((pair.a, "0"), (pair.b, "1")):
            seen = results.measured(point.probes["test"])
            accuracy, loss = seen["accuracy", "", -1], seen["loss", "", -1]
            assert accuracy is not None
            # The ends are evaluated as `evaluate` does it, to the bit.
            assert along["error-along", place] == pytest.approx(1 - accuracy, abs=1e-15)
            assert along["loss-along", place] == loss
        found.add(pair.probe.states[0] != pair.a.state.key)
    return found


def test_under_codes_the_line_starts_at_the_code_of_the_row(tmp_path: Path) -> None:
    measured = ZOO.replace("effective-density]", "loss, {linear-connectivity: {points: 5}}]")
    text = measured.replace("replicates: 3", "replicates: 2")
    with ran_blind(tmp_path / "store", zoo(text)) as store:
        plain = Results(zoo(text), store)
        assert len(plain.population.paths) == 2 * 2 * 9
        for salt in "abc":
            hidden = blinded(plain, fixed(salt))
            assert len(hidden.population.paths) == 2 * 2 * 9
            directions(hidden)
            order = [tuple(pair.a.arm.values()) for pair in hidden.population.paths]
            assert order == sorted(order, key=lambda arm: (arm[0], ["rewind", "finetune"].index(arm[1])))


def test_a_network_and_itself_have_a_barrier_of_exactly_zero(ran: Results) -> None:
    for level in (0, 1):
        pair = next(pair for pair in ran.population.paths if pair.a.level == level)
        found = found_between(ran, pair, pair.a.state.key, pair.a.state.key)
        assert [found[name, ""] for name in QUANTITIES[:4]] == [0.0] * 4
        assert len({found["loss-along", place_text(i / 4)] for i in range(5)}) == 1


def test_swapped_ends_give_the_same_barrier(ran: Results) -> None:
    pair = max(ran.population.paths, key=lambda p: ran.measured(p.probe)["barrier", "", -1] or 0)
    a, b = pair.probe.states
    there, back = found_between(ran, pair, a, b), found_between(ran, pair, b, a)
    assert there["barrier", ""] > 0.05
    for (quantity, layer), value in there.items():
        other = turned(layer) if layer else layer
        assert back[quantity, other] == pytest.approx(value, abs=1e-6)


def found_between(results: Results, pair: Pair, *keys: str) -> dict[tuple[str, str], float]:
    """What the probe finds between two states of a store."""
    probe, store = pair.probe, results.store
    stored = []
    for key in keys:
        state, outputs = results.population.graph.states[key], store.ledger.outputs([key])[key]
        digests = {name: output.digest for name, output in outputs.items()}
        stored.append(Stored(key, state.recipe, state.params, state.how, digests, {}))
    job = Job("n", probe.name, probe.params, probe.how, tuple(stored), str(store.folder))
    outcome = measure_linear_connectivity(job, Files.of(job), Quiet())
    found = {(m.quantity, m.layer): m.value for m in outcome.measurements}
    assert all(value is not None for value in found.values())
    return {place: float(value or 0) for place, value in found.items()}


class Quiet:
    def interrupted(self) -> bool:
        return False

    def progress(self, done: int, total: int) -> None:
        pass


def test_the_engines_agree_on_one_line(ran: Results) -> None:
    for pair in ran.population.paths[:6]:
        found = []
        for engine in ("lanes", "torch"):
            probe = replace(pair.probe, params={**pair.probe.params, "engine": {"name": engine}})
            found.append(found_between(ran, replace(pair, probe=probe), *pair.probe.states))
        assert found[0].keys() == found[1].keys()
        for place, value in found[0].items():
            # One image of 360 may be on the border between two classes.
            assert found[1][place] == pytest.approx(value, abs=1e-5 if "loss" in place[0] else 1 / 360 + 1e-9)


def test_where_one_network_holds_pruned_weights_torch_evaluates_both() -> None:
    methods = "{plain: l1-unstructured, held: {criterion: magnitude, pruned: freeze}}"
    population = lines(
        ("[l1-unstructured, random-unstructured]", methods),
        ("where: method == l1-unstructured or treatment == rewind\n", ""),
        ("linear-connectivity", "{linear-connectivity: {over: [order, method]}}"),
    )
    engines = {
        (apart(pair)[0], pair.a.arm.get("method"), pair.a.level > 0): pair.probe.params["engine"]["name"]  # type: ignore[index,call-overload]
        for pair in population.paths
        if pair.a.step == "ticket"
    }
    assert engines == {
        ("order", "plain", False): "lanes",
        ("order", "held", False): "lanes",
        ("order", "plain", True): "lanes",
        ("order", "held", True): "torch",
        ("method", "plain", True): "torch",
    }


def test_arms_that_are_tested_on_other_data_are_not_connected() -> None:
    data = "{d: {name: digits, validation: 100}, e: {name: digits, normalise: unit}, f: {name: digits}}"
    population = lines(
        ("{d: {name: digits, validation: 100}}", data),
        ("treatment: [rewind, finetune]", "treatment: [rewind]\n  source: [d, e, f]"),
        (", on: d, train: t}\nmeasure", ", on: $source, train: t}\nmeasure"),
        ("linear-connectivity", "{linear-connectivity: {over: source}}"),
    )
    assert {(p.a.arm["source"], p.b.arm["source"]) for p in population.paths} == {("d", "f")}


NORMED = """
import torch
from torch import nn

class Normed(nn.Module):
    def __init__(self, track=True):
        super().__init__()
        print("a network is made")
        self.first, self.norm, self.last = nn.Linear(64, 16), nn.BatchNorm1d(16, track_running_stats=track), nn.Linear(16, 10)
    def forward(self, x):
        return self.last(self.norm(self.first(x.flatten(1))).relu())

class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(64, 10)
        self.register_buffer("mean", torch.zeros(64))
    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.flatten(1).mean(0).detach(), 0.1)
        return self.last(x.flatten(1) - self.mean)
"""
FC = "{name: fc, options: {hidden: 12-8}}"


def test_batch_norm_is_refused_before_anything_is_computed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(NORMED)
    with pytest.raises(InputError) as caught:
        lines((FC, "resnet-20"))
    assert str(caught.value) == (
        "linear-connectivity cannot be measured of resnet-20: the running statistics of bn (batch norm) belong to "
        "the weights that they were gathered with and mean nothing for weights between two networks; leave the "
        "measure out, or take a network without batch norm"
    )
    with pytest.raises(
        InputError, match=r"of mine\.py:Normed: the running statistics of norm \(batch norm\)"
    ):
        lines((FC, "'mine.py:Normed'"), folder=tmp_path)
    assert capfd.readouterr().out == ""
    assert lines((FC, "{name: 'mine.py:Normed', options: {track: false}}"), folder=tmp_path).paths
    assert lines((FC, "{name: 'mine.py:Normed'}"), (", linear-connectivity", ""), folder=tmp_path).points


def test_statistics_of_a_users_own_making_fail_the_measurement(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NORMED)
    text = changed((FC, "mine.py:Counting"), ("replicates: 2", "replicates: 1"), ("repeat: 2", "repeat: 1"))
    run(parse_study(text, "lines.yaml", tmp_path), store=tmp_path / "store", workers=0)
    with Store(tmp_path / "store") as store:
        results = Results(parse_study(text, "lines.yaml", tmp_path), store)
        assert not set(results.frame()["quantity"]) & set(QUANTITIES)
        assert {results.status_of(pair.probe) for pair in results.population.paths} == {"failed"}
        said = {
            row["reason"] for row in store.ledger.rows("SELECT reason FROM attempts WHERE status = 'failed'")
        }
    assert len(said) == 1
    assert said.pop().startswith("mean is a buffer with other values in the two networks")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{linear-connectivity: {over: [methd]}}", "unknown factor 'methd'; did you mean 'method'"),
        ("{linear-connectivity: {points: 2}}", "greater than or equal to 3, got 2"),
        ("{linear-connectivity: {point: 5}}", "unknown key 'point'; did you mean 'points'"),
        ("linear-connectivity, {linear-connectivity: {points: 5}}", "is measured more than once"),
        ("linear-conectivity", "unknown measure 'linear-conectivity'; did you mean 'linear-connectivity'"),
    ],
)
def test_what_is_written_wrongly_is_said_with_its_place(written: str, said: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        lines(("linear-connectivity", written))
    assert len(caught.value.problems) == 1
    assert said in str(caught.value)
    assert "line 15, measure" in str(caught.value)


def test_a_hypothesis_that_nothing_could_answer_is_refused() -> None:
    hypothesis = """
hypotheses:
  - claim: Magnitudes give a higher barrier.
    contrast: {a: {method: l1-unstructured}, b: {method: random-unstructured}, fix: {treatment: rewind, order: 0}}
    of: {measure: linear-connectivity, quantity: barrier, match: level, value: 1}
    test: {paired-t: greater}
    expect: {effect: 5pp}
"""
    with pytest.raises(ProblemsError, match=r"hypotheses\.0\.of: linear-connectivity needs 'to': the arm"):
        parse_study(TEXT + hypothesis)


def test_a_study_without_two_ends_is_refused() -> None:
    single = ("where: method == l1-unstructured or treatment == rewind", "where: order == 0")
    with pytest.raises(
        InputError, match="finds nothing to measure: no two arms of a step differ in order alone"
    ):
        lines(single)


def test_the_measure_is_shown_as_it_is_asked_for() -> None:
    spec = parse_study(changed(("linear-connectivity", ALL))).spec
    assert str(spec.measure[-1]) == "linear-connectivity points=5 over=order method treatment"
    assert spec.own_measures == {}


@pytest.mark.parametrize("points", [3, 11, 14, 65, 129, 1001])
def test_places_turn_into_one_another(points: int) -> None:
    texts = [place_text(i / (points - 1)) for i in range(points)]
    assert len(set(texts)) == points
    assert [turned(text) for text in texts] == texts[::-1]
