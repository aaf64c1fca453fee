"""Records of Instruct-V2Xum: read back as V2Xum-LLM's own code reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vsumdata.datasets.publish.instruct_v2xum import BOTH, TEXT, VIDEO, export, record
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.language.answers import parse
from vsumdata.train.language.prompts import INSTRUCTIONS

SUMMARY = [
    {"text": "A man cuts a plank.", "time_s": [2.0, 3.0]},
    {"text": "He paints it.", "time_s": [7.0]},
]


def video(video_id: str, summary: Any, duration_s: float | None = 9.6) -> Video:
    return Video(
        video_id=video_id,
        frame_time_s=np.arange(10, dtype=np.float32),
        frame_feature=np.zeros((10, 4), np.float16),
        duration_s=duration_s,
        summary=summary,
    )


def indexed(made: dict[str, Any], text: str) -> str:
    """hanghuacs/V2Xum-LLM@6b7c06d: `<fk>` becomes min(round(100 x / duration), 99), with two digits."""
    for token, time_s in made["meta"]["token"].items():
        text = text.replace(token, f"{min(round(100 * time_s / made['meta']['duration']), 99):02}")
    return text


def test_three_conversations_about_one_video() -> None:
    made = record(video("a", SUMMARY))
    assert made is not None
    assert made["id"] == "a"
    assert made["meta"] == {"duration": 9.6, "sampled_frames": 10, "token": {"<f0>": 2.0, "<f1>": 3.0, "<f2>": 7.0}}
    turns = made["conversations"]
    assert [turn["from"] for turn in turns] == ["human", "gpt"] * 3
    assert [turn["value"] for turn in turns[::2]] == [f"<video>\n{BOTH}", VIDEO, TEXT]
    assert [indexed(made, turn["value"]) for turn in turns[1::2]] == [
        "[21]A man cuts a plank. [73]He paints it.",
        "[21, 31, 73]",
        "A man cuts a plank. He paints it.",
    ]
    assert made["vsum_onehot"] == [0, 0, 1, 1, 0, 0, 0, 1, 0, 0]


def test_our_own_reader_reads_them() -> None:
    assert {BOTH, VIDEO, TEXT} == set(INSTRUCTIONS.values())
    made = record(video("a", SUMMARY))
    assert made is not None
    both, whole, _ = (indexed(made, turn["value"]) for turn in made["conversations"][1::2])
    found = parse(both, 100).answer
    assert [(each.text, tuple(each.frames)) for each in found] == [
        ("A man cuts a plank.", (21,)),
        ("He paints it.", (73,)),
    ]
    assert list(parse(whole, 100).indexes) == [21, 31, 73]


def test_no_text_is_taken_for_a_token() -> None:
    made = record(video("a", [{"text": "<video> [<f0>] <f10>", "time_s": [1.0]}]))
    assert made is not None
    text = "".join(turn["value"] for turn in made["conversations"] if turn["from"] == "gpt")
    assert set(re.findall(r"<\w+>", text)) == {"<f0>"}
    assert text.count("[") == 2


def test_seconds_cover_the_last_frame() -> None:
    made = record(video("a", [{"text": "End.", "time_s": [4.0, 9.5]}], duration_s=9.0))
    assert made is not None
    assert len(made["vsum_onehot"]) == made["meta"]["sampled_frames"] == 10
    assert sum(made["vsum_onehot"]) == 2


def test_the_file_is_a_list_and_says_what_is_left_out(tmp_path: Path) -> None:
    found = [video("a", SUMMARY), video("b", None), video("c", [{"text": "Só.", "time_s": []}]), video("d", SUMMARY)]
    path = tmp_path / "train.json"
    done = export(found, path)
    assert [each["id"] for each in json.loads(path.read_text("utf-8"))] == ["a", "d"]
    assert (done.number, set(done.left_out)) == (2, {"b", "c"})
    assert [each.name for each in tmp_path.iterdir()] == ["train.json"]


def test_nothing_to_write_leaves_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text("[]")
    with pytest.raises(UsageError, match="--stage summaries"):
        export([video("b", None)], path)
    with pytest.raises(UsageError, match="create it first"):
        export([video("a", SUMMARY)], tmp_path / "none" / "x.json")
    assert path.read_text() == "[]"
    assert [each.name for each in tmp_path.iterdir()] == ["train.json"]
