"""YouTube Highlights in its three forms, and UMT's split and features."""

from __future__ import annotations

import gzip
import json
import pickle
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets.benchmarks.highlights.highlight_files import (
    CLIPS,
    DOG,
    DOG_TEST,
    DOMAINS,
    SKATING_TEST,
    line,
    record,
    write_authors,
    write_features,
    write_lines,
    write_umt,
)
from tests.datasets.shards_kit import FINGERPRINT, SCHEMA, payload, row

from vsumdata.datasets import published_splits
from vsumdata.datasets.benchmarks.highlights import youtube_highlights
from vsumdata.datasets.benchmarks.highlights.umt_features import Clips
from vsumdata.datasets.join import join_features
from vsumdata.datasets.splits import folds
from vsumdata.datasets.video import Video
from vsumdata.manifests import rows
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.store import Store
from vsumdata.train.scoring import chance
from vsumdata.train.scoring.evaluate import evaluate

load = youtube_highlights.load


def test_umts_annotation(tmp_path: Path) -> None:
    path = write_umt(tmp_path)
    packed = tmp_path / "packed" / "youtube_anno.json.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for form in (path, tmp_path, packed, packed.parent):
        videos = load(form)
        assert {video.video_id: (video.query, video.split) for video in videos} == {
            DOG: ("dog", "train"),
            DOG_TEST: ("dog", "test"),
            SKATING_TEST: ("skating", "test"),
            "unlisted-id": ("surfing", None),
        }
        video = videos[0]
        assert np.asarray(video.gt_summary).tolist() == [0, 0, 1, 1], "a borderline clip is no highlight"
        assert np.asarray(video.gt_score).tolist() == [0, 0, 1, 1]
        # A clip's middle frame stands for it, at 25 frames a second.
        assert np.asarray(video.picks).tolist() == [50, 100, 150, 205]
        np.testing.assert_allclose(video.frame_time_s, [2, 4, 6, 8.2], rtol=1e-6)
        assert (video.duration_s, video.n_frames, video.title, video.task) == (10.4, 260, "A dog runs", None)
        assert video.url == f"https://www.youtube.com/watch?v={DOG}"
        assert video.frame_feature.shape == (4, 0)
    assert youtube_highlights.PROTOCOL.name == "umt-youtube-highlights"


def test_lighthouses_annotation(tmp_path: Path) -> None:
    write_lines(tmp_path / "youtube_highlight_train_release.jsonl", line(DOG))
    write_lines(tmp_path / "youtube_highlight_val_release.jsonl", line(DOG_TEST), line(SKATING_TEST))
    videos = load(tmp_path)
    assert [(video.video_id, video.split) for video in videos] == [
        (DOG, "train"),
        (DOG_TEST, "test"),
        (SKATING_TEST, "test"),
    ]
    theirs = {video.video_id: video for video in load(write_umt(tmp_path))}
    for video in videos:
        for name in ("frame_time_s", "gt_summary", "picks"):
            np.testing.assert_array_equal(getattr(video, name), getattr(theirs[video.video_id], name))
    # A folder that has both forms is read as UMT's.
    assert len(load(tmp_path)) == 4
    (alone,) = load(write_lines(tmp_path / "mine.jsonl", line(DOG)))
    assert alone.split == "train", "by UMT's list, where the file's name does not tell"


def test_the_authors_folders(tmp_path: Path) -> None:
    """They have no frame rate: a root of ours tells the length, and with it the time of each frame."""
    videos = load(write_authors(tmp_path))
    assert {video.video_id: video.query for video in videos} == DOMAINS
    assert {video.split for video in videos} == {"train", "test", None}
    for video in videos:
        assert (video.duration_s, video.n_frames, video.title) == (None, 260, "A dog runs")
        np.testing.assert_allclose(video.frame_time_s, np.array([50, 100, 150, 205]) / 30, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({DOG: {"fps": 25.0}}, f"{DOG} has no frames, domain, clip, match: this is not YouTube Highlights"),
        ({DOG: record(domain="cat")}, "domain is 'cat'; expected one of dog, gymnastics"),
        ({DOG: record(fps=0)}, "260 frames at 0 a second"),
        ({DOG: record(fps="fast")}, "fps does not hold numbers"),
        ({DOG: record(frames="many")}, "frames does not hold numbers"),
        ({DOG: record(clip=[[0, 100]])}, r"match is \[4\]; expected \[1\]"),
        ({DOG: record(clip=[], match=[])}, r"clip is \[0\]; expected \[any, 2\]"),
        ({DOG: record(clip=[[100, 50], *CLIPS[1:]])}, "clip does not hold first frames and ends"),
        ({DOG: record(clip=CLIPS[::-1])}, "clip does not hold first frames and ends of clips in the order of time"),
        ({DOG: record(match=[-1, 0, 1, 2])}, "match holds 2; expected -1, 0 or 1"),
        ({DOG: record(match=[-1, 0, 1, float("nan")])}, "match holds values that are not finite"),
        ({DOG: record(match=[-1, 0, 1, None])}, "match holds values that are not finite"),
        ({DOG: record(match=[[-1], [0, 1], 1])}, "match does not hold numbers"),
        ({DOG: 3}, f"{DOG} has no fps"),
    ],
)
def test_a_wrong_record_names_file_and_video(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write_umt(tmp_path, changes)
    with pytest.raises(UsageError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {DOG}")
    assert "\n" not in str(caught.value)


def test_other_ways_to_be_wrong(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there; get it from aliensunmin"):
        load(tmp_path / "gone.json")
    with pytest.raises(UsageError, match=r"holds neither youtube_anno.json nor .* nor a folder for each of dog"):
        load(tmp_path)
    val = tmp_path / "youtube_highlight_val_release.jsonl"
    for its, message in [
        ([line(DOG), line(DOG)], f"{DOG} is there twice"),
        ([line(DOG, label=[[1]] * 4)], "label is not 1 where match is above 0"),
        ([line(DOG, label=[1, 0, 0, 0])], r"label is \[4\]; expected \[any, 1\]"),
        ([line(DOG, vid=3)], "id is 3"),
        ([{"qid": 1}], "line 1 has no vid, label, fps"),
    ]:
        with pytest.raises(UsageError, match=message):
            load(write_lines(val, *its))
    folder = write_authors(tmp_path / "authors")
    (folder / "dog" / DOG / "match_label.json").write_text("[[1]]")
    with pytest.raises(UsageError, match=rf"{DOG}/match_label.json is not \[clips, labels\]"):
        load(folder)
    (folder / "dog" / DOG / "match_label.json").unlink()
    with pytest.raises(UsageError, match="match_label.json is not there"):
        load(folder)
    (tmp_path / "bare" / "dog").mkdir(parents=True)
    with pytest.raises(UsageError, match="dog holds no videos"):
        load(tmp_path / "bare")


def test_umts_features_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    path = write_umt(tmp_path)
    write_features(tmp_path, dict.fromkeys(DOMAINS, 4) | {DOG: 3, DOG_TEST: 6})
    for form in (tmp_path, path):
        videos = load(form)
        assert isinstance(videos, Clips)
        assert pickle.loads(pickle.dumps(videos)).video_ids == list(DOMAINS)
        assert [video.frame_feature.shape[1] for video in videos.described] == [0] * 4
        short, longer = videos[0], videos[1:][0]
        assert (short.frame_feature.shape, longer.frame_feature.shape) == ((3, 6), (4, 6))
        assert short.audio_feature is not None
        assert short.audio_feature.shape == (3, 2)
        assert np.asarray(short.gt_summary).tolist() == [0, 0, 1]
        assert np.asarray(short.picks).tolist() == [50, 100, 150]
        np.testing.assert_array_equal(
            short.frame_feature[:, :3], np.load(tmp_path / "video_features" / f"{DOG}_rgb.npy")
        )
    features = tmp_path / "video_features"
    np.save(features / f"{DOG}_opt.npy", np.ones((2, 3)))
    with pytest.raises(UsageError, match=f"{DOG} has 3 and 2 clips of rgb and opt"):
        videos[0]
    np.save(features / f"{DOG}_rgb.npy", np.full((2, 3), np.nan))
    with pytest.raises(UsageError, match="rgb.npy holds values that are not finite"):
        videos[0]
    np.save(features / f"{DOG}_rgb.npy", np.ones(3))
    with pytest.raises(UsageError, match=r"rgb.npy is \[3\] of float64; expected numbers, \[rows, size\]"):
        videos[0]
    for stream in ("rgb", "opt"):
        np.save(features / f"{DOG}_{stream}.npy", np.ones((1, 3)))
    with pytest.raises(UsageError, match="1 clips with features and 4 annotated ones: other videos'"):
        videos[0]
    (features / f"{DOG}_rgb.npy").unlink()
    with pytest.raises(UsageError, match=f"{DOG}_rgb.npy is not there; get UMT's features"):
        load(tmp_path)


def test_a_clip_takes_our_frame_in_its_middle(tmp_path: Path) -> None:
    """The authors' form has no frame rate: our length gives it. Our root has a frame a second, 10.4 s of 260 frames."""
    store = Store(tmp_path / "root")
    found = [row(DOG, payload(11, "train", text=False) | {"duration_s": 10.4})]
    store.write("features", FINGERPRINT, rows.to_table(SCHEMA, found))
    store.write_json("dataset.json", {"manifest": {}, "tables": {"features": {"fingerprint": FINGERPRINT}}})
    (tmp_path / "authors").mkdir()
    for videos in (load(write_authors(tmp_path / "authors")), load(write_umt(tmp_path))):
        (joined,), report = join_features(videos, str(tmp_path / "root"))
        assert joined.video_id == DOG
        np.testing.assert_allclose(joined.frame_time_s, [2, 4, 6, 8.2], rtol=1e-6)
        # The first component of a frame's feature is 4 times its number.
        assert (joined.frame_feature[:, 0] / 4).tolist() == [2, 4, 6, 8]
        assert len(report.left_out) == len(DOMAINS) - 1


def test_a_fold_for_each_domain(tmp_path: Path) -> None:
    ids = [video.video_id for video in load(write_umt(tmp_path))]
    with pytest.raises(UsageError, match="names none of the 1 videos to test, or none to train on; give the folder"):
        folds("youtube-highlights", [SKATING_TEST])
    (fold,) = folds("youtube-highlights", ids)
    assert (fold.train, fold.test, fold.name) == ((DOG,), (DOG_TEST,), "dog")
    without = "without gymnastics and parkour and skating and skiing and surfing"
    assert fold.label == f"youtube-highlights/umt {without}, fold 1 of 1 (dog)"
    every = [
        v
        for fold in published_splits.by_domain("youtube-highlights", "umt").values()
        for v in fold["train"] + fold["test"]
    ]
    found = {fold.name: fold for fold in folds("youtube-highlights/umt", every)}
    counts = {name: (len(fold.train) + len(fold.val), len(fold.test)) for name, fold in found.items()}
    assert counts == {
        "dog": (44, 24), "gymnastics": (34, 28), "parkour": (21, 11), "skating": (24, 11), "skiing": (68, 51),
        "surfing": (56, 47),
    }  # fmt: skip
    assert all(not set(fold.test) & {*fold.train, *fold.val} for fold in found.values())
    assert len(found["dog"].val) == 9, "a fifth of the domain's own training videos chooses the epoch"
    (legacy, *_) = folds("youtube-highlights", every, legacy=True)
    assert (legacy.val, len(legacy.train), legacy.name) == (legacy.test, 44, "dog")


@pytest.mark.recorded
def test_the_published_annotations(recordings: Path, tmp_path: Path) -> None:
    folder = recordings / "benchmarks" / "YouTubeHighlights"
    umt = {video.video_id: video for video in load(folder)}
    assert Counter(video.split for video in umt.values()) == {"train": 235, "test": 157, None: 30}
    assert Counter(video.query for video in umt.values()) == {
        "skiing": 118, "surfing": 104, "gymnastics": 60, "dog": 57, "skating": 53, "parkour": 30,
    }  # fmt: skip
    with tarfile.open(folder / "DomainSpecificHighlight.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    authors = {video.video_id: video for video in load(tmp_path)}
    assert len(authors) == 550
    assert Counter(video.split for video in authors.values()) == {"train": 247, "test": 172, None: 131}
    for part, count in (("train", 233), ("val", 152)):
        its = load(folder / f"youtube_highlight_{part}_release.jsonl")
        assert len(its) == count
        for video in its:
            for other in (umt[video.video_id], authors[video.video_id]):
                assert (video.query, video.split) == (other.query, other.split)
                np.testing.assert_array_equal(video.gt_summary, other.gt_summary)
                np.testing.assert_array_equal(video.picks, other.picks)
            np.testing.assert_array_equal(video.frame_time_s, umt[video.video_id].frame_time_s)


@pytest.mark.recorded
def test_official_answers_on_the_loaded_videos(recordings: Path) -> None:
    """Labels and AP of each validation video, and chance by domain on lighthouse's 152."""
    pack = json.loads((recordings / "golden_real" / "15_umt_real.json").read_text())["youtube"]
    val = load(recordings / "benchmarks" / "YouTubeHighlights" / "youtube_highlight_val_release.jsonl")
    videos = {video.video_id: video for video in val}
    for name, clips in pack.items():
        video = videos[name]
        assert (np.asarray(video.gt_summary) == (np.array(clips["match"]) > 0)).all()
        assert video.query == clips["domain"]
        found = evaluate(np.array(clips["score"]), video, youtube_highlights.PROTOCOL).values["ap_trapezoidal"]
        assert found == pytest.approx(clips["ap_rounded5"], abs=6e-6)
    expected = {name: np.mean([_chance(v) for v in val if v.query == name]) for name in youtube_highlights.DOMAINS}
    assert {name: round(float(value), 3) for name, value in expected.items()} == {
        "dog": 0.441, "gymnastics": 0.608, "parkour": 0.518, "skating": 0.362, "skiing": 0.609, "surfing": 0.490,
    }  # fmt: skip


def _chance(video: Video) -> float:
    relevant = np.asarray(video.gt_summary)
    return chance.trapezoidal_ap(len(relevant), int(relevant.sum()))
