"""Every figure and table of the set, in the order in which a report shows them."""

from __future__ import annotations

from collections.abc import Callable

from pomona.report.evidence import Evidence
from pomona.report.figures.figure import Figure
from pomona.report.iterative import agreement, curves, distances, pictures, tables, weights
from pomona.report.iterative.selection import Selection
from pomona.studies.schema import FIGURES as SETS

SET = "iterative-pruning"
SOURCE = SETS[SET]
PREFIX = "paper"  # names of the figures begin with it, and go on with the number that the paper gives them

FIGURES: tuple[Callable[[Evidence, Selection], Figure | None], ...] = (
    *curves.FIGURES,
    *distances.FIGURES,
    *pictures.FIGURES,
    *weights.FIGURES,
    *tables.FIGURES,
    *agreement.FIGURES,
)


def paper_figures(evidence: Evidence) -> list[Figure]:
    """The figures of the set that there is something to draw of, in the order of the paper.

    None where the study does not ask for them, and none while arms stand under codes, for they name arms.
    """
    if SET not in evidence.study.spec.figures or evidence.blinded:
        return []
    selection = Selection(evidence)
    found = [draw(evidence, selection) for draw in FIGURES]
    return sorted((figure for figure in found if figure is not None), key=lambda figure: figure.name)
