"""TVSum and SumMe from every published form, and what is wrong with one said by video and key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from tests.datasets.benchmarks.benchmark_files import (
    TVSUM_IDS,
    eccv16_video,
    tvsum_scores,
    write_eccv16,
    write_tvsum_mat,
    write_tvsum_tsv,
)

from vsumdata.datasets.benchmarks import summe, tvsum
from vsumdata.datasets.benchmarks.forms import tvsum_annotations
from vsumdata.datasets.keyshots import summary_from_scores
from vsumdata.datasets.video import collate
from vsumdata.manifests.errors import UsageError
from vsumdata.train.data.targets import with_targets
from vsumdata.train.models.text import subtitles
from vsumdata.train.scoring.evaluate import evaluate

H5 = "eccv16_dataset_tvsum_google_pool5.h5"


def test_the_hdf5_file_alone(tmp_path):
    videos = tvsum.load(write_eccv16(tmp_path / H5, 50))
    assert [video.video_id for video in videos] == [f"video_{i}" for i in range(1, 51)]  # 2 before 10
    theirs, ours = eccv16_video(10), videos[9]
    np.testing.assert_array_equal(ours.frame_feature, theirs["features"])
    np.testing.assert_array_equal(ours.gt_score, theirs["gtscore"])
    np.testing.assert_array_equal(ours.user_summary, theirs["user_summary"])
    np.testing.assert_array_equal(ours.change_points, theirs["change_points"])
    np.testing.assert_array_equal(ours.frame_time_s, theirs["picks"] / np.float32(30))
    assert (ours.n_frames, ours.user_score, ours.url) == (70, None, None)
    assert tvsum.PROTOCOL.name == "tvsum"


def write_text(folder: Path, num_videos: int, sizes: Sequence[int] = (3,)) -> dict[str, np.ndarray]:
    """A2Summ's text_roberta.npy: for each video an array [captions, 768]."""
    rng = np.random.default_rng(0)
    found = {
        f"video_{i}": rng.random((sizes[i % len(sizes)], 768)).astype(np.float32) for i in range(1, num_videos + 1)
    }
    np.save(folder / "text_roberta.npy", np.array(found, dtype=object), allow_pickle=True)
    return found


@pytest.mark.parametrize("annotated", [False, True])
def test_a2summs_text_beside_the_hdf5_file(tmp_path, annotated):
    """Caption j goes with the steps from j·⌈T/M⌉ to (j+1)·⌈T/M⌉; more captions than steps leave some without any."""
    write_eccv16(tmp_path / H5, 50)
    theirs = write_text(tmp_path, 50, sizes=(1, 2, 3, 4, 5, 7, 40))
    if annotated:  # the published lengths give other times
        write_tvsum_tsv(tmp_path)
    for video in tvsum.load(tmp_path):
        feature = theirs[video.video_id]
        np.testing.assert_array_equal(video.sentence_feature, feature)
        num_steps, num_captions = len(video.frame_time_s), len(feature)
        share = math.ceil(num_steps / num_captions)
        expected = np.zeros((num_steps, num_captions), bool)
        for j in range(num_captions):
            expected[j * share : min((j + 1) * share, num_steps), j] = True
        text = subtitles(collate([video]))
        assert text is not None
        np.testing.assert_array_equal(text.cover[0].numpy(), expected)
        found = with_targets(video, "keyshots")
        np.testing.assert_array_equal(found.sentence_label, expected[np.asarray(found.gt_summary) > 0].any(0))


def test_a2summs_text_of_summe(tmp_path):
    write_eccv16(tmp_path / "eccv16_dataset_summe_google_pool5.h5", 25)
    assert summe.load(tmp_path)[3].sentence_feature is None
    theirs = write_text(tmp_path, 25)
    np.testing.assert_array_equal(summe.load(tmp_path)[3].sentence_feature, theirs["video_4"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video_7": None}, "has 49 videos, .*first without text: video_7"),
        ({"video_51": np.zeros((2, 768))}, "has 51 videos, .* 50: another data set's file"),
        ({"video_7": np.zeros(768)}, r"video_7 is \[768\]; expected \[captions, 768\]"),
        ({"video_7": np.zeros((0, 768))}, r"video_7 is \[0, 768\]"),
        ({"video_7": np.full((2, 768), np.nan)}, "video_7: text holds values that are not finite"),
    ],
)
def test_a_text_that_does_not_fit_names_the_video(tmp_path, change, message):
    write_eccv16(tmp_path / H5, 50)
    found = {name: value for name, value in (write_text(tmp_path, 50) | change).items() if value is not None}
    np.save(tmp_path / "text_roberta.npy", np.array(found, dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match=message):
        tvsum.load(tmp_path)


@pytest.mark.parametrize("form", ["tsv", "mat", "parquet"])
def test_annotations_in_each_form_with_the_features(tmp_path, form):
    write_eccv16(tmp_path / H5, 50)
    if form == "mat":
        write_tvsum_mat(tmp_path / "ydata-tvsum50.mat")
    else:
        path = write_tvsum_tsv(tmp_path)
        if form == "parquet":
            as_parquet(path)
    videos = tvsum.load(tmp_path)
    assert [video.url for video in videos] == [f"https://www.youtube.com/watch?v={name}" for name in TVSUM_IDS]
    for number in (1, 37):
        video = videos[number - 1]
        np.testing.assert_array_equal(video.user_score, tvsum_scores(number)[:, ::15])
        assert video.user_score.shape == (20, len(video.frame_time_s))
        assert video.frame_feature.shape[1] == 8
    if form == "mat":
        assert videos[0].title == "Title 1 é"
        assert videos[0].frame_time_s[-1] == pytest.approx(60 / 30)
    if form == "tsv":
        assert videos[0].title == 'Title "0'  # a quote in a title is no quoting
        assert videos[0].duration_s == 2
        assert videos[0].frame_time_s[1] == pytest.approx(15 * 2 / 61)


def as_parquet(tsv):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [line.split("\t") for line in tsv.read_text().splitlines()]
    columns = {
        "video_id": [row[0] for row in rows],
        "category": [row[1] for row in rows],
        "user": pa.array([i % 20 for i in range(len(rows))], pa.int8()),
        "scores": pa.array([list(map(int, row[2].split(","))) for row in rows], pa.list_(pa.int8())),
    }
    pq.write_table(pa.table(columns), tsv.with_name("tvsum_annotations.parquet"))
    tsv.unlink()


def test_annotations_alone(tmp_path):
    path = write_tvsum_tsv(tmp_path, info=False)
    video = tvsum.load(path)[11]
    assert (video.video_id, video.n_frames, video.frame_feature.shape) == ("video_12", 72, (5, 0))
    assert video.gt_score.tolist() == tvsum_scores(12).mean(0)[::15].tolist()
    assert (video.user_summary, video.duration_s) == (None, None)
    every = tvsum.load(path, step=1)[11]
    np.testing.assert_array_equal(every.user_score, tvsum_scores(12))


def test_a_wrong_order_is_found_by_the_lengths(tmp_path):
    write_eccv16(tmp_path / H5, 50)
    order = list(range(1, 51))
    order[4], order[5] = order[5], order[4]
    write_tvsum_tsv(tmp_path, order=order, info=False)
    with pytest.raises(UsageError, match=r"not in the same order: 2 videos differ, first video_5 has 65 .* 66"):
        tvsum.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": None}, "video_3 has no features; it has change_points, gtscore"),
        ({"user_summary": None, "picks": None}, "video_3 has no user_summary, picks"),
        (
            {"features": np.zeros((4, 8))},
            "video_3: the numbers of steps differ or are 0: features 4, gtscore 5, picks 5",
        ),
        ({"gtscore": np.zeros(6)}, "features 5, gtscore 6, picks 5"),
        ({"picks": np.array([0, 15, 30, 45, 63])}, r"picks do not ascend within 0 to n_frames - 1 = 62"),
        ({"picks": np.array([0, 15, 15, 45, 60])}, "picks do not ascend"),
        # Half seconds, seconds and the numbers of the steps.
        ({"picks": np.arange(5) / 2}, "picks holds 0.5; expected whole frame numbers, not seconds"),
        ({"picks": np.arange(5)}, "picks end at 4 in steps of 1; expected .* within one step of n_frames = 63"),
        ({"picks": np.arange(0, 50, 10)}, "picks end at 40 in steps of 10"),
        ({"change_points": np.array([[0, 0.9], [1, 62]])}, "change_points holds 0.9; expected whole frame numbers"),
        ({"change_points": np.array([[0, 0], [1, 2]])}, "change_points end at frame 2; expected .* of frame 62"),
        ({"change_points": np.array([[0, 19], [20, 46]])}, "change_points end at frame 46"),
        ({"change_points": np.full((3, 2), np.nan)}, "change_points holds values that are not finite"),
        ({"user_summary": np.zeros((3, 48))}, r"user_summary is \[3, 48\]; expected \[users, n_frames = 63\]"),
        ({"user_summary": np.zeros((0, 63))}, r"user_summary is \[0, 63\]"),
        ({"user_summary": np.zeros((20, 78))}, r"user_summary is \[20, 78\]"),
        ({"user_summary": np.full((20, 63), np.nan)}, "user_summary holds values that are not finite"),
        ({"user_summary": np.ones((15, 63))}, "user_summary is of 15 users; TVSum has 20"),
        ({"change_points": np.zeros((3, 3))}, r"change_points is \[3, 3\]"),
        ({"change_points": np.array([[0, 19], [21, 44], [45, 62]])}, "without gap or overlap"),
        ({"change_points": np.array([[0, 19], [20, 44], [45, 64]])}, "cut frames 0 to 62"),
        ({"n_frames": np.array([63, 63])}, r"n_frames has shape \[2\]; expected one number"),
        ({"features": np.full((5, 8), np.nan)}, "features holds values that are not finite"),
    ],
)
def test_what_does_not_fit_names_video_and_key(tmp_path, change, message):
    path = write_eccv16(tmp_path / H5, 50, {"video_3": change})
    with pytest.raises(UsageError, match=message) as caught:
        tvsum.load(path)
    assert "video_3" in str(caught.value)
    assert str(path) in str(caught.value)


def test_optional_keys_and_matlab_scalars(tmp_path):
    change = {"video_3": {"gtsummary": None, "n_steps": None, "n_frames": np.array([[63.0]])}}
    assert tvsum.load(write_eccv16(tmp_path / H5, 50, change))[2].n_frames == 63


@pytest.mark.parametrize("width", [49, 60, 77])
def test_users_may_have_judged_a_few_frames_more_or_less(tmp_path, width):
    judged = np.random.default_rng(0).integers(0, 2, (20, width))
    path = write_eccv16(tmp_path / H5, 50, {"video_3": {"user_summary": judged * 2.5 - (judged == 0)}})
    video = tvsum.load(path)[2]
    np.testing.assert_array_equal(video.user_summary, judged == 1)  # chosen is what is above 0
    scores = np.random.default_rng(1).random(5)
    summary = summary_from_scores(scores, video, tvsum.PROTOCOL)
    assert len(summary) == video.n_frames == 63
    fitted = np.pad(summary, (0, max(0, width - 63)))[:width]
    expected = [2 * (fitted & user).sum() / max(1, fitted.sum() + user.sum()) for user in video.user_summary]
    result = evaluate(scores, replace(video, user_score=tvsum_scores(3)[:, ::15]), tvsum.PROTOCOL)
    assert result.values["f1"] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("lengths", [None, np.array([20, 25, 17]), np.zeros(9)])
def test_stated_lengths_of_shots_are_not_needed(tmp_path, lengths):
    video = tvsum.load(write_eccv16(tmp_path / H5, 50, {"video_3": {"n_frame_per_seg": lengths}}))[2]
    assert video.change_points.tolist() == [[0, 19], [20, 44], [45, 62]]


def test_what_published_files_have_otherwise_is_read(tmp_path):
    shots = np.array([[0, 19], [20, 44], [45, 63]])
    video = tvsum.load(
        write_eccv16(tmp_path / H5, 50, {"video_3": {"change_points": shots, "gtsummary": np.zeros(63)}})
    )[2]
    assert video.change_points.tolist() == [[0, 19], [20, 44], [45, 62]]
    assert video.gt_summary is None


def test_a_miscount_of_frames_is_no_other_order(tmp_path):
    longer = {"n_frames": np.int64(112)}  # the annotations have 110
    write_eccv16(tmp_path / H5, 50, {"video_50": longer | {"change_points": np.array([[0, 111]])}})
    write_tvsum_tsv(tmp_path)
    video = tvsum.load(tmp_path)[49]
    assert video.n_frames == 112
    np.testing.assert_array_equal(video.user_score, tvsum_scores(50)[:, ::15])


@pytest.mark.parametrize("number", [114, 119, 120])
def test_another_length_is_another_video(tmp_path, number):
    other = {"n_frames": np.int64(number), "change_points": np.array([[0, number - 1]])}
    write_eccv16(tmp_path / H5, 50, {"video_50": other | {"user_summary": np.zeros((20, number))}})
    write_tvsum_tsv(tmp_path)
    with pytest.raises(UsageError, match=rf"1 videos differ, first video_50 has {number} frames, youtube0050 110"):
        tvsum.load(tmp_path)


def test_a_path_that_is_not_there():
    with pytest.raises(UsageError, match=r"^/nonexist is not there; get"):
        tvsum.load("/nonexist")


def test_another_data_sets_file(tmp_path):
    write_eccv16(tmp_path / "of_summe.h5", 25, named=True)
    with pytest.raises(UsageError, match=r"holds 25 videos, not video_1 to video_50 .*another data set's file"):
        tvsum.load(tmp_path / "of_summe.h5")
    write_eccv16(tmp_path / "of_tvsum.h5", 50)
    with pytest.raises(UsageError, match="holds 50 videos, not video_1 to video_25"):
        summe.load(tmp_path / "of_tvsum.h5")
    with pytest.raises(UsageError, match="has no tvsum50"):
        tvsum_annotations.read(write_eccv16(tmp_path / "of_tvsum.mat", 2))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("youtube0001\tVT\t1,2,x\n", "line 1 is not"),
        ("youtube0001\tVT\n", "line 1 is not"),
        ("youtube0001\tVT\t1,2\nyoutube0001\tVT\t1\n", "different numbers of frames"),
        ("youtube0001\tVT\t1,2\n", "annotates 1 videos; TVSum has 50"),
    ],
)
def test_annotations_that_are_not_tvsums(tmp_path, line, message):
    path = tmp_path / "ydata-tvsum50-anno.tsv"
    path.write_text(line)
    with pytest.raises(UsageError, match=message):
        tvsum.load(path)


def test_annotations_with_a_score_out_of_range(tmp_path):
    path = write_tvsum_tsv(tmp_path)
    path.write_text(path.read_text().replace("\tVT\t1,", "\tVT\t6,", 1))
    with pytest.raises(UsageError, match="youtube00.. lacks scores of 1 to 5 from 20 users"):
        tvsum.load(path)


@pytest.mark.parametrize(
    ("text", "seconds"), [("353", 353), ("353.6", 353.6), ("5:53", 353), ("1:05:53", 3953), ("", None), ("?", None)]
)
def test_lengths(text, seconds):
    assert tvsum_annotations.seconds(text) == seconds


def test_a_folder_with_nothing_or_too_much(tmp_path):
    with pytest.raises(UsageError, match="holds neither"):
        tvsum.load(tmp_path)
    for name in ("a_tvsum.h5", "b_tvsum.h5"):
        write_eccv16(tmp_path / name, 1)
    with pytest.raises(UsageError, match="several HDF5 files"):
        tvsum.load(tmp_path)


def test_summe_with_and_without_its_own_annotations(tmp_path):
    write_eccv16(tmp_path / "eccv16_dataset_summe_google_pool5.h5", 25, named=True)
    video = summe.load(tmp_path)[4]
    assert (video.title, video.duration_s, video.user_summary.shape) == ("Clip 5", None, (20, 65))
    (tmp_path / "GT").mkdir()
    for number in range(1, 26):
        chosen = eccv16_video(number)["user_summary"].T * 7  # the number of a segment, not an importance
        savemat(tmp_path / "GT" / f"Clip {number}.mat", {"user_score": chosen, "FPS": 25.0, "nFrames": len(chosen)})
    video = summe.load(tmp_path)[4]
    assert video.duration_s == 65 / 25
    np.testing.assert_allclose(video.frame_time_s, np.arange(0, 65, 15) / 25, rtol=1e-6)
    savemat(tmp_path / "GT" / "Clip 5.mat", {"user_score": np.zeros((66, 20)), "FPS": 25.0})
    assert summe.load(tmp_path)[4].duration_s == 66 / 25
    savemat(tmp_path / "GT" / "Clip 5.mat", {"user_score": np.zeros((80, 20)), "FPS": 25.0})
    with pytest.raises(UsageError, match=r"Clip 5.mat .*video_5"):
        summe.load(tmp_path)
    savemat(tmp_path / "GT" / "Clip 5.mat", {"user_score": np.zeros((64, 3)), "FPS": 25.0})
    with pytest.raises(UsageError, match=r"Clip 5.mat .*video_5"):
        summe.load(tmp_path)
    savemat(tmp_path / "GT" / "Clip 5.mat", {"user_score": np.zeros((65, 3))})
    with pytest.raises(UsageError, match=r"Clip 5.mat has no FPS"):
        summe.load(tmp_path)


def test_summe_needs_its_names_only_for_its_own_annotations(tmp_path):
    changes = {"video_2": {"video_name": None}, "video_3": {"video_name": [b"Clip 3"]}}
    write_eccv16(tmp_path / "summe.h5", 25, changes, named=True)
    assert [video.title for video in summe.load(tmp_path)[:3]] == ["Clip 1", None, "Clip 3"]
    (tmp_path / "GT").mkdir()
    with pytest.raises(UsageError, match="video_2 has no video_name"):
        summe.load(tmp_path)


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9])
def test_a_matlab_5_file_that_stopped_early(tmp_path, kept):
    path = tmp_path / "Clip 1.mat"
    savemat(path, {"FPS": 25.0, "user_score": np.random.default_rng(0).random((100, 3))}, do_compression=True)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(UsageError, match=r"Clip 1.mat is not a MATLAB 5 file, or is cut off"):
        summe.read_mat(path)


@pytest.mark.recorded
def test_tvsums_real_annotations(recordings):
    videos = tvsum.load(recordings / "tvsum_annotations.parquet")
    assert [video.url.partition("v=")[2] for video in videos][:2] == ["AwmHb44_ouw", "98MoyGZKHXc"]
    lengths = {video.n_frames or 0 for video in videos}
    assert (min(lengths), max(lengths)) == (2500, 19406)
    assert len(lengths) == 50, "a video out of its place must show by its length"
    assert {video.user_score.shape[0] for video in videos} == {20}
    assert videos[0].gt_score[0] == pytest.approx(2.9)
