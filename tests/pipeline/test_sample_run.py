"""`vsumdata run --manifest sample` as a user runs it: whole, again, interrupted, killed, twice at once."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.bench.machine import descendants
from tests.pipeline.crawl_kit import MadeUpSite
from tests.pipeline.sample_kit import (
    REPAIR,
    assert_same,
    contents,
    disturbed,
    here,
    leftovers,
    sample_run,
    start,
    vsumdata,
)

from vsumdata.datasets.shards import open_shards
from vsumdata.manifests import tables
from vsumdata.manifests.store import Store

DONE = {
    "pancakes_01", "tea-brew_02", "dressing_03", "flattyre_07",
    "sow-seed_08", "airplane_09", "hang-pic_10", "growbean_13",
}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.ray]


def outcomes(root: Path, table: str) -> dict[str, str]:
    return {i: f"{row['outcome']}: {row['reason']}" for i, row in contents(root)[table].items()}


def test_every_path_of_the_corpus_has_its_outcome(finished: Path) -> None:
    videos, transcripts = outcomes(finished, "videos"), contents(finished)["transcripts"]
    assert videos.pop("private-_06") == "skipped: private"
    assert set(videos.values()) == {"done: "}
    assert len(videos) == 12
    kinds = {video_id: row["kind"] for video_id, row in transcripts.items()}
    assert kinds == {
        "pancakes_01": "manual",
        "hang-pic_10": "manual",
        "tea-brew_02": "automatic",
        "flattyre_07": "automatic",
        "dressing_03": "asr",
        "sow-seed_08": "asr",
        "airplane_09": "none",
        "growbean_13": "asr",
        "badhinge_11": None,
    }
    assert outcomes(finished, "frames")["badhinge_11"] == "failed: unreadable"
    assert outcomes(finished, "features")["badhinge_11"] == "skipped: no_frames"
    sites = {row["site"] for row in contents(finished)["articles"].values()}
    assert sites == {"wikihow", "ehow", None}
    assert set(outcomes(finished, "articles").values()) == {"done: ", "skipped: no_article"}


def test_training_rows_are_complete(finished: Path) -> None:
    videos = open_shards(finished)
    assert {video.video_id for video in videos} == DONE
    for video in videos:
        features = video.frame_feature.astype(np.float32)
        assert np.isfinite(features).all()
        np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=2e-3)
        assert video.replay_score is not None
        assert len(video.replay_score) == len(features)
        assert video.shot_start[0] == 0
        assert video.shot_stop[-1] == len(features)
    store = Store(finished)
    rows = contents(finished)["features"]
    assert rows["pancakes_01"]["global_text"] != rows["pancakes_01"]["description"], "the article's steps"
    assert rows["flattyre_07"]["global_text"] == rows["flattyre_07"]["description"], "no article: the description"
    expected = tables.schema(tables.payload("features", {"frame_dim": 1, "text_dim": 1}), ()).names
    assert list(store.dataset()["tables"]["features"]["schema"]) == expected


def test_status_inspect_verify(finished: Path) -> None:
    found = json.loads(vsumdata("status", "--root", str(finished), "--json").stdout)
    assert set(found) >= {"root", "manifest", "versions", "tables"}
    videos = found["tables"]["videos"]
    assert videos["outcomes"] == {"done": 9, "skipped": 4, "retry": 0, "failed": 0, "pending": 0}
    assert videos["reasons"] == {"skipped: low_views": 2, "skipped: no_heatmap": 1, "skipped: private": 1}
    assert videos["bytes"] == sum(path.stat().st_size for path in Path(videos["path"]).glob("*.parquet"))
    assert all(table["outcomes"]["pending"] == 0 for table in found["tables"].values())
    seen = json.loads(vsumdata("inspect", "toastie__05", "--root", str(finished)).stdout)
    assert seen["decision"] == "no_heatmap"
    assert vsumdata("inspect", "nobody", "--root", str(finished)).returncode == 2
    answer = vsumdata("verify", "--root", str(finished))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert leftovers(finished) == []


def test_the_reupload_is_found_by_its_frames_and_nothing_else_is(
    ray_session: None, finished: Path, sample_site: str, tmp_path: Path
) -> None:
    pytest.importorskip("faiss", reason="needs the extra [labels]")
    root = tmp_path / "root"
    shutil.copytree(finished, root)
    drop = ["--stage", "features", "--set", "select.duplicates=drop"]
    answer = here(*sample_run(root), *drop, site=sample_site)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    found = contents(root)["duplicates"]
    assert {video_id: row["group"] for video_id, row in found.items() if row["group"]} == {
        "sow-seed_08": "sow-seed_08",
        "growbean_13": "sow-seed_08",
    }
    assert (found["growbean_13"]["kind"], found["growbean_13"]["is_best"]) == ("frames", False)
    of_features = outcomes(root, "features")
    assert of_features["growbean_13"] == "skipped: duplicate"
    assert {video_id for video_id, outcome in of_features.items() if outcome == "done: "} == DONE - {"growbean_13"}
    page = vsumdata("report", "--root", str(root), "-o", str(tmp_path / "report.html"))
    assert page.returncode == 0, page.stderr
    assert "by the table <code>duplicates</code>: 1." in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("columns", [40, 80])
def test_status_shows_every_count_at_any_width(finished: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    answer = vsumdata("status", "--root", str(finished))
    words = re.findall(r"[\w.-]+", answer.stdout)
    for name, entry in json.loads(vsumdata("status", "--root", str(finished), "--json").stdout)["tables"].items():
        counts = [*entry["outcomes"].values(), *entry["reasons"].values(), f"{entry['bytes'] / 1e6:.1f}"]
        reasons = [word for reason in entry["reasons"] for word in reason.split(": ")]
        assert {name, *entry["outcomes"], *reasons, *map(str, counts)} <= set(words)


def test_a_second_run_does_no_work(finished: Path, sample_site: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.parquet")}
    answer = vsumdata(*sample_run(finished), site=sample_site)
    assert answer.returncode == 0
    assert "0 rows made" in answer.stdout
    assert "to do" not in answer.stdout
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*.parquet")}


def test_decisions_are_taken_anew_and_nothing_is_fetched_again(finished: Path, sample_site: str) -> None:
    answer = vsumdata(*sample_run(finished), "--set", "select.min_views=2000000", "--dry-run", site=sample_site)
    assert answer.returncode == 0
    table = {line.split()[0]: line.split()[1] for line in answer.stdout.splitlines() if len(line.split()) > 4}
    assert {table[name] for name in ("videos", "articles", "transcripts", "frames", "features")} == {"0"}


def test_retry_does_the_failed_again_once(ray_session: None, finished: Path, sample_site: str, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "root")
    answer = here(*sample_run(tmp_path / "root"), "--retry", "failed", "--stage", "asr", site=sample_site)
    assert "transcripts: 1 to do" in answer.stdout, answer.stdout + answer.stderr
    assert answer.returncode == 1, "nothing succeeded"


def test_limit_takes_the_first_that_are_pending_in_listing_order(
    ray_session: None, sample_site: str, tmp_path: Path
) -> None:
    crawl = [*sample_run(tmp_path), "--stage", "videos", "--limit", "2"]
    for expected in (["pancakes_01", "tea-brew_02"], ["dressing_03", "boil-egg_04"]):
        before = set(contents(tmp_path)["videos"]) if (tmp_path / "dataset.json").exists() else set()
        assert here(*crawl, site=sample_site).returncode == 0
        assert sorted(set(contents(tmp_path)["videos"]) - before) == sorted(expected)


def test_more_gpus_than_there_are_stop_a_run_before_any_work(
    ray_session: None, sample_site: str, tmp_path: Path
) -> None:
    answer = here(*sample_run(tmp_path), "--set", "resources.frames.gpus=64", site=sample_site)
    assert answer.returncode == 2
    assert "resources.frames" in answer.stderr
    assert list(tmp_path.rglob("*.parquet")) == []


def test_doctor(tmp_path: Path) -> None:
    checks = {check["name"]: check for check in json.loads(vsumdata("doctor", "--json").stdout)}
    assert checks["ffmpeg"]["ok"]
    assert checks["Ray"]["ok"]
    assert checks["models of sample"]["ok"]


def interrupt(process: subprocess.Popen[str]) -> tuple[float, str]:
    """Ctrl-C; returns (seconds until it ended, what it said)."""
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    return time.monotonic() - begun, err


def test_ctrl_c_and_random_kills_change_nothing(
    finished: Path, sample_site: str, tmp_path: Path, kills: tuple[int, random.Random]
) -> None:
    """Kills of the driver, of workers and of ffmpeg, in all tables."""
    root = tmp_path / "root"
    process = start(*sample_run(root), site=sample_site)
    deadline = time.monotonic() + 120
    while not list(root.glob("transcripts/*/part-*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    seconds, said = interrupt(process)
    assert process.returncode == 130
    assert "run the same command again" in said
    assert seconds < 30, "SLURM's KillWait"
    assert leftovers(root) == []
    number, chance = kills
    killed = disturbed(sample_run(root), sample_site, 5 * number, chance)
    assert len(killed) > 1, killed
    answer = vsumdata(*sample_run(root), *REPAIR, site=sample_site)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert_same(contents(finished), contents(root))
    assert vsumdata("verify", "--root", str(root)).returncode == 0
    assert leftovers(root) == []


@pytest.mark.parametrize("moment", ["Ray starts", pytest.param("it works", marks=pytest.mark.long)])
def test_a_terminated_run_ends_like_an_interrupted_one(sample_site: str, tmp_path: Path, moment: str) -> None:
    root = tmp_path / "root"
    process = start(*sample_run(root), site=sample_site)
    assert process.stdout is not None
    for line in process.stdout:
        # ray.init puts a handler of its own in the place of ours for as long as it runs.
        if line.startswith("WARNING") if moment == "Ray starts" else line.startswith("articles"):
            break
    time.sleep(2)
    begun = time.monotonic()
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err.startswith("interrupted by SIGTERM")
    assert err.count("\n") == 1
    assert time.monotonic() - begun < 30, "SLURM's KillWait"
    assert leftovers(root) == []
    assert vsumdata("verify", "--root", str(root)).returncode == 0


@pytest.mark.long
def test_sigterm_to_all_processes_at_once_is_one_line_and_the_same_command_goes_on(
    finished: Path, sample_site: str, tmp_path: Path
) -> None:
    """As some schedulers and init systems end a job: Ray's own processes get the signal too."""
    root = tmp_path / "root"
    process = start(*sample_run(root), site=sample_site)
    deadline = time.monotonic() + 120
    while not list(root.glob("transcripts/*/part-*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    for pid in [process.pid, *(pid for pid, _ in descendants(process.pid))]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    begun = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert err.startswith("interrupted by SIGTERM")
    assert err.count("\n") == 1
    assert time.monotonic() - begun < 30, "SLURM's KillWait"
    answer = vsumdata(*sample_run(root), site=sample_site)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert_same(contents(finished), contents(root))
    assert leftovers(root) == []


def test_two_runs_at_once_do_no_harm(finished: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Listing, metadata, articles, downloads and speech; all tables with --full."""
    root, whole = tmp_path / "root", contents(finished)
    stages = [] if request.config.getoption("--full") else ["--stage", "crawl,asr"]
    tables = whole if not stages else {name: whole[name] for name in ("videos", "articles", "transcripts")}
    with MadeUpSite(num_videos=0) as site:
        both = [start(*sample_run(root), *stages, site=site.address) for _ in range(2)]
        for process in both:
            out, err = process.communicate(timeout=400)
            assert process.returncode == 0, out + err
        asked = Counter(target for target in site.asked if target.startswith("/api/videos/"))
    assert set(asked.values()) == {1}, "one visit a video, also where another run needs its sound"
    assert_same(tables, made(root))
    assert vsumdata("verify", "--root", str(root)).returncode == 0
    assert leftovers(root) == []
    assert vsumdata("compact", "--root", str(root)).returncode == 0
    assert_same(tables, made(root))


def made(root: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The tables that have rows."""
    return {name: rows for name, rows in contents(root).items() if rows}
