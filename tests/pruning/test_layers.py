import pytest

from pomona.core.errors import InputError
from pomona.pruning.layers import fractions, touched

from .networks import KINDS


def test_touched_all_is_every_parameter_in_network_order():
    assert touched(["all"], KINDS) == list(KINDS)


def test_touched_by_kind_name_and_pattern():
    assert touched(["linear"], KINDS) == ["fc1.weight", "fc2.weight", "fc3.weight"]
    assert touched(["fc3", "conv1.weight"], KINDS) == ["conv1.weight", "fc3.weight"]
    assert touched(["fc*"], KINDS) == touched(["linear"], KINDS)


def test_touched_unknown_layer_names_the_nearest():
    with pytest.raises(InputError, match="layers: unknown layer 'fc4'; did you mean 'fc"):
        touched(["fc4"], KINDS)
    with pytest.raises(InputError, match=r"unknown layer 'dense\*'"):
        touched(["dense*"], KINDS)


def test_fractions_one_for_all():
    assert fractions(0.2, KINDS) == dict.fromkeys(KINDS, 0.2)


def test_fractions_most_specific_wins():
    amount = {"default": 0.1, "linear": 0.2, "fc[23]": 0.3, "fc3": 0.4, "fc3.weight": 0.5, "conv2": 0.6}
    assert list(fractions(amount, KINDS).values()) == [0.1, 0.6, 0.2, 0.3, 0.5]


def test_fractions_specificity_does_not_depend_on_order():
    amount = {"fc3": 0.4, "linear": 0.2, "conv": 0.1}
    assert fractions(amount, KINDS) == fractions(dict(reversed(amount.items())), KINDS)
    assert fractions(amount, KINDS)["fc3.weight"] == 0.4


def test_fractions_without_default_leaves_layers_out():
    assert fractions({"conv": 0.1}, KINDS)["fc1.weight"] is None


def test_fractions_unknown_key_names_the_nearest_layer():
    with pytest.raises(InputError, match="amount: unknown layer 'linera'; did you mean 'linear'"):
        fractions({"linera": 0.2}, KINDS)


def test_fractions_kind_without_layers_is_refused():
    with pytest.raises(InputError, match="unknown layer 'conv'"):
        fractions({"conv": 0.1, "linear": 0.2}, {"fc1.weight": "linear"})


def test_fractions_of_two_patterns_that_disagree_are_refused():
    with pytest.raises(InputError, match=r"patterns 'fc\*', '\*3' give 'fc3' different amounts"):
        fractions({"fc*": 0.2, "*3": 0.3}, KINDS)
    assert fractions({"fc*": 0.2, "*3": 0.2}, KINDS)["fc3.weight"] == 0.2


GROUPED = {
    "a.weight": "conv groups=4",
    "b.weight": "conv",
    "c.weight": "conv-transposed groups=2",
    "d": "embedding",
}


def test_a_kind_speaks_of_grouped_layers_too():
    assert touched(["conv"], GROUPED) == ["a.weight", "b.weight"]
    assert touched(["conv-transposed", "embedding"], GROUPED) == ["c.weight", "d"]
    assert fractions({"conv": 0.1, "default": 0.3}, GROUPED)["a.weight"] == 0.1


def test_an_unknown_key_is_told_the_kinds_and_not_their_groups():
    with pytest.raises(InputError, match="unknown layer 'conf'; did you mean 'conv'") as caught:
        touched(["conf"], GROUPED)
    assert "groups" not in str(caught.value)
