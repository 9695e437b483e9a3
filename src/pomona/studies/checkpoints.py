"""A checkpoint of others, read against the network that it is of: weights, masks, and what was found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from pomona.core.canonical import canonical
from pomona.core.errors import InputError, ProblemsError, StateFailure, nearest
from pomona.core.tied import twins
from pomona.graph.jobs import Context, Job, Outcome
from pomona.graph.store import Files
from pomona.models.choice import StartWeights
from pomona.models.pretrained import fitted, read_tensors
from pomona.pruning import foreign
from pomona.pruning.kinds import layer_kinds
from pomona.pruning.masks import apply_masks
from pomona.studies import bench

Tensors = dict[str, Tensor]

# Where the masks are from. torch keeps the values of pruned weights, which its forward pass multiplies by 0.
TORCH_PRUNE = "torch.nn.utils.prune"


@dataclass(frozen=True)
class Source:
    """Which files.

    Args:
        file: Of the weights.
        sha256: Its digest; needed where it is a pickle.
        mask: File of the masks, where they are in one of their own.
        mask_sha256: Its digest.
        zeros: Whether weights that are exactly zero count as pruned.
    """

    file: str
    sha256: str | None = None
    mask: str | None = None
    mask_sha256: str | None = None
    zeros: bool = False

    def __post_init__(self) -> None:
        if self.mask is not None and self.zeros:
            raise InputError("masks come from a file or from zeros: give one of mask and zeros")

    @property
    def files(self) -> dict[str, str | None]:
        """Digests by file."""
        return {self.file: self.sha256} | ({} if self.mask is None else {self.mask: self.mask_sha256})

    def pinned(self, folder: Path) -> Source:
        """With full paths and the digests of the files.

        Raises:
            InputError: A file is not there or another one than was meant, or is a pickle without a digest.
        """
        file, digest = _pinned(self.file, self.sha256, "sha256", folder)
        if self.mask is None:
            return Source(file, digest, zeros=self.zeros)
        return Source(file, digest, *_pinned(self.mask, self.mask_sha256, "mask_sha256", folder))


@dataclass(frozen=True, eq=False)
class Contents:
    """What a checkpoint is to a network.

    Args:
        weights: Every parameter and buffer of the network; zero where it is pruned.
        masks: Of every prunable weight, True = kept.
        kinds: Of every prunable weight.
        masks_from: ``torch.nn.utils.prune``, ``the checkpoint``, ``a file``, ``zeros`` or ``nothing``.
        zeroed: How many weights under the masks were not zero and are now, by parameter.
        notes: What else a reader should know, a line each.
    """

    weights: Tensors
    masks: Tensors
    kinds: dict[str, str]
    masks_from: str
    zeroed: dict[str, int]
    notes: tuple[str, ...]

    def digest(self) -> str:
        """SHA-256 of names, types, shapes and bits: the same for the same contents of any file."""
        found = hashlib.sha256()
        for part in (self.weights, self.masks):
            for name in sorted(part):
                array = part[name].numpy()
                found.update(canonical({"name": name, "type": str(array.dtype), "shape": list(array.shape)}))
                found.update(array.tobytes())
        return found.hexdigest()


def read_checkpoint(source: Source, module: nn.Module, folder: Path | None = None) -> Contents:
    """Read weights and masks, and fit them to a network.

    Args:
        source: Which files; paths are relative to ``folder``. One that is a pickle is opened only with its
            digest.
        module: The network; not changed.
        folder: The working folder by default.

    Raises:
        InputError: A file cannot be had or read.
        ProblemsError: Names, shapes or values do not fit the network; says every fault.
    """
    tied = twins(module.named_parameters(remove_duplicate=False))
    expected = {name: tensor for name, tensor in module.state_dict().items() if name not in tied}
    kinds = layer_kinds(module)
    file = Path(source.file).name
    tensors = read_tensors(StartWeights(file=source.file, sha256=source.sha256), folder)
    given = foreign.from_torch_prune(tensors, expected)
    names = foreign.matched(given.weights, [*expected, *tied])
    weights = fitted(
        {names.get(name, name): tensor for name, tensor in given.weights.items()}, expected, file, tied
    )
    notes = _renamed(names, file)
    masks = {names.get(name, name): mask for name, mask in given.masks.items()}
    masks_from = "nothing"
    if masks:
        orig = any(name not in given.weights and not name.endswith("_mask") for name in tensors)
        masks_from = TORCH_PRUNE if orig else "the checkpoint"
    if source.mask is not None:
        if masks:
            raise InputError(f"{file} holds masks itself: leave the file of masks out")
        masks, more = _masks_of(source, [*kinds, *tied], folder)
        notes, masks_from = notes + more, "a file"
    elif source.zeros:
        if masks:
            raise InputError(f"{file} holds masks itself: leave zeros out")
        masks, masks_from = foreign.from_zeros(weights, kinds), "zeros"
    full, more = _of_network(masks, weights, kinds, tied, Path(source.mask or source.file).name)
    if masks_from == "nothing":
        more = _zeros_seen(weights, kinds)
    zeroed = foreign.nonzero_under(weights, full)
    return Contents(
        apply_masks(weights, full), full, kinds, masks_from, zeroed, tuple(dict.fromkeys(notes + more))
    )


def import_state(job: Job, files: Files, context: Context) -> Outcome:
    """The contents of somebody's files. They count only if they are what the key was made from."""
    source = Source(**job.how["checkpoint"])
    try:
        found = read_checkpoint(source, bench.network(job.how), Path(job.how["folder"]))
    except InputError as error:
        raise StateFailure("error", f"what was imported cannot be read again: {error}") from None
    if found.digest() != job.params["contents"]:
        raise StateFailure("error", f"{Path(source.file).name} gives other contents than it had")
    outputs = (bench.write_weights(found.weights, files), bench.write_masks(found.masks, found.kinds, files))
    return Outcome(outputs, facts_of(found, source))


def facts_of(found: Contents, source: Source) -> dict[str, Any]:
    """What is known of an imported state beside its tensors."""
    facts: dict[str, Any] = {
        "file": Path(source.file).name,
        "sha256": source.sha256,
        "masks_from": found.masks_from,
        "zeroed": found.zeroed,
        "kept": {name: [int(mask.sum()), mask.numel()] for name, mask in found.masks.items()},
        "collapsed": [name for name, mask in found.masks.items() if not bool(mask.any())],
    }
    if source.mask is not None:
        facts |= {"mask_file": Path(source.mask).name, "mask_sha256": source.mask_sha256}
    return facts


def _pinned(file: str, sha256: str | None, option: str, folder: Path) -> tuple[str, str]:
    choice = _file(file, sha256, option)
    path, digest = choice.path(folder), choice.digest(folder)
    if sha256 is None and path.suffix != ".safetensors":
        raise InputError(
            f"{path.name} is a pickle, which is opened only if its digest is written down; if you trust "
            f"where it comes from, add --{option.replace('_', '-')} {digest}"
        )
    return str(path), digest


def _file(file: str, sha256: str | None, option: str) -> StartWeights:
    try:
        return StartWeights(file=file, sha256=sha256)
    except ValidationError as error:
        faults = {str(fault["loc"][0]): fault["msg"] for fault in error.errors()}
        if "sha256" in faults:
            raise InputError(f"{option}: expected 64 hexadecimal digits, got {sha256!r}") from None
        raise InputError(faults["file"].removeprefix("Value error, ")) from None


def _masks_of(source: Source, known: Sequence[str], folder: Path | None) -> tuple[Tensors, list[str]]:
    assert source.mask is not None
    file = Path(source.mask).name
    tensors = read_tensors(StartWeights(file=source.mask, sha256=source.mask_sha256), folder)
    names = foreign.matched(tensors, known)
    masks, problems = {}, []
    for name, tensor in tensors.items():
        try:
            masks[names.get(name, name)] = foreign.mask_of(name, tensor)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise ProblemsError(f"masks: {file} does not hold masks", problems)
    return masks, _renamed(names, file)


def _of_network(
    masks: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    kinds: Mapping[str, str],
    tied: Mapping[str, str],
    file: str,
) -> tuple[Tensors, list[str]]:
    """A mask for every prunable weight of the network, and what was done for that."""
    found: Tensors = {}
    problems, notes = [], []
    for name, mask in masks.items():
        first = tied.get(name, name)
        if first not in kinds:
            if bool(mask.all()):
                notes.append(
                    f"the mask of {name} keeps everything and is of nothing that is pruned: left out"
                )
                continue
            close = nearest(name, list(kinds))
            hint = f"; did you mean {close}?" if close else ""
            problems.append(f"mask of {name}: the network has no such prunable weight{hint}")
        elif mask.shape != weights[first].shape:
            problems.append(
                f"mask of {name}: shape {tuple(mask.shape)}, the weight has {tuple(weights[first].shape)}"
            )
        elif first in found and not torch.equal(found[first], mask):
            problems.append(f"mask of {name}: it is one weight with {first}, which has another mask")
        else:
            found[first] = mask
    if problems:
        raise ProblemsError(f"masks: {file} does not fit the network", problems)
    dense = [name for name in kinds if name not in found]
    if found and dense:
        notes.append(f"no mask for {', '.join(dense)}: dense")
    ones = {name: torch.ones(weights[name].shape, dtype=torch.bool) for name in dense}
    return {name: (found | ones)[name].contiguous() for name in kinds}, notes


def _renamed(names: Mapping[str, str], file: str) -> list[str]:
    changed = [f"{name} as {own}" for name, own in names.items() if name not in (own, f"{own}_mask")]
    return [f"{file}: read {', '.join(changed)}"] if changed else []


def _zeros_seen(weights: Mapping[str, Tensor], kinds: Mapping[str, str]) -> list[str]:
    kept, total = foreign.kept_of_all(foreign.from_zeros(weights, kinds))
    if total - kept <= total // 1000:
        return []
    return [
        f"there is no mask, but {total - kept:,} of {total:,} weights are exactly zero: if they were pruned, "
        "say so with zeros"
    ]
