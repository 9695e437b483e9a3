"""Pictures of weights and masks of the set ``iterative-pruning``, against the states in the store."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from pomona.graph.store import Store
from pomona.report.evidence import Evidence
from pomona.report.figures.figure import Figure
from pomona.report.iterative import evolution, mask_pictures, pictures
from pomona.report.iterative.raster import PRUNED, colours, kernels, tiled
from pomona.report.iterative.selection import Selection
from pomona.studies.results import Results
from pomona.studies.run import run
from pomona.studies.study import parse_study
from tests.users import own_modules, write

MINE = """
import numpy as np
import torch
from torch import nn

def load():
    rng = np.random.default_rng(7)
    labels = np.arange(96) % 3
    images = rng.integers(0, 90, (96, 12, 12)) + 70 * (labels[:, None, None] == np.arange(12) // 4)
    return images[:64].astype(np.uint8), labels[:64], images[64:].astype(np.uint8), labels[64:]

def three(input_shape, classes):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 4, 3), nn.ReLU(), nn.Conv2d(4, 20, 3), nn.ReLU(), nn.Conv2d(20, 34, 1), nn.ReLU(),
        nn.Conv2d(34, 6, 3), nn.ReLU(), nn.Conv2d(6, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes),
    )
"""
STUDY = """
study: seen
let:
  train:
    full: {optimizer: {sgd: {lr: 0.05, momentum: 0.9}}, batch_size: 16, duration: 12it}
    brief: {optimizer: {sgd: {lr: 0.05, momentum: 0.9}}, batch_size: 16, duration: 2it}
replicates: 1
factors:
  method: [l1-unstructured, l1-structured, hybrid, random-unstructured]
  treatment: [rewind, finetune, sigma-sign]
  training: [full, brief]
where:
  - treatment == rewind or method == l1-unstructured
  - training == full or (method == l1-unstructured and treatment == rewind)
steps:
  dense: {init: NETWORK, on: 'mine.py:load', train: $training}
  ticket: {from: dense, repeat: 3, prune: {method: $method, amount: 40%}, treat: $treatment, on: 'mine.py:load', train: $training}
measure: [accuracy, density]
"""
Draw = Callable[[Evidence, Selection], Figure | None]


def results_in(folder: Path, network: str = "lenet", store: str = "store", compute: bool = False) -> Results:
    study = parse_study(STUDY.replace("NETWORK", network), folder=folder)
    return run(study, store=folder / store, workers=0) if compute else Results(study, Store(folder / store))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("pictures")
    write(made, "mine.py", MINE)
    with pytest.MonkeyPatch.context() as patch, own_modules():
        patch.setenv("XDG_CACHE_HOME", str(made / "cache"))
        results_in(made, compute=True)
        yield made


@pytest.fixture(scope="module")
def small(folder: Path) -> Selection:
    return Selection(Evidence(results_in(folder)))


@pytest.fixture(scope="module")
def large(folder: Path) -> Selection:
    return Selection(Evidence(results_in(folder, "'mine.py:three'", compute=True)))


def drawn(draw: Draw, selection: Selection) -> Figure:
    figure = draw(selection.evidence, selection)
    assert figure is not None
    return figure


def stored(
    selection: Selection, layer: str, level: int, **arm: str
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Weights and mask of a layer, read from the store by hand: zero where it is not kept."""
    labels = {"treatment": "rewind", "training": "full", **arm}
    point = selection.results.point(level, 0, "ticket", **labels)
    store = selection.results.store
    return store.weights(point.state.key)[layer], store.masks(point.state.key)[0][layer]


def images(figure: Figure) -> list[NDArray[np.uint8]]:
    """The pictures that lie in a drawing."""
    found = re.findall(r'href="data:image/png;base64,([^"]+)"', figure.svg)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in found]


def test_masked_weights_are_those_of_the_store(small: Selection) -> None:
    figure = drawn(pictures.masked_weights_figure, small)
    arms = list(figure.data[["method", "treatment"]].drop_duplicates().itertuples(index=False, name=None))
    expected = [("l1-unstructured", t) for t in ("rewind", "sigma-sign", "finetune")]
    assert arms == [
        expected[0],
        ("l1-structured", "rewind"),
        *expected[1:],
        ("random-unstructured", "rewind"),
    ]
    for (level, method, treatment), own in figure.data.groupby(["level", "method", "treatment"]):
        weight, mask = stored(small, "conv2.weight", level, method=method, treatment=treatment)
        assert len(own) == weight.size == 16 * 6 * 9
        places = tuple(own[name] for name in ("output", "input", "row", "column"))
        assert (own["kept"] == mask[places]).all()
        assert (own["weight"] == weight[places]).all()
    assert len(figure.data.groupby(["level", "method", "treatment"])) == 10


def test_masked_weights_are_of_the_papers_levels_or_of_the_deepest(
    small: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(drawn(pictures.masked_weights_figure, small).data["level"]) == {2, 3}
    monkeypatch.setattr(pictures, "_LEVELS", (1, 3))
    assert set(drawn(pictures.masked_weights_figure, small).data["level"]) == {1, 3}
    monkeypatch.setattr(pictures, "_LEVELS", (1, 9))
    assert set(drawn(pictures.masked_weights_figure, small).data["level"]) == {2, 3}


def test_pixels_are_red_blue_and_grey_as_the_weights_are(small: Selection) -> None:
    picture = images(drawn(pictures.masked_weights_figure, small))[0]
    weight, mask = stored(small, "conv2.weight", 2, method="l1-unstructured")
    side = pictures._SCALE
    kernel = 3 * side + pictures._GAP
    assert picture.shape == (6 * kernel - pictures._GAP, 16 * kernel - pictures._GAP, 3)
    seen = {"grey": 0, "red": 0, "blue": 0}
    for (output, input_, row, column), kept in np.ndenumerate(mask):
        y = input_ * kernel + row * side + side // 2
        x = output * kernel + column * side + side // 2
        red, _, blue = map(int, picture[y, x])
        if not kept:
            assert tuple(picture[y, x]) == PRUNED
            seen["grey"] += 1
        elif abs(weight[output, input_, row, column]) > 0.02:
            positive = weight[output, input_, row, column] > 0
            assert (red > blue) == positive
            seen["red" if positive else "blue"] += 1
    assert min(seen.values()) > 20
    # Between two kernels all is white.
    assert (picture[3 * side : kernel] == 255).all()
    assert (picture[:, 3 * side : kernel] == 255).all()


def test_colours_grow_with_magnitude_and_are_full_at_the_limit() -> None:
    weights = np.array([0.0, 0.1, 0.5, 1.0, 3.0, -0.1, -0.5, -1.0, 0.5])
    kept = np.array([True] * 8 + [False])
    found = colours(weights, kept, 1.0).astype(int)
    # The other colours fade from white as the magnitude grows.
    assert list(found[:4, 1]) == sorted(found[:4, 1], reverse=True)
    assert list(found[5:8, 0]) == sorted(found[5:8, 0], reverse=True)
    assert (found[3] == found[4]).all()
    assert tuple(found[8]) == PRUNED
    assert (found[0] > 245).all()


def test_tiles_are_inputs_down_and_outputs_across() -> None:
    values = np.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2).astype(np.uint8)
    image = tiled(values, scale=2, gap=1)
    assert image.shape == (3 * 5 - 1, 2 * 5 - 1)
    for (output, input_, row, column), value in np.ndenumerate(values):
        y, x = input_ * 5 + 2 * row, output * 5 + 2 * column
        assert (image[y : y + 2, x : x + 2] == value).all()
    assert tiled(values).shape == (6, 4)
    assert kernels(np.zeros((4, 3, 5))).shape == (4, 3, 1, 5)


def test_pictures_of_wide_layers_are_cut_and_say_so(large: Selection) -> None:
    figure = drawn(pictures.masked_weights_figure, large)
    assert "Shown are" not in figure.caption
    third = "4.weight"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "second_convolution", lambda selection: third)
        figure = drawn(pictures.masked_weights_figure, large)
    assert "Shown are the first 32 of 34 outputs and 16 of 20 inputs." in figure.caption
    own = figure.data[(figure.data["level"] == 3) & (figure.data["method"] == "random-unstructured")]
    weight, mask = stored(large, third, 3, method="random-unstructured")
    assert own["weight"].tolist() == weight[:32, :16].ravel().tolist()
    assert own["kept"].tolist() == mask[:32, :16].ravel().tolist()


def test_brief_training_stands_left_of_the_full_one(small: Selection) -> None:
    figure = drawn(pictures.brief_training_figure, small)
    assert list(dict.fromkeys(figure.data["training"])) == ["brief", "full"]
    for (level, training), own in figure.data.groupby(["level", "training"]):
        weight, mask = stored(small, "conv2.weight", level, method="l1-unstructured", training=training)
        assert own["weight"].tolist() == weight.ravel().tolist()
        assert own["kept"].tolist() == mask.ravel().tolist()


def test_masks_of_larger_networks_are_those_of_the_last_level(large: Selection) -> None:
    figure = drawn(mask_pictures.convolution_masks_figure, large)
    assert list(dict.fromkeys(figure.data["layer"])) == ["0.weight", "2.weight", "4.weight", "6.weight"]
    assert set(figure.data["level"]) == {3}
    for (layer, own), picture in zip(figure.data.groupby("layer", sort=False), images(figure), strict=True):
        _, mask = stored(large, str(layer), 3, method="l1-unstructured")
        outputs, inputs, height, width = mask.shape
        lines = own.set_index(["input", "row"])["mask"]
        for input_ in range(inputs):
            for row in range(height):
                assert lines[input_, row] == "".join("01"[int(x)] for x in mask[:, input_, row].ravel())
        scale = picture.shape[0] // (inputs * height)
        assert picture.shape == (inputs * height * scale, outputs * width * scale)
        assert (picture == 0).sum() == mask.sum() * scale**2


def test_masks_of_small_networks_are_not_drawn_again(small: Selection) -> None:
    assert mask_pictures.convolution_masks_figure(small.evidence, small) is None


@pytest.mark.parametrize(
    ("draw", "layer"),
    [
        (evolution.convolution_evolution_figure, "conv2.weight"),
        (evolution.linear_evolution_figure, "fc3.weight"),
    ],
)
def test_lines_of_weights_end_where_they_are_pruned(draw: Draw, layer: str, small: Selection) -> None:
    figure = drawn(draw, small)
    assert "random sample" not in figure.caption
    panels = figure.data.groupby(["method", "treatment"])
    assert len(panels) == 5
    for (method, treatment), own in panels:
        values = own.pivot(index="weight", columns="level", values="value")
        first = stored(small, layer, 0, method=method, treatment=treatment)[0].ravel()
        assert len(values) == first.size
        for level in range(4):
            weight, mask = stored(small, layer, level, method=method, treatment=treatment)
            there = values[level].sort_index()
            assert (there.notna() == mask.ravel()).all()
            assert np.allclose(there[mask.ravel()], weight.ravel()[mask.ravel()], atol=6e-6)
        order = own[own["level"] == 0].sort_values("rank")["weight"]
        assert (np.diff(first[order]) >= -1e-9).all()


def test_every_weight_has_a_line_of_its_own_in_the_drawing(small: Selection) -> None:
    figure = drawn(evolution.linear_evolution_figure, small)
    paths = re.findall(r'<path d="([^"]+)"[^>]*stroke-width="0.7"', figure.svg)
    weights = figure.data.groupby(["method", "treatment", "weight"])
    assert sum(path.count("M") for path in paths) == len(weights)
    # A weight that lives for n levels has n - 1 pieces of line.
    assert sum(path.count("L") for path in paths) == (weights.size() - 1).sum()


def test_levels_at_chance_are_those_of_the_results(small: Selection) -> None:
    data = drawn(evolution.linear_evolution_figure, small).data
    for (method, treatment, level), own in data.groupby(["method", "treatment", "level"]):
        point = small.results.point(level, 0, "ticket", method=method, treatment=treatment, training="full")
        measured = small.results.measured(point.probes["test"])["at-chance", "", -1]
        assert set(own["at_chance"]) == {measured == 1.0}
    assert data["at_chance"].any()
    assert not data["at_chance"].all()


def test_many_weights_are_sampled_alike_in_every_panel(
    small: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evolution, "_MOST_POINTS", 1500)
    figure, again = (drawn(evolution.convolution_evolution_figure, small) for _ in range(2))
    pd.testing.assert_frame_equal(figure.data, again.data)
    chosen = [set(own["weight"]) for _, own in figure.data.groupby(["method", "treatment"])]
    assert all(one == chosen[0] for one in chosen)
    assert 20 < len(chosen[0]) < 864
    assert len(figure.data) <= 1500
    assert f"Of the 864 weights of conv2 {len(chosen[0])} are drawn, a random sample" in figure.caption
    # A draw, and not the first ones.
    assert max(chosen[0]) > 700


def test_csv_of_as_many_points_as_are_drawn_is_below_a_megabyte(small: Selection) -> None:
    for draw in (evolution.convolution_evolution_figure, evolution.linear_evolution_figure):
        figure = drawn(draw, small)
        assert len(figure.data) > 2000
        assert evolution._MOST_POINTS * len(figure.csv) / len(figure.data) < 950_000


def test_larger_networks_show_their_first_and_last_layer(large: Selection) -> None:
    assert evolution.convolution_evolution_figure(large.evidence, large) is None
    assert evolution.linear_evolution_figure(large.evidence, large) is None
    data = drawn(evolution.large_evolution_figure, large).data
    assert list(dict.fromkeys(data["layer"])) == ["0.weight", "11.weight"]
    assert "random-unstructured" not in set(data["method"])
    weight, mask = stored(large, "11.weight", 3, method="hybrid")
    own = data[(data["layer"] == "11.weight") & (data["method"] == "hybrid") & (data["level"] == 3)]
    assert np.allclose(own.sort_values("weight")["value"], weight.ravel()[mask.ravel()], atol=6e-6)


def test_pictures_are_small_and_their_csv_is_what_is_drawn(small: Selection, large: Selection) -> None:
    figures = [
        f for s in (small, large) for draw in pictures.FIGURES if (f := draw(s.evidence, s)) is not None
    ]
    assert [figure.name for figure in figures] == [
        *("paper-05-masked-weights", "paper-06-weights-of-convolution", "paper-07-weights-of-linear"),
        *("paper-13-brief-training", "paper-05-masked-weights", "paper-16-weights-of-larger"),
        *("paper-13-brief-training", "paper-15-masks"),
    ]
    for figure in figures:
        assert len(figure.svg) < 1_500_000
        text = {"mask": str} if "mask" in figure.data else {}
        read = pd.read_csv(io.StringIO(figure.csv), dtype=text)
        pd.testing.assert_frame_equal(read, figure.data, check_dtype=False, rtol=1e-6, atol=0)
        # Nothing is loaded: what a picture refers to lies within it.
        assert all(
            link.startswith("data:image/png;base64,") for link in re.findall(r'href="([^"]*)"', figure.svg)
        )


def test_weights_that_were_let_go_are_not_drawn(folder: Path) -> None:
    shutil.copytree(folder / "store", folder / "less")
    results = results_in(folder, store="less")
    arm = {"method": "l1-unstructured", "treatment": "rewind", "training": "full"}
    results.store.let_go([results.point(3, 0, "ticket", **arm).state.key])
    selection = Selection(Evidence(results))
    data = drawn(pictures.masked_weights_figure, selection).data
    own = data[(data["method"] == arm["method"]) & (data["treatment"] == "rewind")]
    assert set(own["level"]) == {2}
    data = drawn(evolution.convolution_evolution_figure, selection).data
    own = data[(data["method"] == arm["method"]) & (data["treatment"] == "rewind")]
    assert set(own["level"]) == {0, 1, 2}
    # Where nothing of a level is stored, one before it is shown.
    everything = [p.state.key for p in results.population.points if p.level == 3]
    results.store.let_go(everything)
    assert set(drawn(pictures.masked_weights_figure, selection).data["level"]) == {1, 2}


def test_studies_without_convolutions_have_no_pictures_of_them(evidence: Evidence) -> None:
    selection = Selection(evidence)
    names = [f.name for draw in pictures.FIGURES if (f := draw(evidence, selection)) is not None]
    assert names == ["paper-07-weights-of-linear"]


def test_studies_that_were_not_run_have_no_pictures(new_results: Results) -> None:
    selection = Selection(Evidence(new_results))
    assert [draw(selection.evidence, selection) for draw in pictures.FIGURES] == [None] * len(
        pictures.FIGURES
    )
