"""The schema, and what a user reads when a study has faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pomona.core.errors import InputError, ProblemsError
from pomona.models.build import build
from pomona.models.catalogue import MODELS
from pomona.models.choice import ModelChoice
from pomona.studies.document import library
from pomona.studies.feasible import SMALLEST_IMAGE
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
    of: {measure: accuracy, match: density, value: 0.9}
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


def test_quick_preset_is_eight_methods_rewound() -> None:
    study = load_study("iterative-pruning", "quick")
    arms = study.arms_of("ticket")
    assert [arm["method"] for arm in arms] == [
        "l1-unstructured",
        "l1-structured",
        "l2-structured",
        "neg-inf-structured",
        "random-unstructured",
        "random-structured",
        "hybrid",
        "fc-only",
    ]
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
        ("value: 0.9", "value: 1.7", "a density lies above 0 and at most at 1, got 1.7"),
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
        ("from: dense, repeat", "from: dense, init: fc, repeat", "exactly one of 'init', 'from', 'weights' and 'ensemble', got init, from"),
        ("steps:", "where: [method == l1-structured and method == l1-unstructured]\nsteps:", "leave no combination"),
        (", fix: {treatment: rewind}", "", "factor 'treatment' is left open; fix it"),
        ("a: {method: l1-unstructured}", "a: {method: l1-unstructurd}", "did you mean 'l1-unstructured'"),
        ("b: {method: l1-structured}", "b: {method: l1-unstructured}", "there is nothing to compare"),
        ("name: digits}", "name: digits, validation: 5000}", "validation"),
        ("train: short", "train: 5", "steps.ticket.train: expected the name of a training, 'none', or a mapping as {optimizer: ..., batch_size: 32, duration: 2ep}, got 5"),
        ("train: short", "train: true", "or a mapping as {optimizer: ..., batch_size: 32, duration: 2ep}, got true"),
        ("match: density, value: 0.9", "match: effective-density, value: 1.7", "a density lies above 0 and at most at 1, got 1.7"),
        ("match: density, value: 0.9", "match: level, value: -1", "a level is a whole number, 0 or more, got -1"),
        ("match: density, value: 0.9", "match: level, value: 1.5", "a level is a whole number, 0 or more, got 1.5"),
        ("test: {paired-t: greater}", "test: [3]", "hypotheses.0.test: expected text or a mapping, got [3]"),
        ("test: {paired-t: greater}", "test: {paired-t: 3}", "hypotheses.0.test.paired-t: expected text, got 3"),
        ("init: fc", "init: lenet", "steps.dense.init: lenet needs images of 10x10 pixels or more, got 8x8 (digits)"),
        ("treat: $treatment, on: d", "treat: $treatment, on: mnist", "steps.ticket.on: its network is made for images of 1x8x8 (digits), got 1x28x28 (mnist)"),
        ("[rewind, finetune]", "{rewind: {rewind: 91it}, finetune: finetune}", "steps.ticket.treat: rewind to 91it: there is no step 91it in a training of 2ep"),
        ("duration: 2ep}", "duration: 2ep, stop: val-loss <= .1, check: 1ep}", "steps.dense.train: stop is judged on the validation part, and the data (digits) hold back none"),
        ("duration: 2ep}", "duration: 2ep, stop: val-loss <= .1, check: 91it}", "steps.dense.train: check: 91it is longer than the training of 2ep: it never happens"),
        ("factors:", "  model: {u: {name: fcc}}\nfactors:", "let.model.u: unknown model 'fcc'; did you mean 'fc'"),
        ("factors:", "  method: {u: l3}\nfactors:", "let.method.u: unknown pruning method 'l3'"),
        ("duration: 1ep}", "duration: 1ep}\n    u: {optimiser: 3}", "let.train.u.optimiser: unknown key 'optimiser'; did you mean 'optimizer'"),
        ("{d: {name: digits}}", "{d: {name: digits}, u: {name: digit}}", "let.data.u.name: unknown data set 'digit'"),
        ("  method: [", "  n: [rewind]\n  method: [", "factors.n: a factor cannot be called 'n': tables of results have a column of this name"),
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


def test_fault_of_one_value_is_one_line() -> None:
    assert problems("test: {paired-t: greater}", "test: {paired-t: 3}").count("\n") == 1
    assert problems("test: {paired-t: greater}", "test: 3").count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "reach"),
    [
        ({"lr: 0.1": "lr: $lr"}, {"lr"}),
        (
            {
                "duration: 2ep}": "duration: 2ep}\n    low: {like: full, optimizer: {sgd: {lr: $lr}}}",
                "train: full}": "train: $tr}",
                "factors:": "factors:\n  tr: {a: full, b: low}",
                "fix: {": "fix: {tr: a, ",
            },
            {"lr", "tr"},
        ),
        (
            {
                "duration: 2ep}": "duration: 2ep}\n    low: {like: $like, optimizer: {sgd: {lr: $lr}}}",
                "train: full}": "train: low}",
                "factors:": "factors:\n  like: [full, short]",
                "fix: {": "fix: {like: full, ",
            },
            {"lr", "like"},
        ),
    ],
)
def test_factor_is_reached_through_names_like_and_values(changes: dict[str, str], reach: set[str]) -> None:
    text = GOOD
    for old, new in changes.items():
        text = text.replace(old, new)
    text = text.replace("factors:", "factors:\n  lr: [0.1, 0.2]").replace("fix: {", "fix: {lr: 0.1, ")
    study = parse_study(text, "good.yaml")
    assert study.reach["dense"] == reach
    rates = [(arm["lr"], step.train.optimizer.one.lr) for arm, step in study.settled()["dense"] if step.train]
    assert all(float(label) == rate for label, rate in rates if "tr" not in reach)
    assert {rate for _, rate in rates} == {0.1, 0.2}


IN_LET = """
study: s
let:
  data: {d: {name: digits, validation: 100}}
  model: {m: {name: fc, options: {hidden: 30-20}}}
  method: {p: {criterion: magnitude, granularity: weight, scope: layer}}
factors: {x: [LABELS]}
steps:
  dense: {init: m, on: d, train: none}
  ticket: {from: dense, prune: {method: p}, on: d, train: none}
"""


@pytest.mark.parametrize(
    ("value", "labels", "read"),
    [
        ("100", "100, 200", lambda step: str(step.data.validation)),
        ("30-20", "30-20, 20-10", lambda step: step.model.options["hidden"]),
        ("layer", "layer, global", lambda step: step.pruning.method.scope),
    ],
)
def test_factor_inside_let_is_replaced(value: str, labels: str, read: Callable[[Any], str]) -> None:
    study = parse_study(IN_LET.replace(f": {value}}}", ": $x}").replace("LABELS", labels))
    name = "ticket" if value == "layer" else "dense"
    assert study.reach[name] == {"x"}
    found = [(arm["x"], read(step)) for arm, step in study.settled()[name]]
    assert found == [(label, label) for label in labels.split(", ")]


@pytest.mark.parametrize("written", ["{0.1: 10%, 0.2: 20%}", "[0.1, 0.2]"])
def test_numeric_labels_are_the_same_as_keys_and_in_a_list(written: str) -> None:
    text = GOOD.replace("amount: 20%", "amount: $am").replace("factors:", f"factors:\n  am: {written}")
    text = text.replace("fix: {", "fix: {am: 0.1, ").replace("steps:", "where: [am == 0.1]\nsteps:")
    study = parse_study(text)
    assert list(study.factors["am"]) == ["0.1", "0.2"]
    pruned = [step.pruning.amount for _, step in study.settled()["ticket"] if step.pruning]
    assert set(pruned) == {0.1}


@pytest.mark.parametrize("written", ["{true: standard, false: unit}", "[true, false]"])
def test_boolean_labels_are_as_written(written: str) -> None:
    key = "normalise: $flag" if "{" in written else "name: digits"
    text = GOOD.replace("name: digits", f"name: digits, {key}" if "{" in written else key)
    if "{" not in written:
        text = text.replace("lr: 0.1}", "lr: 0.1, momentum: 0.9, nesterov: $flag}")
    text = text.replace("factors:", f"factors:\n  flag: {written}").replace("fix: {", "fix: {flag: true, ")
    study = parse_study(text.replace("steps:", "where: [flag == true]\nsteps:"))
    assert [arm["flag"] for arm in study.arms_of("dense")] == ["true"]


BOUND = """
study: s
factors:
  method: [l1-unstructured]
  then: {xmethod: rewind, other: finetune}
steps:
  base: {init: fc, on: digits, train: none}
  ticket: {from: base, prune: {method: $method}, treat: $then, on: digits}
  masked: {init: fc, on: digits, mask: {of: ticket, then: xmethod}}
"""


def test_label_is_bound_as_written_and_a_factor_only_with_a_dollar() -> None:
    (_, step), *_ = parse_study(BOUND).settled()["masked"]
    assert step.mask is not None
    assert step.mask.of.bindings == (("then", "xmethod"),)
    with pytest.raises(ProblemsError, match="unknown factor 'thn'; did you mean 'then'"):
        parse_study(BOUND.replace("then: xmethod}}", "then: $thn}}"))


@pytest.mark.parametrize(
    ("presets", "message"),
    [
        ("3", "presets: expected names with their changes"),
        (
            "{q: null}",
            "presets.q: expected changes as {replicates: 3, let.train.full.duration: 1ep}, got null",
        ),
        ("{q: {nonsense.path: 3}}", "presets.q: nonsense.path: there is no 'nonsense' in the study"),
        (
            "{ok: {replicates: 2}, q: {replicates: x}}",
            "presets.q: good.yaml line 20, replicates: expected a whole number",
        ),
        (
            "{q: {steps.dense.init: lenet}}",
            "presets.q: good.yaml line 20, steps.dense.init: lenet needs images of 10x10",
        ),
    ],
)
def test_presets_that_are_not_applied_are_checked(presets: str, message: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        parse_study(f"{GOOD}presets: {presets}\n", "good.yaml")
    assert message in str(caught.value)
    assert len(caught.value.problems) == 1


def test_preset_is_not_blamed_for_what_is_at_fault_without_it() -> None:
    with pytest.raises(ProblemsError) as caught:
        parse_study(GOOD.replace("init: fc", "init: fcc") + "presets: {q: {replicates: 2}}\n", "good.yaml")
    assert len(caught.value.problems) == 1


def test_training_that_another_is_like_may_be_incomplete() -> None:
    study = parse_study(
        GOOD.replace("full: {optimizer", "part: {batch_size: 32}\n    full: {like: part, optimizer")
    )
    assert len(study.arms_of("ticket")) == 4


def test_rewinding_before_the_end_is_accepted_in_either_unit() -> None:
    parse_study(GOOD.replace("[rewind, finetune]", "{rewind: {rewind: 90it}, finetune: {rewind: 2ep}}"))


@pytest.mark.parametrize("model", MODELS)
def test_smallest_images_are_those_that_networks_can_be_built_for(model: str) -> None:
    least = SMALLEST_IMAGE.get(model, 1)
    choice = ModelChoice(name=model)
    build(choice, (1, least, least), 10)
    if least > 1:
        with pytest.raises(InputError, match="needs images of"):
            build(choice, (1, least - 1, least - 1), 10)
