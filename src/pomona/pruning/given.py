"""Scores that are given beside a method, instead of a criterion that computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pomona.core.errors import InputError, unknown
from pomona.pruning.criterion import Criterion
from pomona.pruning.method import Method
from pomona.pruning.prune import Gather
from pomona.pruning.randomness import seeded

Scores = Tensor | Mapping[str, Tensor] | Callable[[Tensor], Tensor]

_GIVEN = Criterion(
    name="given scores",
    function=lambda scores: scores,
    evidence=("scores",),
    formula="as given; a larger unit has the sum of its kept weights' scores",
    source="the caller",
    oracle="a stable sort of the scores",
)


class _Scored(Method):
    """A method whose scores are given: its criterion is not read."""

    @property
    def rule(self) -> Criterion:
        """Hands on what is given."""
        return _GIVEN

    @property
    def named(self) -> str:
        """What messages call it."""
        return _GIVEN.name


def scored(
    method: Method, scores: Scores, weights: Mapping[str, Tensor], names: Sequence[str]
) -> tuple[Method, Gather]:
    """A method that ranks by given scores, and what gives it these as evidence.

    Args:
        method: Everything but the criterion.
        scores: A score for each entry of a weight: by parameter name, one tensor where one parameter is
            pruned, or a function from a weight, called with the same random numbers each time.
        weights: Of all prunable parameters, by name.
        names: The parameters that are pruned.

    Raises:
        InputError: Scores are missing, for something else, or not a real number for each entry.
    """
    found = {name: _checked(name, weights[name], given) for name, given in _each(scores, weights, names)}
    fields = {name: getattr(method, name) for name in type(method).model_fields}
    return _Scored.model_construct(**fields), lambda wanted, masks: {"scores": found}


def _each(scores: Scores, weights: Mapping[str, Tensor], names: Sequence[str]) -> list[tuple[str, Any]]:
    if isinstance(scores, Tensor):
        if len(names) != 1:
            raise InputError(
                f"scores: one tensor for {len(names)} parameters; give one for each: {', '.join(names)}"
            )
        return [(names[0], scores)]
    if isinstance(scores, Mapping):
        for name in scores:
            if name not in weights:
                raise InputError(unknown("parameter", name, weights, where="scores"))
        missing = [name for name in names if name not in scores]
        if missing:
            raise InputError(f"scores: none for {missing[0]}; leave it out with layers=, or give its scores")
        return [(name, scores[name]) for name in names]
    # A clone: the function may write into what it is given.
    with seeded(0):
        return [(name, scores(weights[name].clone())) for name in names]


def _checked(name: str, weight: Tensor, given: object) -> Tensor:
    if not isinstance(given, Tensor):
        raise InputError(f"scores of {name}: expected a tensor, got {type(given).__name__}")
    if given.shape != weight.shape:
        raise InputError(
            f"scores of {name}: expected one for each weight, shape {tuple(weight.shape)}, got "
            f"{tuple(given.shape)}"
        )
    if given.is_complex() or given.dtype == torch.bool:
        raise InputError(f"scores of {name}: expected real numbers, got {given.dtype}")
    return given.detach().cpu().double()
