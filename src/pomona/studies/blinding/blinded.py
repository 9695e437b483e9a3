"""The results of a blinded study: the same numbers, with codes where labels would tell which arm is which."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from pomona.core.errors import InputError
from pomona.studies.blinding.blind import STEP, Blind, active, blindings
from pomona.studies.blinding.closed import telling
from pomona.studies.blinding.codes import coded_key, codes_of
from pomona.studies.blinding.tellable import told_apart
from pomona.studies.points import Pair, Point, Population
from pomona.studies.results import LostPoint, Results
from pomona.studies.schema import Let
from pomona.studies.study import Study

WITHHELD = "[withheld]"


@dataclass(frozen=True)
class BlindedStudy(Study):
    """A study with codes for labels, and without what describes its arms."""

    def text(self) -> str:
        """Nothing but the name: the document describes the arms."""
        return f"study: {self.name}  # withheld until 'pomona unblind {self.name}'\n"


class BlindedResults(Results):
    """Results under codes. What the graph itself holds is not changed; see ``CANNOT_HIDE``.

    Args:
        results: Those of the study itself.
        blind: Its blinding.
    """

    blind: Blind

    def __init__(self, results: Results, blind: Blind) -> None:
        self._open = results
        names = _Names(results.study, blind)
        super().__init__(names.study(), results.store, names.population(results.population))
        self.blind = blind
        self._names = names

    def shown_key(self, key: str) -> str:
        """A key that cannot be looked up."""
        return coded_key(self._names.salt, key)

    def shown_text(self, text: str) -> str:
        """A message without words that describe arms, or keys."""
        for word in self._words:
            text = re.sub(rf"(?<![\w.]){re.escape(word)}(?!\w)", WITHHELD, text, flags=re.IGNORECASE)
        return re.sub(r"\b[0-9a-f]{12,64}\b", WITHHELD, text)

    def told_apart(self) -> list[str]:
        """Which codes can be told apart without any outcome, in sentences."""
        return told_apart(self.population.points, self.blind.factors, self._kept)

    @cached_property
    def _words(self) -> list[str]:
        return self._names.words()

    def lost(self) -> list[LostPoint]:
        """Points without a state, by their own failure or by one they descend from."""
        return [replace(lost, reason=self.shown_text(lost.reason)) for lost in super().lost()]

    @cached_property
    def _own(self) -> Any:
        # The steps that a probe names are those of the study itself.
        return self._open._own


def blinded(results: Results, blind: Blind) -> Results:
    """The same numbers with a code for every label of the blinded factors, in the order of the codes."""
    return BlindedResults(results, blind)


def shown(results: Results) -> Results:
    """What may be seen of the results of a study: under codes while it is blinded.

    Raises:
        InputError: They are those of another study that is blinded, under names; or of fewer arms than were
            registered blind.
    """
    if results.blind is not None:
        return results
    blind = active(results.store, results.study.name)
    _refuse_shared(results)
    if blind is None:
        return results
    _refuse_fewer(results.study, blind)
    return blinded(results, blind)


def _refuse_fewer(study: Study, blind: Blind) -> None:
    """Refuse a study without some of the registered labels: the codes that are left would tell which."""
    for factor, labels in blind.labels.items():
        now = set(study.order) if factor == STEP else {arm.get(factor) for arm in study.arms}
        gone = set(labels) - now
        if gone:
            raise InputError(
                f"{study.name} is blinded, and of its {len(labels)} registered labels of {factor} "
                f"{len(gone)} {'is' if len(gone) == 1 else 'are'} not in the study as it is asked for: which "
                f"codes are left would tell the arms; ask for all, or see 'pomona unblind {study.name}'"
            )


def _refuse_shared(results: Results) -> None:
    """Refuse a study that would show, under its own names, the arms of another that is blinded."""
    study, store = results.study, results.store
    own = {point.state.key for point in results.population.points}
    for name in dict.fromkeys(blind.study for blind in blindings(store.ledger) if blind.revealed_at is None):
        shared = own & telling(store, name) if name != study.name else ()
        if shared:
            raise InputError(
                f"{len(shared)} state{'s' if len(shared) > 1 else ''} of {study.name} also belong to the "
                f"blinded study {name}, and their names would show here: reveal it with 'pomona unblind "
                f"{name}', or use another store"
            )


class _Names:
    """Codes for the labels of a study, and everything that is named by labels."""

    def __init__(self, study: Study, blind: Blind) -> None:
        self.original = study
        self.salt = blind.salt
        self.codes: dict[str, dict[str, str]] = {}
        for factor in blind.factors:
            # Labels that came after the registration have codes too.
            now = study.order if factor == STEP else study.factors.get(factor, {})
            self.codes[factor] = codes_of(blind.salt, factor, {*blind.labels[factor], *now})
        # The mean of the members' accuracies, beside the accuracies of all arms, would tell which they are.
        joined = {step: spec.ensemble.over for step, spec in study.spec.steps.items() if spec.ensemble}
        self.telling = frozenset(step for step, over in joined.items() if over in self.codes)

    def code(self, factor: str, label: str) -> str:
        return self.codes.get(factor, {}).get(label, label)

    def arm(self, arm: Mapping[str, str]) -> dict[str, str]:
        return {factor: self.code(factor, label) for factor, label in arm.items()}

    def study(self) -> BlindedStudy:
        """The study as it may be seen."""
        own = self.original
        factors = {factor: self._in_order(factor, labels) for factor, labels in own.factors.items()}
        hidden: dict[str, Any] = {"title": "", "description": "", "hypotheses": (), "where": ()}
        hidden |= {"let": Let(), "steps": {}, "variation": ()}
        hidden["factors"] = {factor: list(labels) for factor, labels in factors.items()}
        return BlindedStudy(
            document=own.document,
            spec=own.spec.model_copy(update=hidden),
            factors=factors,
            order=tuple(sorted(map(self._step, self._shown(own.order)), key=self._place_of_step)),
            reach={self._step(step): own.reach[step] for step in self._shown(own.reach)},
            arms=tuple(sorted((self.arm(arm) for arm in own.arms), key=self._place)),
        )

    def _step(self, step: str) -> str:
        return self.code(STEP, step)

    def _shown(self, steps: Iterable[str]) -> list[str]:
        return [step for step in steps if step not in self.telling]

    def population(self, own: Population) -> Population:
        """Points and pairs under codes, in the order of the codes."""
        coded = {id(point): self._point(point) for point in own.points if point.step not in self.telling}
        points = sorted(coded.values(), key=lambda p: (self._place_of_step(p.step), self._place(p.arm)))
        place = {id(point): number for number, point in enumerate(points)}

        def ordered(pairs: Iterable[Pair]) -> list[Pair]:
            found = []
            for pair in pairs:
                # Which arm comes first would tell the order in which they were written.
                a, b = sorted((coded[id(pair.a)], coded[id(pair.b)]), key=lambda point: place[id(point)])
                found.append(Pair(a, b, pair.probe))
            return sorted(found, key=lambda pair: (place[id(pair.a)], place[id(pair.b)]))

        return Population(
            self.study(), own.graph, points, *map(ordered, (own.pairs, own.paths, own.agreements))
        )

    def words(self) -> list[str]:
        """Words that tell arms apart: labels and what they stand for; those first that may hold others.

        What the steps of all arms have in common, such as a scope, is no such word.
        """
        own = self.original
        found: set[str] = {*own.order} if STEP in self.codes else set()
        for factor in self.codes.keys() & own.factors.keys():
            values = own.factors[factor]
            found |= {*values, *(value for value in values.values() if isinstance(value, str))}
        groups = list(own.settled().values())
        for variants in [list(itertools.chain(*groups))] if STEP in self.codes else groups:
            each: list[set[str]] = [set(_words(step)) for _, step in variants]
            found |= set[str]().union(*each) - each[0].intersection(*each) if each else set()
        return sorted((word for word in found if re.search(r"[^\W\d]", word)), key=lambda w: (-len(w), w))

    def _point(self, point: Point) -> Point:
        # The point before it in its lineage would be one with labels.
        step, arm = self.code(STEP, point.step), self.arm(point.arm)
        return replace(point, step=step, arm=arm, previous=None)

    def _in_order(self, factor: str, labels: Mapping[str, Any]) -> dict[str, Any]:
        if factor not in self.codes:
            return dict(labels)
        return {code: code for code in sorted(self.code(factor, label) for label in labels)}

    def _place(self, arm: Mapping[str, str]) -> tuple[tuple[int, str], ...]:
        """Where a coded arm stands: by its codes, and by the order of the study in what is not blinded."""
        found = []
        for factor, labels in self.original.factors.items():
            label = arm.get(factor, "")
            order = -1 if factor in self.codes else [*labels, label].index(label)
            found.append((order, label))
        return tuple(found)

    def _place_of_step(self, step: str) -> tuple[int, str]:
        return (-1, step) if STEP in self.codes else (self.original.order.index(step), step)


def _words(written: Any) -> Iterator[str]:
    """Every text in something written or settled."""
    if isinstance(written, str):
        yield written
    elif isinstance(written, BaseModel):
        yield from _words(dict(written))
    elif is_dataclass(written):
        yield from _words({one.name: getattr(written, one.name) for one in fields(written)})
    elif isinstance(written, Mapping):
        for value in written.values():
            yield from _words(value)
    elif isinstance(written, (list, tuple)):
        for value in written:
            yield from _words(value)
