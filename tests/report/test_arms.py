from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pomona.report.arms import PALETTE, Arm, shorten, shown_arms
from pomona.report.figures.pairs import MOST_FIGURES, figures_of_pairs
from pomona.studies.expand import expand
from pomona.studies.study import parse_study
from tests.report.conftest import study_text, ticket


def arms_of(factors: str, step: str) -> list[Arm]:
    return shown_arms(expand(parse_study(study_text("x", replicates=1, factors=factors, step=step))))


def many(methods: int, treatments: int) -> list[Arm]:
    names = ", ".join(f"m{i}: l1-unstructured" for i in range(methods))
    others = ", ".join(f"t{i}: {{rewind: {i}it}}" for i in range(treatments))
    factors = f"factors:\n  method: {{{names}}}\n  treatment: {{{others}}}"
    return arms_of(factors, ticket(1, treat="$treatment"))


def test_arms_leave_out_the_dense_network_that_others_start_from() -> None:
    found = arms_of("factors:\n  method: [l1-unstructured, l1-structured]", ticket(2))
    assert [(arm.step, arm.name) for arm in found] == [
        ("ticket", "l1-unstructured"),
        ("ticket", "l1-structured"),
    ]


def test_arms_without_factors_are_called_by_their_step() -> None:
    assert [arm.name for arm in arms_of("", "")] == ["dense"]
    assert [arm.name for arm in arms_of("", ticket(2, "l1-unstructured"))] == ["ticket"]


def test_arms_are_named_by_what_tells_them_apart_and_fully_for_results() -> None:
    factors = "factors:\n  method: [l1-unstructured, l1-structured]\n  treatment: [rewind]"
    first = arms_of(factors, ticket(1, treat="$treatment"))[0]
    assert (first.name, first.full) == ("l1-unstructured", "l1-unstructured rewind")


def test_arms_up_to_the_palette_share_one_panel_with_a_colour_each() -> None:
    found = many(4, 2)
    assert {arm.panel for arm in found} == {""}
    assert len({arm.colour for arm in found}) == 8


def test_arms_beyond_the_palette_have_panels_in_which_colours_differ() -> None:
    for methods, treatments in ((7, 3), (3, 4), (20, 1), (12, 2)):
        found = many(methods, treatments)
        drawn = {(arm.panel, arm.colour) for arm in found}
        assert len(drawn) == len(found) == methods * treatments
        assert len({arm.name for arm in found}) == len(found)


def test_arms_beyond_the_palette_keep_the_colour_of_a_factor_across_panels() -> None:
    found = many(7, 3)
    assert {arm.panel for arm in found} == {"treatment: t0", "treatment: t1", "treatment: t2"}
    assert len({(arm.labels["method"], arm.colour, arm.short) for arm in found}) == 7


@given(st.lists(st.text(min_size=1, max_size=80), max_size=20), st.integers(8, 40))
def test_shorten_gives_names_that_differ_and_are_short(names: list[str], longest: int) -> None:
    distinct = list(dict.fromkeys(names))
    found = shorten(distinct, longest)
    assert len(set(found)) == len(distinct)
    assert all(len(name) <= longest + 4 for name in found)


def present(arms: list[Arm]) -> set[tuple[str, str, str]]:
    return {(a.step, a.full, b.full) for a in arms for b in arms}


def test_few_pairs_share_one_figure() -> None:
    arms = many(3, 1)
    ((title, pairs),) = figures_of_pairs(arms, present(arms))
    assert title == ""
    assert list(pairs) == ["m0  ↔  m1", "m0  ↔  m2", "m1  ↔  m2"]


def test_many_pairs_are_drawn_where_one_factor_varies() -> None:
    arms = many(4, 3)
    figures = figures_of_pairs(arms, present(arms))
    assert [title for title, _ in figures][:3] == [f"method varies, treatment: t{i}" for i in range(3)]
    for _, pairs in figures:
        assert len(pairs) <= len(PALETTE)
        for a, b in pairs.values():
            assert sum(a.labels[factor] != b.labels[factor] for factor in a.labels) == 1


def test_very_many_pairs_are_those_with_the_first_arm() -> None:
    arms = many(20, 1)
    figures = figures_of_pairs(arms, present(arms))
    assert len(figures) == 3 <= MOST_FIGURES
    assert {a.name for _, pairs in figures for a, _ in pairs.values()} == {"m0"}
    assert sum(len(pairs) for _, pairs in figures) == 19


def test_pairs_that_were_not_measured_are_not_drawn() -> None:
    assert figures_of_pairs(many(3, 1), set()) == []
