"""Agreement of methods image by image, and ensembles beside their members: drawn numbers against networks."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from statsmodels.stats.inter_rater import cohens_kappa

from pomona.data.choice import DataChoice
from pomona.data.dataset import describe, load
from pomona.report.evidence import Evidence
from pomona.report.iterative import agreement, ensembles
from pomona.report.iterative.selection import Selection
from pomona.studies.modules import load_module
from pomona.studies.results import Results

from .conftest import results_of

METHODS = ("l1-unstructured", "random-unstructured", "hybrid", "fc-only")
TEXT = """
study: agreeing
let:
  data: {{d: {{name: digits, validation: 0}}}}
  train: {{t: {{optimizer: {{sgd: {{lr: 0.1}}}}, batch_size: 64, duration: {duration}}}}}
replicates: {replicates}
factors:
  method:
    l1-unstructured: {{criterion: magnitude, granularity: weight, scope: layer}}
    random-unstructured: {{criterion: random, granularity: weight, scope: layer}}
    hybrid: {{criterion: magnitude, granularity: weight, scope: global}}
    fc-only: fc-only
  treatment: [finetune, rewind]
where: ["treatment == rewind or method == hybrid"]
steps:
  dense: {{init: {{name: fc, options: {{hidden: 12-8}}}}, on: d, train: t}}
  ticket: {{from: dense, repeat: {levels}, prune: {{method: $method, amount: 45%}}, treat: $treatment, on: d, train: t}}
  {more}
measure: [{measure}]
"""
MORE = """all-methods: {ensemble: {of: ticket, over: method}}
  trio: {ensemble: {of: ticket, over: method, members: [hybrid, fc-only, l1-unstructured]}}
  seeds: {ensemble: {of: ticket, over: replicate}}"""


def _evidence(
    folder: Path, levels=3, replicates=3, duration="25it", more=MORE, measure="accuracy, agreement"
):
    text = TEXT.format(levels=levels, replicates=replicates, duration=duration, more=more, measure=measure)
    return Evidence(results_of(text, folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agreeing")


@pytest.fixture(scope="module")
def evidence(folder: Path) -> Evidence:
    return _evidence(folder)


@pytest.fixture(scope="module")
def logits(evidence: Evidence):
    """What the network of a point says of the test images, computed from its stored weights in plain torch."""
    info, data = describe("digits"), load("digits")
    mean, sd = (
        np.array(x)[:, None, None] for x in DataChoice(name="digits", validation=0).pixel_mean_sd(info)
    )
    images = torch.from_numpy(((data.test_images / 255 - mean) / sd).astype(np.float32))
    return lambda point: load_module(point.state.key, evidence.results.store)(images).detach().numpy()


def _points(evidence, step="ticket", **arm):
    wanted = {"treatment": "rewind", **arm}
    return [p for p in evidence.population.points if p.step == step and wanted == dict(p.arm)]


def _at(points, level):
    return sorted((p for p in points if p.level == level), key=lambda p: p.replicate)


def _accuracy(evidence, point):
    return evidence.results.measured(point.probes["test"])["accuracy", "", -1]


def test_agreement_figure_counts_images_as_the_networks_do(evidence, logits):
    figure = agreement.agreement_figure(evidence, Selection(evidence))
    data = figure.data
    # The deepest two, for there are no levels 18 and 20; every ordered pair of methods.
    assert list(dict.fromkeys(data["level"])) == [2, 3]
    places = {(row.level, row.a, row.b) for row in data.itertuples()}
    assert places == {(level, a, b) for level in (2, 3) for a, b in itertools.permutations(METHODS, 2)}
    said = {
        (method, level, p.replicate): logits(p).argmax(1)
        for method in METHODS
        for level in (2, 3)
        for p in _at(_points(evidence, method=method), level)
    }
    for row in data.itertuples():
        pairs = [(said[row.a, row.level, r], said[row.b, row.level, r]) for r in range(3)]
        assert row.images == pytest.approx(statistics.mean(int((a == b).sum()) for a, b in pairs))
        assert row.agreement == pytest.approx(statistics.mean(float((a == b).mean()) for a, b in pairs))
        tables = [np.histogram2d(a, b, bins=np.arange(11))[0] for a, b in pairs]
        with np.errstate(invalid="ignore"):
            kappas = [cohens_kappa(table).kappa for table in tables if table.max() < table.sum()]
        assert row.n == 3
        assert row.n_kappa == len(kappas)
        assert row.kappa == pytest.approx(statistics.mean(kappas))
    assert f">{round(data['images'].iloc[0]):,}<" in figure.svg


def test_agreement_figure_draws_the_papers_levels_where_they_are():
    assert agreement._levels(set(range(1, 25))) == [18, 20]
    assert agreement._levels(set(range(1, 20))) == [18, 19]
    assert agreement._levels({1}) == [1]


def test_agreement_figure_says_where_kappa_has_no_value(tmp_path):
    # Hardly trained networks, of which many levels leave the biases alone: one class for every image.
    evidence = _evidence(tmp_path, levels=14, replicates=1, duration="1it", more="")
    selection = Selection(evidence)
    figure = agreement.agreement_figure(evidence, selection)
    undefined = figure.data[figure.data["kappa"].isna()]
    assert len(undefined) > 0
    assert (undefined["agreement"] == 1).all()
    assert (undefined["n_kappa"] == 0).all()
    assert "–" in figure.svg
    level = int(figure.data["level"].max())
    names = agreement._axis_names(selection, level)
    for method, name in names.items():
        (point,) = _at(_points(evidence, method=method), level)
        guesses = evidence.results.measured(point.probes["test"])["at-chance", "", -1]
        assert name.endswith("†") is bool(guesses)
    assert any(name.endswith("†") for name in names.values())


def test_ensembles_figure_has_ensembles_beside_their_members(evidence):
    selection = Selection(evidence)
    data = ensembles.ensembles_figure(evidence, selection).data
    members = {
        "all-methods": METHODS,
        "trio": ("l1-unstructured", "hybrid", "fc-only"),
        **{f"seeds: {method}": (method,) for method in METHODS},
    }
    joined = data[data["ensemble"] != ensembles.SINGLE]
    assert list(dict.fromkeys(joined["ensemble"])) == list(members)
    for (name, level), rows in joined.groupby(["ensemble", "level"]):
        step, _, method = name.partition(": ")
        wholes = _at(_points(evidence, step, **({"method": method} if method else {})), level)
        singles = [_at(_points(evidence, method=own), level) for own in members[name]]
        # By replicate, or all replicates of a method together.
        groups = [[p for own in singles for p in own]] if method else list(zip(*singles, strict=True))
        assert len(wholes) == len(groups) == (1 if method else 3)
        accuracies = [[_accuracy(evidence, p) for p in group] for group in groups]
        found = rows.set_index("series")["accuracy"]
        assert found["ensemble"] == pytest.approx(statistics.mean(_accuracy(evidence, p) for p in wholes))
        assert found["best member"] == pytest.approx(statistics.mean(max(own) for own in accuracies))
        assert found["members' mean"] == pytest.approx(statistics.mean(map(statistics.mean, accuracies)))
        density = rows.set_index("series")["density"]["ensemble"]
        sums = [sum(evidence.results.density(p) for p in group) for group in groups]
        assert density == pytest.approx(statistics.mean(sums))


def test_ensembles_are_averages_of_probabilities(evidence, logits):
    labels = load("digits").test_labels
    for whole in _at(_points(evidence, "trio"), 2):
        shares = [torch.softmax(torch.from_numpy(logits(p)).double(), 1) for p in whole.members]
        right = (sum(shares).argmax(1).numpy() == labels).mean()
        # Half precision may turn the tie of a single image.
        assert _accuracy(evidence, whole) == pytest.approx(right, abs=1.01 / len(labels))


def test_ensembles_figure_has_single_networks_at_their_densities(evidence):
    data = ensembles.ensembles_figure(evidence, Selection(evidence)).data
    singles = data[data["ensemble"] == ensembles.SINGLE]
    assert set(singles["series"]) == set(METHODS)
    for row in singles.itertuples():
        points = _at(_points(evidence, method=row.series), row.level)
        assert row.accuracy == pytest.approx(statistics.mean(_accuracy(evidence, p) for p in points))
        assert row.density == pytest.approx(statistics.mean(map(evidence.results.density, points)))
        assert row.low < row.accuracy < row.high


def test_ensembles_of_most_replicates_at_chance_are_hollow(evidence):
    results = Results(evidence.study, evidence.results.store)
    selection = Selection(Evidence(results))
    # Two of three ensembles, all their members in two replicates, and one network of three alone.
    trios = _at(_points(evidence, "trio"), 2)
    dead = [*trios[:2], *(one for trio in trios[:2] for one in trio.members)]
    dead += _at(_points(evidence, method="random-unstructured"), 3)[:1]
    for values in results._values.values():
        values[:] = [row for row in values if row[0] != "at-chance"]
    for point in dead:
        results._values[point.probes["test"].key].append(("at-chance", "", -1, 1.0))
    figure = ensembles.ensembles_figure(selection.evidence, selection)
    hollow = figure.data[2 * figure.data["at_chance"] > figure.data["n"]]
    singles = [(ensembles.SINGLE, method, 2) for method in ("l1-unstructured", "hybrid", "fc-only")]
    seeds = [(f"seeds: {method}", "members' mean", 2) for _, method, _ in singles]
    own = [("trio", series, 2) for series in ensembles.SERIES]
    # Three of the four of all methods.
    of_all = [("all-methods", "members' mean", 2)]
    expected = {*singles, *seeds, *own, *of_all}
    assert set(zip(hollow["ensemble"], hollow["series"], hollow["level"], strict=True)) == expected
    # Below, the ensemble itself and the single networks are drawn again.
    assert figure.svg.count('fill="white" stroke') == len(own + seeds + of_all) + 1 + len(singles)
    assert "Hollow points: most replicates are at chance." in figure.caption
    for values in results._values.values():
        values[:] = [row for row in values if row[0] != "at-chance"]
    assert "Hollow" not in ensembles.ensembles_figure(selection.evidence, selection).caption


def test_ensembles_are_told_apart_by_colour_or_dashes(folder, evidence):
    more = f"{MORE}\n  again: {{ensemble: {{of: ticket, over: replicate}}}}"
    selection = Selection(_evidence(folder, more=more))
    styles = ensembles._styles(selection)
    assert len(styles) == len(METHODS) * 2 + 3
    assert len({(colour, tuple(dashes)) for colour, dashes in styles.values()}) == len(styles)
    for method in METHODS:
        one, other = styles[f"seeds: {method}"], styles[f"again: {method}"]
        assert one[0] == other[0] == selection.colour(method)
        assert one[1] != other[1]
    svg = ensembles.ensembles_figure(selection.evidence, selection).svg
    # Their line and their entry of the legend.
    for method in METHODS:
        dashed = f'stroke="{selection.colour(method)}" stroke-width="2" stroke-dasharray="7,3"'
        assert svg.count(dashed) == 2


def test_ensembles_caption_says_no_more_than_is_drawn(evidence):
    caption = ensembles.ensembles_figure(evidence, Selection(evidence)).caption
    assert "no rewound single network at the reference labels with as many weights does as well" in caption
    assert "single network of this study" not in caption


def test_ensembles_that_the_paper_prints_are_told_by_their_members(evidence):
    found = ensembles.ensembles(Selection(evidence))
    columns = {name: ensembles.printed_column(own) for name, own in found.items()}
    # Four methods are not all eight.
    assert columns["trio"] == "trio"
    assert {column for name, column in columns.items() if name != "trio"} == {""}


def test_figures_of_a_study_that_measures_none_of_it(tmp_path, new_results):
    evidence = _evidence(tmp_path, levels=1, replicates=1, more="", measure="accuracy")
    for bare in (evidence, Evidence(new_results)):
        selection = Selection(bare)
        assert agreement.agreement_figure(bare, selection) is None
        assert ensembles.ensembles_figure(bare, selection) is None


def test_figures_of_one_replicate_are_drawn(tmp_path):
    evidence = _evidence(tmp_path, levels=1, replicates=1)
    for draw in agreement.FIGURES:
        figure = draw(evidence, Selection(evidence))
        assert figure.png.startswith(b"\x89PNG")
        assert "NaN" not in figure.svg
    assert "One replicate" in figure.caption
