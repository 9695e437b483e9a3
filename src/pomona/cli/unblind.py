"""``pomona unblind``: reveal what the codes of a blinded study stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pomona.cli.options import DEFAULT_STORE, StoreOption

if TYPE_CHECKING:
    from pomona.graph.store import Store
    from pomona.studies.blinding.blind import Reveal

NameArgument = Annotated[
    str, typer.Argument(help="The name of a blinded study of the store, or its file.", metavar="STUDY")
]


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="unblind", epilog="Example: pomona unblind my-study.yaml")(unblind)


def unblind(study: NameArgument, store: StoreOption = DEFAULT_STORE) -> None:
    """Reveal the arms of a study that was registered blind, and log the reveal in the chain of the store.

    Until then labels stand under codes in everything that is printed or written. Codes cannot hide densities
    and counts, the dense network, run times and the order of computing, nor what is in the ledger for whoever
    opens it with other software; the report says which codes densities alone tell apart.
    """
    from pomona.graph.store import Store
    from pomona.studies.blinding.blind import unblind as reveal

    with Store(store, create=False) as opened:
        found = reveal(opened, _name(opened, study))
    for one in found:
        _say(one)


def _name(store: Store, study: str) -> str:
    """The name of a study that is given by it or by its file, which need not be there any more."""
    from pomona.studies.blinding.blind import blindings
    from pomona.studies.study import load_study

    return study if blindings(store.ledger, study) else load_study(study).name


def _say(reveal: Reveal) -> None:
    from pomona.cli.wording import moment, rows

    blind, entry = reveal.blind, reveal.entry
    typer.echo(f"{blind.study}: revealed {moment(entry.at)}, entry {entry.number} of the chain")
    typer.echo(f"the codes are those that were committed to: {blind.commitment}")
    for factor, codes in blind.codes.items():
        typer.echo(f"\n{factor}")
        typer.echo(rows([(f"  {code}", label) for label, code in codes.items()]))
