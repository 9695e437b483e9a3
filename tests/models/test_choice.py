import hashlib

import pytest
from pydantic import ValidationError

from pomona.core.errors import InputError
from pomona.models.choice import ModelChoice, StartWeights, hidden_sizes


def test_choice_reads_a_plain_name():
    assert ModelChoice.model_validate("lenet") == ModelChoice(name="lenet")


@pytest.mark.parametrize(
    "choice",
    [
        ModelChoice(name="lenet", distribution="glorot-normal"),
        ModelChoice(name="vgg-19", options={"width": 16, "batch_norm": False}),
        ModelChoice(name="mine.py:net", options={"rate": 0.5, "deep": True, "kind": "a", "n": 1}),
        ModelChoice(name="fc", weights=StartWeights(file="w.safetensors")),
    ],
)
def test_choice_survives_a_round_trip_through_json(choice):
    again = ModelChoice.model_validate_json(choice.model_dump_json())
    assert again == choice
    assert again.identity() == choice.identity()


def test_choice_default_options_do_not_change_the_identity():
    plain = ModelChoice(name="vgg-11")
    assert ModelChoice(name="vgg-11", options={"width": 64}).identity() == plain.identity()
    assert ModelChoice(name="vgg-11", options={"width": 32}).identity() != plain.identity()


def test_choice_without_weights_leaves_them_out_of_the_identity():
    assert "weights" not in ModelChoice(name="fc").identity()
    assert "weights" in ModelChoice(name="fc", weights=StartWeights(file="w.pt")).identity()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("lenett", "unknown model 'lenett'; did you mean 'lenet'"),
        ({"name": "vgg-11", "options": {"widht": 3}}, "unknown option 'widht'; did you mean 'width'"),
        ({"name": "lenet", "options": {"width": 3}}, "unknown option 'width'. Known: (none)"),
        ({"name": "vgg-11", "options": {"width": True}}, "option 'width' is int as in 64, got True"),
        ({"name": "vgg-11", "options": {"width": 0}}, "option 'width' must be 1 or more, got 0"),
        ({"name": "vgg-11", "options": {"batch_norm": 1}}, "option 'batch_norm' is bool as in False, got 1"),
        ({"name": "fc", "options": {"hidden": "300-x"}}, "expected sizes of hidden layers as '300-100'"),
        ({"name": "a.py:net", "distribution": "glorot-normal"}, "initialised by its own constructor"),
        ({"name": "fc", "distribution": "normal"}, "'torch', 'glorot-normal', 'glorot-uniform' or 'vgg'"),
        ({"name": "fc", "weights": {"file": "w.npz"}}, "expected a state_dict as .safetensors, .pt or .pth"),
        ({"name": "fc", "weights": {"file": "w.pt", "sha256": "12"}}, "String should match pattern"),
    ],
)
def test_choice_names_what_is_wrong(given, message):
    with pytest.raises(ValidationError) as caught:
        ModelChoice.model_validate(given)
    assert message in str(caught.value)


def test_hidden_sizes_reads_any_depth():
    assert hidden_sizes("10") == (10,)
    assert hidden_sizes("300-100-50") == (300, 100, 50)
    for bad in ("", "300-", "0-1", "-3", "3.5"):
        with pytest.raises(InputError, match="hidden layers"):
            hidden_sizes(bad)


def test_start_weights_digest_follows_the_file_and_is_checked(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"abc")
    actual = hashlib.sha256(b"abc").hexdigest()
    assert StartWeights(file="w.pt").digest(tmp_path) == actual
    assert StartWeights(file="w.pt", sha256=actual).digest(tmp_path) == actual
    with pytest.raises(InputError, match=f"has the SHA-256 {actual}, expected {'0' * 64}"):
        StartWeights(file="w.pt", sha256="0" * 64).digest(tmp_path)
    with pytest.raises(InputError, match=r"there is no file .*did you mean 'w\.pt'"):
        StartWeights(file="ww.pt").digest(tmp_path)
