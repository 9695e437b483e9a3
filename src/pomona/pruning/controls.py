"""Controls on masks and surviving values: what a pruning method must be better than.

A control changes one thing and keeps the others. Each returns evidence that it bit: how many places it
changed in every layer, and that the counts are what they were. One that cannot change anything is refused.

Masks of a control are for weights of a dense state: under a control's mask, weights that were pruned by
another one start at exactly zero and do not test the mask. ``control_evidence.zero_survivors`` counts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError, unknown
from pomona.core.streams import Stream
from pomona.pruning.control_evidence import (
    ControlEvidence,
    Controlled,
    LayerEvidence,
    checked,
    mask_evidence,
    values_evidence,
)
from pomona.pruning.granularity import Unit, groups_of_inputs, parse_unit, rows_of
from pomona.pruning.survivors import StreamOf, Tensors, permuted

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Control:
    """A control of the catalogue.

    Args:
        name: As it is written in a study.
        touches: What it changes; everything else is held.
        random: Whether it draws random numbers.
        formula: What it does.
        source: Where it comes from.
        notes: Choices, and where it is asked for if not among the controls of a mask.
    """

    name: str
    touches: Literal["mask", "weights", "score", "data"]
    random: bool
    formula: str
    source: str
    notes: str = ""


def rearrange(
    masks: Tensors, kinds: Mapping[str, str], units: Mapping[str, str], stream_of: StreamOf
) -> Controlled:
    """Permute the units of each layer's mask, so that the layer keeps as many and others are kept.

    Whole units move with the pattern that they have: an output channel of two kept weights is one elsewhere.
    Blocks at the edge that are smaller change places with their like only. Of n:m the weights of each group
    are permuted, so that the mask stays n:m.

    Args:
        masks: True where kept, by parameter. Not changed.
        kinds: Kind of every parameter, as in ``prune``.
        units: The granularity that a parameter was pruned by; ``weight`` where there is none.
        stream_of: The stream of a parameter, used for nothing else.

    Raises:
        InputError: A name or granularity is unknown, or nothing can change in any layer (says why).
        StateFailure: Nothing changed although it could, or a count changed.

    Source:
        Su et al. 2020, arXiv:2009.11094; Frankle et al. 2021, arXiv:2009.08576.
    """
    from pomona.pruning.masks import check_masks

    check_masks(masks, masks)
    for name in units:
        if name not in masks:
            raise InputError(unknown("masked parameter", name, masks))
    found: dict[str, Tensor] = {}
    layers: list[LayerEvidence] = []
    for name, mask in masks.items():
        if name not in kinds:
            raise InputError(unknown("prunable parameter", name, kinds))
        unit = parse_unit(units.get(name, "weight"))
        found[name], could_change = _rearranged(mask, unit, kinds[name], stream_of(name))
        layers.append(mask_evidence(name, str(unit), could_change, mask, found[name]))
    return Controlled(found, checked(ControlEvidence("rearrange", tuple(layers))))


def random_mask(masks: Tensors, stream_of: StreamOf) -> Controlled:
    """Keep as many single weights of each layer, drawn uniformly, whatever structure the mask had.

    Args:
        masks: True where kept, by parameter. Not changed.
        stream_of: The stream of a parameter, used for nothing else.

    Raises:
        InputError: Nothing can change in any layer: each is dense or empty.
        StateFailure: Nothing changed although it could, or a count changed.

    Source:
        Frankle and Carbin 2019, arXiv:1803.03635; Su et al. 2020, arXiv:2009.11094.
    """
    from pomona.pruning.masks import check_masks

    check_masks(masks, masks)
    found = {name: permuted(mask, stream_of(name)) for name, mask in masks.items()}
    layers = [
        mask_evidence(name, "weight", _is_mixed(mask), mask, found[name]) for name, mask in masks.items()
    ]
    return Controlled(found, checked(ControlEvidence("random-mask", tuple(layers))))


def shuffle_weights(weights: Tensors, masks: Tensors, stream_of: StreamOf) -> Controlled:
    """Permute the surviving values of each layer among its surviving places.

    Args:
        weights: Tensors by name, at least those that have a mask. Not changed.
        masks: True where kept, by parameter.
        stream_of: The stream of a parameter, used for nothing else.

    Returns:
        New tensors under all names; what is pruned or has no mask is copied.

    Raises:
        InputError: A mask has no tensor, or nothing can change in any layer.
        StateFailure: Nothing changed although it could, or the number of survivors that are not zero changed.

    Source:
        Su et al. 2020, arXiv:2009.11094; Zhou et al. 2019, arXiv:1905.01067.
    """
    from pomona.pruning.masks import check_masks

    check_masks(weights, masks)
    found = {
        name: permuted(tensor.detach(), stream_of(name), masks[name])
        if name in masks
        else tensor.detach().clone()
        for name, tensor in weights.items()
    }
    return Controlled(found, values_evidence("shuffle-weights", weights, found, masks))


def _rearranged(mask: Tensor, unit: Unit, kind: str, stream: Stream) -> tuple[Tensor, bool]:
    """A mask with its units permuted, and whether any permutation could change it."""
    import torch

    if unit.form == "weight":
        return permuted(mask, stream), _is_mixed(mask)
    # Places are counted from 1: 0 is the padding of a block at the edge.
    places = torch.arange(1, mask.numel() + 1).reshape(mask.shape)
    rows = rows_of(places, unit, kind).numpy()
    real = rows > 0
    if unit.form == "n:m":
        classes = groups_of_inputs(places, unit, kind).reshape(-1).numpy()
    else:
        classes = _shapes(real)
    old = np.concatenate([[False], mask.cpu().numpy().reshape(-1)])
    new = old.copy()
    new[rows[real]] = old[rows[_within(classes, stream)][real]]
    _, first, inverse = np.unique(classes, return_index=True, return_inverse=True)
    could_change = bool((old[rows] != old[rows[first[inverse.reshape(-1)]]]).any())
    return torch.from_numpy(new[1:]).reshape(mask.shape).to(mask.device), could_change


def _shapes(real: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The units of one shape get one number; only at an edge are there others."""
    if real.all():
        return np.zeros(len(real), dtype=np.int64)
    return np.unique(real, axis=0, return_inverse=True)[1].reshape(-1)


def _within(classes: NDArray[np.int64], stream: Stream) -> NDArray[np.int64]:
    """A uniform permutation among those that leave every item in its class."""
    random = stream.permutation(len(classes))
    found = np.empty_like(random)
    found[np.argsort(classes, kind="stable")] = random[np.argsort(classes[random], kind="stable")]
    return found


def _is_mixed(mask: Tensor) -> bool:
    return bool(mask.any()) and not bool(mask.all())


CONTROLS: dict[str, Control] = {
    "rearrange": Control(
        name="rearrange",
        touches="mask",
        random=True,
        formula="the mask's units (channels, blocks; weights of what was not pruned by larger ones) permuted",
        source="Su et al. 2020, arXiv:2009.11094; Frankle et al. 2021, arXiv:2009.08576",
    ),
    "random-mask": Control(
        name="random-mask",
        touches="mask",
        random=True,
        formula="as many single weights of each layer, drawn uniformly",
        source="Frankle and Carbin 2019, arXiv:1803.03635; Su et al. 2020, arXiv:2009.11094",
    ),
    "shuffle-weights": Control(
        name="shuffle-weights",
        touches="weights",
        random=True,
        formula="surviving values permuted among the surviving places of each layer",
        source="Su et al. 2020, arXiv:2009.11094; Zhou et al. 2019, arXiv:1905.01067",
    ),
    "reinit": Control(
        name="reinit",
        touches="weights",
        random=True,
        formula="another draw of the initial weights under the same mask",
        source="Frankle and Carbin 2019, arXiv:1803.03635",
        notes="Written as the treatment reinit.",
    ),
    "invert": Control(
        name="invert",
        touches="score",
        random=False,
        formula="the criterion's scores negated: what it would prune last goes first",
        source="Frankle et al. 2021, arXiv:2009.08576",
        notes="Part of the method that prunes.",
    ),
    "random-labels": Control(
        name="random-labels",
        touches="data",
        random=True,
        formula="a share of the training labels drawn uniformly over all classes; validation stays clean",
        source="Su et al. 2020, arXiv:2009.11094; Zhang et al. 2017, arXiv:1611.03530",
        notes="Written with the data: corrupt: {labels: 100%}.",
    ),
    "random-pixels": Control(
        name="random-pixels",
        touches="data",
        random=True,
        formula="the pixels of each training image by a permutation of its own, the same for all channels",
        source="Su et al. 2020, arXiv:2009.11094; Zhang et al. 2017, arXiv:1611.03530",
        notes="Written with the data: corrupt: {pixels: yes}; with random labels, as in the code of the "
        "source: corrupt: {pixels: yes, labels: 100%}.",
    ),
    "fewer-examples": Control(
        name="fewer-examples",
        touches="data",
        random=True,
        formula="a share of the training examples drawn uniformly, for as many steps an epoch as all have",
        source="Su et al. 2020, arXiv:2009.11094",
        notes="Written with the data: corrupt: {examples: 50%}.",
    ),
}
