"""``pomona diff``: what differs between two states."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from pomona.cli.options import DEFAULT_STORE, StoreOption

if TYPE_CHECKING:
    from pomona.graph.differences import Differences
    from pomona.graph.fields import Field

_LONGEST = 80


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="diff", epilog="Example: pomona diff 3fa1 77c0")(diff)


def diff(
    a: Annotated[str, typer.Argument(help="Key of a state; its beginning is enough.", metavar="A")],
    b: Annotated[str, typer.Argument(help="Key of another.", metavar="B")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Compare two states: parameters, code, lineage, environment, masks, weights and metrics."""
    from pomona.cli.sections import section
    from pomona.graph.differences import differences
    from pomona.graph.store import Store
    from pomona.studies.blinding.closed import open_state

    with Store(store, create=False) as opened:
        found = differences(opened, open_state(opened, a), open_state(opened, b))
    for name, state in (("a", found.a), ("b", found.b)):
        typer.echo(f"{name}  {state.key[:12]} {state.recipe}, {state.status}  {state.what}".rstrip())
    if found.a.key == found.b.key:
        typer.echo("\nnothing differs: they are the same state")
        return
    section("parameters", field_lines(found.fields) or ["the same"])
    section(
        "code",
        [
            line
            for code in found.code
            for line in (code.lines or [f"{code.name}: not both texts are on record"])
        ],
    )
    section("lineage", _lineage(found))
    if found.environment is None:
        section("environment", ["not known of both: one was not computed"])
    else:
        section("environment", field_lines(found.environment) or ["the same"])
    section("masks (kept, overlap: Jaccard index)", _masks(found))
    section("weights", _weights(found))
    section("metrics", _metrics(found))


def field_lines(fields: Iterable[Field]) -> list[str]:
    """Fields that differ as aligned text; of long values only that they do."""
    from pomona.cli.wording import rows

    table = [(field.path, _short(field.a), _short(field.b)) for field in fields]
    return rows(table, ("", "a", "b")).splitlines() if table else []


def _short(text: str) -> str:
    if "\n" in text:
        return f"({len(text.splitlines())} lines)"
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return text[:12]
    return text if len(text) <= _LONGEST else text[: _LONGEST - 2] + ".."


def _lineage(found: Differences) -> list[str]:
    lines = [found.relation]
    if not found.partings:
        return lines
    first = found.partings[0]
    own = (first.a.key, first.b.key) == (found.a.key, found.b.key)
    place = "here" if own else f"at {first.a.key[:12]} and {first.b.key[:12]}"
    lines.append(f"they part {place} ({first.a.recipe}{_and(first.a.recipe, first.b.recipe)}):")
    lines += [f"  {line}" for line in field_lines(first.fields)]
    more = len(found.partings) - 1
    if more:
        lines.append(f"and differ by themselves in {more} later pair{'' if more == 1 else 's'} of states")
    return lines


def _and(a: str, b: str) -> str:
    return "" if a == b else f" and {b}"


def _masks(found: Differences) -> list[str]:
    from pomona.cli.wording import rows

    if isinstance(found.masks, str):
        return [found.masks]
    if all(m.overlap == 1 for m in found.masks):
        return ["the same" if found.masks else "there are none"]
    table = [(m.layer, _count(m.kept_a), _count(m.kept_b), _value(m.overlap, ".3f")) for m in found.masks]
    return rows(table, ("", "a", "b", "overlap")).splitlines()


def _weights(found: Differences) -> list[str]:
    from pomona.cli.wording import rows

    if isinstance(found.tensors, str):
        return [found.tensors]
    equal = f"{found.equal_tensors} tensor{'' if found.equal_tensors == 1 else 's'} with equal bits"
    if not found.tensors:
        return [f"the same: {equal}"]
    if all(tensor.reason == found.tensors[0].reason != "" for tensor in found.tensors):
        names = ", ".join(tensor.name for tensor in found.tensors)
        return [equal, f"other bits: {names}", f"how far is not known: {found.tensors[0].reason}"]
    table = [(t.name, _value(t.distance, ".4g"), _value(t.largest, ".4g"), t.reason) for t in found.tensors]
    return [equal, *rows(table, ("", "L2 distance", "largest", "")).splitlines()]


def _metrics(found: Differences) -> list[str]:
    from pomona.cli.wording import rows

    table = [(name, _value(a, ".6g"), _value(b, ".6g")) for name, (a, b) in found.metrics.items()]
    return rows(table, ("", "a", "b")).splitlines() if table else ["none was measured"]


def _count(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _value(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
