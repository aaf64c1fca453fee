"""Instruct-V2Xum's records: sentences that name frames by tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import instruct_record, write_instruct_v2xum, write_videoxum

from vsumdata.datasets.benchmarks import instruct_v2xum
from vsumdata.datasets.publish.instruct_v2xum import export
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

TOKEN = {f"<f{number}>": float(number) for number in range(20)}


def load(tmp_path: Path, *records: dict[str, Any]) -> Any:
    path = tmp_path / "records.json"
    path.write_text(json.dumps(records))
    return instruct_v2xum.load(path)


def answers(*values: str) -> list[dict[str, str]]:
    turns = [{"from": who, "value": text} for value in values for who, text in (("human", "Say."), ("gpt", value))]
    return [{"from": "human", "value": "<video>\nSay."}, *turns[1:]]


def test_a_published_record(tmp_path: Path) -> None:
    (video,) = load(tmp_path, instruct_record())
    assert (video.video_id, video.split, video.duration_s) == ("MqTdJwMDZhY", None, 14.0)
    assert video.url == "https://www.youtube.com/watch?v=MqTdJwMDZhY"
    assert video.frame_time_s.tolist() == list(range(14))
    assert video.frame_feature.shape == (14, 0)
    assert video.gt_summary.nonzero()[0].tolist() == [0, 5, 12]
    assert video.summary == (
        {"text": "A white table.", "time_s": [0.0]},
        {"text": "A man, in black, sits down.", "time_s": [5.0]},
        {"text": "He [smiles].", "time_s": [12.0]},
    )
    assert video.summary_text == "A white table. A man, in black, sits down. He [smiles]."


def test_the_splits_are_in_the_files_names(tmp_path: Path) -> None:
    videos = instruct_v2xum.load(write_instruct_v2xum(tmp_path))
    assert [video.split for video in videos] == ["train", "train", "val", "test", "test"]
    (tmp_path / "instruct_v2xum_val.json").rename(tmp_path / "Validation-1k.json")
    (tmp_path / "instruct_v2xum_train.json").rename(tmp_path / "training.json")
    (tmp_path / "contest.json").write_text("not of a split")
    assert [video.video_id for video in instruct_v2xum.load(tmp_path)] == [video.video_id for video in videos]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("[<f0>]A man cuts. [<f1>]He eats.", [("A man cuts.", [0]), ("He eats.", [1])]),
        (" [<f0>] A man\n cuts.\n\n[<f1>]He eats.", [("A man cuts.", [0]), ("He eats.", [1])]),
        ("[<f0>, <f2>]A man cuts. [<f3>][<f4>]He eats.", [("A man cuts.", [0, 2]), ("He eats.", [3, 4])]),
        ("A man cuts [<f0>, <f1>]. He eats [<f2>]!", [("A man cuts.", [0, 1]), ("He eats!", [2])]),
        ("A man cuts [<f0>] He eats [<f2>]. The end.", [("A man cuts", [0]), ("He eats. The end.", [2])]),
        ("[<f9>]Late. [<f2>]Early.", [("Early.", [2]), ("Late.", [9])]),
        ("[<f0>, <f5>].", None),
        ("A text [1] alone.", None),
    ],
)
def test_sentences_of_an_answer(answer: str, found: list[tuple[str, list[int]]] | None) -> None:
    read = instruct_v2xum.sentences(answer, TOKEN)
    assert (None if read is None else [(each["text"], each["time_s"]) for each in read]) == found


def test_one_video_has_several_answers_or_records(tmp_path: Path) -> None:
    """Three conversations about one video, as `vsumdata export` writes them; and a record for each task."""
    both = "[<f0>]A table. [<f1>]A man."
    three = ["[<f0>, <f1>]", "A table. A man.", both]
    (video,) = load(tmp_path, instruct_record() | {"conversations": answers(*three)})
    assert [each["time_s"] for each in video.summary] == [[0.0], [5.0]]
    (same,) = load(tmp_path, *(instruct_record() | {"conversations": answers(each)} for each in three))
    assert (same.summary, same.summary_text) == (video.summary, "A table. A man.")
    (text,) = load(tmp_path, instruct_record() | {"conversations": answers(*three[:2])})
    assert (text.summary, text.summary_text) == (None, "A table. A man.")
    (frames,) = load(tmp_path, instruct_record() | {"conversations": answers(three[0])})
    assert (frames.summary, frames.summary_text) == (None, None)


def test_what_export_writes_is_read(tmp_path: Path) -> None:
    """Answers show the first frame of each sentence; `vsum_onehot` has them all."""
    second = np.arange(10, dtype=np.float32)
    words = [{"text": "A man cuts.", "time_s": [2.0, 3.0]}, {"text": "He paints.", "time_s": [7.0]}]
    ours = Video(video_id="a", frame_time_s=second, frame_feature=second[:, None], duration_s=9.6, summary=words)
    export([ours], tmp_path / "ours.json")
    (video,) = instruct_v2xum.load(tmp_path / "ours.json")
    assert video.summary == ({"text": "A man cuts.", "time_s": [2.0]}, {"text": "He paints.", "time_s": [7.0]})
    assert video.summary_text == "A man cuts. He paints."
    assert video.gt_summary.nonzero()[0].tolist() == [2, 3, 7]
    assert (video.split, video.url, len(video.frame_time_s)) == (None, None, 10)


def test_a_frame_more_or_less_is_cut_to_the_shorter(tmp_path: Path) -> None:
    for seconds in (13, 15):
        record = instruct_record()
        record["meta"]["sampled_frames"] = seconds
        (video,) = load(tmp_path, record)
        assert len(video.frame_time_s) == len(video.gt_summary) == min(14, seconds)


TIMES = {"<f0>": 0.0, "<f1>": 5.0, "<f10>": 12.0}
META: dict[str, Any] = {"duration": 17.0, "sampled_frames": 17, "token": TIMES}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meta": []}, "youtube0005: meta has no duration, sampled_frames, token"),
        ({"meta": {"duration": 17.0}}, "meta has no sampled_frames, token"),
        ({"meta": META | {"duration": -1}}, "duration is -1 s"),
        ({"meta": META | {"sampled_frames": 60}}, "sampled_frames is 60, but vsum_onehot has 17 frames"),
        ({"meta": META | {"token": ["<f0>"]}}, "meta.token is not a JSON object"),
        ({"meta": META | {"token": {**TIMES, "<f1>": "soon"}}}, "meta.token <f1> does not hold numbers"),
        ({"meta": META | {"token": TIMES | {"<f1>": 80.0}}}, "<f1> is at 80 s, outside the video's 17 s"),
        ({"meta": META | {"token": {"<f0>": 0.0}}}, "an answer names <f1>, whose time meta.token lacks"),
        ({"vsum_onehot": [2] * 17}, "vsum_onehot has values other than 0 and 1"),
        ({"vsum_onehot": [[0, 1]] * 10}, r"vsum_onehot is \[10, 2\]; expected \[any\]"),
        ({"conversations": []}, "conversations has no answer of gpt"),
        ({"conversations": {"gpt": "text"}}, "conversations has no answer of gpt"),
        ({"conversations": [{"from": "gpt", "value": None}]}, "conversations has no answer of gpt, or one that is no"),
        ({"id": "youtube0001"}, "youtube0001 is in two splits"),
        ({"id": "youtube0004"}, "youtube0004 has records that differ in meta or vsum_onehot"),
        ({"id": None}, "record 2: id is None"),
    ],
)
def test_what_is_wrong_in_a_video(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_instruct_v2xum(tmp_path, changes)
    with pytest.raises(UsageError, match=message) as caught:
        instruct_v2xum.load(tmp_path)
    assert "instruct_v2xum_test.json" in str(caught.value)


def test_another_data_sets_files(tmp_path: Path) -> None:
    write_videoxum(tmp_path)
    with pytest.raises(UsageError, match=r"record 1 has no id, meta, conversations: this is not Instruct-V2Xum's"):
        instruct_v2xum.load(tmp_path / "anno")
    with pytest.raises(UsageError, match=r"holds no test.json; get it from the link in hanghuacs/V2Xum-LLM"):
        instruct_v2xum.load(tmp_path)
    for content, message in (
        ('{"id": "a"}', "is not a list of Instruct-V2Xum's records"),
        ('[{"id": "a", "image": "a.jpg", "conversations": []}]', "record 1 has no meta, vsum_onehot"),
        ('[{"id": "a"', "is not JSON, or is cut off"),
    ):
        (tmp_path / "llava.json").write_text(content)
        with pytest.raises(UsageError, match=message):
            instruct_v2xum.load(tmp_path / "llava.json")
