"""States that belong to a blinded study: commands about single states refuse them, lists leave them out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property

from pomona.core.errors import InputError
from pomona.graph.retention import ALL, LAST_LEVEL, NONE
from pomona.graph.states import States
from pomona.graph.store import Store
from pomona.studies.blinding.blind import STEP, Blind, active, blindings

_ANCESTORS = (
    "WITH RECURSIVE line(key) AS (SELECT value FROM json_each(?)"
    " UNION SELECT p.parent FROM parents p JOIN line ON p.child = line.key) SELECT key FROM line"
)
_DESCENDANTS = (
    "WITH RECURSIVE line(key) AS (SELECT value FROM json_each(?)"
    " UNION SELECT p.child FROM parents p JOIN line ON p.parent = line.key) SELECT key FROM line"
)


class Closed:
    """What is closed in a store while studies are blinded.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        waiting = [blind.study for blind in blindings(store.ledger) if blind.revealed_at is None]
        self._studies = list(dict.fromkeys(waiting))

    @cached_property
    def states(self) -> dict[str, str]:
        """The study of each closed state.

        Closed are those that stand for its points, what these descend from, and what descends from one that
        tells its arm.
        """
        found: dict[str, str] = {}
        for study in self._studies:
            rows = self._store.ledger.rows("SELECT DISTINCT state FROM labels WHERE study = ?", [study])
            own = self._along(_ANCESTORS, [row["state"] for row in rows])
            own |= self._along(_DESCENDANTS, telling(self._store, study))
            found |= dict.fromkeys(own - found.keys(), study)
        return found

    @cached_property
    def nodes(self) -> dict[str, str]:
        """The study of each closed state, and of each measurement of one."""
        found = dict(self.states)
        if found:
            for row in self._store.ledger.rows("SELECT probe, state FROM probe_states"):
                if row["state"] in self.states:
                    found[row["probe"]] = self.states[row["state"]]
        return found

    def refuse(self, key: str) -> str:
        """The key of a state or measurement that may be looked at.

        Raises:
            InputError: It belongs to a blinded study.
        """
        if key in self.nodes:
            what, study = "state" if key in self.states else "measurement", self.nodes[key]
            raise InputError(
                f"{what} {key[:12]} belongs to the blinded study {study}, and what is known of it tells its "
                f"arm; 'pomona unblind {study}' logs the reveal"
            )
        return key

    def seen(self, states: States) -> States:
        """The states that may be looked at; as they are where none is closed."""
        if not self.states:
            return states
        keys = states.keys()
        return States.of(self._store, [key for key in keys if key not in self.states])

    @property
    def note(self) -> str:
        """What a list says of those that it leaves out; empty where there are none."""
        if not self.states:
            return ""
        names = dict.fromkeys(self.states.values())
        reveal = " and ".join(f"'pomona unblind {name}'" for name in names)
        what = f"{' and '.join(names)}, which {'is' if len(names) == 1 else 'are'} blinded"
        return f"{len(self.states):,} states are left out that belong to {what}; see {reveal}"

    def _along(self, sql: str, keys: Iterable[str]) -> set[str]:
        return {row["key"] for row in self._store.ledger.rows(sql, [json.dumps(list(keys))])}


def open_state(store: Store, prefix: str) -> str:
    """The key of the one state that is meant, if it may be looked at; see ``Store.find``.

    Raises:
        InputError: As ``Store.find``; or it belongs to a blinded study.
    """
    return Closed(store).refuse(store.find(prefix))


def refuse_query(store: Store, policy: str) -> None:
    """Refuse to free weights by a query: how much is freed would answer it.

    Raises:
        InputError: A study is blinded, and the policy is a query.
    """
    names = [blind.study for blind in blindings(store.ledger) if blind.revealed_at is None]
    if names and policy not in (ALL, LAST_LEVEL, NONE):
        raise InputError(
            f"a query says which states are freed, and those of {names[0]} are blinded: keep {ALL}, "
            f"{LAST_LEVEL} or {NONE}, or see 'pomona unblind {names[0]}'"
        )


def telling(store: Store, study: str) -> set[str]:
    """States of a study that stand for some labels of blinded factors and not for all that their step has."""
    blind = active(store, study)
    if blind is None:
        return set()
    stands: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    every: dict[str, set[tuple[str, ...]]] = {}
    for row in store.ledger.rows("SELECT state, step, arm FROM labels WHERE study = ?", [study]):
        labels = _labels(blind, row["step"], json.loads(row["arm"]))
        # Steps that are blinded are compared as a whole.
        group = "" if STEP in blind.factors else row["step"]
        stands.setdefault((row["state"], group), set()).add(labels)
        every.setdefault(group, set()).add(labels)
    return {state for (state, group), labels in stands.items() if labels != every[group]}


def _labels(blind: Blind, step: str, arm: dict[str, str]) -> tuple[str, ...]:
    found = [arm.get(factor, "") for factor in blind.factors if factor != STEP]
    return (*found, step) if STEP in blind.factors else tuple(found)
