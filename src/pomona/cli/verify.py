"""``pomona verify``: read every file, compute a sample again, compare the bits."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.cli.options import DEFAULT_STORE, DeviceOption, StoreOption, WorkersOption

FractionOption = Annotated[
    float,
    typer.Option("--fraction", help="Share of the states and measurements to compute again.", min=0, max=1),
]


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="verify", epilog="Example: pomona verify --fraction 0.1")(verify)


def verify(
    fraction: FractionOption = 0.02,
    store: StoreOption = DEFAULT_STORE,
    workers: WorkersOption = None,
    device: DeviceOption = "cpu",
) -> None:
    """Check a store: read every file, then compute a random sample again and compare the bits.

    Where bits differ, it says what else differs: processor, packages, threads. Exit code 1 if anything is
    not as it was.
    """
    from pomona.cli.progress import Display
    from pomona.graph.store import Store
    from pomona.studies import upkeep

    with Store(store, create=False) as opened:
        broken = upkeep.broken_files(opened)
        files = opened.ledger.rows("SELECT COUNT(DISTINCT digest) AS n FROM outputs WHERE dropped_at IS NULL")
        typer.echo(f"{files[0]['n']:,} files read, {len(broken)} not whole")
        for fault in broken:
            typer.echo(f"  {fault}; removed; computed again when something needs it")
        display = Display(f"computing {fraction:.3g} of the states and measurements again", missing=1)
        with display:
            found = upkeep.verify(
                opened, fraction, workers=workers, device=device, on_change=display.update, report=display.say
            )
    same = sum(verdict.same for verdict in found)
    typer.echo(f"{len(found):,} computed again, {same:,} with the same bits")
    for verdict in found:
        if not verdict.same:
            typer.echo(f"  {verdict.node[:12]}: {verdict.text}")
    if broken or same < len(found):
        raise typer.Exit(1)
