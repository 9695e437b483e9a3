"""Studies of networks that have one parameter under two names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pomona.core.errors import InputError
from pomona.graph.store import Store
from pomona.studies.document import parse_document
from pomona.studies.modules import load_module
from pomona.studies.results import Results
from pomona.studies.run import run
from pomona.studies.study import check_study
from pomona.studies.upkeep import restore, verify

NETWORK = """
import torch
from torch import nn

class Tied(nn.Module):
    # The weight that encodes decodes as well; a layer is called twice under two names.
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(64, 64), nn.Linear(64, 64)
        self.decode.weight = self.encode.weight
        self.mix = nn.Linear(64, 64)
        self.again = self.mix
        self.last = nn.Linear(64, 10)
    def forward(self, x):
        h = torch.relu(self.encode(x.flatten(1)))
        return self.last(torch.relu(self.again(torch.relu(self.mix(torch.relu(self.decode(h)))))))
"""

STUDY = """
study: tied
let:
  data: {d: {name: digits}}
  train: {t: {optimizer: {sgd: {lr: 0.05, momentum: 0.9, weight_decay: 0.01}}, batch_size: 32, duration: 4ep}}
replicates: 1
steps:
  dense: {init: "mine.py:Tied", on: d, train: t}
  ticket: {from: dense, repeat: 2, prune: {method: l1-unstructured}, treat: rewind, on: d, train: t}
measure: [accuracy, density, mask-distance, weight-stability, effective-density]
"""

NAMES = ["encode.weight", "encode.bias", "decode.bias", "mix.weight", "mix.bias", "last.weight", "last.bias"]
PRUNABLE = ["encode.weight", "mix.weight", "last.weight"]


def tied_study(folder: Path, store: Path, text: str = STUDY) -> Results:
    (folder / "mine.py").write_text(NETWORK)
    return run(check_study(parse_document(text, "tied.yaml", folder)), store=store, workers=0)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("tied")
    return tied_study(folder, folder / "store")


def test_a_tied_network_trains_under_one_mask(results: Results) -> None:
    assert not results.lost()
    state = results.point(2).state
    weights, (masks, kinds) = results.store.weights(state.key), results.store.masks(state.key)
    assert set(weights) == set(NAMES)
    assert list(masks) == PRUNABLE
    assert kinds == dict.fromkeys(PRUNABLE, "linear")
    for name, mask in masks.items():
        assert mask.mean() == pytest.approx(0.64, abs=0.01)
        assert not weights[name][~mask].any()
    # Both layers learn: the accuracy is far above that of a guess.
    accuracy = results.frame().query("quantity == 'accuracy'")["value"]
    assert accuracy.min() > 0.5


def test_both_names_are_zero_where_the_mask_prunes(results: Results) -> None:
    state = results.point(2).state
    module = load_module(state.key, results.store)
    mask = torch.from_numpy(results.store.masks(state.key)[0]["encode.weight"])
    assert module.decode.weight is module.encode.weight
    assert module.again is module.mix
    tensors = module.state_dict()
    for name in ("encode.weight", "decode.weight"):
        assert not tensors[name][~mask].any()
        assert torch.equal(tensors[name] != 0, mask)


def test_the_same_study_gives_the_same_files(results: Results, tmp_path: Path) -> None:
    again = tied_study(tmp_path, tmp_path / "store")
    key = results.point(2).state.key
    first, second = (r.store.ledger.outputs([key])[key] for r in (results, again))
    assert {n: o.digest for n, o in first.items()} == {n: o.digest for n, o in second.items()}


def test_a_tied_state_is_restored_and_verified_to_the_bit(tmp_path: Path) -> None:
    found = tied_study(tmp_path, tmp_path / "store", f"{STUDY}keep: none\n")
    with Store(tmp_path / "store") as store:
        key = found.point(2).state.key
        digest = store.ledger.outputs([key])[key]["weights"].digest
        assert store.blobs.check(digest) is not None
        restore([key], store, workers=0)
        assert store.blobs.check(digest) is None
        verdicts = verify(store, 1.0, workers=0)
        assert verdicts
        assert all(verdict.same for verdict in verdicts)


def test_pretrained_weights_of_a_tied_network_may_have_either_name(results: Results, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    module = load_module(results.point(2).state.key, results.store)
    tensors = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    of_one = {
        name: t for name, t in tensors.items() if name not in ("encode.weight", "mix.weight", "mix.bias")
    }
    save_file(of_one, tmp_path / "one.safetensors")
    save_file(tensors, tmp_path / "both.safetensors")
    start = STUDY.replace('"mine.py:Tied"', "{name: mine.py:Tied, weights: {file: FILE}}")
    found = [
        tied_study(tmp_path, tmp_path / "store", start.replace("FILE", f"{name}.safetensors"))
        for name in ("one", "both")
    ]
    for of in found:
        weights = of.store.weights(of.point(0).origin.key)
        assert np.array_equal(weights["encode.weight"], tensors["encode.weight"].numpy())
    tensors["decode.weight"] += 1
    save_file(tensors, tmp_path / "torn.safetensors")
    lost = tied_study(tmp_path, tmp_path / "store", start.replace("FILE", "torn.safetensors")).lost()
    assert "decode.weight and encode.weight are one tensor in the network, but differ" in lost[0].reason


def test_the_lane_engine_refuses_a_tied_network_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"encode\.weight and decode\.weight are one tensor"):
        tied_study(tmp_path, tmp_path / "store", f"{STUDY}engine: lanes\n")
