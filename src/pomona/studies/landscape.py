"""Which networks of a study the straight line is walked between, and what is said of it in its results."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict, Field, field_validator

from pomona.core.errors import InputError, unknown
from pomona.core.schema import Part
from pomona.graph.nodes import Graph, State
from pomona.models.catalogue import norm_of

if TYPE_CHECKING:
    from pomona.studies.identity import Network
    from pomona.studies.points import Point

NAME = "linear-connectivity"
ALONG = ("error-along", "loss-along")
QUANTITIES = ("barrier", "instability", "loss-barrier", "loss-instability", *ALONG)

# Recipes that take the masks of their first parent and the weights of their second.
_OF_THE_SECOND = ("treat", "transfer")


class Connectivity(Part):
    """How the line between two networks is walked.

    Args:
        points: Places on it where the network is evaluated, both ends included.
        over: Factors of which two arms differ in exactly one; none stands for ``order`` where the study
            varies it, and for all where it does not.
    """

    points: Annotated[int, Field(ge=3, le=1001, strict=True)] = 11
    over: tuple[str, ...] = ()

    @field_validator("over", mode="before")
    @classmethod
    def _one_or_more(cls, over: object) -> object:
        return (over,) if isinstance(over, str) else over

    def factors(self, known: Iterable[str], varied: Collection[str]) -> tuple[str, ...]:
        """Factors of which two arms differ in one.

        Args:
            known: All factors of the study.
            varied: The seed streams among them.
        """
        return self.over or (("order",) if "order" in varied else tuple(known))

    def faults(self, known: Collection[str]) -> Iterator[str]:
        """Factors that there are not."""
        yield from (unknown("factor", name, known, where="over") for name in self.over if name not in known)


class ConnectivitySpec(Part):
    """The measure with what it is to be other than by default: ``{linear-connectivity: {points: 21}}``."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    linear_connectivity: Annotated[Connectivity, Field(alias=NAME)]

    def __str__(self) -> str:
        """As it is shown: ``linear-connectivity points=21 over=order``."""
        asked = self.linear_connectivity
        over = [f"over={' '.join(asked.over)}"] if asked.over else []
        return " ".join([NAME, f"points={asked.points}", *over])


def form_of(written: object) -> str:
    """Which class a measure is written as: the name of this one, or ``ProbeSpec``."""
    own = isinstance(written, ConnectivitySpec) or (isinstance(written, Mapping) and NAME in written)
    return ConnectivitySpec.__name__ if own else "ProbeSpec"


def asked_in(measures: Collection[object]) -> Connectivity | None:
    """What the measures of a study say of it; None where it is not among them.

    Raises:
        InputError: It is there twice.
    """
    found = [m.linear_connectivity for m in measures if isinstance(m, ConnectivitySpec)]
    found += [Connectivity() for measure in measures if measure == NAME]
    if len(found) > 1:
        raise InputError(f"{NAME!r} is measured more than once")
    return found[0] if found else None


def linked(points: Iterable[Point], over: Collection[str], graph: Graph) -> Iterator[tuple[Point, Point]]:
    """Points that are two ends of a line: other states of one step, replicate, level and untrained network.

    Args:
        points: All of a study. Those that see no data have no error.
        over: Their arms differ in exactly one factor, which is one of these.
        graph: What the points descend from.
    """
    groups: dict[tuple[str, int, int, str, str, str], list[Point]] = {}
    for point in points:
        if point.data is not None and not point.members:
            seen = (point.data.name, point.data.normalise)  # all that a test depends on
            begun = begun_as(point.state, graph).key
            groups.setdefault((point.step, point.replicate, point.level, begun, *seen), []).append(point)
    for group in groups.values():
        for a, b in itertools.combinations(group, 2):
            apart = [factor for factor, label in a.arm.items() if b.arm[factor] != label]
            # The way from a state to itself climbs over nothing.
            if len(apart) == 1 and apart[0] in over and a.state.key != b.state.key:
                yield a, b


def nothing_linked(over: Collection[str]) -> str:
    """What is said where no two points are the ends of a line."""
    apart = f"in {' or '.join(over)} alone" if over else "in one factor"
    return (
        f"{NAME} finds nothing to measure: no two arms of a step differ {apart}, began as one untrained "
        "network and are other states; 'vary: {order: 2}' trains each replicate in two orders of its data"
    )


def begun_as(state: State, graph: Graph) -> State:
    """The untrained (or imported) state that the weights of a state began as.

    A network drawn anew under masks of another began as that draw. Of what a user's recipe is given
    the first counts.
    """
    while state.parents:
        state = graph.states[state.parents[int(state.recipe in _OF_THE_SECOND and len(state.parents) > 1)]]
    return state


def refuse_running_statistics(network: Network, folder: Path) -> None:
    """Refuse a network that keeps statistics of its activations.

    Args:
        network: Which one. One of a user's is built to look into it.
        folder: What the path of a user's file is relative to.

    Raises:
        InputError: It has a batch norm; says which.
    """
    choice = network.choice
    norm = _own_norm(network, folder) if choice.own else norm_of(choice.name, choice.options)
    if norm:
        raise InputError(
            f"{NAME} cannot be measured of {choice.name}: the running statistics of {norm} (batch norm) "
            "belong to the weights that they were gathered with and mean nothing for weights between two "
            "networks; leave the measure out, or take a network without batch norm"
        )


def turned(layer: str) -> str:
    """A place on the line, as it is written in results, counted from the other end.

    >>> place_text(1 / 3), turned("0.333333")
    ('0.333333', '0.666667')
    """
    return place_text(1 - float(layer))


def place_text(place: float) -> str:
    """A place on the line as it is written in results: to six decimals, those that are zero left out."""
    return f"{round(place, 6):g}"


def _own_norm(network: Network, folder: Path) -> str:
    """Path of the first norm of a user's network that keeps statistics; empty where there is none."""
    from torch.nn.modules.batchnorm import _NormBase

    from pomona.models.build import build

    # What a user's network prints is no part of a table of results.
    with contextlib.redirect_stdout(sys.stderr):
        module = build(network.choice, network.input_shape, network.classes, folder)
    norms = (name for name, m in module.named_modules() if isinstance(m, _NormBase) and m.track_running_stats)
    return next(norms, "")
