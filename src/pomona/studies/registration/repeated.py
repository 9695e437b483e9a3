"""Arms whose replicates are one state counted several times: `hold` holds all that they draw from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pomona.studies.hypotheses.cells import FLOOR, ROW, Cell, cells
from pomona.studies.points import Population
from pomona.studies.registration.matching import results_of
from pomona.studies.varied import drawn_streams


@dataclass(frozen=True)
class Repeated:
    """An arm that is the same in all replicates.

    Args:
        arm: Its side in the contrast; of a regression its step and labels.
        held: Streams that it draws from and that are held, with their seed index.
    """

    arm: str
    held: Mapping[str, int]

    @property
    def text(self) -> str:
        """What it speaks for: ``a speaks for init 0 and order 0 only``."""
        streams = " and ".join(f"{stream} {index}" for stream, index in self.held.items())
        return f"{self.arm} speaks for {streams or 'one state'} only: it is the same in all replicates"


def repeated(population: Population, found: Sequence[Cell]) -> list[Repeated]:
    """The arms of a hypothesis that are the same in all replicates; none where there is one replicate."""
    return [Repeated(arm, _held(population, own)) for arm, own in _arms(found).items() if _distinct(own) == 1]


def unreplicated(population: Population) -> Iterator[tuple[int, str]]:
    """Hypotheses for which nothing varies between replicates: their place in the study, and why."""
    for index, hypothesis in enumerate(population.study.spec.hypotheses):
        found = cells(population, hypothesis)
        count = len({cell.replicate for cell in found})
        if _distinct(found) == 1:
            held = _held(population, found)
            streams = " and ".join(f"{stream} (held at {at})" for stream, at in held.items())
            advice = "; leave one of them out of 'hold'" if held else ""
            what = "hold leaves nothing" if held else "there is nothing"
            yield (
                index,
                (
                    f"{what} that varies between replicates: all {count} of them are the same states, which "
                    f"draw from {streams or 'no seed stream'}{advice}"
                ),
            )


def _arms(found: Sequence[Cell]) -> dict[str, list[Cell]]:
    arms: dict[str, list[Cell]] = {}
    for cell in found:
        if cell.side != FLOOR:
            row = cell.side == ROW and cell.points
            name = " ".join([cell.points[0].step, *cell.labels.values()]) if row else cell.side
            arms.setdefault(name, []).append(cell)
    return arms


def _distinct(found: Sequence[Cell]) -> int:
    """How many different sets of results the replicates have; 0 of a single replicate."""
    by_replicate: dict[int, set[tuple[str, str]]] = {}
    for cell in found:
        results = by_replicate.setdefault(cell.replicate, set())
        results.update((cell.side, key) for key in results_of(cell) if cell.side != FLOOR)
    return len({frozenset(own) for own in by_replicate.values()}) if len(by_replicate) > 1 else 0


def _held(population: Population, found: Sequence[Cell]) -> dict[str, int]:
    """Held streams that some cells draw from, in the order of the study."""
    graph, hold = population.graph, population.study.spec.hold
    keys = {point.state.key for cell in found for point in cell.points}
    drawn = drawn_streams({state.key: state for key in keys for state in graph.ancestors(key)}.values())
    return {stream: index for stream, index in hold.items() if stream in drawn}
