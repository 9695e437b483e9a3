"""All simulated studies; writes their page and says where a rate is not as it should be.

    python -m tests.simulation.every build/simulation --studies 10000

takes about ten minutes on a core of its own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from . import clustered, designs, intervals, null
from .page import FAR, Table, write


def tables(studies: int) -> Iterator[Table]:
    """One after another, the quick ones first."""
    yield designs.peeking(studies)
    yield null.paired_tests(studies)
    yield null.bounds_of_p(studies)
    yield null.families(studies)
    yield null.unpaired_tests(studies)
    yield null.other_tests(studies)
    yield designs.power(studies)
    yield designs.planned(studies)
    yield intervals.replicates(studies)
    part = max(100, studies // 4)
    yield intervals.examples_and_tasks(part)
    yield intervals.components(part)
    yield clustered.contrast(part)
    yield clustered.covariate(part)
    yield clustered.quantiles(part)


def main() -> int:
    """Write the page; gives 1 where a rate is off by more than chance: four Monte Carlo standard errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--studies", type=int, default=10_000)
    given = parser.parse_args()
    start, done = time.monotonic(), []
    for table in tables(given.studies):
        done.append(table)
        print(f"{time.monotonic() - start:6.0f} s  {table.title}: {len(table.rates)} rates", flush=True)
        for rate in table.failing():
            print("          does not hold:", " | ".join(rate.cells()), flush=True)
    print(write(done, given.folder, given.studies, time.monotonic() - start))
    return int(any(rate.within(FAR) is False for table in done for rate in table.rates))


if __name__ == "__main__":
    raise SystemExit(main())
