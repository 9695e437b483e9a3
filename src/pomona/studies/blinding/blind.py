"""Blinding: which labels stand under codes, the secret that makes them, and its reveal.

The salt lies in the ledger, and a commitment to all codes in the registration, which the chain seals. So
after the reveal anybody can compute that the codes were not chosen later.
"""

from __future__ import annotations

import getpass
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pomona.core.errors import InputError, StoreError, unknown
from pomona.graph import chain
from pomona.studies.blinding.codes import codes_of, commitment
from pomona.studies.registration.registered import digest_of

if TYPE_CHECKING:
    import sqlite3

    from pomona.graph.ledger import Ledger
    from pomona.graph.store import Store
    from pomona.studies.hypotheses.spec import Contrast
    from pomona.studies.study import Study

# Contrasts may compare steps as if they were labels of a factor.
STEP = "step"
UNBLINDED = "unblinded"

# What no code can hide, whatever the study; a report adds what it can compute.
CANNOT_HIDE = (
    "Densities and counts: arms that keep different numbers of weights at equal level can be told apart, "
    "as structured from unstructured pruning.",
    "Level 0: the dense network is the same for all arms.",
    "Run times and the order in which states are computed, as seen while a study runs and in what an "
    "interrupted run leaves missing.",
    "The design: arms that differ in number or levels, or that are added to the study, can be told by that.",
    "Effective densities, mask distances and failures, which some methods have patterns of their own in.",
    "Files of before the registration: reports, exported tables and logs that were written then.",
    "What is in the ledger for whoever opens it with other software, and the objects that Python code holds: "
    "the salt, the parameters of states, and the times of their making.",
)


@dataclass(frozen=True)
class Blind:
    """A blinding of a study.

    Args:
        study: Name of the study.
        registration: Digest of the registration that it belongs to; may be filled in later, since the
            registration holds the commitment.
        labels: The labels that stand under codes, by factor.
        salt: The secret that makes the codes.
        commitment: SHA-256 over the salt and all codes of these labels.
        revealed_at: When it was revealed, in seconds since 1970; None while it is active.
    """

    study: str
    registration: str
    labels: Mapping[str, tuple[str, ...]]
    salt: str
    commitment: str
    revealed_at: float | None = None

    @property
    def factors(self) -> tuple[str, ...]:
        """The blinded factors."""
        return tuple(self.labels)

    @property
    def codes(self) -> dict[str, dict[str, str]]:
        """Code by factor and label."""
        return {factor: codes_of(self.salt, factor, own) for factor, own in self.labels.items()}

    @property
    def holds(self) -> bool:
        """Whether the salt and the labels are those that were committed to."""
        return commitment(self.salt, self.labels) == self.commitment


@dataclass(frozen=True)
class Reveal:
    """A blinding whose reveal is in the chain."""

    blind: Blind
    entry: chain.Entry


def blind_factors(study: Study) -> tuple[str, ...]:
    """The factors whose labels are to stand under codes: all that are compared, or those that are named.

    Raises:
        InputError: A named one is no factor of the study, or all are asked for and none is compared.
    """
    asked = study.spec.registration.blind
    if asked is False:
        return ()
    known = [*study.factors, STEP]
    if asked is True:
        compared = _compared(study)
        if not compared:
            raise InputError(
                f"{study.document.where(('registration', 'blind'))}: no hypothesis compares labels of a "
                "factor: name the factors, as 'blind: [method]', or leave it out"
            )
        return tuple(factor for factor in known if factor in compared)
    for factor in asked:
        if factor not in known:
            raise InputError(unknown("factor", factor, known, where="registration.blind"))
    return tuple(dict.fromkeys(asked))


def new_blind(study: Study, registration: str = "") -> Blind:
    """Draw the codes of a study.

    Args:
        study: Whose blinded factors; see ``blind_factors``.
        registration: Digest of the registration. It holds the commitment, so it is known only afterwards:
            ``dataclasses.replace(blind, registration=digest)`` before ``keep``.
    """
    labels = {factor: _labels(study, factor) for factor in blind_factors(study)}
    salt = secrets.token_hex(32)
    return Blind(study.name, registration, labels, salt, commitment(salt, labels))


def keep(ledger: Ledger, blind: Blind) -> None:
    """Write a blinding down: from here on it is active. Also as part of a transaction that is open."""
    labels = json.dumps({factor: list(own) for factor, own in blind.labels.items()})
    row = (blind.registration, blind.study, labels, blind.salt, blind.commitment, blind.revealed_at)
    with ledger.transaction() as write:
        write.execute(
            "INSERT INTO blindings (registration, study, factors, salt, commitment, revealed_at)"
            " VALUES (?,?,?,?,?,?)",
            row,
        )


def blindings(ledger: Ledger, study: str | None = None) -> list[Blind]:
    """The blindings of a study, or of all, active or not, in the order they were made.

    What is revealed is what the chain says is: a registration with a commitment stays blinded until an entry
    of its reveal.

    Raises:
        StoreError: The codes of a registration that was never revealed are gone.
    """
    rows = ledger.rows("SELECT * FROM blindings ORDER BY rowid")
    found = [_read(row) for row in rows if study in (None, row["study"])]
    committed = _committed(ledger, study)
    for registration in committed.keys() - {blind.registration for blind in found}:
        name = committed[registration]
        raise StoreError(
            f"{name} was registered blind ({registration[:12]}) and never revealed, and its codes are no "
            "longer in the ledger: its arms cannot be shown, under codes or by name; see 'pomona verify' and"
            " take the ledger from a copy of the store"
        )
    return [replace(blind, revealed_at=None) if blind.registration in committed else blind for blind in found]


def active(store: Store, study: str) -> Blind | None:
    """The blinding that hides the arms of a study now; None where there is none, or it was revealed.

    Of a study that was registered more than once, the codes are those of the last registration, and
    everything stays hidden that any of them hides.

    Raises:
        StoreError: Codes are not those that were committed to.
    """
    found = [blind for blind in blindings(store.ledger, study) if blind.revealed_at is None]
    if not found:
        return None
    for blind in found:
        if not blind.holds:
            raise _other(blind)
    labels: dict[str, tuple[str, ...]] = {}
    for blind in found:
        for factor, own in blind.labels.items():
            labels[factor] = tuple(sorted({*labels.get(factor, ()), *own}))
    last = found[-1]
    return Blind(study, last.registration, labels, last.salt, last.commitment)


def unblind(store: Store, study: str) -> list[Reveal]:
    """Reveal what the codes of a study stand for, and log that in the chain.

    Raises:
        InputError: Nothing of this study is blinded, or all was revealed before (says when).
        StoreError: The salt is not the one that was committed to; nothing is revealed.
    """
    known = blindings(store.ledger, study)
    waiting = [blind for blind in known if blind.revealed_at is None]
    if not waiting:
        raise InputError(_nothing(study, known))
    found = []
    with store.ledger.transaction() as write:
        for blind in waiting:
            _check(store.ledger, blind)
        for blind in waiting:
            found.append(_reveal(store.ledger, write, blind))
    return found


def banner(blind: Blind) -> str:
    """What stands beside blinded output."""
    return (
        f"blinded: the labels of {', '.join(blind.factors)} stand under codes, in the order of the codes, "
        f"until 'pomona unblind {blind.study}'"
    )


def withheld(blind: Blind, what: str) -> InputError:
    """The refusal of what would tell which arm is which."""
    return InputError(
        f"{what} of {blind.study} would tell which arm is which, and its labels of "
        f"{', '.join(blind.factors)} are blinded; 'pomona unblind {blind.study}' logs the reveal"
    )


def _compared(study: Study) -> set[str]:
    """Factors of which hypotheses name the labels to be compared."""
    found: set[str] = set()
    for hypothesis in study.spec.hypotheses:
        if hypothesis.contrast is not None:
            found |= _of_contrast(hypothesis.contrast, (hypothesis.of.to or {}) if hypothesis.of else {})
        if hypothesis.model is not None:
            words = set(re.findall(r"\w+", f"{hypothesis.model.formula} {hypothesis.model.term}"))
            found |= {factor for factor in study.factors if _word(factor) <= words}
    return found


def _of_contrast(contrast: Contrast, to: Mapping[str, Any]) -> set[str]:
    """Of an arm that is held against a number, all that names it: its outcome is the answer."""
    sides = [side for side in (contrast.a, contrast.b, to or None) if side is not None]
    if len(sides) == 1:
        return {*sides[0], *contrast.across}
    everything = {factor for side in sides for factor in side}
    differ = {factor for factor in everything if len({str(side.get(factor)) for side in sides}) > 1}
    return differ | {*contrast.across}


def _word(factor: str) -> set[str]:
    return set(re.findall(r"\w+", factor))


def _labels(study: Study, factor: str) -> tuple[str, ...]:
    """Those of its arms; conditions of the study may leave others without any."""
    return tuple(sorted(study.order if factor == STEP else {arm[factor] for arm in study.arms}))


def _committed(ledger: Ledger, study: str | None) -> dict[str, str]:
    """Registrations that were blinded and that the chain knows no reveal of: their study by their digest."""
    found: dict[str, str] = {}
    for entry in chain.entries(ledger, "registered", study):
        if _part(entry, "blinding") is not None:
            found[digest_of(entry.content)] = entry.subject
    for entry in chain.entries(ledger, UNBLINDED, study):
        found.pop(str(_part(entry, "registration")), None)
    return found


def _part(entry: chain.Entry, key: str) -> Any:
    """A part of what an entry says; None where it cannot be read, which ``chain.check`` and readers say."""
    try:
        content = json.loads(entry.content)
    except ValueError:
        return None
    return content.get(key) if isinstance(content, dict) else None


def _read(row: sqlite3.Row) -> Blind:
    try:
        found = json.loads(row["factors"])
        labels = {str(factor): tuple(map(str, own)) for factor, own in found.items()}
    except (ValueError, AttributeError, TypeError):
        raise StoreError(f"the ledger is damaged: what is blinded of {row['study']} cannot be read") from None
    place = (str(row["study"]), str(row["registration"]))
    return Blind(*place, labels, str(row["salt"]), str(row["commitment"]), row["revealed_at"])


def _check(ledger: Ledger, blind: Blind) -> None:
    """Whether codes and commitment are those of the registration, which the chain seals."""
    registered = chain.entries(ledger, "registered", blind.study)
    sealed = any(blind.commitment in entry.content for entry in registered)
    if blind.holds and sealed:
        return
    raise _other(blind)


def _other(blind: Blind) -> StoreError:
    what = "its registration holds another commitment" if blind.holds else "its salt or labels were changed"
    return StoreError(
        f"the blinding of {blind.study} is not the one that was committed to ({blind.commitment[:12]}): "
        f"{what} since it was registered. Nothing is shown or revealed; 'pomona verify' says what else was "
        "changed"
    )


def _reveal(ledger: Ledger, write: sqlite3.Connection, blind: Blind) -> Reveal:
    now = time.time()
    said = {
        "registration": blind.registration,
        "commitment": blind.commitment,
        "salt": blind.salt,
        "codes": blind.codes,
        "who": _who(),
        "at": now,
    }
    entry = chain.append(ledger, UNBLINDED, blind.study, json.dumps(said, sort_keys=True))
    write.execute("UPDATE blindings SET revealed_at = ? WHERE registration = ?", (now, blind.registration))
    return Reveal(blind, entry)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name, as in some containers
        return "unknown"


def _nothing(study: str, known: list[Blind]) -> str:
    if not known:
        return f"nothing of {study} is blinded in this store: its registration asks for it with 'blind: yes'"
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(known[-1].revealed_at))
    return f"the codes of {study} were revealed already, {moment}"
