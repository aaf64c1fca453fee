"""The tables of status, of a dry run and of the doctor, at terminals of any width."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.terminal import console, shown

from vsumdata.manifests.tables import OUTCOMES
from vsumdata.pipeline import session
from vsumdata.pipeline.reports.doctor import Check, checks_table
from vsumdata.pipeline.reports.status import tables_table

WIDTHS = (40, 80, 200)
SUMMARY = {
    "tables": {
        name: {
            "outcomes": {outcome: 12_345 + 7 * at + 100 * n for n, outcome in enumerate((*OUTCOMES, "pending"))},
            "bytes": 12_345_600_000 * (at + 1),
            "reasons": {"no_heatmap": 4321 + at, "few_views": 17, "[odd]": 5},
        }
        for at, name in enumerate(("videos", "articles", "transcripts", "frames", "features"))
    }
}


@pytest.mark.parametrize("width", WIDTHS)
def test_status_shows_every_count_at_any_width(width: int) -> None:
    lines = shown(tables_table(SUMMARY), width).splitlines()
    assert max(map(len, lines)) <= width
    seen = re.findall(r"\d+(?:\.\d+)?", " ".join(lines))
    for entry in SUMMARY["tables"].values():
        found: dict[str, Any] = entry
        counts = [*found["outcomes"].values(), *found["reasons"].values(), f"{found['bytes'] / 1e6:.1f}"]
        assert set(map(str, counts)) <= set(seen)
    words = " ".join(lines)
    for word in (*OUTCOMES, "pending", "MB", "reasons", "no_heatmap", "[odd]"):
        assert word in words


def test_status_of_a_narrow_terminal_has_notes() -> None:
    narrow, wide = (shown(tables_table(SUMMARY), width) for width in (40, 200))
    assert re.search(r"^failed: videos 12645; articles", narrow, re.MULTILINE)
    assert re.search(r"^table .* failed  pending  MB  +reasons", wide, re.MULTILINE)
    assert "failed:" not in wide


@pytest.mark.parametrize("width", WIDTHS)
def test_a_dry_run_shows_every_forecast_at_any_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = [json.dumps({"video_id": f"{number:011}"}) for number in range(123)]
    Path("list.jsonl").write_text("\n".join(listed))
    request = session.Request(
        manifest="wikihow_summaries",
        stage="crawl",
        root="root",
        dry_run=True,
        settings=("sources.0.ids=list.jsonl",),
    )
    file = io.StringIO()
    assert session.run(request, console(file, width)) == 0
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    words = file.getvalue().replace(";", " ").split()
    assert words.count("123") == 5  # videos to do, at most and visits; articles at most and visits
    assert words.count("24:36") == 4  # 123 requests, 12 s apart: both tables, the network and the whole
    assert words.count("0.007") == 2  # GB, of 60 kB each
    assert words.count("guess") == 2


@pytest.mark.parametrize("width", WIDTHS)
def test_the_doctor_says_all_at_any_width(width: int) -> None:
    checks = [
        Check("ffmpeg", True, "ffmpeg version 7.0.2-static (programs/ffmpeg)"),
        Check("models of wikihow_summaries", False, "clip: no folder [weights]; pip install 'vsumdata[offline]'"),
        Check("GPU", False, "none that torch can use: all runs on the CPU", optional=True),
    ]
    drawn = shown(checks_table(checks), width)
    assert max(map(len, drawn.splitlines())) <= width
    words = " ".join(drawn.split())
    assert (words.count("ok"), words.count("missing")) == (1, 2)
    for check in checks:
        assert check.name in words
        assert check.found in words
