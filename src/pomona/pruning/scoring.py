"""The scores of one layer's units by a declared method, checked before anything is ranked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pomona.core.errors import InputError, PomonaError, StateFailure
from pomona.core.reference import Reference, user_traceback
from pomona.core.streams import Stream
from pomona.pruning.criteria import CRITERIA, channel_totals
from pomona.pruning.method import Method, Norm
from pomona.pruning.randomness import seeded

StreamOf = Callable[[str], Stream]
Scorer = Callable[[str, Tensor, Tensor, int | None], Tensor]

# The key of a state knows no random numbers of a user's criterion: it gets the same ones at every call.
_SEED = 0


def scorer(method: Method, stream: StreamOf | None = None, folder: Path | None = None) -> Scorer:
    """The function from (parameter name, weight, mask, axis) to one checked score for each unit, 1-D.

    Args:
        method: Gives the criterion.
        stream: The mask stream of a parameter; needed by the criterion ``random`` only.
        folder: Where a user's criterion is looked for; by default the working folder.

    Raises:
        InputError: The criterion needs a stream and there is none; a user's criterion cannot be loaded.
    """
    if method.user_criterion is not None:
        return _users_scorer(Reference.parse(method.user_criterion, folder))
    if method.criterion == "random" and stream is None:
        raise InputError("random pruning needs the mask stream of the replicate: give stream=")
    norm = isinstance(method.criterion, Norm)
    criterion = CRITERIA["norm" if norm else str(method.criterion)]

    def score(name: str, weight: Tensor, mask: Tensor, axis: int | None) -> Tensor:
        evidence: dict[str, object] = {"weight": weight, "mask": mask, "axis": axis}
        if isinstance(method.criterion, Norm):
            evidence["n"] = method.criterion.order
        if stream is not None and "stream" in criterion.evidence:
            evidence["stream"] = stream(name)
        else:
            _refuse_nan_weights(name, weight, mask)
        return criterion.score(evidence).reshape(-1)

    return score


def _users_scorer(reference: Reference) -> Scorer:
    with seeded(_SEED):
        function = reference.load()

    def score(name: str, weight: Tensor, mask: Tensor, axis: int | None) -> Tensor:
        _refuse_nan_weights(name, weight, mask)
        try:
            # A clone: the user's function may write into what it is given.
            with seeded(_SEED):
                found = function(weight.clone())
        except PomonaError:
            raise
        except Exception as error:
            place = user_traceback(error, reference.path)
            raise InputError(
                f"criterion {reference} failed on {name!r} ({place}): {type(error).__name__}: {error}"
            ) from error
        scores = _checked(reference, name, weight, found)
        bad = torch.isnan(scores) & mask
        if bool(bad.any()):
            raise InputError(f"criterion {reference} gives NaN at {name}{_first(bad)}")
        return scores.reshape(-1) if axis is None else channel_totals(scores, mask, axis)

    return score


def _checked(reference: Reference, name: str, weight: Tensor, found: Any) -> Tensor:
    if not isinstance(found, Tensor):
        raise InputError(f"criterion {reference}: expected a tensor of scores, got {type(found).__name__}")
    if found.shape != weight.shape:
        raise InputError(
            f"criterion {reference}: expected one score for each weight of {name!r}, shape "
            f"{tuple(weight.shape)}, got shape {tuple(found.shape)}"
        )
    if found.is_complex() or found.dtype == torch.bool:
        raise InputError(f"criterion {reference}: expected scores as real numbers, got {found.dtype}")
    return found.detach().cpu()


def _refuse_nan_weights(name: str, weight: Tensor, mask: Tensor) -> None:
    bad = torch.isnan(weight) & mask
    if bool(bad.any()):
        raise StateFailure("diverged", f"NaN weight at {name}{_first(bad)}: it cannot be ranked for pruning")


def _first(bad: Tensor) -> str:
    return str(bad.nonzero()[0].tolist())
