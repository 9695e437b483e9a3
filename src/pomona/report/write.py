"""Write the report of a study: the page, and its figures as files."""

from __future__ import annotations

from pathlib import Path

from pomona.graph.writing import write_atomically
from pomona.report.evidence import Evidence
from pomona.report.figures.accuracy import accuracy_figure
from pomona.report.figures.density import effective_density_figure
from pomona.report.figures.figure import Figure
from pomona.report.figures.masks import mask_figures
from pomona.report.figures.stability import weight_stability_figure
from pomona.report.figures.variation import variation_figures
from pomona.report.figures.verdicts import verdict_figure
from pomona.report.iterative.all import paper_figures
from pomona.report.page import page
from pomona.studies.blinding.blinded import shown
from pomona.studies.registration.registered import registrations
from pomona.studies.results import Results


def write_report(results: Results, folder: Path | None = None) -> Path:
    """Write ``index.html``, which shows everything, and ``figures/`` with SVG, PNG and CSV of each figure.

    Args:
        results: What a store holds for a study; nothing is computed for it.
        folder: Where the report goes; ``reports/`` of the store unless given.

    Returns:
        The page.

    Raises:
        StoreWriteError: The folder cannot be written. Each file is whole or not there, the page comes last.
    """
    results = shown(results)
    target = folder.expanduser().absolute() if folder is not None else report_path(results).parent
    evidence = Evidence(results)
    figures = draw_figures(evidence)
    content = page(evidence, figures)
    for figure in figures:
        files = {"svg": figure.svg.encode(), "png": figure.png, "csv": figure.csv.encode()}
        for suffix, drawn in files.items():
            path = target / "figures" / f"{figure.name}.{suffix}"
            write_atomically(path, drawn, path.parent)
    write_atomically(target / "index.html", content.encode(), target)
    return target / "index.html"


def report_path(results: Results) -> Path:
    """Where the report of a study and preset lies in its store; that of a blinded study beside it."""
    study = results.study
    parts = [study.name, study.preset, "blind" if results.blind is not None else ""]
    return results.store.folder / "reports" / "-".join(filter(None, parts)) / "index.html"


def is_current(page: Path, results: Results) -> bool:
    """Whether a page is of this study as it is run and registered now, or under its codes while blinded."""
    if not page.is_file():
        return False
    text = page.read_text(encoding="utf-8", errors="replace")
    if results.blind is not None:
        return results.study.digest() in text and results.blind.commitment in text
    # A page of before a registration does not have it.
    known = [one.digest for one in registrations(results.store, results.study.name)]
    return all(digest in text for digest in [results.study.digest(), *known])


def draw_figures(evidence: Evidence) -> list[Figure]:
    """The figures of a report, in the order of the page; those that have nothing to show are left out."""
    of_paper = paper_figures(evidence)
    found = [
        verdict_figure(evidence.findings.verdicts),
        *of_paper,
        # Those of a paper say the same of more arms than can be told apart in one figure.
        *([] if of_paper else [accuracy_figure(evidence), *mask_figures(evidence)]),
        effective_density_figure(evidence),
        *([] if of_paper else [weight_stability_figure(evidence)]),
        *variation_figures(evidence.sources),
    ]
    return [figure for figure in found if figure is not None]
