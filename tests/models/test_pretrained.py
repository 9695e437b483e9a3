import hashlib

import pytest
import torch
from safetensors.torch import save_file

from pomona.core.errors import InputError, ProblemsError
from pomona.models.build import initial_weights
from pomona.models.choice import ModelChoice, StartWeights

SHAPE = (1, 4, 4)


def _choice(file, sha256=None):
    return ModelChoice(name="fc", options={"hidden": "5"}, weights=StartWeights(file=file, sha256=sha256))


def _state():
    plain = ModelChoice(name="fc", options={"hidden": "5"})
    return {name: tensor + 1 for name, tensor in initial_weights(plain, SHAPE, 3, 0).items()}


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_pretrained_safetensors_replace_what_was_drawn(tmp_path):
    save_file(_state(), tmp_path / "w.safetensors")
    for index in (0, 5):
        found = initial_weights(_choice("w.safetensors"), SHAPE, 3, index, tmp_path)
        assert list(found) == list(
            initial_weights(ModelChoice(name="fc", options={"hidden": "5"}), SHAPE, 3, 0)
        )
        assert all(torch.equal(found[name], tensor) for name, tensor in _state().items())


@pytest.mark.parametrize("wrap", [False, True])
def test_pretrained_torch_file_is_read_with_its_digest(tmp_path, wrap):
    path = tmp_path / "w.pt"
    torch.save({"state_dict": _state(), "epoch": 3} if wrap else _state(), path)
    found = initial_weights(_choice("w.pt", _digest(path)), SHAPE, 3, 0, tmp_path)
    assert all(torch.equal(found[name], tensor) for name, tensor in _state().items())


def test_pretrained_torch_file_without_a_digest_is_refused_with_the_digest_to_paste(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(_state(), path)
    with pytest.raises(InputError, match=f"sha256: {_digest(path)}"):
        initial_weights(_choice("w.pth"), SHAPE, 3, 0, tmp_path)
    with pytest.raises(InputError, match=f"has the SHA-256 {_digest(path)}, expected {'a' * 64}"):
        initial_weights(_choice("w.pth", "a" * 64), SHAPE, 3, 0, tmp_path)


class _Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_pretrained_torch_file_runs_no_code_even_with_its_digest(tmp_path, capsys):
    path = tmp_path / "w.pt"
    torch.save({"fc1.weight": _Evil()}, path)
    with pytest.raises(InputError, match="cannot be read as a state_dict"):
        initial_weights(_choice("w.pt", _digest(path)), SHAPE, 3, 0, tmp_path)
    assert "executed" not in capsys.readouterr().out


def test_pretrained_reports_all_faults_together_with_the_nearest_names(tmp_path):
    state = _state()
    state["fc1.wieght"] = state.pop("fc1.weight")
    state["fc2.weight"] = torch.zeros(3, 7)
    state["fc1.bias"] = torch.full_like(state["fc1.bias"], float("nan"))
    state["extra"] = torch.zeros(1)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ProblemsError) as caught:
        initial_weights(_choice("w.safetensors"), SHAPE, 3, 0, tmp_path)
    assert set(caught.value.problems) == {
        "missing fc1.weight (the file has fc1.wieght)",
        "unexpected extra",
        "unexpected fc1.wieght (the network has fc1.weight)",
        "fc1.bias: not all values are finite",
        "fc2.weight: shape 3x7, the network has 3x5",
    }


def test_pretrained_converts_floating_types_only(tmp_path):
    halves = {name: tensor.half() for name, tensor in _state().items()}
    save_file(halves, tmp_path / "w.safetensors")
    found = initial_weights(_choice("w.safetensors"), SHAPE, 3, 0, tmp_path)
    assert all(t.dtype == torch.float32 and torch.equal(t, halves[n].float()) for n, t in found.items())
    save_file({**_state(), "fc2.bias": torch.zeros(3, dtype=torch.int64)}, tmp_path / "w.safetensors")
    with pytest.raises(ProblemsError, match=r"fc2\.bias: type torch\.int64, the network has torch\.float32"):
        initial_weights(_choice("w.safetensors"), SHAPE, 3, 0, tmp_path)


def test_pretrained_says_that_a_file_is_not_safetensors(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        initial_weights(_choice("w.safetensors"), SHAPE, 3, 0, tmp_path)
