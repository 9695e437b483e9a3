"""``pomona gc``: free the space of what can be computed again."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.cli.options import DEFAULT_STORE, StoreOption

KeepOption = Annotated[
    str,
    typer.Option("--keep", help="Whose weights stay: all, last-level, none, or a query.", metavar="POLICY"),
]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be freed.")]


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="gc", epilog="Example: pomona gc --keep 'level >= 10 or tag == keep' --dry-run")(gc)


def gc(keep: KeepOption = "all", dry_run: DryOption = False, store: StoreOption = DEFAULT_STORE) -> None:
    """Free space: weights that the policy does not keep, files that nothing refers to.

    Digests, masks and results always stay. Weights that were let go are computed again when something needs
    them, and count only if their digests are the same.
    """
    from pomona.cli.wording import size
    from pomona.graph.retention import collect
    from pomona.graph.store import Store
    from pomona.studies.blinding.closed import refuse_query

    with Store(store, create=False) as opened:
        refuse_query(opened, keep)
        freed = collect(opened, keep, dry_run)
    typer.echo(f"{'would free' if dry_run else 'freed'} {size(freed.size_bytes)}")
    for count, what in (
        (freed.weights, f"files of weights, of {freed.states:,} states"),
        (freed.orphans, "files that no state refers to"),
        (freed.checkpoints, "checkpoints of states that are done"),
        (freed.drafts, "half-written files"),
    ):
        if count:
            typer.echo(f"  {count:,} {what}")
