"""``pomona models``: the networks of the catalogue."""

from __future__ import annotations

import typer


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        name="models", epilog="In a study: init: {name: vgg-11, options: {width: 32}}, or init: mine.py:net"
    )(models)


def models() -> None:
    """List the networks that studies know by name, with their options and source."""
    import textwrap

    from pomona.models.catalogue import MODELS

    for model in MODELS.values():
        options = ", ".join(f"{name}: {default!r}" for name, default in model.options.items())
        typer.echo(f"{model.name}{f'  options {{{options}}}' if options else ''}")
        typer.echo(textwrap.fill(model.note, 100, initial_indent="  ", subsequent_indent="  "))
        typer.echo(f"  {model.source}\n")
    typer.echo("or your own: mine.py:net, a function or class that gives an nn.Module")
