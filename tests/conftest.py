"""One Ray for the tests that need it, a finished sample root, and where the recordings are."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tests.manifests.object_kit import KEY, SECRET, make_bucket, s3_server
from tests.recordings import RECORDINGS
from tests.terminal import wrap_nothing

BUCKETS = itertools.count()
# One thread for each process, unless the caller says otherwise. The tests' matrices are small, and where more processes
# than cores compute, OpenMP's threads wait for each other in loops: a test of 10 s took 150 s beside two others.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A bench without --runs keeps its runs in the user's cache. Tests of two processes must not meet there.
CACHE = tempfile.TemporaryDirectory(prefix="vsumdata-tests-")
os.environ["VSUMDATA_CACHE"] = CACHE.name
# A shell that starts the tests in the background has them ignore Ctrl-C, `nohup` has them ignore the end of the
# terminal, and so would every program that they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
settings.register_profile("no clock", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("no clock")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=2, metavar="N", help="how often a test of kills kills (test-all: 10)")
    parser.addoption("--kill-seed", type=int, default=20261121, metavar="N", help="draws the moments of the kills")
    parser.addoption("--full", action="store_true", help="also long forms, and learning proofs at full size")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """After pytest's reporter was made, and before any test imports the program."""
    config.get_terminal_writer().fullwidth = shutil.get_terminal_size().columns  # pytest itself goes on to wrap
    wrap_nothing()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what starts Ray by its fixtures: `make test` runs those alone, for a Ray takes all cores."""
    if not config.getoption("--full"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    starting = {"ray_session", "ray_with_gpus", "finished"}
    for item in items:
        if starting & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.ray)
    # First the files that take longest, or one of two processes would end minutes after the other.
    with_ray = {item.path for item in items if item.get_closest_marker("ray")}
    items.sort(key=lambda item: (item.path.name != "test_learns.py", item.path not in with_ray))


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> tuple[int, random.Random]:
    """How many kills, and what draws their moments."""
    return request.config.getoption("--kills"), random.Random(request.config.getoption("--kill-seed"))


@pytest.fixture(scope="session")
def recordings() -> Path:
    if not RECORDINGS.is_dir():
        pytest.skip("the recordings (../shared/data) are not here")
    return RECORDINGS


class OneRay:
    """The Ray of this process. A start takes seconds, so one serves all modules, and other GPUs need another one."""

    def __init__(self) -> None:
        self.held = contextlib.ExitStack()
        self.num_gpus: int | None = None

    def need(self, num_gpus: int) -> None:
        from vsumdata.pipeline.workers.cluster import cluster

        if num_gpus != self.num_gpus:
            self.held.close()
            self.held.enter_context(cluster(None, num_cpus=2, num_gpus=num_gpus))
            self.num_gpus = num_gpus


@pytest.fixture(scope="session")
def one_ray() -> Iterator[OneRay]:
    found = OneRay()
    with found.held:
        yield found


@pytest.fixture(scope="module")
def ray_session(one_ray: OneRay) -> None:
    """Ray for what runs in the tests' own process."""
    one_ray.need(num_gpus=0)


@pytest.fixture(scope="module")
def ray_with_gpus(one_ray: OneRay) -> None:
    """Ray with two logical GPUs: it schedules by them, and no program can compute on them."""
    one_ray.need(num_gpus=2)


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """An S3 server on this machine, for all tests of a process."""
    with s3_server() as port:
        yield port


@pytest.fixture
def bucket(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a new bucket on it; the keys are in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    name = f"bucket-{next(BUCKETS)}"
    make_bucket(s3_port, name)
    return name


@pytest.fixture(scope="session")
def sample_site() -> Iterator[str]:
    """The sample's site, outside of the processes that tests start and kill."""
    from vsumdata.datasets.sample.site import SampleSite

    with SampleSite() as served:
        yield served.address


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, sample_site: str, one_ray: OneRay, worker_id: str) -> Path:
    """The root of an uninterrupted run over the sample; made once, so whoever changes it makes a copy."""
    from tests.pipeline.sample_kit import here, sample_run

    if worker_id == "master":  # pytest without xdist
        folder = tmp_path_factory.mktemp("finished")
    else:
        folder = tmp_path_factory.getbasetemp().parent / "finished"
        folder.mkdir(exist_ok=True)
    root = folder / "root"
    with (folder / "lock").open("w") as lock:
        # One of the test processes makes it, the others wait.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            one_ray.need(num_gpus=0)
            answer = here(*sample_run(root), site=sample_site)
            assert answer.returncode == 0, answer.stdout + answer.stderr
            assert "random weights" in answer.stdout
            assert "nothing pending" in answer.stdout
            (folder / "made").touch()
    return root
