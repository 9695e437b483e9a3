"""Augmented data in a study: what enters which key, and what varies with the stream."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pomona.core.errors import InputError, ProblemsError
from pomona.core.streams import Stream
from pomona.report.asked import asked
from pomona.report.evidence import Evidence
from pomona.studies.examples import training_part
from pomona.studies.expand import expand
from pomona.studies.points import Population
from pomona.studies.run import run
from pomona.studies.study import parse_study

TEXT = """
study: augmented
let:
  data:
    d: {name: digits, validation: 300, augment: {crop: 2, flip: yes}}
  train: {t: {optimizer: {sgd: {lr: 0.1, momentum: 0.9}}, batch_size: 64, duration: 25it}}
steps:
  dense: {init: {name: fc, options: {hidden: 12-8}}, on: d, train: t}
  ticket: {from: dense, repeat: 2, prune: {method: {criterion: snip}, amount: 40%}, treat: rewind, on: d, train: t}
measure: [accuracy]
"""
PLAIN = TEXT.replace(", augment: {crop: 2, flip: yes}", "")


def params(population: Population, step: str, level: int, part: str = "state") -> Mapping[str, Any]:
    point = next(p for p in population.points if p.step == step and p.level == level)
    found: Mapping[str, Any] = getattr(point, part).params
    return (
        {**found, "data": dict(getattr(found["data"], "value", found["data"]))} if "data" in found else found
    )


def test_a_training_consumes_its_stream_at_every_level() -> None:
    population, plain = expand(parse_study(TEXT)), expand(parse_study(PLAIN))
    for step, level in [("dense", 0), ("ticket", 1), ("ticket", 2)]:
        found, without = params(population, step, level), params(plain, step, level)
        assert found["data"]["augment"] == {"crop": 2, "flip": True}
        assert found["seeds"] == {**without["seeds"], "augmentation": 0}
        assert {**found, "seeds": 0, "data": 0} == {**without, "seeds": 0, "data": 0}
        assert found["data"] == {**without["data"], "augment": found["data"]["augment"]}
    begun = {p.origin.key for p in (*population.points, *plain.points)}
    assert len(begun) == 1


def test_what_reads_examples_or_evaluates_does_not_see_it() -> None:
    population, plain = expand(parse_study(TEXT)), expand(parse_study(PLAIN))
    assert params(population, "ticket", 1, "masked") == params(plain, "ticket", 1, "masked")
    for point, other in zip(population.points, plain.points, strict=True):
        assert point.state.key != other.state.key
        for name, probe in point.probes.items():
            assert probe.params == other.probes[name].params


def test_a_flip_that_is_not_there_changes_no_key() -> None:
    keys = [
        [p.state.key for p in expand(parse_study(text)).points]
        for text in (
            PLAIN,
            TEXT.replace("{crop: 2, flip: yes}", "{flip: no}"),
            TEXT.replace("flip: yes", "flip: no"),
        )
    ]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]


def test_only_a_training_is_given_views() -> None:
    population = expand(parse_study(TEXT))
    point = next(p for p in population.points if p.step == "ticket" and p.level == 1)
    trains = training_part(point.state.how, params(population, "ticket", 1))
    reads = training_part(point.masked.how, params(population, "ticket", 1, "masked"))
    assert reads.views is None
    assert trains.views is not None
    order = trains.order(3)
    words = Stream("augmentation", 0).words(1437, 3 * 1437)[order]
    assert np.array_equal(trains.views(3, order)[:, 2], words >> np.uint64(63))


def test_examples_that_are_fewer_are_augmented_too() -> None:
    text = TEXT.replace("augment:", "corrupt: {examples: 20%}, augment:")
    point = next(p for p in expand(parse_study(text)).points if p.step == "dense")
    part = training_part(point.state.how, params(expand(parse_study(text)), "dense", 0))
    order = part.order(0)
    assert part.views is not None
    views = part.views(0, order)
    assert len(views) == len(order) == 1137
    # Five visits of each image in an epoch, each of another view as a rule.
    of_one = views[order == order[0]]
    assert len(of_one) >= 4
    assert len(np.unique(of_one, axis=0)) > 1


@pytest.mark.parametrize("engine", ["lanes", "torch"])
def test_what_varies_is_the_augmentation_alone(tmp_path: Path, engine: str) -> None:
    head = f"engine: {engine}\nvary: {{augmentation: 2}}\n"
    results = run(parse_study(TEXT.replace("steps:", head + "steps:")), store=tmp_path / "a", workers=0)
    held = TEXT.replace("steps:", f"engine: {engine}\nhold: {{augmentation: 100000}}\nsteps:")
    alone = run(parse_study(held), store=tmp_path / "b", workers=2)

    def weights(found: Any, key: str) -> dict[str, np.ndarray]:
        weights: dict[str, np.ndarray] = found.store.weights(key)
        return weights

    points = [results.point(0, augmentation=str(value)) for value in (0, 1)]
    seeds = [dict(p.state.params["seeds"]) for p in points]  # type: ignore[call-overload]
    assert [s.pop("augmentation") for s in seeds] == [0, 100_000]
    assert seeds[0] == seeds[1]
    begun = [weights(results, p.origin.key) for p in points]
    ended = [weights(results, p.state.key) for p in points]
    assert _equal(*begun)
    assert not _equal(*ended)
    # Of another store, by two workers at once.
    assert _equal(ended[1], weights(alone, alone.point(0).state.key))
    last = results.point(2, augmentation="1").state.key
    assert _equal(weights(results, last), weights(alone, alone.point(2).state.key))


def _equal(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_stream_that_nothing_draws_from_says_what_would() -> None:
    with pytest.raises(ProblemsError, match=r"data with 'augment: \{crop: 4, flip: yes\}' do"):
        expand(parse_study(PLAIN.replace("steps:", "vary: {augmentation: 2}\nsteps:")))


MINE = """
import numpy as np

def rows():
    return _parts((6,))

def images():
    return _parts((4, 5))

def _parts(shape):
    labels = np.arange(40) % 3
    pixels = np.arange(40 * int(np.prod(shape)), dtype=np.uint8).reshape(40, *shape)
    return pixels[:30], labels[:30], pixels[30:], labels[30:]
"""


@pytest.mark.parametrize(
    ("name", "augment", "said"),
    [
        (
            "rows",
            "{flip: yes}",
            "rows: augment: it moves the pixels of images, and these are rows of 6 features",
        ),
        (
            "images",
            "{crop: 4}",
            "images: augment: crop: expected 1 to 3 pixels of padding for images of 1x4x5, got 4",
        ),
        ("images", "{crop: 3, flip: yes}", None),
    ],
)
def test_images_of_a_user_are_augmented_and_rows_are_not(
    tmp_path: Path, name: str, augment: str, said: str | None
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    text = PLAIN.replace("name: digits, validation: 300", f"name: mine.py:{name}, augment: {augment}")
    text = text.replace("{criterion: snip}", "l1-unstructured")
    study = parse_study(text, folder=tmp_path)
    if said is None:
        assert params(expand(study), "dense", 0)["data"]["augment"] == {"crop": 3, "flip": True}
        return
    with pytest.raises(InputError) as caught:
        expand(study)
    assert said in str(caught.value)


def test_bad_augmentation_is_refused_with_its_place() -> None:
    with pytest.raises(ProblemsError) as caught:
        parse_study(TEXT.replace("crop: 2", "crop: 0"), "mine.yaml")
    assert "mine.yaml line 5, let.data.d.augment.crop: expected 1 pixel of padding or more" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("augment", "phrase"),
    [
        (
            "{crop: 2, flip: yes}",
            "; training images augmented anew each epoch: a random crop after padding by 2 pixels of zero, a horizontal "
            "flip of half of them",
        ),
        ("{flip: yes}", "; training images augmented anew each epoch: a horizontal flip of half of them"),
        ("{flip: no}", "per-channel standardised"),
    ],
)
def test_the_report_names_it_in_a_phrase(tmp_path: Path, augment: str, phrase: str) -> None:
    text = TEXT.replace("{crop: 2, flip: yes}", augment).replace("25it", "2it").split("  ticket:")[0]
    results = run(parse_study(text + "measure: [accuracy]\n"), store=tmp_path, workers=0)
    (said,) = (said for name, said in asked(Evidence(results)).facts if name == "Data")
    assert said.endswith(phrase)
