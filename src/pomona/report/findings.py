"""What was found of all hypotheses of a study: judged, counted, and what a reader has to know of them."""

from __future__ import annotations

import shlex
import textwrap
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pomona.report.commands import study_arguments
from pomona.report.numbers import moment
from pomona.report.verdicts import EXPLORATORY, MARKS, Verdict, told
from pomona.studies.results import Results

if TYPE_CHECKING:
    from pomona.studies.registration.registered import Registered


@dataclass(frozen=True)
class Findings:
    """All hypotheses of a study.

    Args:
        verdicts: What was found of each; empty while arms stand under codes.
        registered: Registrations of the study, oldest first.
        differences: What of the study is others than in the last of them.
        dropped: Claims that were registered before their data and are no longer in the study.
        withheld: Why nothing is said of arms; empty where it is said.
        missing: How much of what the hypotheses speak of is not there; empty where all is.
        run: What computes it.
        command: What gives the numbers again.
    """

    verdicts: list[Verdict] = field(default_factory=list)
    registered: list[Registered] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    withheld: str = ""
    missing: str = ""
    run: str = ""
    command: str = ""


def find(results: Results) -> Findings:
    """Judge the hypotheses of a study, unless its arms stand under codes."""
    from pomona.studies.blinding.blind import active
    from pomona.studies.hypotheses.judge import judge
    from pomona.studies.registration.matching import differences, dropped
    from pomona.studies.registration.registered import registrations

    study = results.study
    registered = registrations(results.store, study.name)
    # What is shown of a blinded study lacks its hypotheses, so this comes first.
    if active(results.store, study.name) is not None:
        withheld = f"verdicts are withheld until 'pomona unblind {shlex.quote(study.name)}'"
        return Findings([], registered, withheld=withheld)
    others = differences(registered[-1], study) if registered else []
    gone = dropped(registered, study)
    if not study.spec.hypotheses:
        return Findings([], registered, others, gone)
    found = [told(one, results, registered) for one in judge(results)]
    commands = [f"pomona {name} {study_arguments(results)[0]}" for name in ("run", "verdicts")]
    return Findings(found, registered, others, gone, "", _missing(results), *commands)


def counted(findings: Findings) -> str:
    """Verdicts by their number: ``1 supported, 2 inconclusive``; why where all are exploratory."""
    counts = Counter(verdict.word for verdict in findings.verdicts)
    text = ", ".join(f"{counts[word]} {word}" for word in MARKS if counts[word])
    why = {verdict.judged.exploratory for verdict in findings.verdicts if verdict.word == EXPLORATORY}
    return f"{text}: {'; '.join(*why)}" if len(why) == 1 else text


def summary_lines(findings: Findings, width: int) -> list[str]:
    """The hypotheses in a line for the end of a run, or in more; the command is whole in one of them."""
    if findings.withheld:
        return [f"hypotheses: {findings.withheld}"]
    if not findings.verdicts:
        return []
    text, see = f"hypotheses: {counted(findings)};", f"see '{findings.command}'"
    return [f"{text} {see}"] if len(text) + len(see) < width else [*textwrap.wrap(text, width), see]


def standing(findings: Findings) -> tuple[str, str]:
    """What a reader has to know before all else: whether anything was registered, and what that means."""
    count = len(findings.verdicts)
    if findings.withheld:
        return "Not judged yet.", f"{findings.withheld[0].upper()}{findings.withheld[1:]}."
    if not count:
        return "Exploratory.", "This study states no hypothesis."
    if not findings.registered:
        many = f"None of the {count} hypotheses" if count > 1 else "The hypothesis"
        return "Exploratory.", (
            f"{many} of this study {'is' if count > 1 else 'is not'} registered: there are estimates and "
            "intervals, and no p and no verdict. Those are for claims that were registered before their data "
            "were there ('pomona register')."
        )
    own = {v.registered.entry: v.registered for v in findings.verdicts if v.registered is not None}
    binding = [own[entry] for entry in sorted(own)] or findings.registered[-1:]
    when = "registered on " + " and ".join(f"{moment(one.at)} as {one.digest[:12]}" for one in binding)
    judged = sum(verdict.word != EXPLORATORY for verdict in findings.verdicts)
    if not judged:
        return "Exploratory.", f"The study was {when}, and no hypothesis of it is judged: see below why."
    claims = "hypothesis stands" if count == 1 else f"{count} hypotheses stand"
    of = f"{judged} of its {claims}" if judged < count else f"Its {claims}"
    claims = "; ".join(findings.dropped)
    gone = f" Registered and no longer in the study: {claims}." if claims else ""
    return "Registered.", (
        f"The study was {when}. {of} as registered before the data: {counted(findings)}.{gone} Everything "
        "else on this page is exploratory."
    )


def _missing(results: Results) -> str:
    """What the hypotheses read and is not in the store."""
    from pomona.studies.hypotheses.cells import cells, keys

    spoken = [cells(results.population, one) for one in results.study.spec.hypotheses]
    wanted = frozenset().union(*map(keys, spoken))
    ledger = results.store.ledger
    status = {**ledger.statuses("states"), **ledger.statuses("probes")}
    lost = [key for key in wanted if status.get(key) != "done"]
    if not lost:
        return ""
    failed = sum(status.get(key) == "failed" for key in lost)
    said = f"{len(lost):,} of the {len(wanted):,} states and measurements that they speak of are not there"
    return f"{said}, {failed:,} of them failed" if failed else said
