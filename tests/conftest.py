"""Ray for the tests that need it, one at a time, a finished sample root, and where the recordings are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("no clock", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("no clock")

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


@pytest.fixture(scope="session")
def sample_site() -> Iterator[str]:
    """The sample's site, outside of the processes that tests start and kill."""
    from vsumdata.datasets.sample.site import SampleSite

    with SampleSite() as served:
        yield served.address


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, sample_site: str) -> Path:
    """The root of an uninterrupted run over the sample; made once, so whoever changes it makes a copy."""
    from tests.sample_kit import sample_run, vsumdata

    root = tmp_path_factory.mktemp("finished") / "root"
    answer = vsumdata(*sample_run(root), site=sample_site)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "random weights" in answer.stdout
    assert "nothing pending" in answer.stdout
    return root
