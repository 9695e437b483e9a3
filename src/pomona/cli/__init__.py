"""One file per command: parse, call, print."""

from __future__ import annotations

from pomona.cli.app import main

__all__ = ["main"]
