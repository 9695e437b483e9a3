"""Streams that vary on their own: which seeds they take, what they share, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from pomona.core.errors import ProblemsError
from pomona.core.streams import Stream
from pomona.studies.expand import expand
from pomona.studies.points import Point, Population
from pomona.studies.results import Results
from pomona.studies.run import run
from pomona.studies.study import parse_study

TEXT = """
study: vary
let:
  data: {d: {name: digits, validation: 100}}
  train: {t: {optimizer: {sgd: {lr: 0.1, momentum: 0.9}}, batch_size: 64, duration: 20it}}
replicates: 2
vary: {init: 2, order: 3}
factors:
  method: [l1-unstructured, random-unstructured]
steps:
  dense: {init: {name: fc, options: {hidden: 12-8}}, on: d, train: t}
  ticket: {from: dense, repeat: 2, prune: {method: $method}, treat: rewind, on: d, train: t}
measure: [accuracy, mask-distance]
"""


def varied(change: tuple[str, str] = ("", "")) -> Population:
    assert change[0] in TEXT
    return expand(parse_study(TEXT.replace(*change, 1)))


def places(population: Population) -> dict[tuple[str, ...], str]:
    return {(p.step, str(p.replicate), str(p.level), *p.arm.values()): p.state.key for p in population.points}


def test_value_0_is_the_study_that_does_not_vary() -> None:
    plain = places(varied(("vary: {init: 2, order: 3}\n", "")))
    found = places(varied())
    for place, key in plain.items():
        assert found[(*place, "0", "0")] == key
    assert len(found) == 6 * len(plain)


def test_seed_indices_are_those_of_replicates_that_no_study_has() -> None:
    population = varied()
    for point in population.points:
        seeds = [
            s.params["seeds"] for s in population.graph.ancestors(point.state.key) if "seeds" in s.params
        ]
        wanted = {
            "init": point.replicate + 100_000 * int(point.arm["init"]),
            "order": point.replicate + 100_000 * int(point.arm["order"]),
            "split": point.replicate,
            "mask": point.replicate,
        }
        for one in seeds:
            assert isinstance(one, dict)
            assert one.items() <= wanted.items()
    assert seeds


def test_keys_are_those_of_a_study_whose_streams_are_held_at_these_indices() -> None:
    held = TEXT.replace("vary: {init: 2, order: 3}", "hold: {init: 100000, order: 200000, split: 0, mask: 0}")
    there = places(expand(parse_study(held.replace("replicates: 2", "replicates: 1"))))
    found = places(varied())
    assert there
    for (step, replicate, level, *arm), key in there.items():
        assert found[(step, replicate, level, *arm, "1", "2")] == key


def test_states_share_what_their_recipe_does_not_draw() -> None:
    population = varied()
    # The untrained state draws from init alone: one for each replicate and init, whatever the order.
    begun = {p.start.key for p in population.points if p.step == "dense"}
    assert len(begun) == 2 * 2
    assert len({p.state.key for p in population.points if p.step == "dense"}) == 2 * 2 * 3
    # All methods prune the same dense states.
    by_arm: dict[tuple[str, ...], set[str]] = {}
    for p in population.points:
        if p.step == "ticket" and p.level == 0:
            by_arm.setdefault((str(p.replicate), p.arm["init"], p.arm["order"]), set()).add(p.state.key)
    assert {len(keys) for keys in by_arm.values()} == {1}


def test_masks_of_other_orders_are_compared_for_a_noise_floor() -> None:
    pairs = varied().pairs
    floor = [
        (pair.a, pair.b)
        for pair in pairs
        if pair.a.arm["method"] == pair.b.arm["method"] and pair.a.arm["init"] == pair.b.arm["init"]
    ]
    # 2 replicates, 2 levels, 2 methods, 2 inits, 3 pairs of orders.
    assert len(floor) == 2 * 2 * 2 * 2 * 3
    assert all(a.arm["order"] != b.arm["order"] and a.origin.key == b.origin.key for a, b in floor)
    assert all((a.replicate, a.level) == (b.replicate, b.level) for a, b in floor)


def test_conditions_choose_among_values() -> None:
    chosen = varied(("factors:", "where: order == 0 or method == l1-unstructured\nfactors:"))
    arms = {tuple(p.arm.values()) for p in chosen.points if p.step == "ticket"}
    assert {order for method, _, order in arms if method == "random-unstructured"} == {"0"}
    assert {order for method, _, order in arms if method == "l1-unstructured"} == {"0", "1", "2"}


def test_masks_are_joined_over_the_values_of_a_stream() -> None:
    text = TEXT.replace("vary: {init: 2, order: 3}", "vary: {mask: 3}").split("  ticket:")[0] + (
        "  all: {weights: dense@0, mask: {score: dense, method: random-unstructured, amount: 50%, over: mask, "
        "join: any}, train: none}\nmeasure: [density]\n"
    )
    population = expand(parse_study(text.split("factors:")[0] + "steps:" + text.split("steps:")[1]))
    join = next(s for s in population.graph.states.values() if s.recipe == "join")
    seeds = {population.graph.states[key].params["seeds"]["mask"] for key in join.parents}  # type: ignore[index,call-overload]
    assert seeds in ({0, 100_000, 200_000}, {1, 100_001, 200_001})


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ("vary: {init: 2}\nhold: {init: 3}", "line 7, vary.init: 'init' is held at 3 too"),
        ("vary: {order: 1}", "line 7, vary.order: input should be greater than or equal to 2, got 1"),
        ("vary: {ordr: 2}", "unknown seed stream 'ordr'; did you mean 'order'"),
        (
            "vary: {label-noise: 2}",
            "no step draws from the stream 'label-noise', so all of its values give the same; streams that are "
            "drawn from: init, mask, order, split",
        ),
    ],
)
def test_streams_that_cannot_vary_are_refused(vary: str, said: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        varied(("vary: {init: 2, order: 3}", vary))
    assert said in str(caught.value)


def test_a_factor_of_the_same_name_is_refused() -> None:
    with pytest.raises(
        ProblemsError, match="there is a factor 'mask', and 'vary' makes one; call yours 'mask-used'"
    ):
        parse_study(
            TEXT.replace("vary: {init: 2, order: 3}", "vary: {mask: 2}")
            .replace("method", "mask")
            .replace("{mask: $mask}", "{method: $mask}")
        )


def test_what_varies_differs_and_what_is_held_is_equal_to_the_bit(tmp_path: Path) -> None:
    text = TEXT.replace("replicates: 2\n", "")
    results = run(
        parse_study(text.replace("{init: 2, order: 3}", "{order: 2, mask: 2}")),
        store=tmp_path / "a",
        workers=0,
    )
    # Another store, in which nothing can be shared.
    held = text.replace("vary: {init: 2, order: 3}", "hold: {order: 100000}")
    alone = run(parse_study(held), store=tmp_path / "b", workers=0)

    def point(order: str, mask: str = "0", method: str = "random-unstructured", level: int = 1) -> Point:
        return results.point(level, method=method, order=order, mask=mask)

    def weights(found: Results, key: str) -> dict[str, np.ndarray]:
        return found.store.weights(key)

    first, second = point("0"), point("1")
    other = alone.point(1, method="random-unstructured")
    begun = weights(results, first.origin.key)
    assert _equal(begun, weights(results, second.origin.key))
    assert _equal(begun, weights(alone, other.origin.key))
    ended = weights(results, second.state.key)
    assert not _equal(weights(results, first.state.key), ended)
    assert _equal(ended, weights(alone, other.state.key))
    # The stream of masks alone: the same dense weights, other weights pruned.
    dense = [point("0", mask, level=0).state.key for mask in "01"]
    assert dense[0] == dense[1]
    masks = [results.store.masks(point("0", mask).masked.key)[0] for mask in "01"]
    assert not _equal(masks[0], masks[1])
    # A criterion that draws nothing has one state for all values of the stream of masks.
    assert point("0", "1", "l1-unstructured").state.key == point("0", "0", "l1-unstructured").state.key


def _equal(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_the_stride_is_more_than_any_study_has_replicates() -> None:
    from pomona.studies.identity import STRIDE
    from pomona.studies.schema import StudySpec

    most = StudySpec.model_fields["replicates"].metadata
    assert all(getattr(bound, "le", STRIDE) <= STRIDE for bound in most)
    assert Stream("order", 5).key() != Stream("order", 5 + STRIDE).key()
