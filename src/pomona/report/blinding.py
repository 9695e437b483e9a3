"""What a report says of a blinding: what stands under codes, and what codes cannot hide."""

from __future__ import annotations

from dataclasses import dataclass

from pomona.report.evidence import Evidence
from pomona.studies.blinding.blind import CANNOT_HIDE
from pomona.studies.blinding.blinded import BlindedResults


@dataclass(frozen=True)
class Notice:
    """The words at the top of a blinded page.

    Args:
        factors: Those whose labels stand under codes.
        reveal: The command that ends the blinding.
        registration: Digest of the registration.
        commitment: To the codes.
        digest: Of the study as it was run, whose document is withheld.
        told_apart: What densities and the design alone say of the codes.
        cannot_hide: What else is not hidden.
    """

    factors: str
    reveal: str
    registration: str
    commitment: str
    digest: str
    told_apart: list[str]
    cannot_hide: tuple[str, ...]


def notice(evidence: Evidence) -> Notice | None:
    """The notice of a blinded study; None where arms have their names."""
    results = evidence.results
    if not isinstance(results, BlindedResults):
        return None
    blind = results.blind
    return Notice(
        ", ".join(blind.factors),
        f"pomona unblind {blind.study}",
        blind.registration,
        blind.commitment,
        evidence.study.digest(),
        results.told_apart(),
        CANNOT_HIDE,
    )
