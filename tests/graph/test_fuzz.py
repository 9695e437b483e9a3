"""Files of a store that something else has changed: found, said in words, never believed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pomona.core.errors import BlobLost, StoreError
from pomona.graph.blobs import BlobStore, pack, unpack, write_atomically
from pomona.graph.masks import pack_masks, unpack_masks
from pomona.graph.store import Files

ROOT = Path(__file__).parents[2]
WEIGHTS = {"w": np.arange(5, dtype=np.float32), "n": np.array(3)}
MASKS = {"w": np.array([[True, False, True], [False, False, True]])}
WHOLE = pack(WEIGHTS, {"x": 1})
BITS = pack(*pack_masks(MASKS, {"w": "linear"}))

once = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
shapes = st.lists(st.integers(-2, 3) | st.integers(2**31, 2**64), max_size=4)
offsets = st.lists(st.integers(-8, 40) | st.integers(2**40, 2**64), min_size=1, max_size=3)
types = st.sampled_from(["F32", "F64", "U8", "BOOL", "I64", "BF16", "F8_E4M3", "F4", "C64", "X"])
values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5)
tensors = st.fixed_dictionaries({"dtype": types, "shape": shapes, "data_offsets": offsets}) | values
headers = st.dictionaries(st.text(max_size=3), tensors, max_size=3)
layers = st.dictionaries(st.sampled_from(["name", "shape", "kind", "x"]), shapes | values)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


def test_every_flipped_bit_of_a_blob_is_found(blobs: BlobStore) -> None:
    digest = blobs.write(WEIGHTS, {"x": 1}).digest
    path = blobs.path(digest)
    for position in range(len(WHOLE)):
        for bit in range(8):
            content = bytearray(WHOLE)
            content[position] ^= 1 << bit
            path.write_bytes(content)
            with pytest.raises(BlobLost, match="is corrupt"):
                blobs.read(digest)
            assert blobs.check(digest) is not None
    path.write_bytes(WHOLE)
    assert blobs.read(digest)[1] == {"x": 1}


@once
@given(st.binary(max_size=400))
def test_any_other_bytes_in_the_place_of_a_blob_are_found(blobs: BlobStore, content: bytes) -> None:
    digest = hashlib.sha256(WHOLE).hexdigest()
    write_atomically(blobs.path(digest), content, blobs.temporary)
    with pytest.raises(BlobLost, match="is corrupt"):
        blobs.read(digest)


@once
@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=30), st.integers(0, 30))
def test_any_other_bytes_under_their_own_name_are_read_or_refused(
    blobs: BlobStore, position: int, put: bytes, cut: int
) -> None:
    """As in a store from somebody else, where every name fits."""
    for whole in (WHOLE, BITS):
        content = whole[:position] + put + whole[position + cut :]
        digest = hashlib.sha256(content).hexdigest()
        write_atomically(blobs.path(digest), content, blobs.temporary)
        for read in (blobs.read, Files(blobs.folder).read_masks):
            read_or_refused(lambda read=read, digest=digest: read(digest))  # type: ignore[misc]


@given(headers, values | st.just("{}"), st.binary(max_size=40))
def test_any_header_is_read_or_refused(header: dict[str, Any], about: Any, data: bytes) -> None:
    text = json.dumps({"__metadata__": {"pomona": about}, **header}).encode()
    read_or_refused(lambda: unpack(len(text).to_bytes(8, "little") + text + data))


@given(st.lists(layers, max_size=3) | values, st.lists(st.integers(0, 255), max_size=4))
def test_any_description_of_masks_is_read_or_refused(about: Any, bits: list[int]) -> None:
    read_or_refused(lambda: unpack_masks({"w": np.array(bits, np.uint8)}, {"layers": about}))


def read_or_refused(read: Any) -> None:
    with contextlib.suppress(StoreError):
        assert all(isinstance(array, np.ndarray) for array in read()[0].values())


def test_damaged_ledgers_are_used_or_refused(tmp_path: Path) -> None:
    """Opened, read in every way and run on, each in a process that may crash or stand still."""
    command = [sys.executable, "-m", "tests.faults.ledgers", str(tmp_path), "60"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
