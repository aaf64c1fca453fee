"""Real footage, real speech and real pages through the whole program."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.media_kit import needs_models, read_tables, run, write_manifest
from tests.stages.pictures.numbered_clips import ffmpeg

from vsumdata.datasets.shards import open_shards
from vsumdata.manifests import upkeep
from vsumdata.manifests.store import Store

pytestmark = [pytest.mark.recorded, pytest.mark.slow, pytest.mark.ray, needs_models]

DURATION_S = {
    "charades": 30.72,
    "dj_video1": 11.75,
    "dj_video4": 22.50,
    "manifesto": 88.08,
    "nasa_13013": 13.06,
    "jfk": 11.0,
}
PAGES = {
    "charades": "2020-08-15__3_Ways_to_Cook_Lamb_Steaks.html",
    "dj_video4": "2020-08-15__How_to_Grill_Flank_Steak__15_Steps_with_Pictures.html",
}
Rows = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, recordings: Path, ray_session: None) -> Path:
    """The root of one run over all recordings."""
    folder = tmp_path_factory.mktemp("recorded")
    media = recordings / "media"
    spoken = ("-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", "-t", 11)
    ffmpeg("-i", media / "dj_video1.mp4", "-i", media / "jfk.flac", *spoken, folder / "jfk.mp4")
    lines: list[dict[str, Any]] = [{"video": str(path)} for path in sorted(media.glob("*.mp4"))]
    for line in lines:
        video_id = Path(line["video"]).stem
        if video_id in PAGES:
            line["article"] = str(recordings / "wikihow_pages" / PAGES[video_id])
        if video_id == "manifesto":
            line["captions"] = str(recordings / "captions" / "manifesto.vtt")
    manifest = write_manifest(folder, [*lines, {"video": "jfk.mp4"}])
    code, shown = run(manifest, folder / "root", "crawl,asr,features")
    assert (code, "nothing pending" in shown) == (0, True), shown
    return folder / "root"


@pytest.fixture(scope="module")
def rows(root: Path) -> Rows:
    return read_tables(root)


def test_every_recording_is_done(root: Path, rows: Rows) -> None:
    for table in ("videos", "frames", "features"):
        assert {video_id: row["outcome"] for video_id, row in rows[table].items()} == dict.fromkeys(DURATION_S, "done")
    assert upkeep.verify(Store(root)).problems == []


@pytest.mark.parametrize("video_id", DURATION_S)
def test_a_frame_per_second(rows: Rows, video_id: str) -> None:
    row = rows["frames"][video_id]
    num_frames = len(row["frame_time_s"])
    assert abs(num_frames - math.ceil(DURATION_S[video_id])) <= 1
    assert len(row["frame_feature"]) == num_frames
    assert np.abs(row["frame_time_s"] - np.arange(num_frames)).max() < 0.1
    assert (row["shot_start"][0], row["shot_stop"][-1]) == (0, num_frames)
    assert rows["videos"][video_id]["duration_s"] == pytest.approx(DURATION_S[video_id], abs=0.1)


def test_the_best_of_two_picture_streams(rows: Rows) -> None:
    row = rows["frames"]["nasa_13013"]
    assert (row["width"], row["height"]) == (480, 270)


def words(row: dict[str, Any]) -> str:
    text = " ".join(sentence["text"] for sentence in row["sentence"]).lower()
    return " ".join("".join(letter if letter.isalnum() else " " for letter in text).split())


def test_what_is_said_is_heard(rows: Rows) -> None:
    row = rows["transcripts"]["jfk"]
    assert (row["kind"], row["language"]) == ("asr", "en")
    assert "ask not what your country can do for you" in words(row)
    assert 0 <= row["sentence"][0]["start_s"] < row["sentence"][-1]["end_s"] <= 11.5


def test_own_captions_come_before_whisper(rows: Rows) -> None:
    row = rows["transcripts"]["manifesto"]
    assert (row["kind"], row["engine"]) == ("manual", "captions")
    assert len(row["sentence"]) > 1
    starts = [sentence["start_s"] for sentence in row["sentence"]]
    assert starts == sorted(starts)
    assert starts[-1] < DURATION_S["manifesto"]


def test_pages_keep_their_steps_and_fractions(rows: Rows) -> None:
    for video_id, name in (("charades", "Cook-Lamb-Steaks"), ("dj_video4", "Grill-Flank-Steak")):
        row = rows["articles"][video_id]
        assert (row["site"], row["url"]) == ("wikihow", f"https://www.wikihow.com/{name}")
        assert len(row["step"]) == 15
        features = rows["features"][video_id]
        assert [step["text"] for step in features["step"]] == [step["text"] for step in row["step"]]
        assert features["article_url"] == row["url"]
    text = " ".join(step["text"] for step in rows["articles"]["dj_video4"]["step"])
    assert "1⁄4" in text
    assert "1⁄3" in text


@pytest.mark.parametrize("video_id", DURATION_S)
def test_features_are_finite_and_unit_norm(rows: Rows, video_id: str) -> None:
    row = rows["features"][video_id]
    for name, texts in (("frame", row["frame_time_s"]), ("sentence", row["sentence"]), ("step", row["step"])):
        feature = row[f"{name}_feature"].astype(np.float64)
        assert len(feature) == len(texts)
        assert np.isfinite(feature).all()
        assert np.linalg.norm(feature, axis=1) == pytest.approx(1, abs=5e-3)


def test_shards_open(root: Path, rows: Rows) -> None:
    videos = {video.video_id: video for video in open_shards(str(root))}
    assert set(videos) == set(DURATION_S)
    assert videos["dj_video4"].step_feature.shape[0] == 15
    for video_id, video in videos.items():
        np.testing.assert_array_equal(video.frame_feature, rows["features"][video_id]["frame_feature"])
