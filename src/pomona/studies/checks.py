"""What is checked of a study beyond its form and its steps: entries that no step uses, and hypotheses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pomona.core.errors import ProblemsError, unknown
from pomona.studies.document import Document
from pomona.studies.own import own_measures
from pomona.studies.reach import Factors, factors_in
from pomona.studies.resolve import Resolver
from pomona.studies.schema import Contrast, Let, StudySpec
from pomona.studies.yamltext import scalar_text

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
    """Users' probes that are not there, or are asked for in a wrong way."""
    try:
        own_measures(spec, order, document)
    except ProblemsError as error:
        yield from error.problems


def hypothesis_faults(spec: StudySpec, factors: Factors, document: Document) -> Iterator[str]:
    """Contrasts that leave a factor open or compare what there is not."""
    for index, hypothesis in enumerate(spec.hypotheses):
        if hypothesis.contrast is not None:
            place = document.where(("hypotheses", index, "contrast"))
            for fault in _contrast_faults(hypothesis.contrast, factors):
                yield f"{place}: {fault}"


def _contrast_faults(contrast: Contrast, factors: Factors) -> list[str]:
    """A contrast fixes, matches or averages every factor that it does not compare."""
    found: list[str] = []
    for side in (contrast.a, contrast.b, contrast.fix):
        for factor, label in side.items():
            if factor not in factors:
                found.append(unknown("factor", factor, factors))
            elif scalar_text(label) not in factors[factor]:
                found.append(unknown(f"label of factor {factor!r}", label, factors[factor]))
    for factor in (*contrast.match, *contrast.average):
        if factor not in factors:
            found.append(unknown("factor", factor, factors))
    if contrast.a == contrast.b:
        found.append(f"both arms are {contrast.a!r}: there is nothing to compare")
    compared = set(contrast.a) & set(contrast.b)
    for factor in sorted(set(contrast.a) ^ set(contrast.b)):
        found.append(f"factor {factor!r} is given for one arm only; give it for both")
    settled = compared | set(contrast.fix) | set(contrast.match) | set(contrast.average)
    for factor, values in factors.items():
        if factor not in settled and factor not in {*contrast.a, *contrast.b}:
            label = next(iter(values))
            found.append(
                f"factor {factor!r} is left open; fix it (fix: {{{factor}: {label}}}), match it "
                f"(match: [{factor}]) or average over it (average: [{factor}])"
            )
    return found
