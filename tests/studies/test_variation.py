"""Sources of variation: against known components, against brute force, and of a real run."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pomona.core.errors import ProblemsError
from pomona.stats.power import t_replicates
from pomona.studies.expand import expand
from pomona.studies.results import Results
from pomona.studies.roles import Roles
from pomona.studies.run import run
from pomona.studies.study import Study, parse_study
from pomona.studies.variation import INTERACTIONS, Sources, decompose, sources_of_variation

TEXT = """
study: spread
let:
  data: {d: {name: digits, validation: 100}}
  train: {t: {optimizer: {sgd: {lr: $lr, momentum: 0.9}}, batch_size: 64, duration: 30it}}
replicates: 2
vary: {init: 2, order: 2}
factors:
  method: [l1-unstructured, random-unstructured]
  lr: [0.05, 0.1]
steps:
  dense: {init: {name: fc, options: {hidden: 12-8}}, on: d, train: t}
  ticket: {from: dense, repeat: 2, prune: {method: $method, amount: 40%}, treat: rewind, on: d, train: t}
measure: [accuracy]
variation:
  - {of: {measure: accuracy, match: density, value: 0.5}, a: {method: l1-unstructured}, systematic: [lr], effect: 1pp}
  - of: {measure: accuracy, match: level, value: 2}
    a: {method: l1-unstructured}
    b: {method: random-unstructured}
    fix: {lr: 0.1, init: 0}
  - {of: {measure: accuracy, match: level, value: 0}, a: {method: l1-unstructured}, fix: {replicate: 1, init: 0}, average: [lr]}
"""
ROLES = Roles(("replicate", "init", "order"), ("lr",), ())
SD = {"replicate": 2.0, "init": 1.0, "order": 0.7, INTERACTIONS: 0.4}
SHAPE = {"replicate": 4, "init": 3, "order": 3, "lr": 2}
LR = np.array([-1.0, 1.0])


def synthetic(rng: np.random.Generator) -> pd.DataFrame:
    """Streams that lie within the replicate, and two learning rates that are 2 apart."""
    r, i, o, s = np.indices(tuple(SHAPE.values()))
    value = rng.normal(0, SD["replicate"], 4)[r] + rng.normal(0, SD["init"], (4, 3))[r, i]
    value = (
        value + rng.normal(0, SD["order"], (4, 3))[r, o] + LR[s] + rng.normal(0, SD[INTERACTIONS], r.shape)
    )
    columns = {name: index.ravel().astype(str) for name, index in zip(SHAPE, (r, i, o, s), strict=True)}
    return pd.DataFrame({**columns, "value": value.ravel()})


def test_components_of_synthetic_data_are_those_that_made_them() -> None:
    rng = np.random.default_rng(0)
    found = [{s.name: s for s in decompose(synthetic(rng), ROLES, draws=100)[0]} for _ in range(150)]
    for name, sd in SD.items():
        estimates = np.array([one[name].component.variance for one in found])
        # Cutting at 0, which is rare here, pushes a component up a little.
        assert abs(estimates.mean() - sd**2) < 4 * estimates.std() / np.sqrt(150) + 0.03, name
    assert [one["lr"].kind for one in found] == ["systematic"] * 150
    chosen = np.array([one["lr"].component.variance for one in found])
    assert chosen.mean() == pytest.approx(LR.var(ddof=1), rel=0.03)


def test_statistical_error_is_the_spread_of_the_mean_over_many_designs() -> None:
    rng = np.random.default_rng(1)
    frames = [synthetic(rng) for _ in range(300)]
    spread = np.var([frame["value"].mean() for frame in frames], ddof=1)
    found = [decompose(frame, ROLES, draws=100)[0] for frame in frames]
    squared = [sum(s.component.variance / s.draws for s in one if s.kind == "random") for one in found]
    truth = 4 / 4 + 1 / 12 + 0.49 / 12 + 0.16 / 72
    assert np.mean(squared) == pytest.approx(truth, rel=0.12)
    assert spread == pytest.approx(truth, rel=0.25)


def test_shares_are_those_of_brute_force_mean_squares() -> None:
    frame = synthetic(np.random.default_rng(2))
    y = frame["value"].to_numpy().reshape(tuple(SHAPE.values()))
    grand, over = y.mean(), dict(zip(SHAPE, range(4), strict=True))

    def means(*names: str) -> np.ndarray:
        return y.mean(axis=tuple(axis for name, axis in over.items() if name not in names), keepdims=True)

    square = {
        "replicate": 18 * ((means("replicate") - grand) ** 2).sum() / 3,
        "init": 6 * ((means("replicate", "init") - means("replicate")) ** 2).sum() / 8,
        "order": 6 * ((means("replicate", "order") - means("replicate")) ** 2).sum() / 8,
        "lr": 36 * ((means("lr") - grand) ** 2).sum() / 1,
    }
    fitted = (
        means("replicate", "init") + means("replicate", "order") - means("replicate") + means("lr") - grand
    )
    rest = ((y - fitted) ** 2).sum() / (71 - 3 - 8 - 8 - 1)
    wanted = {"init": (square["init"] - rest) / 6, "order": (square["order"] - rest) / 6}
    wanted["replicate"] = (square["replicate"] - square["init"] - square["order"] + rest) / 18
    wanted |= {"lr": (square["lr"] - rest) / 36, INTERACTIONS: rest}
    cut = {name: max(variance, 0) for name, variance in wanted.items()}
    found = {source.name: source for source in decompose(frame, ROLES)[0]}
    assert found.keys() == cut.keys()
    for name, variance in cut.items():
        assert found[name].component.variance == pytest.approx(variance, rel=1e-9), name
        assert found[name].component.share == pytest.approx(variance / sum(cut.values()), rel=1e-9), name
    assert {name: source.draws for name, source in found.items()} == pytest.approx(
        {"replicate": 4, "init": 12, "order": 12, "lr": 2, INTERACTIONS: 72}
    )


def test_one_at_a_time_is_the_sample_variance() -> None:
    values = [0.1, 0.4, 0.2, 0.7, 0.3]
    for name in ("init", "replicate"):
        frame = pd.DataFrame({name: list("01234"), "value": values})
        (source,), _ = decompose(frame, Roles((name,), (), ()))
        assert (source.name, source.draws, source.component.share) == (name, 5, 1)
        assert source.component.variance == pytest.approx(np.var(values, ddof=1))


def test_streams_without_replicates_are_crossed_and_their_interaction_is_the_rest() -> None:
    frame = pd.DataFrame(itertools.product("012", "01"), columns=["init", "order"])
    frame["value"] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    found = {s.name: s for s in decompose(frame, Roles(("init", "order"), (), ()))[0]}
    assert list(found) == ["init", "order", INTERACTIONS]
    assert found[INTERACTIONS].component.variance == pytest.approx(0, abs=1e-12)
    assert found["init"].component.variance == pytest.approx(4)
    assert found["order"].component.variance == pytest.approx(0.5)


def test_a_choice_with_one_value_each_cannot_be_told_from_chance() -> None:
    frame = pd.DataFrame({"replicate": ["0", "0"], "lr": ["a", "b"], "value": [1.0, 2.0]})
    sources, notes = decompose(frame, Roles(("replicate",), ("lr",), ()))
    assert sources == ()
    assert "one value for each lr: chance cannot be told from the choice" in notes
    assert decompose(frame[:0], Roles(("replicate",), (), ()))[0] == ()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(parse_study(TEXT), store=tmp_path_factory.mktemp("spread"), workers=0)


@pytest.fixture(scope="module")
def found(results: Results) -> list[Sources]:
    return sources_of_variation(results)


def accuracy(results: Results, **place: object) -> float:
    frame = results.frame()
    rows = frame[(frame.step == "ticket") & (frame.quantity == "accuracy") & (frame.part == "test")]
    for name, value in place.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


def test_outcomes_of_a_run_are_those_of_its_table(results: Results, found: list[Sources]) -> None:
    whole, pair, single = found
    assert list(whole.frame.columns) == ["replicate", "init", "order", "lr", "value"]
    assert len(whole.frame) == 16
    row = whole.frame.iloc[5]
    place = {"replicate": int(row.replicate), "init": row.init, "order": row.order, "lr": row.lr}
    ends = [accuracy(results, method="l1-unstructured", level=level, **place) for level in (1, 2)]
    densities = [
        results.density(
            results.point(
                level, place["replicate"], method="l1-unstructured", init=row.init, order=row.order, lr=row.lr
            )
        )
        for level in (1, 2)
    ]
    assert row.value == pytest.approx(np.interp(np.log(0.5), np.log(densities)[::-1], ends[::-1]))
    for row in pair.frame.itertuples():
        place = {"replicate": int(row.replicate), "init": "0", "order": row.order, "lr": "0.1", "level": 2}
        a, b = (accuracy(results, method=f"{m}-unstructured", **place) for m in ("l1", "random"))
        assert row.value == pytest.approx(a - b)
    assert len(pair.frame) == 4
    assert [s.name for s in pair.sources] == ["replicate", "order"]
    for row in single.frame.itertuples():
        place = {"replicate": 1, "init": "0", "order": row.order, "level": 0, "method": "l1-unstructured"}
        assert row.value == pytest.approx(
            np.mean([accuracy(results, lr=lr, **place) for lr in ("0.05", "0.1")])
        )
    assert [s.name for s in single.sources] == ["order"]


def test_errors_of_a_run_are_what_they_say(found: list[Sources]) -> None:
    whole = found[0]
    assert whole.mean == pytest.approx(whole.frame["value"].mean())
    by_name = {source.name: source.component.variance for source in whole.sources}
    assert list(by_name) == ["replicate", "init", "order", "lr", INTERACTIONS]
    drawn = by_name["replicate"] + by_name["init"] + by_name["order"] + by_name[INTERACTIONS]
    assert whole.spread == pytest.approx(np.sqrt(drawn))
    assert whole.total == pytest.approx(np.sqrt(drawn + by_name["lr"]))
    error = by_name["replicate"] / 2 + by_name["init"] / 4 + by_name["order"] / 4 + by_name[INTERACTIONS] / 16
    assert whole.error == pytest.approx(np.sqrt(error))
    (lr,) = whole.systematic
    means = whole.frame.groupby("lr")["value"].mean()
    assert dict(lr.means) == pytest.approx(means.to_dict())
    assert lr.sd == pytest.approx(means.std())
    assert lr.ends == (means.idxmin(), means.idxmax())
    assert whole.replicates == t_replicates(0.01 / whole.spread)
    assert found[1].replicates is None


def test_what_is_the_same_throughout_is_said(found: list[Sources]) -> None:
    assert found[0].followers == ("split",)
    assert found[1].followers == ("mask", "split")
    assert "the same throughout, so not in these numbers: init" in found[1].notes
    assert "the same throughout, so not in these numbers: init, split" in found[2].notes
    assert not any("the same throughout" in note for note in found[0].notes)


def test_what_is_not_there_is_lost_and_leaves_the_rest(results: Results, tmp_path: Path) -> None:
    more = parse_study(
        TEXT.replace("replicates: 2", "replicates: 3").replace("vary: {init: 2", "vary: {init: 3")
    )
    whole = sources_of_variation(Results(more, results.store))[0]
    assert len(whole.frame) == 16
    assert len(whole.lost) == 3 * 3 * 2 * 2 - 16
    assert whole.lost[0].startswith("replicate 0, init 2, order 0, lr 0.05: ")
    assert "not run" in whole.lost[0]
    empty = sources_of_variation(run_nothing(more, tmp_path))[0]
    assert (empty.mean, empty.sources, empty.error, empty.total) == (None, (), None, None)
    assert len(empty.lost) == 36


def run_nothing(study: Study, folder: Path) -> Results:
    from pomona.graph.store import Store

    return Results(study, Store(folder))


def test_means_of_choices_are_over_draws_that_all_of_them_have() -> None:
    from pomona.studies.variation import _marginal

    frame = synthetic(np.random.default_rng(3))
    lost = frame.drop(index=[0, 7])  # one of lr 0, one of lr 1
    kept = frame.drop(index=[0, 1, 6, 7])
    assert dict(_marginal(lost, "lr", ROLES).means) == pytest.approx(
        kept.groupby("lr")["value"].mean().to_dict()
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("systematic: [lr]", "average: [lrr]", "unknown factor 'lrr'; did you mean 'lr'"),
        ("systematic: [lr], ", "", "factor 'lr' is left open; fix it (fix: {lr: 0.05}), average over it"),
        ("systematic: [lr]", "systematic: [lr, order]", "systematic: 'order' is drawn, not chosen"),
        (
            "systematic: [lr]",
            "random: [replicate, init, order, lr]",
            "random: the labels of factor 'lr' are chosen",
        ),
        ("systematic: [lr]", "systematic: [lr], random: [init]", "factor 'order' is left open"),
        ("systematic: [lr]", "systematic: [lr], average: [lr]", "factor 'lr' has two roles"),
        ("{lr: 0.1, init: 0}", "{lr: 0.2, init: 0}", "unknown label of factor 'lr' 0.2; did you mean '0.1'"),
        (
            "{replicate: 1, init: 0}",
            "{replicate: 2, init: 0}",
            "unknown label of factor 'replicate' 2. Known: 0, 1",
        ),
        ("b: {method: random-unstructured}", "b: {method: l1-unstructured}", "their difference is always 0"),
        ("{measure: accuracy, match: density, value: 0.5}", "{measure: loss2}", "unknown measure 'loss2'"),
        (
            "{measure: accuracy, match: density, value: 0.5}",
            "{measure: accuracy}",
            "step 'ticket' has several levels",
        ),
        (
            "a: {method: l1-unstructured}, systematic",
            "a: {step: dense, method: l1-unstructured}, systematic",
            "'method' does not reach",
        ),
        (
            "fix: {replicate: 1, init: 0}, average: [lr]",
            "fix: {replicate: 1, init: 0, order: 1}, average: [lr]",
            "nothing is drawn anew",
        ),
        (
            "systematic: [lr], effect",
            "systematic: [lr], average: [replicate], effect",
            "average: each replicate has other seeds of init and order, so that value 1 of one and of the next",
        ),
        (
            "{measure: accuracy, match: density, value: 0.5}",
            "{measure: density, layer: fc4.weight, match: density, value: 50%}",
            "unknown layer of fc 'fc4.weight'; did you mean 'fc3.weight'",
        ),
        (
            "factors:",
            "where: method == l1-unstructured\nfactors:",
            "step 'ticket' has no arm with lr: 0.1, init: 0, method: random",
        ),
    ],
)
def test_faults_are_said_at_once(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(ProblemsError) as caught:
        parse_study(TEXT.replace(old, new, 1))
    assert said in str(caught.value)
    assert "variation." in str(caught.value)


def test_the_example_of_the_page_is_a_study() -> None:
    page = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()
    study = parse_study(page.split("```yaml\n")[1].split("```")[0])
    assert study.spec.variation[0].systematic == ("lr",)
    assert len(expand(study).graph.states) == 3216
