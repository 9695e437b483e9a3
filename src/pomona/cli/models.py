"""``pomona models``: the networks of the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pomona.models.catalogue import ModelInfo


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
        for text in (model.note, f"engine: {_engine(model)}"):
            typer.echo(textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="  "))
        typer.echo(f"  {model.source}\n")
    typer.echo("or your own: mine.py:net, a function or class that gives an nn.Module")


def _engine(model: ModelInfo) -> str:
    """What ``engine: auto`` takes, by default and where a switch among the options changes that."""
    from pomona.models.catalogue import lanes_blocker

    usual = lanes_blocker(model.name, {})
    text = _named(usual)
    for name, default in model.options.items():
        if isinstance(default, bool):
            other = lanes_blocker(model.name, {name: not default})
            text += f"; with {name}: {not default} {_named(other)}" if other != usual else ""
    return text


def _named(blocker: str | None) -> str:
    return f"torch ({blocker})" if blocker else "lanes"
