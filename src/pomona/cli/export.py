"""``pomona export``: a state as a file that others read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pomona.cli.options import DEFAULT_STORE, KeyArgument, StoreOption

FileArgument = Annotated[
    Path, typer.Argument(help="Where to: .safetensors, or .pt and .pth by torch.", metavar="FILE")
]
FormOption = Annotated[
    str,
    typer.Option("--form", help="plain, torch-prune (NAME_orig, NAME_mask) or masks.", metavar="FORM"),
]


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="export", epilog="Example: pomona export 3fa1 ticket.safetensors")(export)


def export(
    key: KeyArgument,
    file: FileArgument,
    form: FormOption = "plain",
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write a state's weights, or its masks, to a file for others."""
    from pomona.studies.exported import export_checkpoint

    typer.echo(f"written: {export_checkpoint(key, file, form, store=store)}")
