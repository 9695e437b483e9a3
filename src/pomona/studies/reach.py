"""What a step depends on: the steps it builds on, and the factors that expand it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pomona.core.errors import unknown
from pomona.studies.document import Document
from pomona.studies.schema import REPLICATE, StepSpec, StudySpec

Factors = Mapping[str, Mapping[str, Any]]


def builds_on(spec: StepSpec) -> dict[str, str]:
    """The steps that a step names, by the key that names them."""
    named: dict[str, str] = {}
    if spec.from_ is not None:
        named["from"] = spec.from_
    if spec.weights is not None:
        named["weights"] = spec.weights.partition("@")[0]
    if spec.mask is not None:
        named["mask"] = (spec.mask.score or spec.mask.of or "").partition("@")[0]
    if spec.ensemble is not None:
        named["ensemble"] = spec.ensemble.of
    for part in (spec.prune, spec.mask):
        if part is not None and part.like is not None:
            named["like"] = part.like
    return named


def order_steps(spec: StudySpec, document: Document, faults: list[str]) -> list[str]:
    """Names of the steps, each after those it builds on."""
    before: dict[str, set[str]] = {}
    for name, step in spec.steps.items():
        before[name] = set()
        for key, other in builds_on(step).items():
            if other in spec.steps:
                before[name].add(other)
                if spec.steps[other].ensemble is not None:
                    place = document.where(("steps", name, key))
                    faults.append(f"{place}: {other!r} is an ensemble: it has predictions and no weights")
            else:
                faults.append(f"{document.where(('steps', name, key))}: {unknown('step', other, spec.steps)}")
    order: list[str] = []
    while len(order) < len(before):
        ready = [name for name in before if name not in order and before[name] <= set(order)]
        if not ready:
            circle = ", ".join(name for name in before if name not in order)
            faults.append(
                f"{document.where(('steps',))}: these steps build on one another in a circle: {circle}"
            )
            return [*order, *(name for name in before if name not in order)]
        order += ready
    return order


def lines_of_steps(spec: StudySpec, order: Sequence[str]) -> dict[str, frozenset[str]]:
    """All steps that each step builds on, also through others."""
    lines: dict[str, frozenset[str]] = {}
    for name in order:
        direct = set(builds_on(spec.steps[name]).values())
        lines[name] = frozenset(direct.union(*(lines.get(other, ()) for other in direct)))
    return lines


def reach_of_steps(spec: StudySpec, order: Sequence[str], factors: Factors) -> dict[str, frozenset[str]]:
    """Factors that a step names, itself or through those it builds on, less bound and joined ones.

    Streams that vary reach every step: what does not draw from them has the same key for all of their values.
    """
    reach: dict[str, frozenset[str]] = {}
    for name in order:
        step = spec.steps[name]
        own = factors_in(step.model_dump(), {}, factors)
        parts = [part for part in (step.prune, step.mask, step.during) if part is not None]
        methods = [part.method for part in parts]
        own |= factors_in(step.train, spec.let.train, factors)
        own |= factors_in(step.on, spec.let.data, factors)
        read = [getattr(part, "on", None) for part in parts]
        own |= {found for name in read for found in factors_in(name, spec.let.data, factors)}
        own |= factors_in(step.init, spec.let.model, factors)
        own |= {found for method in methods for found in factors_in(method, spec.let.method, factors)}
        for key, other in builds_on(step).items():
            below = set(reach.get(other, ()))
            if key == "mask" and step.mask is not None:
                below -= {*step.mask.bindings, step.mask.over}
            if key == "from" and step.apply is not None:
                below -= {step.apply.over}
            if step.ensemble is not None:
                below -= {step.ensemble.over}
            own |= below
        joined = {step.ensemble.over} if step.ensemble is not None else set()
        reach[name] = frozenset((own | set(spec.vary)) - joined)
    return reach


def ensemble_faults(
    spec: StudySpec, reach: Mapping[str, frozenset[str]], factors: Factors, document: Document
) -> Iterator[str]:
    """Ensembles over what makes no difference to their members, and members that there are not."""
    for name, step in spec.steps.items():
        joined = step.ensemble
        if joined is None or joined.over == REPLICATE or joined.of not in reach:
            continue
        place = document.where(("steps", name, "ensemble"))
        known = [factor for factor in factors if factor in reach[joined.of]]
        if joined.over not in known:
            what = f"factor of step {joined.of!r}"
            yield unknown(what, joined.over, [*known, REPLICATE], where=f"{place}: over")
            continue
        labels = factors[joined.over]
        for label in joined.members:
            if label not in labels:
                what = f"label of factor {joined.over!r}"
                yield unknown(what, label, labels, where=f"{place}: members")


def factors_in(written: Any, named: Mapping[str, Any], factors: Factors) -> set[str]:
    """Factors that something written depends on.

    They are followed through names of ``let``, through ``like`` and through the values of factors, of which
    any may be the one that counts.

    Args:
        written: As it stands in the study.
        named: The entries of ``let`` that it may name.
        factors: Value by label of every factor.
    """
    found: set[str] = set()
    seen: set[str] = set()
    waiting: list[tuple[Any, bool]] = [(written, True)]  # with whether it may be a name of `let`
    while waiting:
        item, may_name = waiting.pop()
        if isinstance(item, Mapping):
            waiting += [(inner, may_name and key == "like") for key, inner in item.items()]
        elif isinstance(item, (list, tuple)):
            waiting += [(inner, False) for inner in item]
        elif not isinstance(item, str) or (mark := f"{may_name} {item}") in seen:
            continue
        else:
            seen.add(mark)
            if item.startswith("$") and item[1:] in factors:
                found.add(item[1:])
                waiting += [(value, may_name) for value in factors[item[1:]].values()]
            elif may_name and item in named:
                waiting.append((named[item], True))
    return found
