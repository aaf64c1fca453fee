"""What `status` and `inspect` say of a root whose rows are committed by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.state.test_plan import GOOD, Root, manifest, models

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import Loaded
from vsumdata.manifests.sources import Record, read_lists
from vsumdata.pipeline.reports import status
from vsumdata.pipeline.state import dataset
from vsumdata.stages.encoders.models import model_keys

IDS = [f"video-{number:05}" for number in range(6)]


class Listed(Root):
    """A root whose last run had a list of six ids."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "root")
        (folder / "list.jsonl").write_text("\n".join(json.dumps({"video_id": video_id}) for video_id in IDS))
        loaded = Loaded(manifest=manifest(sources=[{"ids": "list.jsonl"}]), folder=folder, file="list.yaml")
        keys = model_keys(loaded.manifest)
        self.store.write_json("models.json", {key: asdict(getattr(models(), name)) for name, key in keys.items()})
        self.store.write_json("dataset.json", {"manifest": dataset.stored_manifest(loaded), "tables": {}})
        self.records = read_lists(loaded)[0]

    def of(self, video_id: str) -> list[Record]:
        return [record for record in self.records if record.video_id == video_id]

    def summary(self) -> dict[str, Any]:
        loaded, stages, records, _ = dataset.open_root(self.store)
        return dataset.summary(self.store, loaded, stages, records)


@pytest.fixture
def root(tmp_path: Path) -> Listed:
    return Listed(tmp_path)


def inspected(root: Listed, video_id: str) -> tuple[str | None, str]:
    found = status.inspect(root.store, video_id)
    return found["decision"], found["known"]


def test_inspect_decides_nothing_of_what_was_not_read(root: Listed) -> None:
    """It said `keep` of a video that nobody had read, and of a private one."""
    unread, private, later, good, far_below, unpopular = IDS
    of = {video_id: root.plan("videos", root.of(video_id)).tasks[0] for video_id in IDS}
    root.commit(of[private], "videos", "skipped")
    root.commit(of[later], "videos", "retry", due_s=3600)
    root.commit(of[good], "videos", **GOOD)
    root.commit(of[far_below], "videos", view_count=7, fetched=False)
    root.commit(of[unpopular], "videos", **GOOD | {"view_count": 40_000})
    assert inspected(root, unread) == (None, "not read yet: whether it is kept is not known")
    assert inspected(root, private) == (None, "could not be read (skipped: transient): there is no decision")
    decision, known = inspected(root, later)
    assert (decision, "retry: transient, again from 20" in known) == (None, True)
    assert inspected(root, good)[0] == "keep"
    assert inspected(root, far_below) == (
        "low_views",
        "only its listing was read, which shows 7 views, less than half of select.min_views",
    )
    assert inspected(root, unpopular) == ("low_views", "its metadata was read, and `select` leaves it out")
    assert status.inspect(root.store, good)["without_row"] == ["articles", "transcripts", "frames", "features"]
    with pytest.raises(UsageError, match="knows no video"):
        status.inspect(root.store, "nobody")


def test_inspect_says_when_a_video_is_no_longer_listed(root: Listed, tmp_path: Path) -> None:
    root.settle("videos", root.records, **GOOD)
    (tmp_path / "list.jsonl").write_text(json.dumps({"video_id": IDS[0]}))
    assert "no longer list it" in inspected(root, IDS[1])[1]
    assert "no longer list it" not in inspected(root, IDS[0])[1]


def test_retries_are_pending_and_say_when_they_are_due(root: Listed) -> None:
    for number, task in enumerate(root.plan("videos", root.records).tasks[:4]):
        root.commit(task, "videos", "retry", due_s=-1 if number == 0 else 3600 * number)
    found = root.summary()
    videos = found["tables"]["videos"]
    assert videos["outcomes"] == {"done": 0, "skipped": 0, "retry": 4, "failed": 0, "pending": 6}
    later = min(root.plan("videos", root.records).due).isoformat(timespec="seconds")
    assert videos["retries"] == {"now": 1, "later": 3, "next": later}
    assert status.retries_line(found) == f"retries: videos 1 due now, 3 later, the next at {later}"
    assert found["link_rot"]["videos"]["tried"] == 4


def test_visits_are_added_up_by_host(root: Listed) -> None:
    assert status.visits_line(root.summary()) == ""
    pace = {"wikihow.com": {"visits": 88}, "youtube.com via 192.0.2.1": {"visits": 1000}}
    root.store.write_json("pace.json", pace | {"youtube.com": {"visits": 234}, "old.example": {"next_at": 1.0}})
    found = root.summary()
    assert found["visits"] == {"youtube.com": 1234, "wikihow.com": 88}
    assert status.visits_line(found) == "visits: youtube.com 1,234; wikihow.com 88"
    assert status.retries_line(found) == ""


def test_status_imports_no_library_that_visits_sites_or_computes(root: Listed, tmp_path: Path) -> None:
    slow = {"bs4", "lxml", "nltk", "ray", "requests", "scipy", "torch", "yt_dlp"}
    code = f"""
import sys
from vsumdata.pipeline.commands.main import app
app(["status", "--root", {str(tmp_path / "root")!r}], standalone_mode=False)
print(sorted({slow!r} & set(sys.modules)))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("table ")
    assert said.splitlines()[-1] == "[]"
