from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .examine import Recording, record
from .recorder import Recorder

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    try:
        return Recorder(tmp_path_factory.mktemp("recorder"))
    except LookupError as error:
        if os.environ.get("POMONA_REQUIRE_KERNELS"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def recording(recorder: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(recorder, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of syncs to a disk take long and prove nothing."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir=MEMORY))
    yield folder
    shutil.rmtree(folder)
