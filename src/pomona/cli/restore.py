"""``pomona restore``: weights that were let go, computed again from their lineage."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.cli.options import DEFAULT_STORE, DeviceOption, StoreOption, WorkersOption

KeysArgument = Annotated[
    list[str], typer.Argument(help="Keys of states; their beginnings are enough.", metavar="KEY...")
]


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="restore", epilog="Example: pomona restore 3fa1 77c0")(restore)


def restore(
    keys: KeysArgument,
    store: StoreOption = DEFAULT_STORE,
    workers: WorkersOption = None,
    device: DeviceOption = "cpu",
) -> None:
    """Compute weights again that were let go. They count only if their digests are those on record."""
    from pomona.cli.progress import Display
    from pomona.graph.again import node_of
    from pomona.graph.store import Store
    from pomona.studies.blinding.closed import Closed
    from pomona.studies.upkeep import restore as restored

    with Store(store, create=False) as opened:
        display = Display(
            f"restoring the weights of {len(keys)} state{'s' if len(keys) > 1 else ''}", missing=1
        )
        with display:
            failures = restored(keys, opened, workers=workers, device=device, on_change=display.update)
        closed = Closed(opened).nodes
    for failure in failures:
        study = closed.get(node_of(failure.node))
        reason = failure.reason if study is None else f"withheld: {study} is blinded"
        typer.echo(f"{failure.label}: {reason}", err=True)
    if failures:
        raise typer.Exit(1)
    typer.echo("the weights are there, bit for bit as they were")
