"""``pomona data``: the data sets, and fetching them."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="List and fetch data sets.", no_args_is_help=True, rich_markup_mode=None)


@app.command(name="list", epilog="Example: pomona data list")
def list_() -> None:
    """List the data sets that studies know by name, and whether they are in the cache."""
    from pomona.cli.wording import rows
    from pomona.data.cache import cache_root
    from pomona.data.catalogue import DATASETS
    from pomona.data.fetching import is_cached

    table = [
        (
            info.name,
            f"{info.train_count:,} + {info.test_count:,}",
            "x".join(map(str, info.shape)),
            str(info.classes),
            "yes" if is_cached(info.name) else "no",
            info.fingerprint[:12],
            info.source,
        )
        for info in DATASETS.values()
    ]
    head = ("name", "train + test", "shape", "classes", "cached", "fingerprint", "source")
    typer.echo(rows(table, head))
    typer.echo(f"\ncache: {cache_root()} (set POMONA_CACHE to move it)")
    typer.echo("files of your own: set POMONA_DATA to their folder; a loader of your own: data: mine.py:load")


@app.command(epilog="Example: pomona data fetch mnist")
def fetch(
    name: Annotated[str, typer.Argument(help="Name of a data set.", metavar="NAME")],
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is there.")] = False,
) -> None:
    """Fetch a data set into the cache and check every byte of it."""
    from pomona.data.fetching import fetch as fetch_

    path = fetch_(name, report=lambda line: typer.echo(line, err=True), force=force)
    typer.echo(path)
