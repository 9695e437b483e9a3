from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from pomona.core.errors import DataError
from pomona.data.catalogue import DatasetInfo
from pomona.data.parts import Parts


def test_digests_are_of_the_bytes_in_c_order(parts: Parts) -> None:
    assert parts.digests()[0] == hashlib.sha256(parts.train_images.tobytes()).hexdigest()
    assert parts._replace(train_images=np.asfortranarray(parts.train_images)).digests() == parts.digests()


def test_check_names_the_part_that_differs(parts: Parts, small_mnist: DatasetInfo) -> None:
    parts.check(small_mnist)
    changed = parts.test_labels.copy()
    changed[3] ^= 1
    with pytest.raises(DataError, match=r"test labels: wrong digest \w+\.\.\., expected"):
        parts._replace(test_labels=changed).check(small_mnist)
    with pytest.raises(DataError, match=r"train images: expected the shape \(40, 1, 5, 6\)"):
        parts.check(replace(small_mnist, shape=(1, 5, 6)))
