"""LLaVA-Pretrain's layout: pictures, or their features, with captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.datasets.benchmarks.benchmark_files import llava_record, write_llava_pretrain

from vsumdata.datasets import llava_pretrain
from vsumdata.manifests.errors import UsageError


class Mean:
    """An encoder whose feature is the mean colour."""

    size, resize, interpolation, batch, dim = 8, "shortest", "bicubic", 2, 3

    def __init__(self, resize: str = "shortest") -> None:
        self.resize = resize
        self.seen: list[np.ndarray] = []

    def encode(self, frames: np.ndarray) -> np.ndarray:
        assert frames.shape[1:] == (8, 8, 3)
        assert frames.dtype == np.uint8
        self.seen += list(frames)
        return frames.reshape(len(frames), -1, 3).mean(1).astype(np.float16)


def test_pictures_are_videos_of_one_frame(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, encoder = write_llava_pretrain(tmp_path, 5), Mean()
    (folder / "00001" / "000000001.jpg").write_bytes(b"\xff\xd8\xff cut off")
    (folder / "00002" / "000000002.jpg").unlink()
    found = llava_pretrain.load(folder, encoder)
    assert found.video_ids == ["000000000", "000000001", "000000003", "000000004"]
    assert found.left_out == {"picture": 1}
    assert not encoder.seen, "pictures are read when they are asked for"
    first, broken, *_ = found
    assert first.caption == ({"text": "Picture 0, é, of a «pan».", "time_s": [0.0]},)
    assert first.frame_feature.shape == (1, 3)
    assert broken.caption is None
    assert not broken.frame_feature.any()
    assert "000000001.jpg cannot be read and teaches nothing" in caplog.text
    assert [video.video_id for video in found[2:]] == ["000000003", "000000004"]


@pytest.mark.parametrize("kept", ["", "stage1", "features"])
def test_features_stand_in_for_pictures(tmp_path: Path, kept: str) -> None:
    folder = write_llava_pretrain(tmp_path, 3)
    (folder / kept).mkdir(exist_ok=True)
    for at, shape in ((0, (4,)), (2, (1, 4))):
        np.save(folder / kept / f"00000000{at}.npy", np.full(shape, 300, np.float16))
    found = llava_pretrain.load(folder / llava_pretrain.FILE)
    assert found.video_ids == ["000000000", "000000002"]
    assert found.left_out == {"feature": 1}
    for video in found:
        assert video.frame_feature == pytest.approx(np.full((1, 4), 0.5)), "of unit norm; 300 squared is no float16"


@pytest.mark.parametrize(
    ("resize", "size", "lit"),
    [("shortest", (32, 16), 8), ("longest", (32, 16), 4), ("squash", (32, 16), 8), ("longest", (900, 1), 1)],
)
def test_a_picture_is_resized_as_clip_wants_it(tmp_path: Path, resize: str, size: tuple[int, int], lit: int) -> None:
    Image.new("RGBA", size, (255, 255, 255, 128)).save(tmp_path / "a.png")
    encoder = Mean(resize)
    pixels = llava_pretrain.read_picture(tmp_path / "a.png", encoder)
    assert pixels is not None
    assert pixels.shape == (8, 8, 3)
    assert (pixels.max((1, 2)) > 200).sum() == lit


def test_what_is_no_such_folder_is_one_line(tmp_path: Path) -> None:
    def refused(says: str, path: Path = tmp_path, encoder: Any = None) -> None:
        with pytest.raises(UsageError, match=says):
            llava_pretrain.load(path, encoder)

    refused("0 JSON files and no blip_laion_cc_sbu_558k.json")
    refused("is not there; get it from", tmp_path / "gone.json")
    folder = write_llava_pretrain(tmp_path / "one", 1, pictures=False)
    refused("has none of the pictures that blip_laion", folder, Mean())
    refused("give --features ROOT, whose CLIP then encodes", folder)
    np.save(folder / "000000000.npy", np.zeros((2, 4), np.float16))
    with pytest.raises(UsageError, match=r"expected a picture's feature, \[F\] or \[1, F\]"):
        llava_pretrain.load(folder)[0]
    for change, says in (
        ({"image": "../../etc/passwd"}, "no path inside the folder"),
        ({"image": "/etc/passwd"}, "no path inside the folder"),
        ({"image": 7}, "image is 7; expected a path"),
        ({"conversations": "A cat."}, "conversations is no list of turns"),
    ):
        (folder / llava_pretrain.FILE).write_text(json.dumps([llava_record(0) | change]))
        refused(says, folder, Mean())
    silent = llava_record(0) | {"conversations": [{"from": "human", "value": "<image>"}]}
    Image.new("RGB", (9, 9)).save(folder / "a.jpg")
    silent["image"] = "a.jpg"
    (folder / llava_pretrain.FILE).write_text(json.dumps([silent, llava_record(1) | {"image": "a.jpg"}]))
    assert llava_pretrain.load(folder, Mean()).left_out == {"caption": 1}
