"""``pomona verdicts``: what was found of each hypothesis of a study."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.cli.options import (
    DEFAULT_STORE,
    DeviceOption,
    PresetOption,
    SetOption,
    StoreOption,
    StudyArgument,
)

if TYPE_CHECKING:
    from pomona.report.findings import Findings
    from pomona.report.verdicts import Verdict
    from pomona.studies.results import Results

JsonOption = Annotated[
    bool, typer.Option("--json", help="As JSON: all numbers with every bit, null where there is none.")
]
_WIDTH = 100


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="verdicts", epilog="Example: pomona verdicts my-study.yaml --json")(verdicts)


def verdicts(
    study: StudyArgument,
    preset: PresetOption = None,
    store: StoreOption = DEFAULT_STORE,
    changes: SetOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Say what was found of each hypothesis: verdict, effect and interval, p, replicates, and why.

    There are verdicts for what was registered before its data were there; all else is exploratory, with
    estimates and intervals only. Nothing is computed that a run would compute.
    """
    from pomona.report.findings import find
    from pomona.studies.results import load_results

    results = load_results(study, preset, store, changes or (), device)
    findings = find(results)
    if as_json:
        typer.echo(json.dumps(_record(results, findings), indent=1, allow_nan=False))
        return
    name = f"{results.study.name}{f', preset {results.study.preset}' if results.study.preset else ''}"
    for paragraph in [*_paragraphs(name, findings)]:
        typer.echo(paragraph)


def _paragraphs(name: str, findings: Findings) -> Iterator[str]:
    from pomona.report.findings import counted

    if findings.withheld:
        yield _wrapped(f"{name}: ", findings.withheld)
        return
    if not findings.verdicts:
        yield f"{name} states no hypothesis"
        return
    for verdict in findings.verdicts:
        yield _block(verdict) + "\n"
    for claim in findings.dropped:
        yield _wrapped("registered and no longer in the study: ", claim)
    for line in findings.differences:
        yield _wrapped("other than registered: ", line)
    if findings.missing:
        yield _wrapped("not complete: ", f"{findings.missing}; to compute them:")
        yield f"  {findings.run}"
    yield _wrapped(f"{name}: ", counted(findings))


def _block(verdict: Verdict) -> str:
    lines = [_wrapped(f"{verdict.number:>2}  ", verdict.claim)]
    rows = [("Verdict", f"{verdict.word.upper()}: {verdict.reason}"), *verdict.rows]
    width = max(len(name) for name, _ in rows)
    return "\n".join([*lines, *(_wrapped(f"    {name.lower():<{width}}  ", text) for name, text in rows)])


def _wrapped(first: str, text: str) -> str:
    """Lines of at most 100 columns, indented like what the first begins with."""
    rest = " " * min(len(first), 20)
    found = textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(found)


def _record(results: Results, findings: Findings) -> dict[str, Any]:
    """Everything that was found, for machines."""
    from pomona.graph import chain

    return {
        "study": results.study.name,
        "preset": results.study.preset or None,
        "withheld": findings.withheld or None,
        "missing": findings.missing or None,
        "differences": findings.differences,
        "dropped": findings.dropped,
        "chain_head": chain.head(results.store.ledger),
        "hypotheses": [_verdict_record(verdict) for verdict in findings.verdicts],
    }


def _verdict_record(verdict: Verdict) -> dict[str, Any]:
    own = verdict.registered
    frozen = None
    if own is not None:
        frozen = {"digest": own.digest, "entry": own.entry, "at": own.at, "link": own.link}
    record: dict[str, Any] = _plain(verdict.judged)
    if record["result"] is not None:
        # Of the two-sided interval, not of the registered test; none where nothing is tested.
        two_sided = record["result"].pop("p")
        record["result"]["two_sided_p"] = two_sided if record["verdict"] else None
    return {**record, "shown": {"effect": verdict.effect, "reason": verdict.reason}, "registered": frozen}


def _plain(value: Any) -> Any:
    """A value as JSON has it; a number that is none, or infinite, is null."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, bool) or value is None or isinstance(value, (str, int)):
        return value
    return float(value) if math.isfinite(value) else None
