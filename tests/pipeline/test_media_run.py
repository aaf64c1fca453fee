"""Kept downloads through the whole program: killed, gone on with, used by both tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from tests.pipeline.media_kit import needs_models
from tests.pipeline.sample_kit import SMALL_CLIP, here, start, victims
from tests.stages.media_site import MEDIA, VALID, Answer, MediaSite, stream

from vsumdata.manifests.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.ray, needs_models]
KEEP = ["--set", "crawl.keep_media=true", "--limit", "1"]


def command(root: Path, stage: str) -> list[str]:
    return ["run", "--manifest", "sample", "--stage", stage, "--root", str(root), *SMALL_CLIP, *KEEP]


def done(root: Path, table: str) -> int:
    store = Store(root)
    return store.latest(table, store.tables()[table])["outcome"].to_pylist().count("done")


def test_a_killed_run_goes_on_and_its_media_serve_later_runs(ray_session: None, tmp_path: Path) -> None:
    root, released = tmp_path / "root", threading.Event()

    def half() -> Iterator[bytes]:
        yield MEDIA[: len(MEDIA) // 2]
        released.wait(120)

    def fault(n: int, headers: Message) -> Answer:
        return stream(half, VALID, length=len(MEDIA))

    with MediaSite() as site:
        assert here(*command(root, "videos")[:-2], site=site.address).returncode == 0
        site.fault = fault
        with start(*command(root, "frames"), site=site.address) as process:
            deadline = time.monotonic() + 120
            while not [part for part in root.rglob("*.part") if part.stat().st_size]:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.1)
            # A worker outlives its driver by moments, and would ask the site once more.
            workers = victims(process.pid, "worker")
            process.kill()
            while any(Path(f"/proc/{pid}").exists() for pid in workers):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        released.set()
        site.fault = lambda n, headers: None
        site.asked.ranges.clear()
        answer = here(*command(root, "frames"), site=site.address)
        assert (answer.returncode, done(root, "frames")) == (0, 1), answer.stdout
        assert len(site.asked.ranges) == 1
        kept = [path for path in (root / "media").rglob("*") if path.is_file()]
        assert [path.stem for path in kept] == ["picture+sound"]
        assert not list((root / "media").rglob("*.partial"))
        changed = [*command(root, "frames"), "--set", "features.fps=0.5"]
        assert here(*changed, site=site.address).returncode == 0
        assert len(site.asked.ranges) == 1, "other frames of the same video are made from the kept file"
