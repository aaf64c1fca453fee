"""VideoXum's annotations: ten users' seconds, and sentences with the seconds that most users chose."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import videoxum_video, write_instruct_v2xum, write_videoxum

from vsumdata.datasets.benchmarks import videoxum
from vsumdata.manifests.errors import UsageError


def of(tmp_path: Path, **changes: Any) -> Any:
    path = tmp_path / "videoxum.json"
    path.write_text(json.dumps([videoxum_video() | changes]))
    (video,) = videoxum.load(path)
    return video


def test_the_splits_are_the_files(tmp_path: Path) -> None:
    write_videoxum(tmp_path)
    for path in (tmp_path, tmp_path / "anno"):
        videos = videoxum.load(path)
        assert [video.split for video in videos] == ["train", "train", "val", "test", "test"]
    assert [video.video_id for video in videos[3:]] == ["v_youtube0004", "v_youtube0005"]
    assert videos[0].url == "https://www.youtube.com/watch?v=youtube0001"
    alone = videoxum.load(tmp_path / "anno" / "test_videoxum.json")
    assert [(video.video_id, video.split) for video in alone] == [(v.video_id, v.split) for v in videos[3:]]
    (tmp_path / "anno" / "train_videoxum.json").unlink()
    assert [video.split for video in videoxum.load(tmp_path)] == ["val", "test", "test"]


def test_ten_users_choose_among_seconds(tmp_path: Path) -> None:
    video, record = of(tmp_path), videoxum_video()
    assert video.frame_time_s.tolist() == list(range(20))
    assert video.frame_feature.shape == (20, 0)
    assert video.duration_s == 19.73
    np.testing.assert_array_equal(video.user_summary, np.array(record["vsum_onehot"], bool))
    np.testing.assert_array_equal(video.user_score, video.user_summary)
    np.testing.assert_allclose(video.gt_score, np.mean(record["vsum_onehot"], 0), atol=1e-7)


def test_a_sentence_has_the_seconds_that_most_users_chose_of_its_segment(tmp_path: Path) -> None:
    assert of(tmp_path).summary == (
        {"text": "A man is seen cutting a plank.", "time_s": [2.0, 3.0]},
        {"text": "He (slowly) paints it.", "time_s": [8.0, 9.0]},
        {"text": "He shows it: done!", "time_s": [15.0, 16.0]},
    )


def test_where_most_users_agree_on_nothing_any_user_counts(tmp_path: Path) -> None:
    record = videoxum_video()
    chosen = np.zeros((10, 20), int)
    for user in range(10):
        chosen[user, user * 2] = 1
    spans = [[[float(2 * user), 2 * user + 0.5] for user in range(10)]]
    changes = {"tsum": [" "], "timestamps": [[0, 19]], "vsum": spans, "vsum_onehot": chosen.tolist()}
    assert of(tmp_path, **changes).summary == ()
    (sentence,) = of(tmp_path, **(changes | {"tsum": ["All."]})).summary
    assert sentence["time_s"] == list(range(0, 20, 2))
    # Two segments of one time: each has the seconds that its own spans tell.
    both = [record["vsum"][0], record["vsum"][2]]
    two = of(tmp_path, tsum=["Late.", "Early."], timestamps=[[0, 19], [0, 19]], vsum=both[::-1])
    assert [(each["text"], each["time_s"]) for each in two.summary] == [
        ("Early.", [2.0, 3.0]),
        ("Late.", [15.0, 16.0]),
    ]
    same = of(tmp_path, tsum=["One.", "Two."], timestamps=[[0, 19]] * 2, vsum=[record["vsum"][0]] * 2)
    assert [each["text"] for each in same.summary] == ["One.", "Two."]


def test_the_reference_text_is_as_in_the_official_code(tmp_path: Path) -> None:
    """jylins/videoxum data/utils.py, pre_caption: joined without a blank, lower case, marks become blanks."""
    assert of(tmp_path).summary_text == ("a man is seen cutting a plank he slowly paints it he shows it done")
    words = [f"W{number}" for number in range(600)]
    assert videoxum.reference_text([" ".join(words)]).split() == [word.lower() for word in words[:512]]
    assert videoxum.reference_text(['What, a "day"?', "No~"]) == "what, a day ?no"


@pytest.mark.parametrize("seconds", [19, 21])
def test_a_frame_more_or_less_is_cut_to_the_shorter(tmp_path: Path, seconds: int) -> None:
    video = of(tmp_path, sampled_frames=seconds)
    assert len(video.frame_time_s) == video.user_summary.shape[1] == len(video.gt_score) == min(20, seconds)


NAN = [[[math.nan, 1.0]] * 10] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampled_frames": 25}, "v_youtube0005: sampled_frames is 25, but vsum_onehot has 23 frames"),
        ({"sampled_frames": "23"}, "sampled_frames is '23', but"),
        ({"sampled_frames": 0, "vsum_onehot": [[]] * 10}, "sampled_frames is 0, but vsum_onehot has 0 frames"),
        ({"vsum_onehot": [[0, 1]] * 3}, r"vsum_onehot is \[3, 2\]; expected \[10, any\]"),
        ({"vsum_onehot": [[0] * 23] * 9 + [[0] * 22]}, r"vsum_onehot does not hold numbers; expected \[10, any\]"),
        ({"vsum_onehot": [[0.5] * 23] * 10}, "vsum_onehot has values other than 0 and 1"),
        ({"vsum_onehot": None}, "vsum_onehot is"),
        ({"duration": 0}, "duration is 0 s"),
        ({"duration": "long"}, "duration does not hold numbers; expected one number"),
        ({"tsum": "One text."}, "tsum is not a list of texts"),
        ({"tsum": ["One text."]}, r"timestamps is \[3, 2\]; expected \[1, 2\]"),
        ({"vsum": [[[0, 1]] * 9] * 3}, r"vsum is \[3, 9, 2\]; expected \[3, 10, 2\]"),
        ({"vsum": NAN}, "vsum holds values that are not finite numbers"),
        ({"video_id": 7}, "record 2: video_id is 7; expected a video's id"),
        ({"video_id": "v_youtube0004"}, "v_youtube0004 is there twice, or in two splits"),
        ({"video_id": "v_youtube0001"}, "v_youtube0001 is there twice, or in two splits"),
    ],
)
def test_what_is_wrong_in_a_video(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_videoxum(tmp_path, changes)
    with pytest.raises(UsageError, match=message) as caught:
        videoxum.load(tmp_path)
    assert "test_videoxum.json" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"v_1": {"timestamps": [[0, 1]], "sentences": ["ActivityNet Captions"]}}', "is not a list of VideoXum's"),
        ("[]", "is not a list of VideoXum's"),
        ("[3]", "record 1 has no video_id, duration"),
        ('[{"video_id": "v_1", "duration": 3.0}]', "record 1 has no sampled_frames, timestamps, tsum, vsum"),
        ('[{"video_id": "v_1"', "is not JSON, or is cut off"),
        ("<!DOCTYPE html>", "is a web page"),
        ("version https://git-lfs.github.com/spec/v1\n", "is a git-lfs pointer"),
        ("", "is empty"),
    ],
)
def test_what_is_not_videoxum(tmp_path: Path, content: str, message: str) -> None:
    write_videoxum(tmp_path)
    (tmp_path / "anno" / "test_videoxum.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        videoxum.load(tmp_path)


def test_where_the_files_are_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no test_videoxum.json; get it from jylins/videoxum"):
        videoxum.load(write_instruct_v2xum(tmp_path / "instruct"))
    with pytest.raises(UsageError, match=r"nowhere is not there; get it from jylins/videoxum"):
        videoxum.load(tmp_path / "nowhere")
    write_videoxum(tmp_path)
    (tmp_path / "anno" / "old_test_videoxum.json").write_text("[]")
    with pytest.raises(UsageError, match=r"has old_test_videoxum.json and test_videoxum.json: name one file"):
        videoxum.load(tmp_path)
