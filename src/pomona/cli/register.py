"""``pomona register``: freeze a study before its data."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pomona.studies.registration.register import Outcome
    from pomona.studies.registration.registered import Registered
    from pomona.studies.study import Study

_WIDTH = 96
ShowOption = Annotated[bool, typer.Option("--show", help="Print the last registration, and enter none.")]
ListOption = Annotated[bool, typer.Option("--list", help="List the registrations of the study.")]


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="register", epilog="Example: pomona register my-study.yaml")(register)


def register(
    study: StudyArgument,
    preset: PresetOption = None,
    store: StoreOption = DEFAULT_STORE,
    changes: SetOption = None,
    device: DeviceOption = "cpu",
    show: ShowOption = False,
    list_: ListOption = False,
) -> None:
    """Freeze a study before its data: hypotheses, design and answers, in the chain of the store.

    A test that cannot reach its alpha is refused, with the number that can. Nothing is computed.
    """
    from pomona.core.errors import InputError
    from pomona.graph.store import Store
    from pomona.studies.registration.printed import printed
    from pomona.studies.registration.register import checked, enter
    from pomona.studies.registration.registered import registrations
    from pomona.studies.run import check_device
    from pomona.studies.study import load_study

    if show and list_:
        raise InputError("--show and --list: give one of them")
    found = load_study(study, preset, changes or ())
    if show or list_:
        with Store(store, create=False) as opened:
            known = registrations(opened, found.name)
            if not known:
                raise InputError(f"{found.name} is not registered in {opened.folder}")
            typer.echo(_listed(known, found) if list_ else printed(known[-1]), nl=list_)
        return
    check_device(device)
    # What is refused leaves no store behind.
    population = checked(found, device)
    with Store(store) as opened:
        typer.echo(_said(enter(population, opened, device), found))


def _said(outcome: Outcome, study: Study) -> str:
    """One screen: what was frozen, what it can show, what was there, and what to write down."""
    from pomona.cli.wording import moment, rows
    from pomona.studies.registration.matching import differences
    from pomona.studies.registration.printed import can_show, data_line, name, remarks

    found, body = outcome.registered, outcome.registered.body
    said = (
        f"{name(body)}: registered" if outcome.new else f"{name(body)}: registered since {moment(found.at)}"
    )
    authors = ", ".join(body["authors"]["names"]) or "not known"
    lines = [
        ("digest", found.digest),
        ("time", f"{body['time']}, by {authors} (from {body['authors']['source']})"),
        ("data", data_line(body["data"], outcome.new)),
        *(("", line) for line in body["answers"]["derived"]["data"][1:]),
        *(_consequences(body) if outcome.new else []),
        *_blinding(body),
        *_after(body),
    ]
    if not outcome.new:
        others = differences(found, study)
        lines += _listing("changed since", [*others, "none of it touches the hypotheses"] if others else [])
    for one in body["hypotheses"]:
        lines += [(f"{one['number']}.", one["text"]["claim"]), ("", can_show(one, body["correction"]))]
        lines += [("", said) for said in remarks(one)]
    lines += [
        ("chain head", found.link),
        ("", "write it down elsewhere, with the digest: it shows later that nothing before it was changed"),
        ("text", _short(outcome.path)),
    ]
    wrapped = [
        (label if i == 0 else "", part)
        for label, text in lines
        for i, part in enumerate(textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False))
    ]
    return "\n".join([said, *(f"  {line}" for line in rows(wrapped).splitlines())])


def _consequences(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What follows where the store held results already, or something else of their states."""
    held = [one for one in body["hypotheses"] if one["held"] or one["seen"]]
    if not held:
        return []
    which, stay, them = ("hypothesis", "stays", "it") if len(held) == 1 else ("hypotheses", "stay", "them")
    numbers = " and ".join(str(one["number"]) for one in held)
    there = {r for one in held for r in (*one["held_replicates"], *one["seen_replicates"])}
    pilot = 1 + max(there)
    more = pilot + body["replicates"] - body["pilot"]
    advice = f"make what is there a pilot: registration.pilot={pilot}, replicates={more}"
    return [
        ("", f"{which} {numbers} {stay} exploratory: estimate and interval, no p and no verdict"),
        ("", f"to test {them}, {advice}"),
    ]


def _blinding(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    if body["blinding"] is None:
        return []
    factors = ", ".join(body["blinding"]["factors"])
    hidden = [line for line in body["answers"]["derived"]["blinding"] if line.startswith("Not hidden")]
    return [
        ("blinding", f"the labels of {factors} stand under codes until 'pomona unblind {body['study']}'"),
        *(("", line) for line in hidden),
    ]


def _after(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was changed since the registration before, which stays."""
    before = body["before"]
    if before is None:
        return []
    first = f"from the registration {before['digest'][:12]} of {before['time']}, which stays:"
    return _listing("deviates", [first, *before["changes"]])


def _listing(title: str, lines: Sequence[str]) -> list[tuple[str, str]]:
    return [(title if i == 0 else "", line) for i, line in enumerate(lines)]


def _listed(known: Sequence[Registered], study: Study) -> str:
    """All registrations, oldest first, and how each stands to the study as it is now."""
    from pomona.cli.wording import rows
    from pomona.studies.registration.matching import differences

    table = []
    for one in known:
        others = differences(one, study)
        said = f"{len(others)} change{'' if len(others) == 1 else 's'} since"
        changes = said if others else "as the study is now"
        data = one.body["data"]
        held = f"{data['held']} of {data['results']} results were there"
        held += f", {data['seen']} states measured otherwise" if data.get("seen") else ""
        table.append((one.digest[:12], one.body["time"], str(len(one.hypotheses)), held, changes))
    return rows(table, ("digest", "time", "hypotheses", "data", "status"))


def _short(path: Path) -> str:
    """A path as a user would type it from where they are."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
