"""`export --format availability`: every video of the list, as `status` counts it, also those that nobody visited."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.pipeline.reports.test_status import IDS, Listed
from tests.pipeline.state.test_plan import GOOD

from vsumdata.datasets.publish.availability import read
from vsumdata.pipeline.commands import main
from vsumdata.pipeline.reports.availability import availability


@pytest.fixture
def root(tmp_path: Path) -> Listed:
    """Unread, removed, to be tried again, kept, far too few views, too few views."""
    root = Listed(tmp_path)
    of = {video_id: root.plan("videos", root.of(video_id)).tasks[0] for video_id in IDS}
    root.commit(of[IDS[1]], "videos", "skipped", reason="removed")
    root.commit(of[IDS[2]], "videos", "retry", due_s=3600)
    root.commit(of[IDS[3]], "videos", **GOOD)
    root.commit(of[IDS[4]], "videos", view_count=7, fetched=False)
    root.commit(of[IDS[5]], "videos", **GOOD | {"view_count": 40_000})
    return root


EXPECTED = ["pending", "skipped: removed", "retry: transient", "done", "skipped: low_views", "skipped: low_views"]


def test_every_video_of_the_list_has_its_line(root: Listed) -> None:
    found, remarks = availability(root.store)
    assert ([one.video_id for one in found], remarks) == (IDS, [])
    assert [one.as_text() for one in found] == EXPECTED
    assert [bool(one.date) for one in found] == [False, True, True, True, True, True]
    counted = root.summary()["tables"]["videos"]["outcomes"]
    for outcome in ("done", "retry"):
        assert counted[outcome] == sum(one.outcome == outcome for one in found)


def test_a_video_that_was_gone_at_its_download_is_gone(root: Listed) -> None:
    task = root.plan("frames", root.of(IDS[3])).tasks[0]
    root.commit(task, "frames", "skipped", reason="private")
    assert availability(root.store)[0][3].as_text() == "skipped: private"


def test_another_fault_of_a_download_says_nothing_of_the_video(root: Listed) -> None:
    task = root.plan("frames", root.of(IDS[3])).tasks[0]
    root.commit(task, "frames", "failed", reason="unreadable")
    assert availability(root.store)[0][3].as_text() == "done"


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_command(
    root: Listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    path = tmp_path / f"list.{ending}"
    words = ["vsumdata", "export", "--root", str(root.store.root), "--format", "availability", "-o", str(path)]
    monkeypatch.setattr(sys, "argv", words)
    assert main.guarded(main.app) == 0
    assert [one.as_text() for one in read(path).values()] == EXPECTED
    said = " ".join(capsys.readouterr().out.split())
    assert "6 videos in " in said
    assert "2 skipped: low_views" in said
