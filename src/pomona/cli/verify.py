"""``pomona verify``: check the chain, read every file, compute a sample again, compare the bits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pomona.cli.options import DEFAULT_STORE, DeviceOption, StoreOption, WorkersOption
from pomona.core.errors import InputError

if TYPE_CHECKING:
    from pomona.graph.ledger import Ledger
    from pomona.graph.store import Store

FractionOption = Annotated[
    float,
    typer.Option(
        "--fraction",
        help="Share of the states and measurements to compute again; 0 checks the chain alone.",
        min=0,
        max=1,
    ),
]
HeadOption = Annotated[
    Optional[str],  # noqa: UP045 - typer reads this at run time
    typer.Option(
        "--head", help="A head that was written down earlier and must be in the chain.", metavar="LINK"
    ),
]
# So many breaks are told.
_SHOWN = 10


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="verify", epilog="Example: pomona verify --fraction 0.1")(verify)


def verify(
    fraction: FractionOption = 0.02,
    store: StoreOption = DEFAULT_STORE,
    workers: WorkersOption = None,
    device: DeviceOption = "cpu",
    head: HeadOption = None,
) -> None:
    """Check a store: its chain of entries, every file, then a random sample computed again, bit by bit.

    The chain tells results and registrations that were edited. Where the bits of a second computation
    differ, it says what else differs: processor, packages, threads. Exit code 1 if anything is not as it was.
    """
    from pomona.graph.store import Store

    link = _link(head)
    with Store(store, create=False) as opened:
        same = _check_chain(opened.ledger)
        if link is not None:
            same &= _find(opened.ledger, link)
        if fraction > 0:
            same &= _check_files(opened)
            same &= _compute_again(opened, fraction, workers, device)
    if not same:
        raise typer.Exit(1)


def _link(head: str | None) -> str | None:
    link = None if head is None else head.strip().lower()
    if link is not None and not re.fullmatch("[0-9a-f]{64}", link):
        raise InputError(f"--head: expected a link of 64 hex digits, got {head!r}")
    return link


def _check_chain(ledger: Ledger) -> bool:
    from pomona.graph import chain

    breaks = chain.check(ledger)
    count = ledger.rows("SELECT COUNT(*) AS n FROM chain")[0]["n"]
    state = _count(len(breaks), "break", "breaks") if breaks else "unbroken"
    typer.echo(f"chain: {_count(count, 'entry', 'entries')}, {state}; head {chain.head(ledger)}")
    _list([found.what for found in breaks])
    _list(chain.revised(ledger))
    return not breaks


def _find(ledger: Ledger, link: str) -> bool:
    from pomona.graph import chain

    if chain.holds(ledger, link):
        typer.echo(f"  {link} is in the chain")
        return True
    typer.echo(f"  {link} is not in the chain: its end was cut off, or it was written anew")
    return False


def _check_files(store: Store) -> bool:
    from pomona.studies import upkeep

    broken = upkeep.broken_files(store)
    files = store.ledger.rows("SELECT COUNT(DISTINCT digest) AS n FROM outputs WHERE dropped_at IS NULL")
    typer.echo(f"{files[0]['n']:,} files read, {len(broken)} not whole")
    for fault in broken:
        typer.echo(f"  {fault}; removed; computed again when something needs it")
    return not broken


def _compute_again(store: Store, fraction: float, workers: int | None, device: str) -> bool:
    from pomona.cli.progress import Display
    from pomona.studies import upkeep

    display = Display(f"computing {fraction:.3g} of the states and measurements again", missing=1)
    with display:
        found = upkeep.verify(
            store, fraction, workers=workers, device=device, on_change=display.update, report=display.say
        )
    same = sum(verdict.same for verdict in found)
    typer.echo(f"{len(found):,} computed again, {same:,} with the same bits")
    for verdict in found:
        if not verdict.same:
            typer.echo(f"  {verdict.node[:12]}: {verdict.text}")
    return same == len(found)


def _list(lines: Sequence[str]) -> None:
    for line in lines[:_SHOWN]:
        typer.echo(f"  {line}")
    if len(lines) > _SHOWN:
        typer.echo(f"  and {len(lines) - _SHOWN:,} more")


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
