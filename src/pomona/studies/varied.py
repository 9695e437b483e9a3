"""Seed streams that a study varies on their own: a factor for each, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pomona.graph.nodes import Graph, Probe, State
from pomona.studies.document import Document
from pomona.studies.schema import StudySpec

# What gives data that draw from a stream.
_DRAWING = {
    "augmentation": "augment: {crop: 4, flip: yes}",
    "label-noise": "corrupt: {labels: 100%}",
    "pixel-noise": "corrupt: {pixels: yes}",
    "subset": "corrupt: {examples: 50%}",
    "split": "validation: 5000",
}


def varied_factors(spec: StudySpec) -> dict[str, dict[str, int]]:
    """A factor for every stream that varies, with labels 0, 1, ..."""
    return {
        stream: {str(value): value for value in range(count)}
        for stream, count in spec.vary.items()
        if stream not in spec.factors
    }


def vary_faults(spec: StudySpec, document: Document) -> Iterator[str]:
    """Streams that vary and are held too, or that share their name with a factor."""
    for stream in spec.vary:
        place = document.where(("vary", stream))
        if stream in spec.hold:
            yield f"{place}: {stream!r} is held at {spec.hold[stream]} too; leave it out of one of them"
        if stream in spec.factors:
            yield f"{place}: there is a factor {stream!r}, and 'vary' makes one; call yours '{stream}-used'"


def idle_faults(spec: StudySpec, graph: Graph, document: Document) -> Iterator[str]:
    """Streams that vary although nothing is drawn from them."""
    drawn = drawn_streams([*graph.states.values(), *graph.probes.values()])
    for stream in spec.vary:
        if stream not in drawn:
            known = ", ".join(sorted(drawn)) or "none"
            hint = f"; data with '{_DRAWING[stream]}' do" if stream in _DRAWING else ""
            yield (
                f"{document.where(('vary', stream))}: no step draws from the stream {stream!r}, so all "
                f"of its values give the same; streams that are drawn from: {known}{hint}"
            )


def drawn_streams(nodes: Iterable[State | Probe]) -> set[str]:
    """Streams that some states and probes consume themselves."""
    found: set[str] = set()
    for node in nodes:
        seeds = node.params.get("seeds", {})
        found |= set(seeds) if isinstance(seeds, Mapping) else set()
    return found
