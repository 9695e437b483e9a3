import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.step import Step
from pomona.core.streams import Stream
from pomona.data.splits import epoch_order
from pomona.training.config import Train
from pomona.training.timetable import Orders, make_timetable


@given(
    per_epoch=st.integers(1, 30),
    total=st.integers(1, 120),
    share=st.floats(0, 0.99),
    every=st.none() | st.integers(1, 40),
    data=st.data(),
)
def test_timetable_visits_every_moment_once_and_no_other(per_epoch, total, share, every, data):
    first = int(share * total)
    within = st.sets(st.integers(first, total), max_size=8)
    snapshots, prune_at = data.draw(within), data.draw(within)
    stop = {"stop": "val-loss <= 1", "check": f"{every}it"} if every else {}
    checks = {s for s in range(first + 1, total + 1) if every and s % every == 0}
    config = {"optimizer": {"sgd": {"lr": 1}}, "batch_size": 1, "duration": f"{total}it", **stop}
    config = Train.model_validate({**config, "start": f"{first}it"} if first else config)
    asked = [Step(step, "it") for step in sorted(snapshots)]
    if every and not checks:
        with pytest.raises(ValueError, match="never happens"):
            make_timetable(config, per_epoch, 1, asked, list(prune_at))
        return
    table = make_timetable(config, per_epoch, 1, asked, list(prune_at))
    assert (table.first, table.total) == (first, total)
    assert table.prune_at == tuple(sorted(prune_at))
    visited, step = [], first
    while step < total:
        step = table.after(step)
        visited.append(step)
    epochs = {s for s in range(first + 1, total + 1) if s % per_epoch == 0}
    assert visited == sorted(({*snapshots, *prune_at, *checks, *epochs, total}) - {first})
    assert {step for step in visited if table.checked(step)} == checks


def test_timetable_is_of_plain_numbers_whatever_it_is_given():
    config = {"optimizer": {"sgd": {"lr": 1}}, "batch_size": 1, "duration": "9it"}
    table = make_timetable(Train.model_validate(config), 3, 0, [], np.array([4, 2, 4]))
    assert table.prune_at == (2, 4)
    assert all(type(step) is int for step in table.prune_at)


def test_a_subset_that_an_epoch_repeats_in_part_is_taken_in_any_epoch():
    # Ten places an epoch for four images: other ones are there three times in each epoch.
    stream, images = Stream("order", 0), np.array([3, 5, 8, 9])
    orders = [epoch_order(images, stream, epoch, length=10) for epoch in range(6)]
    assert len({tuple(np.sort(order)) for order in orders}) > 1
    late = Orders(lambda epoch: orders[epoch], orders[0])
    assert np.array_equal(late[5], orders[5])
