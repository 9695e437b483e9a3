"""``pomona tag``: names that people give to states."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from pomona.cli.options import DEFAULT_STORE, StoreOption, WhereOption
from pomona.core.errors import InputError

WordsArgument = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads this at run time
    typer.Argument(help="A key and one tag or more; with --where only tags.", metavar="[KEY] NAME..."),
]
RemoveOption = Annotated[bool, typer.Option("--remove", help="Take the tags away.")]


def add(app: typer.Typer) -> None:
    """Add the command."""
    epilog = 'Example: pomona tag 3fa1 keep; pomona tag --where "accuracy > 0.97" good'
    app.command(name="tag", epilog=epilog)(tag)


def tag(
    words: WordsArgument = None,
    where: WhereOption = None,
    remove: RemoveOption = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Tag states, or list all tags. Tags are in no key: changing them computes nothing."""
    from pomona.graph import tags
    from pomona.graph.states import States
    from pomona.graph.store import Store
    from pomona.studies.blinding.closed import Closed

    given = list(words or ())
    with Store(store, create=False) as opened:
        if not given and where is None and not remove:
            closed = Closed(opened)
            counts = tags.tag_counts(opened.ledger, closed.states)
            lines = [f"{name}: {count} state{'' if count == 1 else 's'}" for name, count in counts.items()]
            typer.echo("\n".join(lines) or "no state has a tag")
            if closed.note:
                typer.echo(closed.note, err=True)
            return
        if not given or (where is None and len(given) < 2):
            raise InputError("expected KEY NAME, or --where QUERY NAME: which states, and which tag")
        closed = Closed(opened)
        if where is None:
            keys = [closed.refuse(opened.find(given.pop(0)))]
        else:
            keys = closed.seen(States(opened, where)).keys()
        change = tags.untag if remove else tags.tag
        with opened.ledger.transaction():
            counted = {name: change(opened.ledger, keys, name) for name in given}
        for name, count in counted.items():
            done = "taken from" if remove else "given to"
            typer.echo(f"{name}: {done} {count} of {len(keys)} state{'' if len(keys) == 1 else 's'}")
