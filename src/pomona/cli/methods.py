"""``pomona methods``: how weights can be scored, removed and treated."""

from __future__ import annotations

import typer


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        name="methods",
        epilog="In a study: prune: {method: {criterion: {norm: 2}, granularity: channel-in}, amount: 20%}",
    )(methods)


def methods() -> None:
    """List pruning methods, criteria, granularities, scopes, treatments and measures."""
    from pomona.cli.wording import rows
    from pomona.pruning.criteria import CRITERIA
    from pomona.pruning.method import AXES, METHODS
    from pomona.pruning.treatments import TREATMENTS
    from pomona.studies.schema import MEASURES

    typer.echo("methods, by name (a study may also write the parts out)")
    typer.echo(rows([(f"  {name}", method.describe()) for name, method in METHODS.items()]))
    typer.echo("\ncriteria (larger is kept; or your own: mine.py:score)")
    for criterion in CRITERIA.values():
        evidence = ", ".join(criterion.evidence)
        typer.echo(f"  {criterion.name}: {criterion.formula}")
        typer.echo(f"      from {evidence}; {criterion.source}")
    typer.echo(f"\ngranularities: {', '.join(AXES)}; one for all, or one each for conv and linear layers")
    typer.echo("scopes: layer (each by itself), global (all together)")
    typer.echo("\ntreatments of the surviving weights")
    for treatment in TREATMENTS.values():
        typer.echo(f"  {treatment.name}: {treatment.formula}")
        typer.echo(f"      {treatment.source}")
    typer.echo("\nmeasures")
    typer.echo(rows([(f"  {name}", text) for name, text in MEASURES.items()]))
