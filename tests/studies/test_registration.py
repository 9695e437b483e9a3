"""What is frozen before the data, what is refused, and when a hypothesis still is the registered one."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pomona.core.errors import ProblemsError, StoreError
from pomona.graph import chain
from pomona.graph.store import Store
from pomona.studies.blinding.blind import active, unblind
from pomona.studies.blinding.blinded import shown
from pomona.studies.document import parse_document, with_preset
from pomona.studies.expand import expand
from pomona.studies.hypotheses.cells import cells, keys
from pomona.studies.hypotheses.spec import Hypothesis
from pomona.studies.points import Point
from pomona.studies.registration import register as registration
from pomona.studies.registration.answers import SECTIONS
from pomona.studies.registration.matching import (
    differences,
    family_of,
    registered_replicates,
    why_exploratory,
)
from pomona.studies.registration.obstacles import ASKED
from pomona.studies.registration.printed import data_line, printed
from pomona.studies.registration.register import register
from pomona.studies.registration.registered import canonical, hypothesis_digest, registrations
from pomona.studies.results import Results
from pomona.studies.study import Study, check_study, load_study, parse_study
from tests.studies.filled import CONTRAST, STUDY, _attempt, fill, opened, study_of

SECOND = """
  - claim: Zebras outlive quokkas when finetuned.
    contrast: {a: {method: zebra}, b: {method: quokka}, fix: {treatment: finetune}}
    of: {measure: accuracy, match: level, value: 3}
    test: {permutation: greater}
"""
NOTHING = dict.fromkeys(("held", "trained", "failed", "seen", "pilot", "pilot_held"), 0)
ANSWERS = STUDY[STUDY.index("registration:") : STUDY.index("hypotheses:")]


def half(point: Point) -> float:
    return 0.5


def why(store: Store, study: Study, number: int = 1) -> tuple[str, ...]:
    hypothesis = study.spec.hypotheses[number - 1]
    return why_exploratory(registrations(store, study.name), hypothesis, expand(study))


def refusals(folder: Path, study: Study) -> Sequence[str]:
    """Why a study is refused; the chain stays as it is."""
    store = opened(folder)
    with pytest.raises(ProblemsError) as error:
        register(study, store)
    assert chain.entries(store.ledger) == []
    assert not (store.folder / registration.FOLDER).exists()
    return error.value.problems


def test_a_registration_is_one_entry_of_the_chain_that_its_digest_names(tmp_path: Path) -> None:
    store = opened(tmp_path)
    before = chain.head(store.ledger)
    found = register(study_of(), store)
    (entry,) = chain.entries(store.ledger, "registered", "claims")
    assert (entry.number, entry.link) == (found.entry, found.link)
    assert hashlib.sha256(entry.content.encode()).hexdigest() == found.digest
    assert json.loads(entry.content) == found.body
    assert entry.content == json.dumps(found.body, sort_keys=True, separators=(",", ":"))
    assert (found.body["chain_head"], chain.head(store.ledger)) == (before, found.link)
    assert chain.check(store.ledger) == []
    assert registrations(store, "claims") == [found]
    assert registrations(store, "other") == []


def test_the_files_are_the_text_and_what_the_digest_is_of(tmp_path: Path) -> None:
    store = opened(tmp_path)
    found = register(study_of(), store)
    folder = store.folder / "registrations"
    content = (folder / f"claims-{found.digest[:12]}.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() == found.digest
    assert (folder / f"claims-{found.digest[:12]}.txt").read_text() == printed(found)


def test_an_edited_registration_breaks_the_chain(tmp_path: Path) -> None:
    store = opened(tmp_path)
    register(study_of(), store)
    with store.ledger.transaction() as write:
        write.execute("UPDATE chain SET content = replace(content, 'outlive', 'envy')")
    assert [found.subject for found in chain.check(store.ledger)] == ["claims"]


def test_the_body_holds_what_was_asked_for_and_what_it_speaks_of(tmp_path: Path) -> None:
    study = study_of(CONTRAST + SECOND)
    store = opened(tmp_path)
    body = register(study, store).body
    assert (body["text"], body["text_digest"]) == (study.text(), study.digest())
    assert (body["replicates"], body["pilot"], body["correction"]) == (6, 0, "holm")
    assert body["answers"]["written"]["question"] == "Does it matter what is pruned?"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["time"])
    first, second = body["hypotheses"]
    speaks_of = cells(expand(study), study.spec.hypotheses[0])
    assert first["keys_count"] == len(keys(speaks_of))
    # Two arms of six replicates at one level.
    assert (first["results"], first["held"], first["held_replicates"]) == (12, 0, [])
    assert {side: list(by) for side, by in first["cells"].items()} == {
        "a": list("012345"),
        "b": list("012345"),
    }
    assert (first["smallest_p"], first["family"]) == (0, "primary")
    assert (second["smallest_p"], second["corrected_smallest_p"]) == (1 / 64, 2 / 64)
    assert body["data"] == {**NOTHING, "results": 24, "states": 24}
    documents = store.ledger.rows("SELECT digest FROM environments")
    assert [row["digest"] for row in documents] == [body["environment"]]


def test_missing_answers_are_reported_together_with_place_and_example(tmp_path: Path) -> None:
    study = study_of(changes=[(ANSWERS, "registration: {exclusions: none, question: ' '}\n")])
    found = refusals(tmp_path, study)
    assert len(found) == len(ASKED) - 1
    assert found[0].startswith("study line 15, registration.question: a registration says the main question")
    assert "as 'sample_size: what one night" in found[1]


def test_what_is_missing_and_what_cannot_be_answered_come_together(tmp_path: Path) -> None:
    study = study_of(CONTRAST + SECOND, [(ANSWERS, ""), ("replicates: 6", "replicates: 4")])
    found = refusals(tmp_path, study)
    assert len(found) == len(ASKED) + 1
    assert "5 replicates" not in found[-1]
    assert "hypotheses.1.test" in found[-1]


@pytest.mark.parametrize(
    ("test", "few", "enough"),
    [
        ("permutation", 5, 6),
        ("{permutation: greater}", 4, 5),
        ("wilcoxon", 5, 6),
        ("sign", 5, 6),
        ("{paired-t: greater}", 1, 2),
    ],
)
def test_a_test_that_cannot_reach_alpha_names_the_number_that_can(
    tmp_path: Path, test: str, few: int, enough: int
) -> None:
    text = CONTRAST.replace("{paired-t: greater}", test)
    (found,) = refusals(tmp_path, study_of(text, [("replicates: 6", f"replicates: {few}")]))
    assert re.search(rf"line 2\d, hypotheses.0.test: .*; write 'replicates: {enough}'$", found), found
    register(study_of(text, [("replicates: 6", f"replicates: {enough}")]), opened(tmp_path))


def test_the_number_that_can_counts_the_family_and_the_pilot(tmp_path: Path) -> None:
    text = CONTRAST.replace("{paired-t: greater}", "permutation") + SECOND
    pilot = ("registration:", "registration:\n  pilot: 2")
    first, second = refusals(tmp_path, study_of(text, [pilot]))
    assert first.endswith("alpha is .05: 7 replicates beside the pilot of 2 can; write 'replicates: 9'")
    assert second.endswith("write 'replicates: 8'")
    body = register(study_of(text, [pilot, ("replicates: 6", "replicates: 9")]), opened(tmp_path)).body
    assert [one["n"] for one in body["hypotheses"]] == [7, 7]
    assert body["hypotheses"][0]["results"] == 14


def test_a_study_that_cannot_be_answered_is_refused(tmp_path: Path) -> None:
    (found,) = refusals(tmp_path, study_of("", [("hypotheses:", "")]))
    assert "there is no hypothesis" in found
    (found,) = refusals(tmp_path, study_of(changes=[("replicates: 6", "replicates: 6\nverdicts: no")]))
    assert "verdicts: no" in found
    (found,) = refusals(tmp_path, study_of(changes=[("registration:", "registration:\n  pilot: 6")]))
    assert "registration.pilot: all 6 replicates are a pilot" in found


def test_a_preset_that_is_not_for_verdicts_is_named(tmp_path: Path) -> None:
    text = f"{STUDY}{CONTRAST}presets: {{quick: {{verdicts: no}}}}\n"
    study = check_study(with_preset(parse_document(text, "claims.yaml", tmp_path), "quick"))
    (found,) = refusals(tmp_path, study)
    assert "the preset quick is not for verdicts" in found


def test_max_t_takes_permutations_of_one_direction(tmp_path: Path) -> None:
    asked = ("registration:", "registration:\n  correction: max-t")
    mixed = study_of(CONTRAST + SECOND, [asked])
    (found,) = refusals(tmp_path, mixed)
    assert "family 'primary' has paired-t (greater), permutation (greater)" in found
    same = CONTRAST.replace("paired-t", "permutation") + SECOND
    body = register(study_of(same, [asked]), opened(tmp_path)).body
    # Its bound does not grow with the family.
    assert [one["corrected_smallest_p"] for one in body["hypotheses"]] == [1 / 64, 1 / 64]


def test_masks_are_not_compared_without_a_noise_floor(tmp_path: Path) -> None:
    masks = """
  - claim: Masks differ.
    contrast: {a: {method: zebra}, value: 1, fix: {treatment: rewind}}
    of: {measure: mask-distance, to: {method: quokka}, match: level, value: 2, layer: fc1.weight}
    test: {paired-t: less}
"""
    measured = ("measure: [accuracy, density]", "measure: [accuracy, mask-distance]")
    (found,) = refusals(tmp_path, study_of(masks, [measured]))
    assert "write 'vary: {order: 2}'" in found
    assert "'where: [order == 0 or method == zebra]'" in found
    varied = ("steps:", "vary: {order: 2}\nwhere: [order == 0 or method == zebra]\nsteps:")
    fixed = ("{treatment: rewind}", "{treatment: rewind, order: 0}")
    study = study_of(masks.replace(*fixed), [measured, varied])
    body = register(study, opened(tmp_path)).body
    assert set(body["hypotheses"][0]["cells"]) == {"a", "floor"}


def test_a_distance_that_noise_makes_is_warned_of(tmp_path: Path) -> None:
    masks = """
  - claim: Masks differ.
    contrast: {a: {method: zebra}, value: 0, fix: {treatment: rewind, order: 0}}
    of: {measure: mask-distance, to: {method: quokka}, match: level, value: 2, layer: fc1.weight}
    test: {paired-t: greater}
"""
    changes = [
        ("measure: [accuracy, density]", "measure: [mask-distance]"),
        ("steps:", "vary: {order: 2}\nsteps:"),
    ]
    found = register(study_of(masks, changes), opened(tmp_path / "first"))
    (said,) = found.hypotheses[0]["warnings"]
    assert said.startswith("a distance that is larger than 0 says nothing: masks of one method differ")
    assert f"warning: {said}" in " ".join(printed(found).split())
    for old, new in (("value: 0,", "value: floor,"), ("value: 0,", "value: 1,"), ("greater", "less")):
        body = register(study_of(masks.replace(old, new), changes), opened(tmp_path / new)).body
        assert body["hypotheses"][0]["warnings"] == []
    floor = register(
        study_of(masks.replace("value: 0,", "value: floor,"), changes), opened(tmp_path / "floor")
    )
    text = " ".join(printed(floor).split())
    assert "null: the mean of a is at most the noise floor of the same replicate" in text
    assert "held against the noise floor of the same replicate" in text


def test_no_data_yet_is_checked(tmp_path: Path) -> None:
    study, store = study_of(CONTRAST + SECOND), opened(tmp_path)
    fill(store, study, half, wanted=lambda p: p.replicate in (1, 4) and p.arm.get("treatment") == "rewind")
    body = register(study, store).body
    first, second = body["hypotheses"]
    assert (first["held"], first["held_replicates"]) == (4, [1, 4])
    assert (second["held"], second["held_replicates"]) == (0, [])
    assert body["data"]["held"] == 4
    assert body["answers"]["derived"]["data"][0].startswith("Yes: 4 of the 24 results")
    assert why(store, study) == ("4 of its 12 results were in the store when it was registered",)
    assert why(store, study, 2) == ()


def test_results_that_were_taken_out_were_there(tmp_path: Path) -> None:
    study, store = study_of(), opened(tmp_path)
    fill(store, study, half, wanted=lambda p: p.replicate == 2)
    with store.ledger.transaction() as write:
        write.execute("DELETE FROM measurements")
        write.execute("UPDATE probes SET status = 'planned'")
    assert register(study, store).body["hypotheses"][0]["held"] == 2


def test_states_that_were_measured_in_another_way_are_no_unknown(tmp_path: Path) -> None:
    data = ("let:\n", "let:\n  data: {d: {name: digits, validation: 100}}\n")
    study, store = study_of(CONTRAST + SECOND, [data, ("on: digits", "on: d")]), opened(tmp_path)
    fill(store, study, half, part="validation", wanted=lambda p: p.level in (2, 4) and p.replicate in (1, 4))
    found = register(study, store)
    first, second = found.body["hypotheses"]
    # The other reads level 3, through which level 4 went: trained, and not looked at.
    assert (first["held"], first["seen"], first["seen_replicates"]) == (0, 4, [1, 4])
    assert (second["held"], second["seen"], second["seen_replicates"]) == (0, 0, [])
    counted = {**NOTHING, "results": 24, "states": 24, "trained": 8, "seen": 4}
    assert found.body["data"] == counted
    said = "the states of 4 were measured in another way"
    assert said in data_line(found.body["data"])
    assert "no data" not in data_line(found.body["data"])
    assert f"{said}: replicates 1, 4" in printed(found)
    assert "Of the states of 4 results that were not there something else" in " ".join(printed(found).split())


def test_masks_tell_nothing_of_accuracy(tmp_path: Path) -> None:
    masks = ("measure: [accuracy, density]", "measure: [accuracy, mask-distance, weight-magnitude]")
    study, store = study_of(changes=[masks]), opened(tmp_path)
    fill(store, study, half, wanted=lambda p: p.level == 3)  # level 2 is trained on the way
    population = expand(study)
    pairs = [pair for pair in population.pairs if pair.a.level == 2]
    for pair in pairs:
        store.ledger.commit_probe(pair.probe.key, [], _attempt(pair.probe.key), 1)
    assert pairs
    assert register(study, store).hypotheses[0]["seen"] == 0
    sizes = [p.probes["weight-magnitude"] for p in population.points if p.level == 2 and p.replicate == 5]
    for probe in sizes:
        store.ledger.commit_probe(probe.key, [], _attempt(probe.key), 1)
    again = study_of(changes=[masks, ("exclusions: none", "exclusions: some")])
    assert register(again, store).hypotheses[0]["seen"] == 2


HELD = "hold: {init: 0, order: 0, split: 0, augmentation: 0, dropout: 0"


@pytest.mark.parametrize(
    ("hypothesis", "held"),
    [
        (CONTRAST, f"{HELD}, mask: 0}}"),
        (CONTRAST.replace("b: {method: quokka}", "value: 90%"), f"{HELD}}}"),
        (CONTRAST.replace("{paired-t: greater}", "equivalence\n    margin: 2pp"), f"{HELD}, mask: 0}}"),
        (
            "\n  - claim: Accuracy falls.\n    model: {rows: state, formula: accuracy ~ level, term: level, "
            "cluster: lineage, where: method == zebra}\n    test: {regression: less}\n",
            f"{HELD}}}",
        ),
    ],
)
def test_one_state_is_not_counted_n_times(tmp_path: Path, hypothesis: str, held: str) -> None:
    change = ("replicates: 6", f"replicates: 6\n{held}")
    (found,) = refusals(tmp_path, study_of(hypothesis, [change]))
    assert "hypotheses.0: hold leaves nothing that varies between replicates: all 6 of them" in found
    assert "init (held at 0) and order (held at 0)" in found
    free = study_of(hypothesis, [("replicates: 6", f"replicates: 6\n{held.replace(' order: 0,', '')}")])
    assert register(free, opened(tmp_path)).hypotheses[0]["speaks_for"] == []


def test_an_arm_that_is_one_state_speaks_for_its_seeds_only(tmp_path: Path) -> None:
    # Of the two criteria only the random one draws from 'mask'.
    change = ("replicates: 6", f"replicates: 6\n{HELD}}}")
    found = register(study_of(changes=[change]), opened(tmp_path))
    (said,) = found.hypotheses[0]["speaks_for"]
    assert said.startswith("a speaks for init 0 and order 0")
    assert said.endswith(" only: it is the same in all replicates")
    assert said in " ".join(printed(found).split())


def test_states_that_are_trained_or_failed_are_disclosed(tmp_path: Path) -> None:
    study, store = study_of(), opened(tmp_path)
    fill(store, study, lambda p: None, wanted=lambda p: p.level == 2 and p.replicate == 0)
    body = register(study, store).body
    assert body["data"] == {**NOTHING, "results": 12, "states": 12, "failed": 2}
    assert body["answers"]["derived"]["data"] == [
        "No: none of the 12 results that the hypotheses speak of was in the store.",
        "2 of these states had been tried and had failed.",
    ]


def test_a_pilot_is_no_data(tmp_path: Path) -> None:
    study, store = study_of(changes=[("registration:", "registration:\n  pilot: 3")]), opened(tmp_path)
    fill(store, study, lambda p: 0.5 + 0.01 * p.replicate**2, wanted=lambda p: p.replicate < 3)
    body = register(study, store).body
    assert body["data"]["held"] == 0
    assert why(store, study) == ()
    assert registered_replicates(registrations(store, "claims"), study.spec.hypotheses[0]) == range(3, 6)


def test_the_data_of_another_study_count_too(tmp_path: Path) -> None:
    store = opened(tmp_path)
    fill(store, study_of("", [("hypotheses:", ""), ("study: claims", "study: earlier")]), half)
    assert register(study_of(), store).body["hypotheses"][0]["held"] == 12


def test_registering_again_changes_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    first = register(study_of(), store)
    fill(store, study_of(), half)
    titled = study_of(changes=[("study: claims", "study: claims\ntitle: Of stripes")])
    assert register(study_of(), store) == first
    assert register(titled, store) == first
    assert len(registrations(store, "claims")) == 1
    assert why(store, titled) == ()


def test_a_changed_registration_stands_beside_the_old_one(tmp_path: Path) -> None:
    store = opened(tmp_path)
    first = register(study_of(), store)
    changed = study_of(changes=[("exclusions: none", "exclusions: those that I dislike")])
    second = register(changed, store)
    assert registrations(store, "claims") == [first, second]
    assert second.body["before"] == {
        "digest": first.digest,
        "time": first.body["time"],
        "changes": ["registration.exclusions: none -> those that I dislike"],
    }
    assert "Deviations" in printed(second)
    assert "those that I dislike" in printed(second).partition("Deviations")[2]
    # And back to the first: that is registered already.
    assert register(study_of(), store) == first


def test_the_first_registration_that_fits_counts(tmp_path: Path) -> None:
    store, study = opened(tmp_path), study_of()
    register(study, store)
    fill(store, study, half)
    again = study_of(changes=[("exclusions: none", "exclusions: some")])
    assert register(again, store).body["data"]["held"] == 12
    assert why(store, again) == ()


def test_registering_after_the_data_does_not_help(tmp_path: Path) -> None:
    store, study = opened(tmp_path), study_of()
    fill(store, study, half)
    assert why(store, study) == ("not registered",)
    register(study, store)
    assert why(store, study) == ("12 of its 12 results were in the store when it was registered",)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("paired-t: greater", "paired-t: less", "test (paired-t: greater -> paired-t: less)"),
        ("value: 2}", "value: 3}", "of.value (2 -> 3)"),
        ("Zebras outlive quokkas.", "Zebras outlive.", "claim (Zebras outlive quokkas. -> Zebras outlive.)"),
        ("greater}", "greater}\n    margin: 1pp", "margin (nothing -> 0.01)"),
        ("greater}", "greater}\n    alpha: 0.1", "alpha (0.05 -> 0.1)"),
    ],
)
def test_what_was_changed_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    store = opened(tmp_path)
    register(study_of(), store)
    assert why(store, study_of(CONTRAST.replace(old, new))) == (f"changed after registration: {said}",)


def test_a_hypothesis_that_was_added_is_not_registered(tmp_path: Path) -> None:
    store = opened(tmp_path)
    register(study_of(), store)
    study = study_of(SECOND + CONTRAST)
    assert why(store, study, 1) == ("not registered",)
    assert why(store, study, 2) == ()


def test_states_that_are_others_are_counted(tmp_path: Path) -> None:
    store = opened(tmp_path)
    register(study_of(), store)
    rate = study_of(changes=[("lr: 0.1", "lr: 0.2")])
    assert why(store, rate) == (
        "the states it speaks of are others than registered (12 of 12 differ, of a and b)",
    )
    zebra = study_of(changes=[("zebra: {criterion: magnitude", "zebra: {criterion: snip")])
    assert why(store, zebra) == ("the states it speaks of are others than registered (6 of 12 differ, of a)",)


def test_what_it_does_not_speak_of_may_change(tmp_path: Path) -> None:
    store = opened(tmp_path)
    register(study_of(), store)
    more = [
        ("repeat: 4", "repeat: 6"),
        ("[rewind, finetune]", "[rewind, finetune, reinit]"),
        ("[accuracy, density]", "[accuracy, loss, effective-density]"),
        ("exploratory: all else", "exploratory: less"),
    ]
    changed = study_of(changes=more)
    assert why(store, changed) == ()
    assert len(differences(registrations(store, "claims")[0], changed)) == 4


def test_more_replicates_than_registered_do_no_harm_and_fewer_do(tmp_path: Path) -> None:
    store = opened(tmp_path)
    register(study_of(), store)
    more = study_of(changes=[("replicates: 6", "replicates: 9")])
    assert why(store, more) == ()
    known = registrations(store, "claims")
    assert registered_replicates(known, more.spec.hypotheses[0], expand(more)) == range(6)
    fewer = study_of(changes=[("replicates: 6", "replicates: 5")])
    assert why(store, fewer) == (
        "the study has 5 replicates, registered were 6: the number was fixed, so nothing is tested before",
    )


def test_a_pilot_cannot_be_declared_afterwards(tmp_path: Path) -> None:
    store = opened(tmp_path)
    register(study_of(), store)
    study = study_of(changes=[("registration:", "registration:\n  pilot: 2")])
    assert why(store, study) == ("the pilot has 2 replicates, registered were 0",)


def test_the_family_is_the_registered_one(tmp_path: Path) -> None:
    store = opened(tmp_path)
    whole = study_of(CONTRAST + SECOND)
    register(whole, store)
    alone = study_of(changes=[("registration:", "registration:\n  correction: none")])
    correction, family = family_of(registrations(store, "claims"), alone.spec.hypotheses[0], expand(alone))
    assert correction == "holm"
    assert family == list(whole.spec.hypotheses)
    assert family_of([], alone.spec.hypotheses[0], expand(alone)) == ("none", [alone.spec.hypotheses[0]])


def test_differences_are_paths_of_the_study(tmp_path: Path) -> None:
    found = register(study_of(), opened(tmp_path))
    assert differences(found, study_of()) == []
    changes = [("lr: 0.1", "lr: 0.2"), ("replicates: 6", "replicates: 8\ntitle: Stripes")]
    assert sorted(differences(found, study_of(changes=changes))) == [
        "let.train.short.optimizer.sgd.lr: 0.1 -> 0.2",
        "replicates: 6 -> 8",
        "title: nothing -> Stripes",
    ]


def test_the_print_has_every_answer_and_the_study(tmp_path: Path) -> None:
    study = study_of(
        CONTRAST + SECOND, [("registration:", "registration:\n  authors: [Ada, Ida]\n  other: no")]
    )
    found = register(study, opened(tmp_path))
    text = printed(found)
    for heading, where in SECTIONS.values():
        assert f"\n{heading} ({where})\n" in text
    for part in (found.digest, found.link, found.body["chain_head"], "Ada, Ida (from the study)"):
        assert part in text
    assert "null: the mean of a - b is at most 0\n     alternative: it is above 0" in text
    assert "1. a: method zebra; b: method quokka; both at treatment rewind; paired by replicate" in text
    assert "2. accuracy, test part, at level 3" in text
    assert "n = 6; smallest p .0156, .0312 after Holm over 2" in text
    assert all(f"    {line}".rstrip() in text for line in study.text().splitlines())
    assert max(len(line) for line in text.partition("The study as it is run")[0].splitlines()) <= 110


@pytest.mark.parametrize(
    ("hypothesis", "null", "alternative"),
    [
        (CONTRAST.replace("greater", "less"), "the mean of a - b is at least 0", "it is below 0"),
        (CONTRAST.replace("paired-t: greater", "sign: two-sided"), "the median of a - b is 0", "it is other than 0"),
        (
            CONTRAST.replace("{paired-t: greater}", "equivalence\n    margin: 2pp"),
            "the mean of a - b is 2 points or more from 0",
            "it is less than 2 points from 0",
        ),
        (
            CONTRAST.replace("b: {method: quokka}", "value: 90%"),
            "the mean of a is at most 90 %",
            "it is above 90 %",
        ),
        (
            CONTRAST.replace("fix: {treatment: rewind}", "across: {treatment: [rewind, finetune]}"),
            "the mean of a - b at treatment rewind less a - b at finetune is at most 0",
            "it is above 0",
        ),
    ],
)  # fmt: skip
def test_null_and_alternative_are_those_of_the_test(
    tmp_path: Path, hypothesis: str, null: str, alternative: str
) -> None:
    body = register(study_of(hypothesis), opened(tmp_path)).body
    lines = body["answers"]["derived"]["hypotheses"]
    assert lines[1:3] == [f"   null: {null}", f"   alternative: {alternative}"]


def test_what_two_looks_and_several_families_add_up_to_is_said(tmp_path: Path) -> None:
    plain = register(study_of(), opened(tmp_path / "first")).body["answers"]["derived"]["inference"]
    assert "comes up in up to 2 alpha" in " ".join(plain)
    assert "Alpha is .05." in plain
    assert not any("families" in line for line in plain)
    other = SECOND.replace("greater}", "greater}\n    alpha: 0.1\n    primary: no")
    found = register(study_of(CONTRAST + other), opened(tmp_path / "second")).body
    said = found["answers"]["derived"]["inference"]
    assert "Alpha is 0.1 of 2, else .05." in said
    assert any("There are 2 families, each corrected by itself" in line for line in said)


def test_the_study_of_the_library_can_be_registered(tmp_path: Path) -> None:
    body = register(load_study("iterative-pruning"), opened(tmp_path)).body
    # Every claim has a test that five replicates can pass in a family of so many.
    assert len(body["hypotheses"]) == 31
    assert {(one["n"], one["smallest_p"]) for one in body["hypotheses"]} == {(5, 0)}
    assert all(one["minimal_dz"] is None or one["minimal_dz"] < 4 for one in body["hypotheses"])
    assert body["data"]["held"] == 0


def test_a_pilot_has_an_end() -> None:
    with pytest.raises(ProblemsError, match=r"registration\.pilot: .*100000, got 1000000000"):
        study_of(changes=[("registration:", "registration:\n  pilot: 1000000000")])


def test_a_registration_of_a_regression(tmp_path: Path) -> None:
    regression = """
  - claim: Accuracy falls with level.
    model: {rows: state, formula: accuracy ~ level, term: level, cluster: lineage, where: step == ticket}
    test: {regression: less}
"""
    study, store = study_of(regression), opened(tmp_path)
    found = register(study, store)
    frozen = found.body["hypotheses"][0]
    assert list(frozen["cells"]) == ["row"]
    # Level 0 is the dense state of the replicate, which all arms share.
    assert frozen["results"] == 6 * (1 + 4 * 4)
    assert "the coefficient of level is at least 0" in printed(found)
    assert why(store, study) == ()


def test_a_blinded_study_commits_to_its_codes(tmp_path: Path) -> None:
    store = opened(tmp_path)
    study = study_of(changes=[("registration:", "registration:\n  blind: true")])
    found = register(study, store)
    blind = active(store, "claims")
    assert blind is not None
    assert blind.registration == found.digest
    assert found.body["blinding"] == {"factors": ["method"], "commitment": blind.commitment}
    text = printed(found)
    assert blind.commitment in text
    assert "Not hidden: Densities" in text
    assert blind.salt not in text + json.dumps(found.body)
    # The codes are drawn anew each time; that alone is no other registration.
    assert register(study, store) == found
    assert active(store, "claims") == blind


@pytest.mark.parametrize("edit", ["DELETE FROM blindings", "UPDATE blindings SET registration = 'x'"])
def test_a_blinding_does_not_end_without_its_reveal(tmp_path: Path, edit: str) -> None:
    store, study = opened(tmp_path), study_of(changes=[("registration:", "registration:\n  blind: true")])
    register(study, store)
    with store.ledger.transaction() as write:
        write.execute(edit)
    with pytest.raises(
        StoreError, match=r"claims was registered blind .*its codes are no longer in the ledger"
    ):
        active(store, "claims")
    with pytest.raises(StoreError, match="registered blind"):
        shown(Results(study, store))
    assert active(store, "other") is None


def test_a_reveal_is_what_the_chain_says(tmp_path: Path) -> None:
    store = opened(tmp_path)
    register(study_of(changes=[("registration:", "registration:\n  blind: true")]), store)
    with store.ledger.transaction() as write:
        write.execute("UPDATE blindings SET revealed_at = 1")
    assert active(store, "claims") is not None
    unblind(store, "claims")
    assert active(store, "claims") is None


def test_entry_and_codes_are_written_together_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(registration, "keep", full)
    store = opened(tmp_path)
    with pytest.raises(StoreError, match="full"):
        register(study_of(changes=[("registration:", "registration:\n  blind: true")]), store)
    assert chain.entries(store.ledger) == []
    assert list(store.folder.glob("registrations/*")) == []


def test_a_registration_of_a_later_format_is_not_read(tmp_path: Path) -> None:
    store = opened(tmp_path)
    chain.append(store.ledger, "registered", "claims", '{"format": 2, "pomona": "9.0"}')
    with pytest.raises(StoreError, match=r"entry 1 .*format 2.*9\.0"):
        registrations(store, "claims")
    chain.append(store.ledger, "registered", "other", "[]")
    with pytest.raises(StoreError, match="entry 2"):
        registrations(store, "other")


def test_authors_are_git_s_user_where_the_study_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("LOGNAME", "zoe")
    assert _authors(tmp_path / "first") == {"names": ["zoe"], "source": "the login name"}
    (tmp_path / "config").write_text("[user]\n\tname = Ada of the Orchard\n")
    assert _authors(tmp_path / "second") == {"names": ["Ada of the Orchard"], "source": "git's user"}


def _authors(folder: Path) -> Any:
    return register(study_of(), opened(folder)).body["authors"]


def test_the_commit_of_the_folder_is_kept_and_whether_it_has_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        names = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done = subprocess.run(["git", *names, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    (tmp_path / "notes").write_text("a")
    git("add", "notes")
    git("commit", "-q", "-m", "first")
    clean = register(study_of(), opened(tmp_path / "first")).body
    assert (clean["commit"], clean["dirty"]) == (git("rev-parse", "HEAD"), False)
    (tmp_path / "notes").write_text("b")
    dirty = register(study_of(), opened(tmp_path / "second")).body
    assert (dirty["commit"], dirty["dirty"]) == (clean["commit"], True)


def test_a_hypothesis_is_the_same_after_it_was_kept() -> None:
    for hypothesis in study_of(CONTRAST + SECOND).spec.hypotheses:
        kept = json.loads(json.dumps(canonical(hypothesis)))
        assert Hypothesis.model_validate(kept) == hypothesis


def test_the_digest_of_a_hypothesis_stays() -> None:
    """Where this breaks, hypotheses that were registered with earlier versions are no longer known as such."""
    assert (
        hypothesis_digest(study_of().spec.hypotheses[0])
        == "ee6940ff5f6b41fe502a70442a8d81041700678a60107847b9cd432859976d66"
    )


def test_the_example_of_the_page_can_be_registered_and_reasons_are_worded_as_there(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "registration.md").read_text()
    study = parse_study(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])  # type: ignore[index]
    body = register(study, opened(tmp_path)).body
    assert [one["n"] for one in body["hypotheses"]] == [10, 10]
    for reason in (
        "not registered",
        "changed after registration: test (paired-t: greater -> paired-t: less)",
        "the study has 5 replicates, registered were 6",
        "the pilot has 2 replicates, registered were 0",
    ):
        assert f"| {reason} |" in page


def test_pilot_that_was_there_is_said_to_have_been_there(tmp_path: Path) -> None:
    store = opened(tmp_path)
    fill(store, study_of(), lambda point: 0.9, wanted=lambda point: point.replicate < 2)
    pilot = register(study_of(changes=[("registration:", "registration:\n  pilot: 2")]), store)
    assert pilot.body["data"]["pilot_held"] == pilot.body["data"]["pilot"] == 4
    text = " ".join(printed(pilot).split())
    assert "No: none of the 8 results that the hypotheses speak of was in the store." in text
    assert "Yes, of the pilot: 4 of its 4 results were there." in text


def test_a_level_of_which_nothing_is_read_is_no_result(tmp_path: Path) -> None:
    """Stability is of a level and the one before: that the dense networks are there tells nothing of it."""
    stable = """
  - claim: Zebras stay where they are.
    contrast: {a: {method: zebra}, b: {method: quokka}, fix: {treatment: rewind}}
    of: {measure: weight-stability, layer: fc1.weight, match: density, area: [50%, 10%]}
    test: {paired-t: less}
"""
    study = study_of(stable, [("measure: [accuracy, density]", "measure: [accuracy, weight-stability]")])
    store = opened(tmp_path)
    fill(store, study, lambda point: 0.9, wanted=lambda point: point.step == "dense")
    found = register(study, store)
    (frozen,) = found.body["hypotheses"]
    # Four levels of two arms in six replicates.
    assert (frozen["results"], frozen["held"], frozen["seen"]) == (4 * 2 * 6, 0, 0)
    assert why(store, study) == ()
