from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pomona.core.errors import InputError
from pomona.stats.frames import pairs
from pomona.stats.paired import paired_t

FRAME = pd.DataFrame({
    "method": ["x"] * 4 + ["y"] * 4, "replicate": [0, 1, 2, 3, 3, 2, 1, 0],
    "accuracy": [0.5, 0.6, np.nan, 0.8, 0.7, 0.6, 0.5, 0.4],
})  # fmt: skip


def test_pairs_are_matched_by_key_and_incomplete_ones_are_named():
    found = pairs(FRAME, "accuracy", "method", "x", "y")
    assert (found.a.tolist(), found.b.tolist()) == ([0.5, 0.6, 0.8], [0.4, 0.5, 0.7])
    assert (found.keys, found.lost) == ((0, 1, 3), (2,))
    assert found.notes == ("1 of 4 pairs are incomplete: 2",)
    assert paired_t(found.a, found.b).noted(*found.notes).notes[-1] == "1 of 4 pairs are incomplete: 2"
    whole = pairs(FRAME.drop(index=[2, 5]), "accuracy", "method", "x", "y")
    assert (whole.lost, whole.notes) == ((), ())


def test_pairs_by_several_columns():
    table = FRAME.assign(task=["s", "t"] * 4, replicate=[0, 0, 1, 1] * 2).dropna()
    found = pairs(table, "accuracy", "method", "x", "y", by=["task", "replicate"])
    assert found.keys == (("s", 0), ("t", 0), ("t", 1))
    assert found.lost == (("s", 1),)


def test_an_open_factor_and_unknown_names_are_refused():
    with pytest.raises(
        InputError, match="'x' has 2 rows for replicate 0: fix, match or average the other factors"
    ):
        pairs(pd.concat([FRAME, FRAME[:1]]), "accuracy", "method", "x", "y")
    with pytest.raises(InputError, match="unknown arm of column 'method' 'z'"):
        pairs(FRAME, "accuracy", "method", "x", "z")
    with pytest.raises(InputError, match="unknown column 'acuracy'; did you mean 'accuracy'"):
        pairs(FRAME, "acuracy", "method", "x", "y")
