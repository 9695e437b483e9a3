"""What a criterion is: a pure function from evidence to scores, and the record that describes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pomona.pruning.granularity import WEIGHT, Unit, rows_of

if TYPE_CHECKING:
    from torch import Tensor

# Evidence that every prune has.
AT_HAND = frozenset({"weight", "mask", "n", "stream"})
# Evidence that is taken from the network's behaviour on examples.
DATA_EVIDENCE = frozenset(
    {
        "gradient",
        "squared_gradient",
        "hessian_gradient",
        "curvature",
        "inverse_curvature",
        "inverse_blocks",
        "input_norm",
        "activation_mean",
        "activation_zeros",
    }
)
# Evidence that needs the network, with or without examples.
NETWORK_EVIDENCE = DATA_EVIDENCE | {"flow"}


@dataclass(frozen=True)
class Criterion:
    """A way to score what may be pruned: larger means keep, and signs are honoured.

    Args:
        name: As it is written in a study.
        function: Pure function of the evidence of one parameter, by keyword, to a score for every weight, in
            the weight's shape. None where single weights have no score.
        evidence: What the functions take: ``weight``, ``mask``, ``initial``, ``gradient`` and so on.
        formula: The score, in words or symbols.
        source: Where it comes from.
        oracle: What its tests hold it against.
        unit: Scores of larger units, from the same evidence as rows [units, members]. By default a unit has
            the sum of the scores of its kept weights.
        only: Granularities that it has a meaning for; all where empty.
        ties: Which of equal scores goes first: the lowest index, or the lowest number of the mask stream.
        degree: Weights and initial weights times c > 0, all other evidence held, give scores times c**degree.
            None where there is no such rule.
        update: Where the criterion moves the survivors: from (weight, mask before, mask after, evidence by
            keyword) to new values.
        update_evidence: What ``update`` takes beside them.
        notes: Departures from the source, choices, cost.
    """

    name: str
    function: Callable[..., Tensor] | None
    evidence: tuple[str, ...]
    formula: str
    source: str
    oracle: str
    unit: Callable[..., Tensor] | None = None
    only: tuple[str, ...] = ()
    ties: Literal["index", "random"] = "index"
    degree: float | None = 1.0
    update: Callable[..., Tensor] | None = None
    update_evidence: tuple[str, ...] = ()
    notes: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """Evidence that must be gathered: all but the weight itself, its mask, and what the method holds."""
        return tuple(dict.fromkeys(n for n in (*self.evidence, *self.update_evidence) if n not in AT_HAND))

    @property
    def reads_data(self) -> bool:
        """Whether examples are needed to score."""
        return bool(DATA_EVIDENCE & {*self.evidence, *self.update_evidence})

    @property
    def draws(self) -> bool:
        """Whether the mask stream is consumed."""
        return "stream" in self.evidence or self.ties == "random"

    def score(self, evidence: Mapping[str, object], unit: Unit = WEIGHT, kind: str = "linear") -> Tensor:
        """One score for each unit of a parameter, 1-D.

        Args:
            evidence: At least what the functions take, by name.
            unit: The granularity.
            kind: The parameter's kind, which says where its channels lie.
        """
        import torch

        given = {name: evidence[name] for name in self.evidence}
        if unit == WEIGHT and self.function is not None:
            return self.function(**given).reshape(-1)
        mask = evidence["mask"]
        assert isinstance(mask, torch.Tensor)

        def rows(value: object) -> object:
            if not isinstance(value, torch.Tensor) or value.shape != mask.shape:
                return value
            found = rows_of(value, unit, kind)
            return found.double() if found.is_floating_point() else found

        if self.unit is not None:
            return self.unit(**{name: rows(value) for name, value in given.items()})
        assert self.function is not None
        scores = self.function(**given)
        return channel_totals(rows_of(scores, unit, kind), rows_of(mask, unit, kind))


def channel_totals(scores: Tensor, mask: Tensor) -> Tensor:
    """Sum the scores of the kept members of each unit, in float64 and one fixed order.

    Args:
        scores: Signs included. Shape [units, members].
        mask: True where a weight is kept. Same shape, bool.
    """
    # A plain sum is split by SIMD width; a running sum has one order everywhere.
    return scores.double().masked_fill(~mask, 0.0).cumsum(dim=1)[:, -1]
