"""MSVA's three sources: whose rows go beside which video, and how they are brought to its steps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import write_eccv16

from vsumdata.datasets.benchmarks import summe, tvsum
from vsumdata.datasets.benchmarks.forms import i3d
from vsumdata.datasets.benchmarks.forms.i3d import with_motion
from vsumdata.datasets.join import join_features
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import bench
from vsumdata.train.data.training import Wanted, open_data
from vsumdata.train.loop.job import fit_fold
from vsumdata.train.settings import settings_of


def rows(number: int, stream: str, num: int) -> np.ndarray:
    return np.random.default_rng([number, len(stream)]).random((num, 8), np.float32)


def write_motion(folder: Path, names: list[str], videos: list[Video], times: int = 1) -> Path:
    """MSVA's folder kinetic_features: `times` as many rows as a video has steps."""
    for stream in i3d.STREAMS:
        place = folder / stream / "features"
        place.mkdir(parents=True)
        for number, (name, video) in enumerate(zip(names, videos, strict=True), 1):
            np.save(place / f"{name}.npy", rows(number, stream, times * len(video.frame_time_s)))
    return folder.parent


@pytest.fixture
def clips(tmp_path) -> list[Video]:
    """SumMe in MSVA's layout: its files have the videos' names, which another alphabet would put in another order."""
    (tmp_path / "object_features").mkdir()
    found = summe.load(write_eccv16(tmp_path / "object_features" / "summe.h5", 25, named=True))
    write_motion(tmp_path / "kinetic_features" / "summe", [str(v.title) for v in found], found)
    return found


def test_the_three_sources_stand_side_by_side(clips, tmp_path) -> None:
    found, said = with_motion(clips, tmp_path / "kinetic_features", "summe")
    assert said == "3 sources of 8 each: summe's own, I3D RGB, I3D flow"
    for number, (video, before) in enumerate(zip(found, clips, strict=True), 1):
        num = len(before.frame_time_s)
        expected = [before.frame_feature, rows(number, "RGB", num), rows(number, "FLOW", num)]
        assert np.array_equal(video.frame_feature, np.concatenate(expected, axis=1))
    # The folder of one data set does as well, and so does the option.
    alone, report = join_features(clips, f"i3d:{tmp_path}/kinetic_features/summe")
    assert np.array_equal(alone[9].frame_feature, found[9].frame_feature)
    assert "3 sources" in str(report)


def test_tvsums_files_are_in_the_order_of_its_videos(tmp_path) -> None:
    videos = tvsum.load(write_eccv16(tmp_path / "tvsum.h5", 50))
    write_motion(tmp_path / "tvsum", [f"clip{number:03d}" for number in range(50)], videos)
    found, _ = with_motion(videos, tmp_path, "tvsum")
    assert np.array_equal(found[1].frame_feature[:, 8:16], rows(2, "RGB", len(found[1].frame_time_s)))
    # With the annotations the YouTube id is known, and the name of a file counts before its place.
    renamed = tmp_path / "again"
    ids = [f"{chr(122 - number % 26)}{number:010d}" for number in range(50)]
    known = [replace(v, url=f"https://www.youtube.com/watch?v={name}") for v, name in zip(videos, ids, strict=True)]
    write_motion(renamed / "tvsum", ids, videos)
    found, _ = with_motion(known, renamed, "tvsum")
    assert np.array_equal(found[1].frame_feature[:, 8:16], rows(2, "RGB", len(found[1].frame_time_s)))


def test_rows_are_averaged_to_the_steps_by_area() -> None:
    values = np.array([[0.0], [2.0], [4.0], [6.0], [8.0]], np.float32)
    # By hand: 5 rows in 2 shares are rows 0, 1 and half of 2, then the other half of 2, 3 and 4.
    assert np.allclose(i3d.shrunk(values, 2), [[4 / 2.5], [16 / 2.5]])
    assert np.array_equal(i3d.shrunk(values, 5), values)
    assert np.allclose(i3d.shrunk(np.repeat(values, 3, axis=0), 5), values)


def test_videos_with_more_rows_than_steps(tmp_path) -> None:
    videos = summe.load(write_eccv16(tmp_path / "summe.h5", 25, named=True))
    write_motion(tmp_path / "summe", [str(v.title) for v in videos], videos, times=2)
    found, _ = with_motion(videos, tmp_path, "summe")
    pairs = rows(7, "FLOW", 2 * len(videos[6].frame_time_s)).reshape(-1, 2, 8)
    assert np.allclose(found[6].frame_feature[:, 16:], pairs.mean(1))


def test_files_of_other_videos_are_refused(clips, tmp_path) -> None:
    place = tmp_path / "kinetic_features" / "summe"
    file = place / "FLOW" / "features" / "Clip 3.npy"
    good = file.read_bytes()
    for content, message in (
        (np.ones((5, 7), np.float32), r"Clip 3.npy is \[5, 7\]; expected \[rows, 8\], as video_3's own features"),
        (np.full((5, 8), np.nan, np.float32), r"Clip 3.npy holds values that are not finite"),
        (np.ones((50, 8), np.float32), r"video_3 has 50 rows; its 5 steps .* let expect 5: the files are of other vid"),
    ):
        np.save(file, content)
        with pytest.raises(UsageError, match=message):
            with_motion(clips, place, "summe")
    file.write_bytes(b"<html>")
    with pytest.raises(UsageError, match=r"Clip 3.npy is a web page"):
        with_motion(clips, place, "summe")
    file.write_bytes(good[:40])
    with pytest.raises(UsageError, match=r"Clip 3.npy is damaged"):
        with_motion(clips, place, "summe")
    file.unlink()
    with pytest.raises(
        UsageError, match=r"holds 24 files, 24 of which have the name of one of the 25 videos \(first wi"
    ):
        with_motion(clips, place, "summe")
    with pytest.raises(
        UsageError, match=r"tvsum/RGB/features holds no .npy files; give MSVA's folder kinetic_features"
    ):
        with_motion(clips, tmp_path / "kinetic_features", "tvsum")


def test_msva_trains_on_three_sources(clips, tmp_path) -> None:
    its = f"summe:{tmp_path}/object_features/summe.h5"
    data = open_data(Wanted(data=its, features=f"i3d:{tmp_path}/kinetic_features"), 0)
    settings = settings_of("msva", "default", ["epochs=1", "model.sources=3", "model.regressor=[4,4,4]"])
    run = fit_fold(settings, data, tmp_path / "run")
    assert (run.info.frame_dim, run.model.sources) == (24, 3)
    assert run.model.attention.key.in_features == 8
    names = [f"video_{number}" for number in range(1, 26)]
    split = tmp_path / "one.json"
    split.write_text(json.dumps([{"train_keys": names[5:], "test_keys": names[:5]}]))
    found = bench.bench(
        bench.Request(
            on="summe",
            data=f"{tmp_path}/object_features/summe.h5",
            methods=("msva",),
            seeds=1,
            features=f"i3d:{tmp_path}/kinetic_features",
            sets=("epochs=1", "model.sources=3", "model.regressor=[4,4,4]"),
            protocol="scores-vs-mean",
            split=str(split),
        )
    )
    (line,) = [line for line in found.remarks if line.startswith("msva: ")]
    assert "frame features of size 24 (summe's own, I3D RGB, I3D flow)" in line
    assert "features of 3 sources" in line
