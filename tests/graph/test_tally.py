from __future__ import annotations

import time

import pytest

from pomona.graph.tally import Tally


def test_tally_counts_finished_steps_and_those_under_way() -> None:
    tally = Tally(work_steps=100, steps_finished=20)
    tally.at(0, "train a", 0.0, 40)
    tally.at(1, "train b", 0.5, 40)
    assert tally.steps_done == 40
    tally.at(0, "train a", 0.25, 40)
    assert tally.steps_done == 50
    assert tally.workers == {0: ("train a", 0.25), 1: ("train b", 0.5)}


def test_tally_an_ended_job_takes_its_progress_with_it() -> None:
    tally = Tally(work_steps=40)
    tally.at(0, "train a", 0.3, 40)
    tally.idle(0)
    tally.idle(0)
    assert tally.steps_done == 0
    assert tally.workers == {}


def test_tally_forecasts_from_the_rate_so_far() -> None:
    tally = Tally(work_steps=300, started=time.monotonic() - 10)
    assert tally.seconds_left is None
    tally.steps_finished = 100
    assert tally.steps_per_second == pytest.approx(10, rel=0.2)
    assert tally.seconds_left == pytest.approx(20, rel=0.2)
    tally.steps_finished = 300
    assert tally.seconds_left == 0
