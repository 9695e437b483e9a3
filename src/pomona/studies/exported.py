"""A state as a file that others read: plain weights, the form of ``torch.nn.utils.prune``, or masks alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from pomona.core.errors import InputError, StoreError, unknown
from pomona.graph.store import DEFAULT_STORE, Store
from pomona.pruning import foreign
from pomona.studies.blinding.closed import open_state
from pomona.studies.modules import load_module

FORMS = ("plain", "torch-prune", "masks")
_SUFFIXES = (".safetensors", ".pt", ".pth")


def export_checkpoint(
    key: str, file: Path | str, form: str = "plain", *, store: Store | Path | str = DEFAULT_STORE
) -> Path:
    """Write a state to a file. ``import_checkpoint`` of what it writes gives the same weights and masks.

    Args:
        key: Key of a state, or its beginning.
        file: Where to; its suffix says how: ``.safetensors``, or ``.pt`` and ``.pth`` by torch.
        form: ``plain``: the module's state_dict; pruned weights are zero, or what the state holds them at.
            ``torch-prune``: as torch has it of a module that ``torch.nn.utils.prune`` pruned (``NAME_orig``,
            ``NAME_mask``). ``masks``: zeros and ones of type uint8 by parameter name.
        store: The store or its folder.

    Returns:
        The full path.

    Raises:
        InputError: No such state, form or suffix, or the file is there already; or the state belongs to a
            blinded study.
        StoreError: The state has no weights here, or the file cannot be written.
    """
    path = Path(file).expanduser().absolute()
    if form not in FORMS:
        raise InputError(unknown("form", form, FORMS))
    if path.suffix not in _SUFFIXES:
        raise InputError(f"expected a file as {', '.join(_SUFFIXES)}, got {path.name!r}")
    if path.exists():
        raise InputError(f"{path} is there already: give another name")
    opened = store if isinstance(store, Store) else Store(store, create=False)
    full = open_state(opened, key)
    masks = {name: torch.from_numpy(mask) for name, mask in opened.masks(full)[0].items()}
    _write(path, _tensors(full, opened, masks, form), {"form": form, "state": full})
    return path


def _tensors(key: str, store: Store, masks: Mapping[str, Tensor], form: str) -> dict[str, Tensor]:
    if form == "masks":
        return {name: mask.to(torch.uint8) for name, mask in masks.items()}
    weights = load_module(key, store).state_dict()
    found = foreign.to_torch_prune(weights, masks) if form == "torch-prune" else weights
    # Two names of one tensor are written as two: a file of safetensors shares nothing.
    return {name: tensor.detach().clone().contiguous() for name, tensor in found.items()}


def _write(path: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    draft = path.with_name(f".{path.name}.part")
    try:
        if path.suffix == ".safetensors":
            save_file(tensors, draft, metadata={"format": "pt", **about})
        else:
            torch.save(tensors, draft)
        draft.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        draft.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written: {error}") from None
