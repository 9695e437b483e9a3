"""Codes, the commitment to them, what is blinded, the gates, and the reveal."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import InputError, StoreError
from pomona.graph import chain
from pomona.graph.states import States
from pomona.graph.store import Store
from pomona.report.arms import shown_arms
from pomona.studies.audits import audit
from pomona.studies.blinding.blind import (
    Blind,
    active,
    blind_factors,
    blindings,
    keep,
    new_blind,
    unblind,
)
from pomona.studies.blinding.blinded import BlindedResults, blinded, shown
from pomona.studies.blinding.closed import Closed, open_state, telling
from pomona.studies.blinding.codes import ALPHABET, coded_key, codes_of, commitment
from pomona.studies.results import Results
from pomona.studies.run import Run

from ..zoo import LABELS, TEXT, WORDS, ran_blind, words_in, zoo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zoo") / "store"
    ran_blind(path).close()
    return path


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store(folder) as opened:
        yield opened


@pytest.fixture
def own(store: Store, tmp_path: Path) -> Iterator[Store]:
    """A copy of the store that a test may change."""
    with sqlite3.connect(store.ledger.path) as source:
        (tmp_path / "copy").mkdir()
        with sqlite3.connect(tmp_path / "copy" / "ledger.sqlite") as target:
            source.backup(target)
    with Store(tmp_path / "copy") as opened:
        yield opened


def fixed(salt: str) -> Blind:
    labels = {"method": tuple(sorted(LABELS))}
    return Blind("zoo", "", labels, salt, commitment(salt, labels))


# Codes


@given(st.text(min_size=1), st.sets(st.text(), max_size=30))
def test_codes_differ_and_do_not_depend_on_the_order_of_labels(salt: str, labels: set[str]) -> None:
    found = codes_of(salt, "method", sorted(labels))
    assert found == codes_of(salt, "method", sorted(labels, reverse=True))
    assert set(found) == labels
    assert len(set(found.values())) == len(labels)
    assert list(found.values()) == sorted(found.values())
    assert all(re.fullmatch(rf"method-[{ALPHABET}]{{4,}}", code) for code in found.values())


def test_codes_depend_on_the_salt_and_the_factor() -> None:
    assert codes_of("a", "method", LABELS) != codes_of("b", "method", LABELS)
    first, other = (codes_of("a", factor, LABELS) for factor in ("method", "model"))
    assert {code[-4:] for code in first.values()} != {code[-4:] for code in other.values()}


def test_many_labels_have_longer_codes_rather_than_equal_ones() -> None:
    codes = codes_of("salt", "lr", map(str, range(3000)))
    assert len(set(codes.values())) == 3000
    assert {len(code) for code in codes.values()} != {len("lr-XXXX")}


def test_a_commitment_is_to_the_salt_and_every_label() -> None:
    whole = commitment("salt", {"method": LABELS})
    assert whole == commitment("salt", {"method": LABELS[::-1]})
    assert whole != commitment("other", {"method": LABELS})
    assert whole != commitment("salt", {"method": LABELS[:2]})
    assert fixed("salt").holds
    assert not replace(fixed("salt"), salt="tlas").holds


# What is blinded


def test_yes_blinds_the_factors_that_are_compared() -> None:
    assert blind_factors(zoo()) == ("method",)
    both = "b: {method: quokka-taylor, treatment: finetune}"
    text = TEXT.replace("fix: {treatment: rewind}", "pair: replicate").replace(
        "b: {method: quokka-taylor}", both
    )
    text = text.replace("a: {method: zebra-magnitude}", "a: {method: zebra-magnitude, treatment: rewind}")
    assert blind_factors(zoo(text)) == ("method", "treatment")


def test_no_blinds_nothing_and_names_are_checked() -> None:
    assert blind_factors(zoo(TEXT.replace("blind: yes", "blind: no"))) == ()
    assert blind_factors(zoo(TEXT.replace("blind: yes", "blind: [treatment]"))) == ("treatment",)
    with pytest.raises((InputError, Exception), match="methd"):
        blind_factors(zoo(TEXT.replace("blind: yes", "blind: [methd]")))


def test_to_blind_what_is_compared_where_nothing_is_is_refused() -> None:
    begin = TEXT.index("hypotheses:")
    with pytest.raises(
        InputError, match=r"registration.blind: no hypothesis compares labels.*blind: \[method\]"
    ):
        blind_factors(zoo(TEXT[:begin]))


def test_an_interaction_and_a_regression_compare_their_factors() -> None:
    across = "fix: {}, across: {treatment: [rewind, finetune]}"
    text = TEXT.replace("fix: {treatment: rewind}", across).replace(
        "{paired-t: greater}", "{paired-t: two-sided}"
    )
    assert blind_factors(zoo(text)) == ("method", "treatment")
    begin = TEXT.index("    contrast:")
    model = (
        "    model: {rows: state, formula: accuracy ~ np.log(density) * treatment, "
        "term: 'treatment[T.finetune]'}\n    test: {regression: two-sided}\n"
    )
    assert blind_factors(zoo(TEXT[:begin] + model)) == ("treatment",)


def test_a_salt_is_new_for_each_blinding() -> None:
    first, other = new_blind(zoo()), new_blind(zoo())
    assert first.salt != other.salt
    assert first.commitment != other.commitment
    assert first.labels == {"method": tuple(sorted(LABELS))}


# Results under codes


def test_results_have_the_same_numbers_under_codes(store: Store) -> None:
    plain = Results(zoo(), store)
    hidden = shown(plain)
    assert isinstance(hidden, BlindedResults)
    codes = hidden.blind.codes["method"]
    a, b = plain.summary(), hidden.summary()
    a["method"] = a["method"].map(lambda label: codes.get(label, label))
    order = ["step", "level", "method", "treatment"]
    a, b = (table.sort_values(order).reset_index(drop=True) for table in (a, b))
    assert a.equals(b)
    frame = hidden.frame()
    assert len(frame) == len(plain.frame())
    assert words_in(frame.to_csv()) == set()
    assert words_in(plain.frame().to_csv()) >= {"zebra", "quokka", "okapi"}  # the search finds them
    keys = set(plain.frame()["state"])
    assert not keys & set(frame["state"])
    assert set(frame["state"]) == {coded_key(hidden.blind.salt, key) for key in keys}


def test_order_colours_and_pairs_follow_the_codes(store: Store) -> None:
    plain = Results(zoo(), store)
    orders = set()
    for salt in "abcdefgh":
        hidden = blinded(plain, fixed(salt))
        codes = fixed(salt).codes["method"]
        arms = [arm for arm in shown_arms(hidden.population) if arm.labels.get("treatment") == "rewind"]
        seen = [arm.labels["method"] for arm in arms]
        assert seen == sorted(codes.values()) == list(hidden.study.factors["method"])
        assert len({arm.colour for arm in arms}) == 3
        names = {code: label for label, code in codes.items()}
        orders.add(tuple(names[code] for code in seen))
        pairs = hidden.distances()
        assert (pairs["a"].str.split().str[0] <= pairs["b"].str.split().str[0]).all()
        # The first arm of a pair is by no means the first of the study.
        assert len(pairs) == len(plain.distances())
    assert len(orders) > 2


def test_the_study_under_codes_says_nothing_of_its_arms(store: Store) -> None:
    hidden = shown(Results(zoo(), store))
    assert hidden.study.digest() == zoo().digest()
    spec = hidden.study.spec
    assert words_in(f"{hidden.study.text()} {spec} {hidden.study.factors} {hidden.study.arms}") == set()
    assert words_in(" ".join(hidden.population.labels().values())) == set()
    code = next(iter(hidden.study.factors["method"]))
    assert hidden.point(2, 1, method=code, treatment="rewind").level == 2
    with pytest.raises(InputError) as error:
        hidden.point(2, 1, method="zebra-magnitude", treatment="rewind")
    assert words_in(str(error.value).replace("'zebra-magnitude'", "")) == set()


def test_messages_lose_the_words_that_tell_arms_and_keys(store: Store) -> None:
    hidden = shown(Results(zoo(), store))
    said = "Taylor: NaN in fc1.weight of layer 2 of ticket quokka-taylor (3fa1b2c3d4e5), as magnitude has"
    found = hidden.shown_text(said)
    assert words_in(found) == set()
    assert "3fa1b2c3d4e5" not in found
    assert "NaN in fc1.weight of layer 2 of ticket" in found  # what all arms share stays
    assert Results(zoo(), store).shown_text(said) == said


def test_what_tells_codes_apart_by_density_is_computed(store: Store) -> None:
    hidden = shown(Results(zoo(), store))
    assert isinstance(hidden, BlindedResults)
    codes = hidden.blind.codes["method"]
    (said,) = hidden.told_apart()
    groups = [set(group.split(" and ")) for group in said.rstrip(".").partition(": ")[2].split("; ")]
    alike = {codes["zebra-magnitude"], codes["quokka-taylor"]}
    assert sorted(groups, key=len) == [{codes["okapi-norm"]}, alike]


def test_a_design_that_is_not_complete_tells_codes_apart(tmp_path: Path) -> None:
    study = zoo(TEXT + "where: [treatment == rewind or method != okapi-norm]\n")
    results = blinded(Results(study, Store(tmp_path / "store")), fixed("salt"))
    assert isinstance(results, BlindedResults)
    assert results.told_apart()[0].startswith("The number of arms and levels alone part the codes of method")


def test_steps_can_stand_under_codes(tmp_path: Path) -> None:
    labels = {"method": tuple(sorted(LABELS)), "step": ("dense", "ticket")}
    blind = Blind("zoo", "", labels, "salt", commitment("salt", labels))
    results = blinded(Results(zoo(), Store(tmp_path / "store")), blind)
    steps = {point.step for point in results.population.points}
    assert steps == set(results.study.order)
    assert all(step.startswith("step-") for step in steps)
    assert list(results.summary()["step"].unique()) == list(results.study.order)


# Gates


def test_states_of_a_blinded_study_are_refused_and_left_out(store: Store) -> None:
    closed = Closed(store)
    every = States(store).keys()
    assert set(closed.states) == set(every)
    assert list(closed.seen(States(store, "method == zebra-magnitude"))) == []
    assert "zoo" in closed.note
    assert "pomona unblind zoo" in closed.note
    for key in every[:3]:
        with pytest.raises(InputError, match=r"belongs to the blinded study zoo.*pomona unblind zoo"):
            open_state(store, key[:12])
    with pytest.raises(InputError, match="blinded study zoo"):
        audit(every[-1], store)


def test_other_studies_are_open_unless_they_name_the_blinded_arms(own: Store) -> None:
    before = set(States(own).keys())
    other = zoo(TEXT.replace("study: zoo", "study: farm").replace("amount: 30%", "amount: 40%"))
    results = Run(other, own).execute(workers=0)
    assert results.blind is None  # the dense networks are shared, which tells nothing
    new = set(States(own).keys()) - before
    assert set(Closed(own).states) == before
    assert {state.key for state in Closed(own).seen(States(own, "study == farm"))} <= new
    same = zoo(TEXT.replace("study: zoo", "study: copy"))
    with pytest.raises(InputError, match="also belong to the blinded study zoo"):
        Run(same, own)
    assert own.ledger.rows("SELECT * FROM labels WHERE study = 'copy'") == []  # nothing was planned


def test_the_dense_networks_tell_no_arm(store: Store) -> None:
    found = telling(store, "zoo")
    population = Results(zoo(), store).population
    assert found == {point.state.key for point in population.points if point.level > 0}


def test_a_study_with_fewer_labels_would_tell_which_code_is_left(store: Store) -> None:
    fewer = zoo(TEXT + "where: [method != okapi-norm]\n")
    with pytest.raises(InputError, match="3 registered labels of method 1 is not in the study") as error:
        shown(Results(fewer, store))
    assert words_in(str(error.value)) == set()


# Reveal


def test_the_commitment_is_in_the_registration(store: Store) -> None:
    (blind,) = blindings(store.ledger, "zoo")
    (entry,) = chain.entries(store.ledger, "registered", "zoo")
    assert blind.commitment in entry.content
    assert blind.holds
    assert blind.salt not in entry.content
    assert not any(code in entry.content for code in blind.codes["method"].values())


def test_unblinding_logs_the_reveal_and_names_are_back(own: Store) -> None:
    blind = active(own, "zoo")
    assert blind is not None
    (reveal,) = unblind(own, "zoo")
    assert active(own, "zoo") is None
    (entry,) = chain.entries(own.ledger, "unblinded", "zoo")
    assert entry == reveal.entry
    said = json.loads(entry.content)
    assert said["codes"] == blind.codes
    assert said["registration"] == blind.registration
    # Whoever has the entry can compute the commitment again.
    labels = {factor: tuple(codes) for factor, codes in said["codes"].items()}
    assert commitment(said["salt"], labels) == blind.commitment == said["commitment"]
    assert {"who", "at"} <= set(said)
    assert chain.check(own.ledger) == []
    results = shown(Results(zoo(), own))
    assert results.blind is None
    assert set(results.summary()["method"]) > set(LABELS)
    assert Closed(own).states == {}
    with pytest.raises(InputError, match="revealed already, 2"):
        unblind(own, "zoo")


def test_nothing_to_reveal_is_said(own: Store) -> None:
    with pytest.raises(InputError, match="nothing of farm is blinded"):
        unblind(own, "farm")


@pytest.mark.parametrize(
    ("column", "value"), [("salt", "0" * 64), ("factors", '{"method": ["zebra-magnitude"]}')]
)
def test_a_salt_or_labels_that_were_changed_are_refused(own: Store, column: str, value: str) -> None:
    with own.ledger.transaction() as write:
        write.execute(f"UPDATE blindings SET {column} = ?", (value,))
    with pytest.raises(StoreError, match=r"not the one that was committed to.*Nothing is shown or revealed"):
        unblind(own, "zoo")
    with pytest.raises(StoreError, match="its salt or labels were changed"):
        active(own, "zoo")
    assert chain.entries(own.ledger, "unblinded") == []


def test_a_commitment_that_was_changed_with_its_salt_is_refused(own: Store) -> None:
    other = fixed("another salt")
    with own.ledger.transaction() as write:
        write.execute("UPDATE blindings SET salt = ?, commitment = ?", (other.salt, other.commitment))
    with pytest.raises(StoreError, match="its registration holds another commitment"):
        unblind(own, "zoo")


def test_of_two_registrations_everything_stays_hidden(own: Store) -> None:
    (first,) = blindings(own.ledger, "zoo")
    labels = {"treatment": ("finetune", "rewind")}
    second = Blind("zoo", "second", labels, "salt", commitment("salt", labels))
    keep(own.ledger, second)
    found = active(own, "zoo")
    assert found is not None
    assert set(found.factors) == {"method", "treatment"}
    assert found.salt == second.salt != first.salt


def test_the_words_of_the_search_are_those_of_the_study() -> None:
    assert words_in(TEXT) == set(WORDS)
