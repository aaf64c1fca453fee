"""What we export opens in the field's loaders, and says what it left out.

The two loaders are restated from thswodnjs3/CSTA@b070f7d dataset.py and train.py, and e-apostolidis/PGL-SUM@81d0d6d
model/data_loader.py and inference/inference.py: which keys they read and what they do with them.
"""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from tests.datasets.shards_kit import FINGERPRINT, SCHEMA, payload, row

from vsumdata.datasets import shards
from vsumdata.datasets.benchmarks.forms import eccv16
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.publish.eccv16_h5 import export
from vsumdata.datasets.video import Video
from vsumdata.manifests import rows
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.store import Store
from vsumdata.train.scoring.evaluate import evaluate


def video(video_id: str, frames: int = 40) -> Video:
    rng = np.random.default_rng(frames)
    edges = np.unique(np.r_[0, 3, frames // 2, frames])
    return Video(
        video_id=video_id,
        frame_time_s=np.arange(frames, dtype=np.float32),
        frame_feature=rng.random((frames, 6)).astype(np.float16),
        replay_score=rng.random(frames, dtype=np.float32),
        shot_start=edges[:-1].astype(np.int32),
        shot_stop=edges[1:].astype(np.int32),
    )


def as_csta_reads(path, names):
    found = []
    with h5py.File(path, "r") as hdf:
        for name in names:
            feature = torch.from_numpy(hdf[name]["features"][()]).float()
            feature = feature.unsqueeze(0).expand(3, -1, -1).unsqueeze(0)
            score = torch.from_numpy(hdf[name]["gtscore"][()]).float()
            users = np.array(hdf[name]["user_summary"])
            shots = np.array(hdf[f"{name}/change_points"])
            n_frames = np.array(hdf[f"{name}/n_frames"])
            picks = np.array(hdf[f"{name}/picks"])
            found.append((feature, score, users, shots, n_frames, picks))
    return found


def as_pgl_sum_reads(path, names):
    hdf = h5py.File(path, "r")
    features = [torch.Tensor(np.array(hdf[name + "/features"])) for name in names]
    scores = [torch.Tensor(np.array(hdf[name + "/gtscore"])) for name in names]
    hdf.close()
    return features, scores


def test_the_fields_loaders_read_it(tmp_path):
    videos = [video("x1", 40), video("x2", 23)]
    done = export(videos, tmp_path / "ours.h5")
    assert done.names == {"x1": "video_1", "x2": "video_2"}
    assert done.left_out == {}
    for ours, (feature, score, users, shots, n_frames, picks) in zip(
        videos, as_csta_reads(tmp_path / "ours.h5", ["video_1", "video_2"]), strict=True
    ):
        num = len(ours.frame_time_s)
        assert feature.shape == (1, 3, num, 6)
        np.testing.assert_allclose(feature[0, 2].numpy(), ours.frame_feature)
        assert score.tolist() == ours.replay_score.tolist()
        assert int(n_frames) == 15 * num
        assert picks.tolist() == list(range(0, 15 * num, 15))
        assert shots[0, 0] == 0
        assert shots[-1, 1] + 1 == 15 * num
        assert users.shape == (1, 15 * num)
        assert 0 < users.sum() <= 0.15 * 15 * num
        assert len(users[0][::15]) == num  # what A2Summ and CSTA take for granted
    features, scores = as_pgl_sum_reads(tmp_path / "ours.h5", ["video_2"])
    assert features[0].shape == (23, 6)
    assert features[0].dtype == scores[0].dtype == torch.float32


def test_our_own_loader_reads_it_back(tmp_path):
    export([video("x1", 40)], tmp_path / "ours.h5")
    (found,) = eccv16.load(tmp_path / "ours.h5", "there", 1)
    assert found.title == "x1"
    with h5py.File(tmp_path / "ours.h5") as file:
        assert file["video_1/n_frame_per_seg"][()].sum() == found.n_frames == 600
        assert file["video_1/n_steps"][()] == 40
    assert found.gt_summary.sum() * 15 == found.user_summary.sum()


def test_a_benchmarks_own_annotations_are_kept(tmp_path):
    own = replace(
        video("x1", 4),
        gt_score=np.ones(4),
        user_summary=np.eye(2, 50) > 0,
        change_points=np.array([[0, 20], [21, 49]]),
        picks=np.array([0, 15, 30, 45]),
        n_frames=50,
    )
    export([own], tmp_path / "ours.h5")
    (found,) = eccv16.load(tmp_path / "ours.h5", "there")
    np.testing.assert_array_equal(found.user_summary, own.user_summary)
    np.testing.assert_array_equal(found.change_points, own.change_points)
    assert found.n_frames == 50


def test_what_cannot_be_exported_is_reported(tmp_path):
    videos = [
        replace(video("silent"), replay_score=None),
        video("good"),
        replace(video("uncut"), shot_start=None, shot_stop=None),
        replace(video("bare"), frame_feature=np.zeros((40, 0), np.float16)),
        replace(video("half"), user_summary=np.ones((1, 9)), n_frames=9),
    ]
    done = export(videos, tmp_path / "ours.h5")
    assert done.names == {"good": "video_1"}
    assert done.left_out == {
        "silent": "no importance (replay_score)",
        "uncut": "no shots",
        "bare": "no features",
        "half": "no change_points, picks, gt_score",
    }


def test_a_failed_export_leaves_the_older_file(tmp_path):
    path = tmp_path / "ours.h5"
    export([video("x1")], path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="none of the 1 videos can be exported; silent: no importance"):
        export([replace(video("silent"), replay_score=None)], path)

    def interrupted():
        yield video("x2")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(interrupted(), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["ours.h5"]
    with pytest.raises(UsageError, match="is not a folder; create it"):
        export([video("x1")], tmp_path / "nowhere" / "ours.h5")


def root_of(folder, splits):
    store = Store(folder)
    found = [row(f"v{i}", payload(40 + i, split, text=text)) for i, (split, text) in enumerate(splits)]
    store.write("features", FINGERPRINT, rows.to_table(SCHEMA, found))
    store.write_json("dataset.json", {"manifest": {}, "tables": {"features": {"fingerprint": FINGERPRINT}}})
    return folder


def test_our_shards_are_a_data_set_and_can_be_exported(tmp_path):
    root = root_of(tmp_path / "root", [("train", True), ("test", True), ("test", False)])
    (measured,) = shards.load(root)  # v2 has no replay score
    assert measured.video_id == "v1"
    assert measured.change_points.tolist() == [[0, 40]]
    assert shards.PROTOCOL.name == "shards"
    assert set(evaluate(np.asarray(measured.gt_score), measured, shards.PROTOCOL).values) == set(
        shards.PROTOCOL.metrics
    )
    done = export(shards.open_shards(root), tmp_path / "ours.h5")
    assert (list(done.names), done.left_out) == (["v0", "v1"], {"v2": "no importance (replay_score)"})


def test_shards_without_a_test_split_or_without_a_reference(tmp_path):
    assert [v.video_id for v in shards.load(root_of(tmp_path / "a", [("train", True), ("train", True)]))] == [
        "v0",
        "v1",
    ]
    with pytest.raises(UsageError, match="none of the 1 videos of .* has a replay score and shots"):
        shards.load(root_of(tmp_path / "b", [("test", False)]))


def test_the_exported_reference_is_the_knapsacks(tmp_path):
    own = video("x1", 40)
    export([own], tmp_path / "ours.h5")
    (found,) = eccv16.load(tmp_path / "ours.h5", "there")
    assert evaluate(np.asarray(own.replay_score), found, protocol("ca-sum-summe")).values["f1"] == pytest.approx(1)
