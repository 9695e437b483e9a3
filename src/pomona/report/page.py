"""The HTML page of a report."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pomona import __version__
from pomona.report.asked import asked
from pomona.report.blinding import notice
from pomona.report.evidence import Evidence
from pomona.report.failures import collapsed_layers, failed_measurements, failed_states, kinds, not_computed
from pomona.report.figures.figure import Figure
from pomona.report.figures.variation import NAME as VARIATION
from pomona.report.figures.verdicts import NAME as EFFECTS
from pomona.report.findings import standing
from pomona.report.iterative.all import PREFIX, SOURCE
from pomona.report.numbers import ranges
from pomona.report.provenance import provenance
from pomona.report.tables import full_table, runs_at_chance, short_table
from pomona.report.variation import variations, varied_text

_ARXIV = re.compile(r"^arXiv:(\d{4}\.\d{4,5}(?:v\d+)?)$")


def page(evidence: Evidence, figures: Sequence[Figure]) -> str:
    """The whole page, which loads nothing from anywhere."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pomona.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.filters["ranges"] = ranges
    environment.filters["sentence"] = sentence
    study = evidence.study
    found = _ARXIV.match(study.spec.source)
    failures = [*failed_states(evidence), *failed_measurements(evidence)]
    levels, short = short_table(evidence)
    full = full_table(evidence)
    return environment.get_template("template.html").render(
        version=__version__,
        blinded=notice(evidence),
        title=study.spec.title or study.name,
        study=study,
        source=study.spec.source,
        source_link=f"https://arxiv.org/abs/{found[1]}" if found else "",
        no_validation=_unheld(evidence),
        several_data=len(evidence.data) > 1,
        replicates=evidence.replicates,
        measured=evidence.measured,
        has_accuracy=evidence.has_accuracy,
        asked=asked(evidence),
        standing=standing(evidence.findings),
        findings=evidence.findings,
        effects=next((figure for figure in figures if figure.name == EFFECTS), None),
        yaml=study.text(),
        figures=[
            figure for figure in figures if figure.name.partition("-")[0] not in (EFFECTS, VARIATION, PREFIX)
        ],
        paper_figures=[figure for figure in figures if figure.name.partition("-")[0] == PREFIX],
        paper=SOURCE,
        variation_figures=[figure for figure in figures if figure.name.partition("-")[0] == VARIATION],
        variations=variations(evidence),
        varied=varied_text(evidence),
        arms=evidence.arms,
        short_levels=levels,
        short=short,
        full=full,
        rows=sum(map(len, full.values())),
        failures=failures,
        kinds=kinds(failures),
        missing=not_computed(evidence),
        at_chance=list(runs_at_chance(evidence)),
        collapsed=collapsed_layers(evidence),
        provenance=provenance(evidence),
    )


def _unheld(evidence: Evidence) -> str:
    """The data of which nothing is held back for validation."""
    names = [choice.name for choice in evidence.data if not choice.validation]
    return ", ".join(names) if evidence.one_setting or not names else "some of the data"


def sentence(text: str) -> str:
    """A text as a sentence of its own.

    >>> sentence("verdicts are withheld")
    'Verdicts are withheld.'
    """
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
