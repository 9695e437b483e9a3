import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from pomona.core.canonical import digest
from pomona.core.errors import InputError
from pomona.core.schema import Part
from pomona.pruning.method import METHODS, Amount, Method, Norm, parse_amount


def method(**fields) -> Method:
    return Method.model_validate(fields)


class Holder(Part):
    method: Method
    amount: Amount


@pytest.mark.parametrize("name", METHODS)
def test_named_method_is_what_the_table_says(name):
    assert Method.model_validate(name) == METHODS[name]
    assert Holder(method=name, amount="20%").method == METHODS[name]


@pytest.mark.parametrize("name", METHODS)
def test_method_survives_json(name):
    assert Method.model_validate_json(METHODS[name].model_dump_json()) == METHODS[name]


def test_unknown_method_names_the_nearest():
    with pytest.raises(
        ValidationError, match="unknown pruning method 'l1-structred'; did you mean 'l1-structured'"
    ):
        Method.model_validate("l1-structred")


def test_defaults_are_weights_layer_by_layer():
    found = method(criterion="magnitude")
    assert (found.granularity, found.scope, found.layers) == ("weight", "layer", ("all",))


@pytest.mark.parametrize(
    ("written", "order"),
    [
        (1, 1.0),
        (2.0, 2.0),
        (0.5, 0.5),
        ("inf", float("inf")),
        ("-inf", float("-inf")),
        (float("-inf"), float("-inf")),
    ],
)
def test_norm_is_read_as_a_number_or_an_infinity(written, order):
    found = method(criterion={"norm": written}, granularity="channel-in")
    assert found.criterion.order == order


@pytest.mark.parametrize("written", [0, -1, True, "2", float("nan"), None])
def test_norm_of_anything_else_is_refused(written):
    with pytest.raises(ValidationError, match="expected a norm as a positive number, 'inf' or '-inf', got"):
        Norm(norm=written)


def test_unknown_criterion_names_the_nearest():
    with pytest.raises(ValidationError, match="unknown criterion 'magnitud'; did you mean 'magnitude'"):
        method(criterion="magnitud")


def test_criterion_norm_without_its_number_says_how_to_write_it():
    with pytest.raises(ValidationError, match=r"write \{norm: 2\}"):
        method(criterion="norm")


def test_users_criterion_is_kept_as_written():
    found = method(criterion="mine.py:score")
    assert found.user_criterion == "mine.py:score"
    assert METHODS["l1-unstructured"].user_criterion is None


def test_unknown_granularity_and_kind_are_named():
    with pytest.raises(ValidationError, match="unknown granularity 'chanel-in'; did you mean 'channel-in'"):
        method(criterion="random", granularity="chanel-in")
    with pytest.raises(ValidationError, match="unknown kind of layer 'cnv'; did you mean 'conv'"):
        method(criterion="random", granularity={"cnv": "weight"})


@pytest.mark.parametrize(
    "fields", [{"criterion": ["random"]}, {"criterion": "random", "granularity": {"conv": ["weight"]}}]
)
def test_a_list_where_a_name_belongs_is_refused(fields):
    with pytest.raises(ValidationError, match=r"unknown (criterion|granularity)"):
        method(**fields)


def test_schema_offers_every_named_method():
    definition = Holder.model_json_schema()["$defs"]["Method"]
    assert definition["anyOf"][0]["enum"] == list(METHODS)
    assert set(definition["anyOf"][1]["properties"]) == set(Method.model_fields)


def test_unknown_field_is_refused():
    with pytest.raises(ValidationError, match="scop"):
        method(criterion="random", scop="global")


def test_layers_is_one_or_a_list():
    assert method(criterion="random", layers="linear").layers == ("linear",)
    with pytest.raises(ValidationError, match="layers: expected 'all', a kind, or a list"):
        method(criterion="random", layers=[])


def test_global_scope_refuses_mixed_granularity():
    with pytest.raises(ValidationError, match="must be of one granularity, got channel-in, weight"):
        method(criterion="magnitude", scope="global", granularity={"conv": "channel-in", "linear": "weight"})


def test_granularity_that_leaves_a_kind_out_is_an_error_where_it_is_met():
    found = method(criterion="magnitude", granularity={"conv": "channel-in"})
    assert found.granularity_of("conv") == "channel-in"
    with pytest.raises(InputError, match="fc1: the granularity says nothing about layers of kind 'linear'"):
        found.granularity_of("linear", where="fc1")


def test_identity_is_the_same_for_every_way_of_writing_it():
    same = [
        (
            {"criterion": {"norm": 1}, "granularity": "channel-in"},
            {"criterion": "magnitude", "granularity": "channel-in"},
        ),
        ({"criterion": {"norm": 2}}, {"criterion": "magnitude"}),
        (
            {"criterion": {"norm": 2}, "granularity": "channel-out"},
            {"criterion": {"norm": 2.0}, "granularity": "channel-out"},
        ),
        (
            {"criterion": "random", "granularity": {"conv": "weight", "linear": "weight"}},
            {"criterion": "random"},
        ),
        (
            {"criterion": "random", "layers": ["fc1", "conv"]},
            {"criterion": "random", "layers": ["conv", "fc1", "conv"]},
        ),
        ({"criterion": "random", "layers": ["conv", "all"]}, {"criterion": "random", "layers": "all"}),
    ]
    for one, other in same:
        assert digest(method(**one).identity()) == digest(method(**other).identity())


def test_identity_differs_between_named_methods():
    assert len({digest(found.identity()) for found in METHODS.values()}) == len(METHODS)


def test_only_criteria_that_draw_or_read_examples_consume_the_mask_stream():
    assert method(criterion="random").draws
    assert method(criterion="large-final-same-sign-zeroed").draws
    assert method(criterion="snip").draws
    assert not method(criterion="magnitude").draws
    assert not method(criterion="synflow").draws


@pytest.mark.parametrize("name", METHODS)
def test_describe_is_one_line(name):
    assert "\n" not in METHODS[name].describe()


def test_describe_says_criterion_unit_pool_and_layers():
    assert METHODS["fc-only"].describe() == "weights by magnitude, each layer by itself; only linear"
    assert METHODS["neg-inf-structured"].describe() == "input channels by norm -inf, each layer by itself"


def test_amount_is_a_fraction_or_one_by_layer():
    assert parse_amount("20%") == 0.2
    assert parse_amount(1) == 1.0
    assert parse_amount({"conv": "10%", "fc3": 0.1}) == {"conv": 0.1, "fc3": 0.1}
    assert Holder(method="hybrid", amount={"conv": "10%"}).identity()["amount"] == {"conv": 0.1}


def test_amount_of_default_alone_is_one_fraction():
    assert parse_amount({"default": "20%"}) == 0.2


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (20, "amount: expected a fraction from 0% to 100%, got 20; did you mean '20%'?"),
        ("120%", "from 0% to 100%, got '120%'"),
        (float("nan"), "from 0% to 100%, got nan"),
        (-0.1, "got -0.1"),
        ("a fifth", "amount: expected a fraction as '20%' or 0.2, got 'a fifth'"),
        (True, "got True"),
        ([0.2], "expected a fraction as '20%' or 0.2"),
        ({"conv": "lots"}, "amount of conv: expected a fraction"),
        ({}, "got an empty mapping"),
    ],
)
def test_amount_that_is_none_says_what_was_given(written, message):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Amount).validate_python(written)
    assert message in str(caught.value)


def test_catalogue_and_schema_do_not_import_torch():
    code = (
        "import sys, pomona.pruning.method, pomona.pruning.criteria, pomona.pruning.treatments\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
