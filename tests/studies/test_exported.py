"""States written for others: what they read is what the state holds, and it comes back as it went."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.nn.utils import prune as torch_prune

from pomona.core.errors import InputError, StoreError
from pomona.studies.exported import FORMS, export_checkpoint
from pomona.studies.imported import import_checkpoint
from pomona.studies.modules import load_module
from pomona.studies.results import Results

SMALL = {"name": "fc", "options": {"hidden": "30-20"}}


@pytest.fixture
def key(small_results: Results) -> str:
    return next(p.state.key for p in small_results.population.points if p.level == 3)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("form", ["plain", "torch-prune"])
def test_what_is_exported_comes_back_as_the_same_weights_and_masks(
    form: str, suffix: str, key: str, small_results: Results, tmp_path: Path
) -> None:
    path = export_checkpoint(key[:12], tmp_path / f"ticket{suffix}", form, store=small_results.store)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    found = import_checkpoint(
        path, SMALL, "digits", sha256=digest, zeros=form == "plain", store=tmp_path / "store"
    )
    masks = small_results.store.masks(key)[0]
    weights = small_results.store.weights(key)
    assert all(np.array_equal(found.computed.masks(found.state)[name], mask) for name, mask in masks.items())
    assert all(np.array_equal(found.computed.weights(found.state)[name], w) for name, w in weights.items())
    assert found.contents.zeroed == {}


def test_torch_loads_what_is_exported_into_a_module_that_it_pruned(
    key: str, small_results: Results, tmp_path: Path
) -> None:
    path = export_checkpoint(key, tmp_path / "ticket.pth", "torch-prune", store=small_results.store)
    module = load_module(key, small_results.store)
    images = torch.randn(4, 1, 8, 8)
    expected = module(images)
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            torch_prune.identity(layer, "weight")
    module.load_state_dict(torch.load(path, weights_only=True))
    assert torch.equal(module(images), expected)


def test_masks_alone_go_and_come_back(key: str, small_results: Results, tmp_path: Path) -> None:
    store = small_results.store
    masks = export_checkpoint(key, tmp_path / "masks.safetensors", "masks", store=store)
    weights = export_checkpoint(key, tmp_path / "weights.safetensors", store=store)
    found = import_checkpoint(weights, SMALL, "digits", mask=masks, store=tmp_path / "store")
    for name, mask in store.masks(key)[0].items():
        assert np.array_equal(found.contents.masks[name].numpy(), mask)
    with safe_open(masks, "pt") as file:
        assert file.metadata() == {"format": "pt", "form": "masks", "state": key}


@pytest.mark.parametrize(
    ("file", "form", "message"),
    [
        ("a.safetensors", "plan", "unknown form 'plan'; did you mean 'plain'"),
        ("a.h5", "plain", r"expected a file as .safetensors, .pt, .pth, got 'a.h5'"),
        ("there.pt", "plain", "there.pt is there already"),
    ],
)
def test_what_is_wrong_is_said(
    file: str, form: str, message: str, key: str, small_results: Results, tmp_path: Path
) -> None:
    (tmp_path / "there.pt").touch()
    with pytest.raises(InputError, match=message):
        export_checkpoint(key, tmp_path / file, form, store=small_results.store)
    assert [path.name for path in tmp_path.iterdir()] == ["there.pt"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_folder_that_is_not_there_is_said(
    suffix: str, form: str, key: str, small_results: Results, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        export_checkpoint(key, tmp_path / "none" / f"a{suffix}", form, store=small_results.store)
