"""Pruning while a training goes on: when, how much, and what is on record of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pomona.core.errors import InputError
from pomona.core.step import Step
from pomona.graph.jobs import Stored
from pomona.pruning.method import Method
from pomona.pruning.prune import prune
from pomona.pruning.schedule import density_at
from pomona.studies import bench
from pomona.studies.bench import Tensors
from pomona.studies.pruned import check_audit, evidence_of, mask_stream, units_of


def event_steps(begin: Step, end: Step, every: Step, per_epoch: int, total: int) -> list[int]:
    """The steps after which it is pruned: every so many after the begin, where all is kept, and the end.

    Raises:
        InputError: The end lies before the begin or behind the training.
    """
    first, last, apart = (moment.iterations(per_epoch) for moment in (begin, end, every))
    if not first <= last <= total:
        raise InputError(f"during: expected begin <= end <= {total} steps, got {begin} and {end}")
    return [*range(first + apart, last, apart), last]


class During:
    """The prunings of one training.

    Args:
        params: Its parameters; of a snapshot those of the training that it is of.
        how: What it needs.
        kinds: Every prunable parameter and its kind.
    """

    def __init__(self, params: Mapping[str, Any], how: Mapping[str, Any], kinds: Mapping[str, str]) -> None:
        bench.check_sources(how)
        self._params, self._how, self._kinds = params, how, kinds
        self._asked = params["during"]
        self._method = Method.model_validate(how["method"])
        per_epoch = how["steps_per_epoch"]
        begin, end, every = (Step.parse(self._asked[key]) for key in ("begin", "end", "every"))
        total = Step.parse(how["train"]["duration"]).iterations(per_epoch)
        self._first = begin.iterations(per_epoch)
        self.steps = event_steps(begin, end, every, per_epoch, total)

    def prune(self, step: int, weights: Tensors, masks: Tensors) -> dict[str, Tensor]:
        """The masks from a step on."""
        way = 1.0 if step == self.steps[-1] else (step - self._first) / (self.steps[-1] - self._first)
        params = {**self._params, **self._asked, "level": step}
        pruned = prune(
            weights,
            masks,
            self._kinds,
            self._method,
            rounding=self._asked.get("rounding", "nearest"),
            density=self._density(way),
            evidence=evidence_of(self._how, params, self._method, weights, self._kinds, None),
            stream=mask_stream(params),
            folder=Path(self._how["folder"]),
        )
        check_audit(masks, pruned)
        return pruned.masks

    def facts(self, parent: Stored, masks: Tensors) -> dict[str, Any]:
        """What is kept on record of the masks at the end."""
        units = units_of(self._method, self._kinds)
        return {
            "kept": {name: [int(mask.sum()), mask.numel()] for name, mask in masks.items()},
            "granularity": {**parent.facts.get("granularity", {}), **units},
            "collapsed": [name for name, mask in masks.items() if not bool(mask.any())],
        }

    def _density(self, way: float) -> float | dict[str, float] | None:
        goal, schedule = self._asked.get("density"), self._asked["schedule"]
        if goal is None:
            return None
        if isinstance(goal, Mapping):
            return {key: density_at(schedule, float(value), way) for key, value in goal.items()}
        return density_at(schedule, float(goal), way)
