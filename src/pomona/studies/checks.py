"""What is checked of a study beyond its form and its steps: entries that no step uses, and own measures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pomona.core.errors import ProblemsError
from pomona.studies.document import Document
from pomona.studies.own import own_measures
from pomona.studies.reach import Factors, factors_in
from pomona.studies.resolve import Resolver
from pomona.studies.schema import Let, StudySpec

# Columns of the tables of results, and what picks a point there: a factor of this name would hide them.
RESERVED = (
    *("study", "step", "replicate", "level", "state", "density", "quantity", "part", "layer", "class"),
    *("against", "against_density", "value", "n", "mean", "sd", "low", "high", "failures", "at_chance"),
)


def factor_faults(factors: Factors, reach: Mapping[str, frozenset[str]], document: Document) -> Iterator[str]:
    """Factors that no step uses, and names that the tables of results need for themselves."""
    for name in factors:
        place = document.where(("factors", name))
        if name in RESERVED:
            yield (
                f"{place}: a factor cannot be called {name!r}: tables of results have a column of this name; "
                f"call it '{name}-used', for example"
            )
        if not any(name in reached for reached in reach.values()):
            yield f"{place}: no step uses ${name}"


def entry_faults(let: Let, resolver: Resolver, factors: Factors) -> Iterator[str]:
    """Faults of the entries of ``let`` that depend on no factor.

    A training that another is ``like`` may leave things open, and is checked through that other one.
    """
    completed = {written["like"] for written in let.train.values() if isinstance(written.get("like"), str)}
    entries: Mapping[str, Mapping[str, object]] = {
        "data": let.data,
        "train": {name: entry for name, entry in let.train.items() if name not in completed},
        "model": let.model,
        "method": let.method,
    }
    for kind, named in entries.items():
        for name in named:
            if factors_in(name, named if kind != "train" else let.train, factors):
                continue
            try:
                resolver.entry(kind, name, {})
            except ProblemsError as error:
                yield from error.problems


def measure_faults(spec: StudySpec, order: Sequence[str], document: Document) -> Iterator[str]:
    """Measures that are asked for in a wrong way, and users' probes that are not there."""
    if spec.connectivity is not None:
        for fault in spec.connectivity.faults([*spec.factors, *spec.vary]):
            yield f"{document.where(('measure',))}: {fault}"
    try:
        own_measures(spec, order, document)
    except ProblemsError as error:
        yield from error.problems
