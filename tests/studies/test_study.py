"""The schema, and what a user reads when a study has faults."""

from __future__ import annotations

import pytest

from pomona.core.errors import ProblemsError
from pomona.studies.document import library
from pomona.studies.study import Study, load_study, parse_study

GOOD = """
study: good
let:
  data: {d: {name: digits}}
  train:
    full: {optimizer: {sgd: {lr: 0.1}}, batch_size: 32, duration: 2ep}
    short: {like: full, duration: 1ep}
factors:
  method: [l1-unstructured, l1-structured]
  treatment: [rewind, finetune]
steps:
  dense: {init: fc, on: d, train: full}
  ticket: {from: dense, repeat: 2, prune: {method: $method, amount: 20%}, treat: $treatment, on: d, train: short}
hypotheses:
  - claim: One is better.
    contrast: {a: {method: l1-unstructured}, b: {method: l1-structured}, fix: {treatment: rewind}, pair: replicate}
    of: {measure: accuracy, match: density, value: 0.17}
    test: {paired-t: greater}
    expect: {effect: 10pp}
"""


def problems(old: str, new: str) -> str:
    assert old in GOOD
    with pytest.raises(ProblemsError) as caught:
        parse_study(GOOD.replace(old, new), "good.yaml")
    return str(caught.value)


def test_good_study_is_read() -> None:
    study = parse_study(GOOD)
    assert study.order == ("dense", "ticket")
    assert study.reach["dense"] == frozenset()
    assert study.reach["ticket"] == {"method", "treatment"}
    assert len(study.arms_of("ticket")) == 4
    assert study.arms_of("dense") == [{}]
    assert study.spec.hypotheses[0].expect is not None
    assert study.spec.hypotheses[0].expect.effect == 0.1


def test_like_takes_the_other_training_and_replaces_what_is_given() -> None:
    study = parse_study(GOOD)
    step = study.resolver.step("ticket", study.arms_of("ticket")[0])
    assert step.train is not None
    assert str(step.train.duration) == "1ep"
    assert step.train.batch_size == 32


@pytest.mark.parametrize("name", library())
def test_library_studies_and_their_presets_are_valid(name: str) -> None:
    study = load_study(name)
    presets = __import__("pomona.studies.document", fromlist=["x"]).read_document(name).content["presets"]
    for preset in presets:
        assert isinstance(load_study(name, preset), Study)
    assert study.spec.hypotheses


def test_quick_preset_is_three_methods_rewound() -> None:
    study = load_study("iterative-pruning", "quick")
    arms = study.arms_of("ticket")
    assert [arm["method"] for arm in arms] == ["l1-unstructured", "l1-structured", "random-unstructured"]
    assert {arm["treatment"] for arm in arms} == {"rewind"}
    assert study.spec.replicates == 3
    assert study.resolver.step("ticket", arms[0]).repeat == 12
    assert study.spec.verdicts is False


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("study: good", "study: good\nreplicats: 3", "line 3, replicats: unknown key 'replicats'; did you mean 'replicates'"),
        ("lr: 0.1", "lr: abc", "let.train.full.optimizer.sgd.lr: expected a number, got 'abc'"),
        ("{lr: 0.1}", "{lr: 0.1, momentun: 0.9}", "unknown key 'momentun'; did you mean 'momentum'"),
        ("batch_size: 32", "batch_size: 0", "batch_size: "),
        ("duration: 2ep", "duration: 2", "expected epochs as '30ep' or iterations as '500it', got 2; did you mean '2ep' or '2it'"),
        ("amount: 20%", "amount: 120%", "expected a fraction from 0% to 100%, got '120%'"),
        ("amount: 20%", "amount: 20", "got 20; did you mean '20%'"),
        ("value: 0.17", "value: 1.7", "a density lies above 0 and at most at 1, got 1.7"),
        ("init: fc", "init: fcc", "unknown model 'fcc'; did you mean 'fc'"),
        ("{name: digits}", "{name: digit}", "unknown data set 'digit'; did you mean 'digits'"),
        ("on: d, train: full", "on: e, train: full", "unknown data set 'e'"),
        ("train: short", "train: shrt", "unknown training 'shrt'; did you mean 'short'"),
        ("like: full", "like: ful", "unknown training 'ful'; did you mean 'full'"),
        ("treat: $treatment", "treat: $tretment", "unknown factor 'tretment'; did you mean 'treatment'"),
        ("from: dense", "from: dens", "unknown step 'dens'; did you mean 'dense'"),
        ("l1-structured]", "l1-structred]", "unknown pruning method 'l1-structred'; did you mean 'l1-structured'"),
        ("repeat: 2", "repeat: 0", "expected a whole number of levels, 1 or more, got 0"),
        ("repeat: 2, prune", "repeat: 2, pruen", "unknown key 'pruen'; did you mean 'prune'"),
        ("measure: accuracy", "measure: acuracy", "unknown measure 'acuracy'; did you mean 'accuracy'"),
        ("paired-t", "paired-z", "unknown test 'paired-z'; did you mean 'paired-t'"),
        ("steps:", "measure: [accuracy, densty]\nsteps:", "unknown measure 'densty'; did you mean 'density'"),
        ("steps:", "hold: {slit: 0}\nsteps:", "unknown seed stream 'slit'; did you mean 'split'"),
        ("steps:", "where: [method == foo]\nsteps:", "unknown label of factor 'method' 'foo'"),
        ("{method: $method, amount: 20%}", "{method: l1-unstructured}", "no step uses $method"),
        ("like: full, duration: 1ep", "like: short", "'like' goes in a circle: short -> short"),
        ("init: fc, on: d", "init: fc", "'init' needs 'on'"),
        ("from: dense, repeat", "from: dense, init: fc, repeat", "exactly one of 'init', 'from' and 'weights', got init, from"),
        ("steps:", "where: [method == l1-structured and method == l1-unstructured]\nsteps:", "leave no combination"),
        (", fix: {treatment: rewind}", "", "factor 'treatment' is left open; fix it"),
        ("a: {method: l1-unstructured}", "a: {method: l1-unstructurd}", "did you mean 'l1-unstructured'"),
        ("b: {method: l1-structured}", "b: {method: l1-unstructured}", "there is nothing to compare"),
        ("name: digits}", "name: digits, validation: 5000}", "validation"),
    ],
)  # fmt: skip
def test_fault_is_named_with_place_and_nearest(old: str, new: str, message: str) -> None:
    text = problems(old, new)
    assert "good.yaml" in text
    assert message in text


def test_open_factor_may_be_averaged_or_matched() -> None:
    for settled in ("average: [treatment]", "match: [treatment]"):
        parse_study(GOOD.replace("fix: {treatment: rewind}", settled))


def test_faults_of_all_kinds_are_reported_together() -> None:
    bad = (
        GOOD.replace("study: good", "study: good\nreplicats: 3\nreplicates: three")
        .replace("lr: 0.1", "lr: abc")
        .replace("init: fc", "init: fcc")
        .replace("from: dense", "from: dens")
        .replace("measure: accuracy", "measure: acuracy")
        .replace("factors:", "where: [method == foo]\nfactors:")
    )
    with pytest.raises(ProblemsError) as caught:
        parse_study(bad)
    text = str(caught.value)
    for part in ("replicats", "'three'", "'abc'", "'fcc'", "'dens'", "'acuracy'", "'foo'"):
        assert part in text, part


def test_steps_in_a_circle_are_refused() -> None:
    text = GOOD.replace("init: fc, on: d", "from: ticket, prune: {method: hybrid}, on: d")
    with pytest.raises(ProblemsError, match="in a circle: dense, ticket"):
        parse_study(text)


SHORT = """
study: short
model: fc
data: digits
train: {optimizer: {sgd: {lr: 0.1}}, batch_size: 32, duration: 1ep}
prune: {amount: 20%, levels: 2}
method: l1-structured
treatment: finetune
"""


def test_short_form_is_the_same_study_as_its_steps() -> None:
    from pomona.studies.expand import expand

    long = """
study: long
let: {train: {t: {optimizer: {sgd: {lr: 0.1}}, batch_size: 32, duration: 1ep}}}
steps:
  dense: {init: fc, on: digits, train: t}
  ticket: {from: dense, repeat: 2, prune: {method: l1-structured, amount: 20%}, treat: finetune, on: digits, train: t}
"""
    short = expand(parse_study(SHORT))
    assert set(short.graph.states) == set(expand(parse_study(long)).graph.states)
    assert len(short.points) == 4


def test_short_form_says_what_is_missing() -> None:
    with pytest.raises(ProblemsError, match="the short form needs data beside"):
        parse_study(SHORT.replace("data: digits\n", ""))
    with pytest.raises(ProblemsError, match="the short form needs 'levels'"):
        parse_study(SHORT.replace(", levels: 2", ""))
    with pytest.raises(ProblemsError, match="cannot stand together"):
        parse_study(SHORT + "steps: {}\n")


def test_digest_follows_the_study_as_it_is_run() -> None:
    study = load_study("iterative-pruning", "quick")
    assert study.digest() == load_study("iterative-pruning", "quick").digest()
    assert study.digest() != load_study("iterative-pruning", "quick", ["replicates=4"]).digest()
