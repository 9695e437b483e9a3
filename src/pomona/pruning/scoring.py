"""The scores of one layer's units by a declared method, checked before anything is ranked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pomona.core.errors import InputError, PomonaError, StateFailure
from pomona.core.reference import Reference, user_traceback
from pomona.core.streams import Stream
from pomona.pruning.criterion import channel_totals
from pomona.pruning.granularity import rows_of
from pomona.pruning.method import Method, Norm
from pomona.pruning.pools import Target
from pomona.pruning.randomness import seeded

StreamOf = Callable[[str], Stream]
Evidence = Mapping[str, Mapping[str, Tensor]]

# The key of a state knows no random numbers of a user's criterion: it gets the same ones at every call.
_SEED = 0


class Scorer:
    """Scores units by a method.

    Args:
        method: Gives the criterion.
        evidence: Gathers what the criterion reads beside weights, masks and streams: from the names of
            evidence and the masks to tensors by name of evidence and parameter.
        stream: The mask stream of a parameter; needed by criteria that draw.
        folder: Where a user's criterion is looked for; by default the working folder.

    Raises:
        InputError: Something that the criterion needs is not given; a user's criterion cannot be loaded.
    """

    def __init__(
        self,
        method: Method,
        evidence: Callable[[Collection[str], Mapping[str, Tensor]], Evidence] | None,
        stream: StreamOf | None,
        folder: Path | None,
    ) -> None:
        self.method, self._evidence, self._stream = method, evidence, stream
        self._found: Evidence = {}
        self._user = Reference.parse(method.user_criterion, folder) if method.user_criterion else None
        if method.needs and evidence is None:
            raise InputError(
                f"the criterion {method.named!r} needs {', '.join(method.needs)}: give evidence="
            )
        if method.rule is not None and method.rule.draws and stream is None:
            raise InputError("random pruning needs the mask stream of the replicate: give stream=")
        if self._user is not None:
            with seeded(_SEED):
                self._function = self._user.load()

    def gather(self, masks: Mapping[str, Tensor]) -> None:
        """Take evidence at the masks of the moment."""
        if self.method.needs:
            assert self._evidence is not None
            self._found = self._evidence(self.method.needs, masks)

    def scores(self, target: Target, weight: Tensor, mask: Tensor) -> Tensor:
        """One checked score for each unit, 1-D.

        Raises:
            InputError: A user's criterion fails or gives NaN (says where).
            StateFailure: A kept weight, or what is known of it, is NaN.
        """
        rule = self.method.rule
        if rule is None:
            scores = self._users(target, weight, mask)
        else:
            given = self._given(target, weight, mask)
            if "stream" not in rule.evidence:
                _refuse_nan(target.name, weight, mask, "weight")
            scores = rule.score(given, target.unit, target.kind)
        return -scores if self.method.inverted else scores

    def tie_numbers(self, targets: Sequence[Target]) -> list[Callable[[], Tensor]] | None:
        """What parts equal scores at random, where the criterion says so."""
        if self.method.rule is None or self.method.rule.ties != "random":
            return None

        def number(target: Target) -> Callable[[], Tensor]:
            assert self._stream is not None
            stream = self._stream(target.name)
            return lambda: torch.from_numpy(stream.uniform(target.total))

        return [number(target) for target in targets]

    def moved(
        self, weights: Mapping[str, Tensor], before: Mapping[str, Tensor], after: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """New values of the layers whose survivors the criterion moves."""
        rule = self.method.rule
        if rule is None or rule.update is None:
            return {}
        changed = [name for name in after if not torch.equal(before[name], after[name])]
        return {
            name: rule.update(
                weights[name].detach(), before[name], after[name], **self._of(name, rule.update_evidence)
            )
            for name in changed
        }

    def _given(self, target: Target, weight: Tensor, mask: Tensor) -> dict[str, object]:
        given: dict[str, object] = {
            "weight": weight,
            "mask": mask,
            **self._of(target.name, self.method.needs),
        }
        for name in self.method.needs:
            found = given[name]
            if isinstance(found, Tensor) and found.shape == mask.shape:
                _refuse_nan(target.name, found, mask, name.replace("_", " "))
        if isinstance(self.method.criterion, Norm):
            given["n"] = self.method.criterion.order
        if self._stream is not None:
            given["stream"] = self._stream(target.name)
        return given

    def _of(self, parameter: str, names: Collection[str]) -> dict[str, Any]:
        for name in names:
            if parameter not in self._found.get(name, {}):
                raise InputError(f"criterion {self.method.named!r}: there is no {name} of {parameter!r}")
        return {name: self._found[name][parameter] for name in names}

    def _users(self, target: Target, weight: Tensor, mask: Tensor) -> Tensor:
        assert self._user is not None
        _refuse_nan(target.name, weight, mask, "weight")
        try:
            # A clone: the user's function may write into what it is given.
            with seeded(_SEED):
                found = self._function(weight.clone())
        except PomonaError:
            raise
        except Exception as error:
            place = user_traceback(error, self._user.path)
            raise InputError(
                f"criterion {self._user} failed on {target.name!r} ({place}): {type(error).__name__}: {error}"
            ) from error
        scores = _checked(f"criterion {self._user}", target.name, weight, found)
        bad = torch.isnan(scores) & mask
        if bool(bad.any()):
            raise InputError(f"criterion {self._user} gives NaN at {target.name}{_first(bad)}")
        if target.unit.members_are_units:
            return scores.reshape(-1)
        return channel_totals(
            rows_of(scores, target.unit, target.kind), rows_of(mask, target.unit, target.kind)
        )


def _checked(who: str, name: str, weight: Tensor, found: Any) -> Tensor:
    if not isinstance(found, Tensor):
        raise InputError(f"{who}: expected a tensor of scores, got {type(found).__name__}")
    if found.shape != weight.shape:
        raise InputError(
            f"{who}: expected one score for each weight of {name!r}, shape {tuple(weight.shape)}, got shape "
            f"{tuple(found.shape)}"
        )
    if found.is_complex() or found.dtype == torch.bool:
        raise InputError(f"{who}: expected scores as real numbers, got {found.dtype}")
    return found.detach().cpu()


def _refuse_nan(name: str, values: Tensor, mask: Tensor, what: str) -> None:
    # Most layers have none: asked of the sum first, which costs no second tensor.
    if not values.is_floating_point() or not bool(torch.isnan(values.sum())):
        return
    bad = torch.isnan(values) & mask
    if bool(bad.any()):
        raise StateFailure("diverged", f"NaN {what} at {name}{_first(bad)}: it cannot be ranked for pruning")


def _first(bad: Tensor) -> str:
    return str(bad.nonzero()[0].tolist())
