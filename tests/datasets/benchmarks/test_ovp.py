"""The users' key frames of OVP, alone and beside features, and what may be wrong with them."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import write_eccv16, write_key_frames
from tests.train.benchmark.bench_kit import value

from vsumdata.datasets.benchmarks import ovp
from vsumdata.datasets.benchmarks.forms import key_frames
from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import score
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.scoring.evaluate import evaluate
from vsumdata.train.scoring.metrics_keyframes import cus

METRICS = ("cus_a", "cus_e", "keyframe_f1")


@pytest.mark.parametrize("below", ["", "VSUMM", "user_summaries/VSUMM"])
def test_key_frames_alone(tmp_path: Path, below: str) -> None:
    write_key_frames(tmp_path / below)
    videos = ovp.load(tmp_path)
    assert [video.video_id for video in videos] == [f"v{number}" for number in range(21, 71)]
    summary = np.asarray(videos[2].user_summary)
    assert [np.flatnonzero(user).tolist() for user in summary][4] == [35, 324, 721]
    assert videos[2].n_frames == summary.shape[1] == 722, "the last key frame of any user is the last known frame"
    np.testing.assert_array_equal(np.asarray(videos[2].picks), np.arange(0, 722, 15))
    assert videos[2].frame_time_s[2] == 1
    assert videos[2].frame_feature.shape == (49, 0)


def test_numbers_are_read_in_any_order_twice_and_with_blanks(tmp_path: Path) -> None:
    write_key_frames(tmp_path, {"v30.csv": "61, 61, 7\r\n9,9\r\n0\r\n1,0\r\n5"})
    video = ovp.load(tmp_path)[9]
    users = [np.flatnonzero(user).tolist() for user in np.asarray(video.user_summary)]
    assert users == [[7, 61], [9], [0], [0, 1], [5]]


def test_a_bench_of_key_frames(tmp_path: Path) -> None:
    data = str(write_key_frames(tmp_path))
    found = bench(Request(on="ovp", data=data, seeds=2, protocol="vsumm"))
    assert {row.method for row in found.rows} == {"random", "uniform", "human"}
    assert "mean-user: no row: the annotations do not allow it" in found.remarks
    # Users agree to 120 frames, so each finds a pair for each key frame of another.
    assert [value(found, "human", metric).mean for metric in METRICS] == [1, 0, 1]
    assert [value(found, "human", metric).direction for metric in METRICS] == ["▲"] * 3, "fewer errors are better"
    assert value(found, "human", "cus_a").notes == ()
    with pytest.raises(UsageError, match="it has users' summaries alone \\(key frames: protocol vsumm\\)"):
        bench(Request(on="ovp", data=data, seeds=1))


def test_as_many_frames_are_chosen_as_users_choose(tmp_path: Path) -> None:
    video = ovp.load(write_key_frames(tmp_path))[0]
    scores = np.zeros(len(video.frame_time_s))
    scores[[2, 20, 44]] = 1  # frames 30, 300 and 660: within reach of each user
    assert evaluate(scores, video, PROTOCOLS["vsumm"]).values == {"cus_a": 1, "cus_e": 0, "keyframe_f1": 1}
    scores[3] = 2  # of four candidates the best three are taken
    values = evaluate(scores, video, PROTOCOLS["vsumm"]).values
    assert values["cus_a"] == pytest.approx(2 / 3)
    assert values["cus_e"] == pytest.approx(1 / 3)


def test_other_peoples_scores(tmp_path: Path) -> None:
    data = write_key_frames(tmp_path / "VSUMM")
    scores = {}
    for video in ovp.load(data):
        scores[video.video_id] = np.asarray(video.user_summary)[0].astype(float).tolist()[:: ovp.eccv16.STEP]
    (tmp_path / "theirs.json").write_text(json.dumps(scores))
    request = score.Request(
        predictions=(str(tmp_path / "theirs.json"),), on="ovp", data=str(data), protocols=("vsumm",)
    )
    assert value(score.score(request), "theirs", "cus_a").n == 50


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"v44.csv": None}, "has the key frames of 49 of OVP's 50 videos, not of v44"),
        ({"v21.csv": None, "v70.csv": None}, "has the key frames of 48 of OVP's 50 videos, not of v21"),
        ({"v44.csv": ""}, "v44.csv is empty"),
        ({"v44.csv": "\n\n"}, "v44.csv is empty"),
        ({"v44.csv": "1,2\n3\n4\n5\n"}, "v44.csv has 4 lines; expected 5"),
        ({"v44.csv": "1,31,61"}, "v44.csv has 1 lines; expected 5, one for each user: a method's"),
        ({"v44.csv": "1\n2\n\n4\n5"}, "v44.csv, line 3 is empty"),
        ({"v44.csv": "1\n2,,3\n3\n4\n5"}, "v44.csv, line 2 is empty, or lacks a number"),
        ({"v44.csv": "1\n2\n-3\n4\n5"}, "v44.csv, line 3: '-3' is no frame number"),
        ({"v44.csv": "1\n2\n3.5\n4\n5"}, "v44.csv, line 3: '3.5' is no frame number"),
        ({"v44.csv": "user,frame\n1\n2\n3\n4"}, "v44.csv, line 1: 'user' is no frame number"),
        ({"v44.csv": "1\n2\nnan\n4\n5"}, "v44.csv, line 3: 'nan' is no frame number"),
        ({"v44.csv": "1\n2\n²\n4\n5"}, "v44.csv, line 3: '²' is no frame number"),
        ({"v44.csv": "0,0,1,0,1\n" * 5}, "v44.csv, line 1 has 0 or 1 for each frame"),
        ({"v44.csv": "<html><body>Sign in</body></html>"}, "v44.csv is a web page"),
        ({"v44.csv": "version https://git-lfs.github.com/spec/v1\n"}, "v44.csv is a git-lfs pointer"),
    ],
)
def test_what_is_wrong_with_key_frames(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ovp.load(write_key_frames(tmp_path, changes))


def test_what_is_no_folder_of_key_frames(tmp_path: Path) -> None:
    write_key_frames(tmp_path)
    with pytest.raises(UsageError, match=r"v21.csv has the key frames of one video; name its folder"):
        ovp.load(tmp_path / "v21.csv")
    (tmp_path / "v44.csv").write_bytes(b"\xff\xfe\x00\x31")
    with pytest.raises(UsageError, match=r"v44.csv is not a text of frame numbers"):
        ovp.load(tmp_path)
    (tmp_path / "v44.csv").write_bytes(b"\x1f\x8b" + bytes(9))
    with pytest.raises(UsageError, match=r"v44.csv is a gzip archive"):
        ovp.load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds 0 HDF5 files"):
        ovp.load(tmp_path / "empty")


def test_key_frames_beside_features_are_joined_by_name_alone(tmp_path: Path) -> None:
    write_key_frames(tmp_path / "VSUMM")
    file = tmp_path / "eccv16_dataset_ovp_google_pool5.h5"
    users = {"user_summary": None}  # the made files' 20 users would be TVSum's
    write_eccv16(file, 50, {f"video_{number}": users for number in range(1, 51)})
    with pytest.raises(UsageError, match="video_1 has no video_name; without the names v21 to v70 its key frames"):
        ovp.load(tmp_path)
    assert ovp.load(file)[0].user_summary is None, "the HDF5 file alone stays as it is"
    wrong = {f"video_{number}": users | {"video_name": f"v{number}"} for number in range(1, 51)}
    write_eccv16(file, 50, wrong)
    with pytest.raises(UsageError, match="video_1 has the name v1; without"):
        ovp.load(tmp_path)
    # In another order than the numbers', so only the names can tell.
    named = {f"video_{number}": users | {"video_name": f"v{71 - number}"} for number in range(1, 51)}
    write_eccv16(file, 50, named)
    with pytest.raises(UsageError, match=r"video_1 has 61 frames, and v70 a key frame at 721: another video"):
        ovp.load(tmp_path)
    short = {f"v{number}.csv": "".join(f"{user + number % 20}\n" for user in range(5)) for number in range(21, 71)}
    write_key_frames(tmp_path / "VSUMM", short)  # type: ignore[arg-type]
    video = ovp.load(tmp_path)[1]
    assert (video.video_id, video.title) == ("video_2", "v69")
    assert np.flatnonzero(np.asarray(video.user_summary)[0]).tolist() == [9]
    assert np.asarray(video.user_summary).shape == (5, 62)


@pytest.fixture(scope="module")
def ost(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OST's user summaries and published results, unpacked."""
    folder = tmp_path_factory.mktemp("ost")
    with tarfile.open(recordings / "benchmarks" / "VSUMM_OVP" / "ost_vsumm.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.recorded
def test_the_real_key_frames(ost: Path) -> None:
    videos = ovp.load(ost)
    users = [np.flatnonzero(user).tolist() for user in np.asarray(videos[0].user_summary)]
    assert users[0] == [631, 841, 961, 1321, 1771, 1921, 2101, 2671, 2912]
    assert videos[0].n_frames == 3212
    assert sum(len(np.asarray(video.user_summary)) for video in videos) == 250
    (v37,) = [video for video in videos if video.video_id == "v37"]
    assert int(np.asarray(v37.user_summary)[0].sum()) == 5, "each number is there twice"
    with pytest.raises(UsageError, match=r"v21.csv has 1 lines"):
        ovp.load(ost / "published_results" / "DT")
    with pytest.raises(UsageError, match="0 or 1 for each frame"):
        key_frames.read(ost / "published_results" / "VSUMM1" / "v21b.csv", ovp.WHERE_KEY_FRAMES)


@pytest.mark.recorded
def test_published_summaries_against_the_users(ost: Path) -> None:
    """Ours, by time alone: VSUMM1 finds most of the users' key frames, DT the fewest, FLASH makes most errors."""
    users = {video.video_id: list(map(np.flatnonzero, np.asarray(video.user_summary))) for video in ovp.load(ost)}
    found = {}
    for method in ("DT", "FLASH", "OVS", "VISTO", "VSUMM1", "VSUMM2"):
        folder = ost / "published_results" / method
        made = {name: key_frames.read(folder / f"{name}.csv", "OST")[0] for name in users}
        found[method] = np.mean([cus(made[name], users[name], PROTOCOLS["vsumm"].match_frames) for name in users], 0)
    assert found["VSUMM1"] == pytest.approx([0.759, 0.472, 0.697], abs=5e-4)
    assert found["DT"] == pytest.approx([0.456, 0.349, 0.503], abs=5e-4)
    assert found["FLASH"] == pytest.approx([0.625, 0.880, 0.529], abs=5e-4)
    assert max(found, key=lambda method: found[method][0]) == "VSUMM1"
    table = bench(Request(on="ovp", data=str(ost / "user_summaries" / "VSUMM"), seeds=2, protocol="vsumm"))
    assert [value(table, "human", metric).mean for metric in METRICS] == pytest.approx([0.726, 0.340, 0.706], abs=5e-4)
    assert value(table, "random", "keyframe_f1").mean == pytest.approx(0.49, abs=0.02)
