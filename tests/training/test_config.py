import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pomona.core.canonical import digest
from pomona.core.errors import InputError
from pomona.core.step import Step
from pomona.training.config import Adam, Optimizer, Schedule, Sgd, Stop, Train

PLAIN = {"optimizer": {"sgd": {"lr": 0.01}}, "batch_size": 32, "duration": "30ep"}

steps = st.builds(Step, st.integers(1, 10**6), st.sampled_from(["ep", "it"]))
rates = st.floats(1e-9, 1e3)
sgd = st.builds(
    Sgd, lr=rates, momentum=st.floats(0.01, 0.99), nesterov=st.booleans(), weight_decay=st.floats(0, 1)
)
adam = st.builds(Adam, lr=rates, betas=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)))
schedules = st.builds(Schedule, cosine=st.booleans(), warmup=st.none() | steps) | st.builds(
    Schedule,
    milestones=st.lists(st.integers(1, 999), unique=True).map(
        lambda c: tuple(Step(i, "ep") for i in sorted(c))
    ),
    gamma=rates,
)
stops = st.floats(0, 1).map(lambda x: Stop.model_validate(f"val-accuracy >= {x!r}")) | st.builds(
    Stop, best=st.sampled_from(["val-loss", "val-accuracy"]), patience=st.none() | st.integers(1, 99)
)
trains = st.builds(
    lambda optimizer, stop, **rest: Train(
        optimizer=optimizer, stop=stop, check=Step(100, "it") if stop else None, **rest
    ),
    optimizer=sgd.map(lambda s: Optimizer(sgd=s)) | adam.map(lambda a: Optimizer(adam=a)),
    stop=st.none() | stops,
    batch_size=st.integers(1, 512),
    duration=steps,
    schedule=schedules,
)


@given(trains)
def test_train_survives_a_round_trip_through_json_with_its_identity(config):
    for again in (
        Train.model_validate(config.model_dump(mode="json")),
        Train.model_validate_json(config.model_dump_json()),
    ):
        assert again == config
        assert digest(again.identity()) == digest(config.identity())


def test_train_identity_tells_fields_apart_and_leaves_alternatives_out():
    base = Train.model_validate(PLAIN)
    assert base.identity()["optimizer"] == {
        "sgd": {"lr": 0.01, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    }
    others = [
        {**PLAIN, "batch_size": 33},
        {**PLAIN, "duration": "30it"},
        {**PLAIN, "optimizer": {"adam": {"lr": 0.01}}},
        {**PLAIN, "schedule": {"cosine": True}},
        {**PLAIN, "stop": "val-loss <= 1", "check": "1ep"},
        {**PLAIN, "stop": {"best": "val-loss"}, "check": "1ep"},
        {**PLAIN, "stop": {"best": "val-loss", "patience": 2}, "check": "1ep"},
        {**PLAIN, "start": "1ep"},
        {**PLAIN, "start": "1000it"},
    ]
    keys = {digest(Train.model_validate(other).identity()) for other in [*others, PLAIN]}
    assert len(keys) == len(others) + 1


def test_train_an_integer_literal_is_the_same_rate():
    one, same = ({"optimizer": {"sgd": {"lr": lr}}, "batch_size": 1, "duration": "1ep"} for lr in (1, 1.0))
    assert digest(Train.model_validate(one).identity()) == digest(Train.model_validate(same).identity())


def test_train_that_begins_at_step_0_has_no_start_in_its_identity():
    assert "start" not in Train.model_validate(PLAIN).identity()
    assert Train.model_validate({**PLAIN, "start": None}) == Train.model_validate(PLAIN)


@pytest.mark.parametrize(
    ("start", "first", "steps"), [(None, 0, 300), ("1it", 1, 299), ("29ep", 290, 10), ("299it", 299, 1)]
)
def test_train_counts_the_steps_it_takes_from_its_start(start, first, steps):
    config = Train.model_validate({**PLAIN, "start": start})
    assert (config.first(10), config.steps(10)) == (first, steps)


@pytest.mark.parametrize("start", ["300it", "301it"])
def test_train_refuses_a_start_that_is_not_before_its_end(start):
    config = Train.model_validate({**PLAIN, "start": start})
    with pytest.raises(InputError, match=f"before the end of the training at step 300, got {start}"):
        config.first(10)
    assert config.first(11) == int(start[:3])


@pytest.mark.parametrize("written", ["val-accuracy >= .25", "val-accuracy>=0.250", " val-accuracy >= 25% "])
def test_stop_keeps_one_form_of_a_condition(written):
    stop = Stop.model_validate(written)
    assert stop.when == "val-accuracy >= 0.25"
    assert stop.condition() == ("val-accuracy", 0.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": {}}, "expected one of sgd, adam, got neither"),
        ({"optimizer": {"sgd": {"lr": 1}, "adam": {"lr": 1}}}, "got sgd and adam"),
        ({"optimizer": {"sgd": {"lr": 0}}}, "greater than 0"),
        ({"optimizer": {"sgd": {"lr": float("inf")}}}, "finite number"),
        ({"optimizer": {"sgd": {"lr": 0.1, "momentum": 1}}}, "less than 1"),
        ({"optimizer": {"sgd": {"lr": 0.1, "nesterov": True}}}, "nesterov needs momentum"),
        ({"optimizer": {"sgd": {"lr": 0.1, "weight_decay": -1}}}, "greater than or equal to 0"),
        ({"optimizer": {"adam": {"lr": 0.1, "betas": [0.9]}}}, "Field required"),
        ({"batch_size": 0}, "greater than or equal to 1"),
        ({"batch_size": True}, "valid integer"),
        ({"duration": 30}, "did you mean '30ep' or '30it'"),
        ({"start": "30ep"}, "start must lie before the duration of 30ep, got 30ep"),
        ({"start": "0it"}, "start must be 1it or more, got 0it; without it, step 0 is the start"),
        ({"lr": 1}, "Extra inputs are not permitted"),
        ({"schedule": {"cosine": True, "milestones": ["1ep"]}}, "cosine or has milestones, not both"),
        ({"schedule": {"milestones": ["2ep", "1ep"]}}, "milestones must rise, got [2ep, 1ep]"),
        ({"stop": "val-loss <= 1"}, "stop needs check"),
        ({"check": "1ep"}, "check without stop does nothing"),
        ({"stop": "val-loss <= 1", "check": "0it"}, "check must be 1it or more"),
        ({"stop": "val-acuracy >= 1", "check": "1it"}, "did you mean 'val-accuracy'"),
        ({"stop": "val-loss >= 1", "check": "1it"}, "a condition on val-loss has <=, got >="),
        ({"stop": "val-accuracy >= 25", "check": "1it"}, "is 0 to 1, got 25"),
        ({"stop": "val-accuracy >= x", "check": "1it"}, "expected a number after >=, got 'x'"),
        ({"stop": "early", "check": "1it"}, "expected a condition as 'val-accuracy >= .25', got 'early'"),
        ({"stop": {"patience": 3}, "check": "1it"}, "stop is a condition as"),
        ({"stop": {"when": "val-loss <= 1", "patience": 3}, "check": "1it"}, "patience goes with best"),
        ({"stop": {"best": "val-loss", "patience": 0}, "check": "1it"}, "greater than or equal to 1"),
    ],
)
def test_train_names_what_is_wrong(change, message):
    with pytest.raises(ValidationError) as caught:
        Train.model_validate({**PLAIN, **change})
    assert message in str(caught.value)
