"""What the driver tells Ray's metrics, seen through stand-ins for Ray's counters and gauges."""

from __future__ import annotations

import io
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from rich.console import Console

from vsumdata.manifests.errors import UsageError
from vsumdata.pipeline.engine.run import unseen
from vsumdata.pipeline.reports import metrics
from vsumdata.pipeline.reports.metrics import RunMetrics, with_metrics
from vsumdata.pipeline.workers import meters


class Recorded:
    """Ray's metrics as a dictionary: (name, labels…) -> value."""

    def __init__(self) -> None:
        self.values: defaultdict[tuple[str, ...], float] = defaultdict(float)

    def metric(self, name: str) -> SimpleNamespace:
        def inc(number: float, tags: dict[str, str]) -> None:
            self.values[name, *tags.values()] += number

        def put(number: float, tags: dict[str, str]) -> None:
            self.values[name, *tags.values()] = number

        return SimpleNamespace(inc=inc, set=put)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    found = Recorded()
    monkeypatch.setattr(metrics, "metric", found.metric)
    monkeypatch.setattr(meters, "counter", found.metric)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: True))
    return found


def outcomes(*found: str) -> pa.Table:
    return pa.table({"outcome": list(found)})


def test_each_number_is_told_once(recorded: Recorded) -> None:
    visits, paused = Counter({"a.example": 2}), ["a.example via 192.0.2.1"]
    told = RunMetrics(lambda: paused, visits)
    told.left("videos", 5)
    told.add("videos", outcomes("done", "done", "failed"))
    told.tell()
    told.tell()
    assert recorded.values == {
        ("vsumdata_pending", "videos"): 2,
        ("vsumdata_outcomes", "videos", "done"): 2,
        ("vsumdata_outcomes", "videos", "failed"): 1,
        ("vsumdata_visits", "a.example"): 2,
        ("vsumdata_breaker_open", "a.example via 192.0.2.1"): 1,
    }
    visits["a.example"] += 3
    paused.clear()
    told.tell()
    assert recorded.values["vsumdata_visits", "a.example"] == 5
    assert recorded.values["vsumdata_breaker_open", "a.example via 192.0.2.1"] == 0


def test_it_tells_while_the_run_works_and_at_its_end(recorded: Recorded, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(metrics, "TELL_EVERY_S", 0.01)
    both = with_metrics(unseen, str(tmp_path), Counter())
    with both(Console(file=io.StringIO()), ["frames"], 0.0, lambda: "") as display:
        display.left("frames", 3)
        display.begun("frames", 3)
        while ("vsumdata_pending", "frames") not in recorded.values:
            pass
        monkeypatch.setattr(metrics, "TELL_EVERY_S", 1000.0)
        display.add("frames", outcomes("done"))
        display.ended("frames")
    assert recorded.values["vsumdata_outcomes", "frames", "done"] == 1
    assert recorded.values["vsumdata_pending", "frames"] == 2


def test_a_pace_file_that_cannot_be_read_hides_the_breakers_only(recorded: Recorded) -> None:
    def broken() -> list[str]:
        raise UsageError("pace.json cannot be read")

    told = RunMetrics(broken, Counter({"a.example": 1}))
    told.tell()
    assert recorded.values == {("vsumdata_visits", "a.example"): 1}


def test_without_ray_nothing_is_told(recorded: Recorded, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    RunMetrics(lambda: ["a"], Counter(a=1)).tell()
    meters.note("frames", {}, 1.0, tmp_path)
    monkeypatch.delitem(sys.modules, "ray")
    RunMetrics(lambda: ["a"], Counter(a=1)).tell()
    meters.note("frames", {}, 1.0, tmp_path)
    assert recorded.values == {}


def test_a_worker_counts_seconds_frames_and_bytes(recorded: Recorded, tmp_path: Path) -> None:
    (tmp_path / "picture.mp4").write_bytes(b"12345")
    meters.note("frames", {"result": {"frame_time_s": [0.0, 1.0, 2.0]}}, 1.5, None)
    meters.note("features", {"result": {"frame_time_s": [0.0, 1.0, 2.0]}}, 0.5, None)
    meters.note("frames", {"outcome": "failed"}, 0.0, None)
    meters.note("media", {"result": {}}, 2.0, tmp_path)
    meters.note("media", {"result": {}}, 1.0, tmp_path / "gone")
    assert recorded.values == {
        ("vsumdata_work_seconds", "frames"): 1.5,
        ("vsumdata_work_seconds", "features"): 0.5,
        ("vsumdata_work_seconds", "media"): 3.0,
        ("vsumdata_frames",): 3,
        ("vsumdata_media_bytes",): 5,
    }
