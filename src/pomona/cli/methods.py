"""``pomona methods``: how weights can be scored, removed and treated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pomona.report.catalogue import Section

NameArgument = Annotated[str | None, typer.Argument(help="Show this one with all that is known of it.")]
MarkdownOption = Annotated[
    bool, typer.Option("--markdown", help="As a document: docs/methods.md is made so.")
]


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        name="methods",
        epilog="In a study: prune: {method: {criterion: {norm: 2}, granularity: channel-in}, amount: 20%}",
    )(methods)


def methods(name: NameArgument = None, markdown: MarkdownOption = False) -> None:
    """List methods, criteria, granularities, allocations, schedules, treatments, controls and measures."""
    from pomona.core.errors import InputError, nearest
    from pomona.report.catalogue import find, names, sections

    if name is not None:
        found = find(name)
        if not found:
            close = nearest(name, names())
            hint = f"; did you mean {close!r}?" if close else ""
            raise InputError(f"the catalogue has no {name!r}{hint} All names: pomona methods")
        for section, entry in found:
            typer.echo(f"{entry.name} ({section.title.partition(':')[0].lower()})\n  {entry.formula}")
            for label, text in entry.facts:
                typer.echo(f"  {label}: {text}")
            typer.echo(f"  written: {section.form.replace('NAME', entry.name)}")
        return
    if markdown:
        from pomona.report.methods import document

        typer.echo(document(), nl=False)
        return
    for section in sections():
        typer.echo(_text(section))
    typer.echo("one of them with its source, evidence and notes: pomona methods snip")


def _text(section: Section) -> str:
    from pomona.cli.wording import rows

    table = rows([(f"  {entry.name}", entry.formula) for entry in section.entries])
    sources = [dict(entry.facts) for entry in section.entries]
    lines = [section.title, f"  {section.written}", ""]
    if not any("source" in facts for facts in sources):
        return "\n".join([*lines, table, ""])
    for entry, facts in zip(section.entries, sources, strict=True):
        known = [f"from {facts['reads']}"] if "reads" in facts else []
        known += [facts["source"]] if "source" in facts else []
        lines += [f"  {entry.name}: {entry.formula}", f"      {'; '.join(known)}"]
    return "\n".join([*lines, ""])
