from __future__ import annotations

import io
import re
import sys
import xml.etree.ElementTree as ET

import pandas as pd
import pytest

from pomona.report.arms import Arm
from pomona.report.evidence import Evidence
from pomona.report.figures.accuracy import accuracy_figure, zoom_from
from pomona.report.figures.axes import ticks
from pomona.report.figures.density import effective_density_figure
from pomona.report.figures.figure import Figure
from pomona.report.figures.masks import distance_data, mask_figures
from pomona.report.figures.stability import weight_stability_figure
from pomona.report.write import draw_figures
from pomona.studies.results import Results


@pytest.fixture(scope="module")
def figures(evidence: Evidence) -> dict[str, Figure]:
    return {figure.name: figure for figure in draw_figures(evidence)}


def test_figures_are_those_of_the_measures_in_order(figures: dict[str, Figure]) -> None:
    names = ["verdicts", "accuracy", "mask-distance", "effective-density", "weight-stability"]
    assert list(figures) == names


def test_figures_are_well_formed_svg_with_title_and_description(figures: dict[str, Figure]) -> None:
    for figure in figures.values():
        root = ET.fromstring(figure.svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.get("role") == "img"
        assert [child.text for child in root[:2]] == [figure.title, figure.caption]


def test_figures_have_ids_of_their_own_and_refer_to_them(figures: dict[str, Figure]) -> None:
    seen: set[str] = set()
    for figure in figures.values():
        ids = set(re.findall(r'\bid="([^"]+)"', figure.svg))
        assert ids.isdisjoint(seen)
        assert set(re.findall(r"url\(#([^)]+)\)", figure.svg)) <= ids
        seen |= ids
    assert seen


def test_figures_load_nothing(figures: dict[str, Figure]) -> None:
    for figure in figures.values():
        assert not re.search(r"(href|src)\s*=|@import|url\((?!#)", figure.svg)


def test_figures_are_png_images(figures: dict[str, Figure]) -> None:
    from PIL import Image

    with Image.open(io.BytesIO(figures["accuracy"].png)) as image:
        assert image.format == "PNG"
        assert image.width > 1200


def test_csv_is_exactly_the_data_of_the_figure(figures: dict[str, Figure]) -> None:
    for figure in figures.values():
        read = pd.read_csv(io.StringIO(figure.csv), dtype=dict(figure.data.dtypes), keep_default_na=True)
        read = read.fillna({"arm": ""}) if "arm" in read else read
        pd.testing.assert_frame_equal(read, figure.data, check_dtype=False, rtol=0, atol=0)


def test_accuracy_figure_has_the_means_of_the_summary(
    figures: dict[str, Figure], main_results: Results
) -> None:
    data = figures["accuracy"].data
    means = data[data["series"] == "mean"]
    summary = main_results.summary()
    ticket = summary[summary["step"] == "ticket"]
    assert means["accuracy"].tolist() == ticket["mean"].tolist()
    assert means["low"].tolist() == ticket["low"].tolist()
    assert means["density"].tolist() == ticket["density"].tolist()
    assert set(means["arm"]) == {"l1-unstructured", "l1-structured", "<u>random</u>"}


def test_accuracy_figure_has_every_replicate_of_the_frame(
    figures: dict[str, Figure], main_results: Results
) -> None:
    data = figures["accuracy"].data
    drawn = data[data["series"] == "replicate"]
    frame = main_results.frame()
    own = frame[(frame["quantity"] == "accuracy") & (frame["part"] == "test") & (frame["step"] == "ticket")]
    assert drawn["accuracy"].tolist() == own["value"].tolist()
    assert drawn["replicate"].tolist() == own["replicate"].tolist()


def test_accuracy_figure_draws_chance_where_an_arm_comes_near_it(single_results: Results) -> None:
    figure = accuracy_figure(Evidence(single_results))
    assert figure is not None
    chance = figure.data[figure.data["series"] == "chance"]["accuracy"].tolist()
    assert chance == single_results.summary("chance")["mean"].drop_duplicates().tolist()
    assert "chance" in "".join(ET.fromstring(figure.svg).itertext())


def test_accuracy_figure_of_dense_networks_has_no_density_axis(plain_results: Results) -> None:
    figure = accuracy_figure(Evidence(plain_results))
    assert figure is not None
    assert figure.caption.startswith("Nothing is pruned in this study.")
    assert "weights kept" not in figure.svg


def test_accuracy_figure_of_one_replicate_claims_no_interval(single_results: Results) -> None:
    figure = accuracy_figure(Evidence(single_results))
    assert figure is not None
    assert "One replicate: there is no interval." in figure.caption
    assert figure.data["low"].isna().all()
    assert set(figure.data["series"]) == {"mean", "chance"}


def test_mask_figure_has_distances_and_chance_of_the_results(
    figures: dict[str, Figure], main_results: Results
) -> None:
    data, table = figures["mask-distance"].data, main_results.distances()
    assert data["distance"].tolist() == table["mean"].tolist()
    assert data["chance"].tolist() == table["chance"].tolist()
    assert data["density"].tolist() == ((table["density_a"] + table["density_b"]) / 2).tolist()
    assert data["pair"].nunique() == 3
    assert "at equal level" in figures["mask-distance"].title


def test_mask_figure_says_where_nothing_is_pruned(evidence: Evidence) -> None:
    table = evidence.distances.copy()
    one = table["layer"] == "fc2.weight"
    table.loc[one, ["density_a", "density_b"]] = 1.0
    table.loc[one, ["mean", "low", "high", "chance"]] = 0.0
    changed = Evidence(evidence.results)
    changed.distances = table
    (figure,) = mask_figures(changed)
    words = list(ET.fromstring(figure.svg).itertext())
    assert words.count("nothing is pruned in this layer") == 1


def test_mask_data_leaves_out_what_has_no_place_on_a_log_axis(evidence: Evidence) -> None:
    table = evidence.distances.copy()
    table.loc[table.index[0], ["density_a", "density_b"]] = 0.0
    arms: list[Arm] = evidence.arms
    pairs = {"p": (arms[0], arms[1])}
    whole = distance_data(evidence.distances, pairs)
    assert len(distance_data(table, pairs)) == len(whole) - 1


def test_effective_density_figure_shows_zero_at_the_lower_edge(single_results: Results) -> None:
    figure = effective_density_figure(Evidence(single_results))
    assert figure is not None
    assert (figure.data["effective-density"] == 0).any()
    assert "Points at the lower edge are 0" in figure.caption
    assert "NaN" not in figure.svg
    assert "Infinity" not in figure.svg


def test_weight_stability_figure_has_the_means_of_every_layer(
    evidence: Evidence, main_results: Results
) -> None:
    figure = weight_stability_figure(evidence)
    assert figure is not None
    for layer in ("fc1.weight", "fc2.weight", "fc3.weight"):
        drawn = figure.data[(figure.data["layer"] == layer) & (figure.data["series"] == "mean")]
        summary = main_results.summary("weight-stability", layer=layer)
        assert drawn["weight-stability"].tolist() == summary.loc[summary["n"] > 0, "mean"].tolist()


def test_figures_of_a_study_that_was_not_run_are_none(new_results: Results) -> None:
    assert draw_figures(Evidence(new_results)) == []


def test_figures_of_failed_states_show_what_is_there(failed_results: Results) -> None:
    for figure in draw_figures(Evidence(failed_results)):
        ET.fromstring(figure.svg)


def test_zoom_begins_at_six_times_the_best_error() -> None:
    assert zoom_from(0.1135, 0.99) == pytest.approx(0.94)
    assert zoom_from(0.95, 0.99) is None
    assert zoom_from(0.2, 1.0) is None


def test_ticks_lie_within_the_axis() -> None:
    for lowest in (0.9, 0.4, 0.05, 0.011, 0.0004):
        found = ticks(lowest)
        assert found[0] == 1.0
        assert found == sorted(found, reverse=True)
        assert len(found) <= 9
        assert min(found) >= lowest


def test_importing_the_report_loads_no_drawing_library() -> None:
    import subprocess

    code = (
        "import sys, pomona.report.write, pomona.report.text;"
        "print([m for m in ('altair', 'vl_convert', 'jinja2', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
