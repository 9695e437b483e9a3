"""Titled parts of what a command prints."""

from __future__ import annotations

from collections.abc import Sequence

import typer


def section(title: str, lines: Sequence[str]) -> None:
    """Print lines under a title; nothing where there are none."""
    if lines:
        typer.echo(f"\n{title}")
        typer.echo("\n".join(f"  {line}" if line else "" for line in lines))
