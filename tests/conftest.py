"""Ray for the tests that need it, one at a time, and where the recordings are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

RECORDINGS = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def recordings() -> Path:
    if not RECORDINGS.is_dir():
        pytest.skip("the recordings (../shared/data) are not here")
    return RECORDINGS


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    """Ray with two logical GPUs that no program can use; it ends with the module, for the program starts its own."""
    from vsumdata.pipeline.cluster import cluster

    with cluster(None, num_cpus=2, num_gpus=2):
        yield
