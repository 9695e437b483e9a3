"""Checkpoints of others as states: made by torch's own pruning, and in the form of OpenLTH."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

import pomona
from pomona.core.errors import InputError
from pomona.graph.retention import collect, unrepeatable_states
from pomona.graph.store import Store
from pomona.graph.tags import notes
from pomona.models.build import build, initial_weights
from pomona.models.choice import ModelChoice
from pomona.studies.imported import Imported, import_checkpoint
from pomona.studies.modules import load_module
from pomona.studies.upkeep import restore, verify

SMALL = {"name": "fc", "options": {"hidden": "30-20"}}
LAYERS = ("fc1", "fc2", "fc3")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def network() -> nn.Module:
    choice = ModelChoice.model_validate(SMALL)
    module = build(choice, (1, 8, 8), 10)
    module.load_state_dict(initial_weights(choice, (1, 8, 8), 10, 0))
    return module


def pruned_by_torch() -> nn.Module:
    module = network()
    for name in LAYERS:
        torch_prune.l1_unstructured(module.get_submodule(name), "weight", 0.5)
    return module


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    module = pruned_by_torch()
    torch.save(module.state_dict(), "pruned.pth")
    save_file(network().state_dict(), "dense.safetensors")
    masks = {f"{name}.weight": module.get_submodule(name).weight_mask for name in LAYERS}
    # As OpenLTH leaves them: a model with names of its own beside masks of 0 and 1.
    openlth = {f"module.{name}": mask.int() for name, mask in masks.items()}
    torch.save(openlth, "mask.pth")
    torch.save({f"module.{n}": t for n, t in network().state_dict().items()}, "model_ep1_it0.pth")
    for name in LAYERS:
        torch_prune.remove(module.get_submodule(name), "weight")
    save_file(module.state_dict(), "zeros.safetensors")
    return tmp_path


def imported(file: str, mask: str | None = None, **options: object) -> Imported:
    given = {"data": "digits", "mask": mask, "sha256": digest(Path(file)), **options}
    given["mask_sha256"] = None if mask is None else digest(Path(mask))
    return import_checkpoint(file, given.pop("model", SMALL), **given)  # type: ignore[arg-type]


def test_one_network_in_four_forms_is_one_state(place: Path) -> None:
    found = [
        imported("pruned.pth"),
        imported("dense.safetensors", "mask.pth"),
        imported("model_ep1_it0.pth", "mask.pth"),
        imported("zeros.safetensors", zeros=True),
        imported("pruned.pth"),
    ]
    assert len({one.state.key for one in found}) == 1
    froms = ["torch.nn.utils.prune", "a file", "a file", "zeros", "torch.nn.utils.prune"]
    assert [one.contents.masks_from for one in found] == froms
    with Store("pomona-store") as store:
        assert len(store.ledger.rows("SELECT key FROM states")) == 1
        said = [note.text for note in notes(store.ledger, found[0].state.key)]
    assert len(said) == 4  # the same files twice are said once
    assert f"dense.safetensors (SHA-256 {digest(place / 'dense.safetensors')}), masks from" in said[1]


def test_a_state_holds_the_weights_and_masks_of_the_file(place: Path) -> None:
    found = imported("pruned.pth", tag="theirs")
    module = load_module(found.state.key)
    theirs = pruned_by_torch()
    images = torch.randn(5, 1, 8, 8)
    assert torch.equal(module(images), theirs(images))
    masks = found.computed.masks(found.state)
    for name in LAYERS:
        assert np.array_equal(masks[f"{name}.weight"], theirs.get_submodule(name).weight_mask.numpy() != 0)
    facts = found.computed.facts(found.state)
    assert facts["kept"] == {"fc1.weight": [960, 1920], "fc2.weight": [300, 600], "fc3.weight": [100, 200]}
    assert facts["zeroed"] == {"fc1.weight": 960, "fc2.weight": 300, "fc3.weight": 100}
    assert (facts["file"], facts["sha256"]) == ("pruned.pth", digest(place / "pruned.pth"))
    with Store("pomona-store") as store:
        assert store.find(found.state.key[:9]) == found.state.key
        assert [row["tag"] for row in store.ledger.rows("SELECT tag FROM tags")] == ["theirs"]


def test_it_is_measured_as_torch_measures_it(place: Path) -> None:
    from pomona.data.dataset import load

    found = imported("pruned.pth").measured
    data = load("digits")
    mean, sd = data.info.mean[0], data.info.sd[0]
    images = (torch.from_numpy(data.test_images.copy()).float() / 255 - mean) / sd
    labels = torch.from_numpy(data.test_labels.copy()).long()
    with torch.no_grad():
        logits = pruned_by_torch()(images)
    assert found["accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert found["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-4)
    assert found["effective-density"] == 0.5


def test_without_data_it_is_kept_and_not_measured(place: Path) -> None:
    found = imported("dense.safetensors", data=None, input_shape=(1, 8, 8), classes=10)
    assert found.measured == {}
    # Measured later, it is the same state.
    assert imported("dense.safetensors").state.key == found.state.key


def test_it_is_a_parent_and_a_child_like_any_other(place: Path) -> None:
    dense = imported("dense.safetensors")
    child = imported("pruned.pth", parent=dense.state.key[:10])
    assert child.state.parents == (dense.state.key,)
    assert child.state.key != imported("pruned.pth").state.key
    (place / "mine.py").write_text(
        "import pomona\n@pomona.probe\ndef norm(state: pomona.Given) -> float:\n"
        "    return float(abs(state.weights['fc1.weight']).sum())\n"
    )
    import importlib.util

    spec = importlib.util.spec_from_file_location("mine", place / "mine.py")
    assert spec is not None
    assert spec.loader is not None
    mine = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mine)
    graph = pomona.Graph()
    pomona.adopt(graph, child.computed.graph, child.state)
    asked = pomona.measure(graph, mine.norm, child.state)
    expected = np.abs(child.contents.weights["fc1.weight"].numpy()).sum()
    assert pomona.compute(graph, workers=0).value(asked) == pytest.approx(float(expected))


def test_it_is_verified_and_restored_from_its_file_and_not_from_another(place: Path) -> None:
    found = imported("pruned.pth")
    key = found.state.key
    with Store("pomona-store") as store:
        verdicts = verify(store, 1.0, workers=0)
        assert len(verdicts) == 3
        assert all(verdict.same for verdict in verdicts)
        store.let_go([key])
        assert restore([key], store, workers=0) == []
        assert store.weights(key)["fc1.weight"].shape == (30, 64)
        store.let_go([key])
        (place / "pruned.pth").unlink()
        (failure,) = restore([key], store, workers=0)
        assert "what was imported cannot be read again: weights: there is no file" in failure.reason


def test_weights_are_let_go_only_while_the_file_is_there(place: Path) -> None:
    key = imported("dense.safetensors", "mask.pth").state.key
    with Store("pomona-store") as store:
        (place / "mask.pth").rename("elsewhere.pth")
        assert collect(store, "none").states == 0
        assert unrepeatable_states(store) == {key}
        Path("elsewhere.pth").rename("mask.pth")
        assert collect(store, "none").states == 1
        assert restore([key], store, workers=0) == []


def test_a_tied_network_comes_in_under_either_name(place: Path) -> None:
    (place / "mine.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10))\n"
        "    net[2].weight = net[1].weight\n"
        "    return net\n"
    )
    weight, mask = torch.randn(64, 64), torch.rand(64, 64) < 0.5
    rest = {"1.bias": torch.zeros(64), "2.bias": torch.zeros(64), "3.weight": torch.randn(10, 64)}
    rest["3.bias"] = torch.zeros(10)
    keys = set()
    for names in (["1.weight"], ["2.weight"], ["1.weight", "2.weight"]):
        tensors: dict[str, Tensor] = {**rest, **{name: weight.clone() for name in names}}
        save_file({**tensors, f"{names[-1]}_mask": mask.float()}, "tied.safetensors")
        found = imported("tied.safetensors", model="mine.py:net")
        assert list(found.contents.masks) == ["1.weight", "3.weight"]
        assert torch.equal(found.contents.masks["1.weight"], mask)
        keys.add(found.state.key)
    assert len(keys) == 1


def test_what_should_be_known_is_said(place: Path) -> None:
    assert imported("dense.safetensors").contents.notes == ()
    (zeros,) = imported("zeros.safetensors").contents.notes
    assert zeros.startswith("there is no mask, but 1,360 of 2,720 weights are exactly zero")
    (renamed,) = imported("dense.safetensors", "mask.pth").contents.notes
    assert "mask.pth: read module.fc1.weight as fc1.weight, module.fc2.weight" in renamed
    some = {"fc1.weight": torch.zeros(30, 64).bool(), "fc2.bias": torch.ones(20)}
    save_file(some, "some.safetensors")
    found = imported("dense.safetensors", "some.safetensors")
    assert found.contents.notes == (
        "the mask of fc2.bias keeps everything and is of nothing that is pruned: left out",
        "no mask for fc2.weight, fc3.weight: dense",
    )
    assert found.computed.facts(found.state)["collapsed"] == ["fc1.weight"]
    assert found.measured["effective-density"] is not None


def test_what_cannot_be_measured_is_said_and_the_state_is_there(place: Path) -> None:
    (place / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x if x.sum() > 0 else -x)\n"
        "def net():\n"
        "    return Net(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    save_file({"1.weight": torch.randn(10, 64), "1.bias": torch.zeros(10)}, "odd.safetensors")
    found = imported("odd.safetensors", model="mine.py:net")
    assert "accuracy" in found.measured
    (failure,) = found.failures
    assert failure.startswith("effective-density: effective masks: the module Net cannot be traced")


def _files(place: Path) -> None:
    (place / "text.pth").write_text("no pickle")
    save_file({"fc1.weight": torch.ones(30, 64)}, "few.safetensors")
    dense = network().state_dict()
    save_file({**dense, "fc1.weight": torch.ones(30, 63)}, "shape.safetensors")
    save_file({**dense, "fc1.bias": torch.full((30,), torch.nan)}, "nan.safetensors")
    save_file({"fc1.weight": torch.full((30, 64), 0.5)}, "half.safetensors")
    save_file({"fc1.wieght": torch.zeros(30, 64)}, "name.safetensors")
    save_file({"fc1.weight": torch.ones(64, 30)}, "turned.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": "pruned.pth", "sha256": None}, r"pruned\.pth is a pickle.*add --sha256 [0-9a-f]{64}"),
        ({"mask": "mask.pth", "mask_sha256": None}, r"mask\.pth is a pickle.*add --mask-sha256"),
        ({"sha256": "0" * 64}, "dense.safetensors has the SHA-256 .*, expected 0000"),
        ({"sha256": "12"}, "sha256: expected 64 hexadecimal digits, got '12'"),
        ({"file": "dens.safetensors", "sha256": None}, "there is no file .*did you mean 'dense.safetensors'"),
        (
            {"file": "dense.h5", "sha256": None},
            r"expected a state_dict as .safetensors, .pt or .pth, got 'dense.h5'",
        ),
        ({"file": "text.pth"}, r"text\.pth cannot be read as a state_dict"),
        (
            {"file": "few.safetensors"},
            r"(?s)does not fit the network: 5 problems.*missing fc1.bias.*fc3.bias",
        ),
        ({"file": "shape.safetensors"}, r"fc1.weight: shape 30x63, the network has 30x64"),
        ({"file": "nan.safetensors"}, "fc1.bias: not all values are finite"),
        ({"mask": "half.safetensors"}, r"mask fc1.weight: expected zeros and ones, got 0.5 at \[0, 0\]"),
        ({"mask": "name.safetensors"}, "no such prunable weight; did you mean fc1.weight"),
        ({"mask": "turned.safetensors"}, r"mask of fc1.weight: shape \(64, 30\), the weight has \(30, 64\)"),
        ({"mask": "half.safetensors", "zeros": True}, "give one of mask and zeros"),
        ({"file": "pruned.pth", "zeros": True}, "pruned.pth holds masks itself: leave zeros out"),
        (
            {"file": "pruned.pth", "mask": "half.safetensors"},
            "holds masks itself: leave the file of masks out",
        ),
        ({"model": "lenett"}, "model: unknown model 'lenett'; did you mean 'lenet'"),
        ({"model": {**SMALL, "weights": {"file": "dense.safetensors"}}}, "leave 'weights' out"),
        ({"data": "digit"}, "data: unknown data set 'digit'; did you mean 'digits'"),
        ({"data": None}, "expected data, or the shape and the number of classes"),
        ({"classes": 10}, "the data says what shape and how many classes there are"),
        ({"parent": "abc"}, "abc"),
        ({"tag": "a tag"}, "the name of a tag is up to 100 letters"),
        ({"device": "tpu"}, "tpu"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, object], message: str, place: Path) -> None:
    _files(place)
    with Store("pomona-store"):
        pass
    given = dict(options)
    file = str(given.pop("file", "dense.safetensors"))
    mask = given.pop("mask", None)
    if mask is not None and "mask_sha256" not in given:
        given["mask_sha256"] = digest(Path(str(mask)))
    if "sha256" not in given:
        given["sha256"] = digest(Path(file))
    given = {"data": "digits", **given}
    with pytest.raises(InputError, match=message):
        import_checkpoint(file, given.pop("model", SMALL), mask=mask, **given)  # type: ignore[arg-type]
