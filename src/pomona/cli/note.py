"""``pomona note``: a remark on a state."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.cli.options import DEFAULT_STORE, KeyArgument, StoreOption


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="note", epilog='Example: pomona note 3fa1 "the loss jumps at step 900"')(note)


def note(
    key: KeyArgument,
    text: Annotated[str, typer.Argument(help="What is to be remembered.", metavar="TEXT")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write a note on a state; `pomona show` shows it."""
    from pomona.graph import tags
    from pomona.graph.store import Store
    from pomona.studies.blinding.closed import open_state

    with Store(store, create=False) as opened:
        full = open_state(opened, key)
        tags.note(opened.ledger, full, text)
        typer.echo(f"noted on {full[:12]}")
