"""What a worker keeps between jobs: data sets, networks, and the store's files."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pomona.core.errors import StateFailure
from pomona.core.reference import Reference
from pomona.core.streams import Stream
from pomona.data.choice import DataChoice
from pomona.data.dataset import Dataset, load
from pomona.data.splits import split
from pomona.graph.jobs import Stored
from pomona.graph.ledger import Output
from pomona.graph.store import Files
from pomona.models.build import build
from pomona.models.choice import ModelChoice
from pomona.training.batches import Examples
from pomona.training.lanes.trace import trace_once
from pomona.training.placing import place

Tensors = dict[str, Tensor]


def dataset(name: str, folder: str, fingerprint: str) -> Dataset:
    """A data set, decoded and checked once a process: threads that ask for it at the same time wait for one.

    Raises:
        StateFailure: It is another one than when the run began.
    """
    with _loading:
        return _dataset(name, folder, fingerprint)


_loading = threading.Lock()


@lru_cache(maxsize=4)
def _dataset(name: str, folder: str, fingerprint: str) -> Dataset:
    found = load(name, Path(folder))
    if found.info.fingerprint != fingerprint:
        raise StateFailure("error", f"the data of {name} changed while the run went on; run it again")
    return found


def check_sources(how: Mapping[str, Any]) -> None:
    """Before a user's file is used: it is still the one that the keys were made from.

    Raises:
        StateFailure: It was changed since.
    """
    for name, digest in how["sources"].items():
        if Reference.parse(name, Path(how["folder"])).digest() != digest:
            raise StateFailure("error", f"{name} changed since the run began; run it again")


def network(how: Mapping[str, Any]) -> nn.Module:
    """The module of a state, to be given weights.

    A user's own is built anew each time: what its class keeps beside its weights is not known. One of the
    catalogue is kept for the next job of the same thread.
    """
    if ModelChoice.model_validate(how["model"]).own:
        return fresh_network(how)
    form = repr((sorted(how["model"].items(), key=str), how["input_shape"], how["classes"]))
    networks = _kept.networks
    if form not in networks:
        networks.clear()
        networks[form] = trace_once(fresh_network(how))
    return networks[form]


class _Kept(threading.local):
    """What each thread keeps for itself: a job changes the module that it is given."""

    def __init__(self) -> None:
        self.networks: dict[str, nn.Module] = {}


_kept = _Kept()


def fresh_network(how: Mapping[str, Any]) -> nn.Module:
    """A new module, to be given weights."""
    check_sources(how)
    choice = ModelChoice.model_validate(how["model"])
    channels, height, width = how["input_shape"]
    return build(choice, (channels, height, width), how["classes"], Path(how["folder"]))


def examples(how: Mapping[str, Any], part: str) -> Examples:
    """The training or test images of a job's data set, as its network sees them."""
    choice = DataChoice.model_validate(how["dataset"])
    check_sources(how)
    found = dataset(choice.name, how["folder"], how["fingerprint"])
    mean, sd = choice.pixel_mean_sd(found.info)
    scale = tuple(1 / (255 * s) for s in sd)
    shift = tuple(-m / s for m, s in zip(mean, sd, strict=True))
    if part == "test":
        return Examples(found.test_images, found.test_labels, scale, shift)
    return Examples(found.train_images, found.train_labels, scale, shift)


def parts(count: int, params: Mapping[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the training and of the validation part."""
    held_back = params["data"]["validation"]
    if held_back == 0:
        return np.arange(count), np.arange(0)
    return split(count, held_back, Stream("split", params["seeds"]["split"]))


def engine_of(params: Mapping[str, Any]) -> str:
    """``lanes`` or ``torch``; the record in a job's parameters also names a device other than the CPU."""
    return str(params["engine"]["name"]).partition("-")[0]


def loaded(how: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]) -> nn.Module:
    """A new module with the weights of a state, in evaluation mode."""
    module = fresh_network(how)
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    place(module, tensors, torch.device("cpu"))
    return module.eval()


def weights_of(state: Stored, files: Files) -> Tensors:
    """Weights, biases and buffers of a state."""
    arrays = files.read_weights(state.outputs["weights"])
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def masks_of(state: Stored, files: Files) -> tuple[Tensors, dict[str, str]]:
    """Masks of a state and the kinds of its layers."""
    masks, kinds = files.read_masks(state.outputs["masks"])
    return {name: torch.from_numpy(mask) for name, mask in masks.items()}, kinds


def write_weights(weights: Mapping[str, Tensor], files: Files) -> Output:
    """Store weights."""
    return files.write_weights({name: tensor.contiguous().numpy() for name, tensor in weights.items()})


def write_masks(masks: Mapping[str, Tensor], kinds: Mapping[str, str], files: Files) -> Output:
    """Store masks."""
    return files.write_masks({name: mask.numpy() for name, mask in masks.items()}, kinds)


def same_masks(state: Stored, files: Files) -> Output:
    """The masks of a parent, as an output of its child: the same file."""
    return files.describe("masks", state.outputs["masks"])
