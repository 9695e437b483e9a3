"""The lane engine against its peers: whole steps a second, one thread a process, all sides in one run.

    python benchmarks/lanes.py [--only 'lenet-*' 'conv-64*'] [--repeats 5] [--seconds 1] [--made-up]
                               [--instruction-set avx2] [--json lanes.json]

lean        The fastest plain torch that we know (see ``training_loop.py``), dense and without masks.
usual       The loop that most papers' code has (PIL images, DataLoader), an evaluation after every level.
SparseProp  Its modules, where it is installed: CONTRIBUTING.md says how.
torch CSR   Products with CSR matrices; a convolution unfolds its input.

A step of a network gathers its batch from memory, computes the gradients and updates the weights. A step of
a single layer is its outputs, the gradient of its inputs and that of its kept weights, and for the peers
nothing else; ours runs whole training steps of a small network around the layer (``lane_ours.py`` says what
that adds). A trajectory has 21 levels of ``--steps`` steps, each with an evaluation on a sixth as many test
images; two run at once, as threads for us and as processes for the peer, and only ours also prunes.

The sides take turns, the order of the turns rotates, and a ratio is of two measurements of the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from interleaving import measure, serve
from lane_works import AVX2, Row, Side, rows
from pomona.core.errors import InputError
from pomona.training.lanes import native


@dataclass(frozen=True)
class Result:
    """A row with its rates by round.

    Args:
        row: What was compared.
        ours: Our rates, or why there are none.
        peer: The peer's rates, or why there are none.
        floor: What the median of the ratios has to reach with the instruction set that was measured.
    """

    row: Row
    ours: list[float] | str
    peer: list[float] | str
    floor: float

    @property
    def skipped(self) -> str | None:
        """Why nothing was compared."""
        return next((found for found in (self.ours, self.peer) if isinstance(found, str)), None)

    @property
    def ratios(self) -> list[float]:
        """Ours by the peer's, by round; none where it was skipped."""
        if isinstance(self.ours, str) or isinstance(self.peer, str):
            return []
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)]

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the floor; None where it was skipped."""
        return statistics.median(self.ratios) >= self.floor if self.ratios else None

    def line(self) -> str:
        """The row as a line of the table."""
        start = f"{self.row.name:36} {self.row.against:24}"
        if self.skipped is not None:
            return f"{start} skipped: {self.skipped}"
        ours, peer = (statistics.median(found) for found in (self.ours, self.peer))
        ratios = self.ratios
        spread = f"{statistics.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        answer = "yes" if self.met else "NO"
        return (
            f"{start} {_rate(ours)} {_rate(peer)} {self.row.unit:10} {spread:26} {self.floor:6.2f} {answer:4}"
        )

    def record(self) -> dict[str, Any]:
        """The row for a file."""
        return {
            "name": self.row.name,
            "against": self.row.against,
            "unit": self.row.unit,
            "ours": self.ours,
            "peer": self.peer,
            "ratios": self.ratios,
            "floor": self.floor,
            "stretch": self.row.stretch,
            "met": self.met,
            "skipped": self.skipped,
        }


def _rate(rate: float) -> str:
    return f"{rate:10,.0f}" if rate >= 100 else f"{rate:10.3g}"


HEADER = (
    f"{'work':36} {'against':24} {'ours':>10} {'peer':>10} {'unit':10} {'ratio: median (range)':26} "
    f"{'floor':>6} met"
)


def chosen_rows(patterns: Sequence[str]) -> list[Row]:
    """The rows whose name fits one of the patterns, or all without a pattern."""
    known = rows()
    for pattern in patterns:
        if not any(fnmatch(row.name, pattern) for row in known):
            names = "\n  ".join(row.name for row in known)
            raise SystemExit(f"--only {pattern!r} fits no row; there are:\n  {names}")
    return [row for row in known if not patterns or any(fnmatch(row.name, p) for p in patterns)]


def chosen_instruction_set(asked: str | None) -> str:
    """The one asked for, or the best one; all processes that are started from now on compute with it."""
    if asked is not None:
        os.environ[native.FORCED] = asked
    try:
        found = native.instruction_set()
    except InputError as error:
        raise SystemExit(str(error)) from None
    os.environ[native.FORCED] = found
    return found


def run(chosen: Sequence[Row], options: argparse.Namespace) -> list[Result]:
    """Measure and print group by group."""
    by_group: dict[str, list[Row]] = {}
    for row in chosen:
        by_group.setdefault(row.group, []).append(row)
    scale = AVX2 if options.instruction_set == "avx2" else 1.0
    results: list[Result] = []
    for group in by_group.values():
        sides = list(dict.fromkeys(side for row in group for side in (row.ours, row.peer)))
        rates = measure(
            sides, lambda side: _command(side, options), repeats=options.repeats, seconds=options.seconds
        )
        for row in group:
            results.append(Result(row, rates[row.ours], rates[row.peer], scale * row.floor))
            print(results[-1].line(), flush=True)
    return results


def _command(side: Side, options: argparse.Namespace) -> list[str]:
    command = [sys.executable, __file__, "--side", side.name, "--steps", str(options.steps)]
    return command + (["--made-up"] if options.made_up else [])


def work(options: argparse.Namespace) -> None:
    """Be a process of one side."""
    import torch

    torch.set_num_threads(1)
    if options.side == "ours":
        import lane_ours

        serve(lambda job: lane_ours.prepare(job, options.made_up, options.steps))
        return
    import lane_peers

    serve(
        {
            "lean": lambda job: lane_peers.lean(job, options.made_up),
            "usual": lambda job: lane_peers.usual(job, options.made_up, options.steps),
            "sparseprop": lane_peers.sparseprop,
            "csr": lane_peers.csr,
        }[options.side]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="ROW", help="names of rows, * for any characters"
    )
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--seconds", type=float, default=1.0, help="time of one measurement")
    parser.add_argument(
        "--steps", type=int, default=150, help="steps of each level of a trajectory, 1 to 300"
    )
    parser.add_argument("--made-up", action="store_true", help="random images instead of MNIST and CIFAR-10")
    parser.add_argument("--instruction-set", choices=("avx512", "avx2"), help="the best unless given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not 1 <= options.steps <= 300 or options.repeats < 1:
        parser.error("--steps: expected 1 to 300; --repeats: expected 1 or more")
    if options.side:
        work(options)
        return
    chosen = chosen_rows(options.only)
    options.instruction_set = chosen_instruction_set(options.instruction_set)
    images = "made up" if options.made_up else "MNIST and CIFAR-10"
    print(f"images: {images}; our kernels: {options.instruction_set}; {options.repeats} rounds\n{HEADER}")
    results = run(chosen, options)
    verdicts = [found.met for found in results]
    print(f"met {verdicts.count(True)}, not met {verdicts.count(False)}, skipped {verdicts.count(None)}")
    if options.json is not None:
        written = {
            "instruction_set": options.instruction_set,
            "images": images,
            "seconds": options.seconds,
            "steps": options.steps,
            "rows": [found.record() for found in results],
        }
        options.json.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
