"""What we export in MoSu's layout is read by TripleSumm's data set class.

It is restated from smkim37/TripleSumm@b7a8e7e dataset.py: which files and keys it reads and what it does with them. Of
its file names only that of the text features differs, since RoBERTa is not our model.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from tests.datasets.publish.test_eccv16_h5 import video as without_text

from vsumdata.datasets.benchmarks import mosu
from vsumdata.datasets.publish.mosu_h5 import export, spoken
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError


def video(video_id: str, frames: int = 40, split: str = "train") -> Video:
    """A video with two sentences: from 1 to 3 s, and from 2.5 to 4 s."""
    sentences = [{"start_s": 1.0, "end_s": 3.0, "text": "one"}, {"start_s": 2.5, "end_s": 4.0, "text": "two"}]
    feature = np.array([[1, 0, 0], [0, 1, 0]], np.float16)
    return replace(
        without_text(video_id, frames),
        split=split,
        sentence=sentences,
        sentence_feature=feature,
        duration_s=frames + 0.4,
        license='CC BY 4.0, "mine"',
    )


def as_triplesumm_reads(folder: Path, split: str, text: str) -> list[dict]:
    name = folder.name
    video_ids = json.loads((folder / f"{name}_split.json").read_text())[f"{split}_keys"]
    gt_data = h5py.File(folder / f"{name}_gt.h5", "r")
    visual = h5py.File(folder / f"{name}_feat_visual_clip.h5", "r")
    texts = h5py.File(folder / f"{name}_feat_text_{text}.h5", "r")
    found = []
    for video_id in video_ids:
        data = {"video_id": video_id}
        data["visual_feat"] = torch.Tensor(visual[video_id][...])
        data["text_feat"] = torch.Tensor(texts[video_id][...])
        data["gt_score"] = torch.Tensor(gt_data[video_id]["gt_score"][...])
        data["gt_summary"] = gt_data[video_id]["gt_summary"][...]
        data["change_points"] = gt_data[video_id]["change_points"][...]
        found.append(data)
    for file in (gt_data, visual, texts):
        file.close()
    return found


def test_triplesumm_reads_it(tmp_path: Path) -> None:
    videos = [video("x/1"), video("x2", 23, "val"), video("x3", 31), video("é 4", 25, "test")]
    done = export(videos, tmp_path / "mosu", "hub/all-MiniLM-L6-v2")
    assert list(done.names) == ["x/1", "x2", "x3", "é 4"]
    there = sorted(path.name for path in (tmp_path / "mosu").iterdir())
    kinds = ("feat_text_all-minilm-l6-v2.h5", "feat_visual_clip.h5", "gt.h5", "metadata.csv", "split.json")
    assert there == [f"mosu_{kind}" for kind in kinds]
    for split, expected in (("train", [videos[0], videos[2]]), ("val", [videos[1]]), ("test", [videos[3]])):
        for ours, theirs in zip(
            expected, as_triplesumm_reads(tmp_path / "mosu", split, "all-minilm-l6-v2"), strict=True
        ):
            num = len(ours.frame_time_s)
            np.testing.assert_array_equal(theirs["visual_feat"].numpy(), ours.frame_feature.astype(np.float32))
            assert theirs["text_feat"].shape == (num, 3)
            assert theirs["gt_score"].tolist() == ours.replay_score.tolist()
            shots = theirs["change_points"]
            # Its generate_summary: closed shots, whose last frame gives the length.
            assert sum(end - start + 1 for start, end in shots) == shots[-1][1] + 1 == num
            assert theirs["gt_summary"].shape == (num,)
            assert 0 < theirs["gt_summary"].sum() <= int(num * 0.15) or theirs["gt_summary"].sum() == 0
    with (tmp_path / "mosu" / "mosu_metadata.csv").open(encoding="utf-8-sig") as file:
        rows = {row["video_id"]: row for row in csv.DictReader(file)}
    assert [row["youtube_id"] for row in rows.values()] == ["x/1", "x2", "x3", "é 4"]
    assert (rows["video_2"]["duration"], rows["video_1"]["license"]) == ("23", 'CC BY 4.0, "mine"')


def test_the_text_of_a_frame_is_what_is_said_then() -> None:
    found = spoken(video("x", 6))
    assert found.tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert spoken(video("x", 6), fps=2.0).tolist() == [[0, 0, 0]] * 2 + [[1, 0, 0]] * 3 + [[0, 1, 0]]
    silent = replace(video("x", 6), sentence=(), sentence_feature=None, global_feature=np.ones(5, np.float16))
    assert spoken(silent).tolist() == [[0] * 5] * 6


def test_what_cannot_be_exported_is_reported(tmp_path: Path) -> None:
    bare = replace(video("bare"), replay_score=None)
    done = export([bare, video("x1")], tmp_path / "mosu", "sbert")
    assert done.left_out == {"bare": "no importance (replay_score)"}
    with pytest.raises(UsageError, match="bare: no importance"):
        export([bare], tmp_path / "other", "sbert")
    assert not (tmp_path / "other").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mosu").mkdir()
    (tmp_path / "mosu" / "mosu_gt.h5").write_bytes(b"of an earlier export")
    export([video("x1")], tmp_path / "mosu", "sbert")
    (tmp_path / "mosu" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        export([video("x1")], tmp_path / "mosu", "sbert")
    assert (tmp_path / "mosu" / "notes.txt").exists()


def test_sound_has_a_file_of_its_own_and_a_silent_video_zeros(tmp_path: Path) -> None:
    sound = np.arange(40 * 2, dtype=np.float16).reshape(40, 2)
    videos = [video("silent", 23), replace(video("loud"), audio_feature=sound), video("val", 31, "val")]
    export(videos, tmp_path / "mosu", "text", audio_model="MIT/ast-finetuned-audioset-10-10-0.4593")
    with h5py.File(tmp_path / "mosu" / "mosu_feat_audio_ast-finetuned-audioset-10-10-0-4593.h5") as file:
        assert {key: value.shape for key, value in file.items()} == {
            "video_1": (23, 2), "video_2": (40, 2), "video_3": (31, 2),
        }  # fmt: skip
        np.testing.assert_array_equal(file["video_2"][()], sound.astype(np.float32))
        assert not file["video_1"][()].any()
    loaded = mosu.load(tmp_path / "mosu")
    np.testing.assert_array_equal(next(each for each in loaded if each.video_id == "video_2").audio_feature, sound)
