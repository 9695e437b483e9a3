"""Progress of a run: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pomona.cli.wording import duration

if TYPE_CHECKING:
    from pomona.graph.scheduler import Tally

_LINE_SECONDS = 10.0


class Display:
    """Shows how far a run is.

    Args:
        title: What runs, and how much of it there is.
        missing: How many states and probes are to be computed.
    """

    def __init__(self, title: str, missing: int) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.title = title
        self.missing = missing
        self.live: Live | None = None
        self.said = time.monotonic()
        self.drawn = 0.0

    def __enter__(self) -> Display:
        self.say(self.title)
        if self.console.is_terminal and self.missing:
            self.live = Live(console=self.console, auto_refresh=False, transient=True)
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def say(self, line: str) -> None:
        """Print one line."""
        self.console.print(line, markup=False)

    def update(self, tally: Tally) -> None:
        """Show a new tally: four times a second in a terminal, a line every ten seconds elsewhere."""
        now = time.monotonic()
        if self.live is not None:
            if now - self.drawn >= 0.25:
                self.drawn = now
                self.live.update(self._draw(tally), refresh=True)
        elif now - self.said >= _LINE_SECONDS:
            self.said = now
            self.say(_line(tally))

    def finish(self, tally: Tally) -> None:
        """Say how it went."""
        took = time.monotonic() - tally.started
        if not (self.missing or tally.restored):
            self.say(f"all {tally.states} states were there already: nothing was computed")
            return
        parts = [f"{tally.done} states computed in {duration(took)}", f"{tally.cached} cached"]
        parts += [f"{tally.elsewhere} computed by other processes"] if tally.elsewhere else []
        parts += [f"{tally.restored} restored"] if tally.restored else []
        parts += [f"{tally.failed} failed"] if tally.failed else []
        parts += [f"{tally.blocked} wait for a failed one"] if tally.blocked else []
        self.say(", ".join(parts))

    def _draw(self, tally: Tally) -> RenderableType:
        overall = ProgressBar(total=max(tally.work_steps, 1), completed=tally.steps_done, width=40)
        table = Table.grid(padding=(0, 1))
        table.add_row("all", overall, Text(_line(tally)))
        for worker, (label, share) in sorted(tally.workers.items()):
            bar = ProgressBar(total=1.0, completed=share, width=40)
            table.add_row(f"worker {worker}", bar, Text(label, overflow="ellipsis", no_wrap=True))
        return Group(table)


def _line(tally: Tally) -> str:
    """The tally in one line: share, states, failures, rate, time left."""
    settled = tally.cached + tally.done + tally.elsewhere
    share = tally.steps_done / tally.work_steps if tally.work_steps else settled / max(tally.states, 1)
    text = f"{share:4.0%}  {settled}/{tally.states} states ({tally.cached} cached, {tally.failed} failed)"
    text += f"  {tally.steps_per_second:,.0f} steps/s"
    left = tally.seconds_left
    return text if left is None else f"{text}  {duration(max(left, 1.0))} left"
