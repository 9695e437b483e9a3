"""``pomona graph``: the states of a store and their lines as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pomona.cli.options import DEFAULT_STORE, StoreOption, WhereOption
from pomona.core.errors import InputError, StoreError

OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="File to write.", metavar="FILE.svg", show_default=True)
]


def add(app: typer.Typer) -> None:
    """Add the command."""
    epilog = 'Example: pomona graph --where "recipe == train and replicate == 0" --output lineage.svg'
    app.command(name="graph", epilog=epilog)(graph)


def graph(
    where: WhereOption = None,
    output: OutputOption = Path("graph.svg"),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Draw the graph as SVG: what descends from what, by recipe and status; hover for parameters."""
    from pomona.graph.drawing import check_size, draw
    from pomona.graph.states import States
    from pomona.graph.store import Store
    from pomona.graph.subgraph import subgraph
    from pomona.studies.blinding.closed import Closed

    if output.suffix.lower() != ".svg":
        raise InputError(f"--output: expected a name that ends in .svg, got {str(output)!r}")
    with Store(store, create=False) as opened:
        closed = Closed(opened)
        found = closed.seen(States(opened, where))
        check_size(len(found))  # before anything else is read
        part = subgraph(opened, found)
        count = f"{len(part.states)} state{'' if len(part.states) == 1 else 's'}"
        picture = draw(part, f"{opened.folder.name}: {count}{f', {where}' if where else ''}")
    try:
        output.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{output} could not be written: {error.strerror or error}") from None
    typer.echo(output)
