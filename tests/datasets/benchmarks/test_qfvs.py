"""QFVS: queries, concepts, the oracle, features and embeddings, and what may be wrong with them."""

from __future__ import annotations

import json
import pickle
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import QFVS_SHOTS, write_qfvs, write_qfvs_tags
from tests.train.benchmark.bench_kit import value

from vsumdata.datasets import splits
from vsumdata.datasets.benchmarks import qfvs
from vsumdata.datasets.partition import tasks
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.data.targets import with_targets
from vsumdata.train.scoring.baselines import BASELINES, Trial
from vsumdata.train.scoring.evaluate import evaluate
from vsumdata.train.scoring.measure import evaluate_one

F1 = replace(qfvs.PROTOCOL, metrics=("concept_f1",))
ORACLES = "Query-Focused_Summaries/Oracle_Summaries"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CHAN's `data` with `origin_data` in it; tests that change it work on a copy."""
    data = tmp_path_factory.mktemp("qfvs") / "data"
    write_qfvs(data / "origin_data")
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


def test_each_query_is_a_video(made: Path) -> None:
    videos = qfvs.load(made)
    assert len(videos) == 180
    video = videos[46]
    assert (video.video_id, video.query) == ("P02_Concept01_Concept02", "Concept01 & Concept02")
    assert (video.task, video.title, video.duration_s) == ("P02", "P02", 600)
    np.testing.assert_array_equal(video.frame_time_s, np.arange(120) * 5)
    folder = made / "origin_data" / "Query-Focused_Summaries"
    oracle = (folder / "Oracle_Summaries" / "P02" / "Concept01_Concept02_oracle.txt").read_text().split()
    assert [str(shot + 1) for shot in np.flatnonzero(np.asarray(video.gt_summary))] == oracle, "files count from 1"
    user = (folder / "User_Summaries" / "P02" / "Concept01_Concept02_user3.txt").read_text().split()
    assert [str(shot + 1) for shot in np.flatnonzero(np.asarray(video.user_summary)[2])] == user
    np.testing.assert_array_equal(np.asarray(video.user_score), np.asarray(video.user_summary))
    shown = (made / "origin_data" / "Dense_per_shot_tags" / "P02" / "P02.txt").read_text().splitlines()[7].split(",")
    places = [qfvs._concepts(made / "origin_data" / "Dense_per_shot_tags" / "Dictionary.txt").index(c) for c in shown]
    assert np.flatnonzero(np.asarray(video.concept)[7]).tolist() == sorted(places)
    assert video.frame_feature.shape == (120, 0)
    assert np.asarray(with_targets(video, "given").gt_summary).sum() == 8, "the oracle is what is learnt"


def test_summaries_without_a_query_are_a_data_set_of_their_own(made: Path) -> None:
    videos = qfvs.load(made / "origin_data" / "Global_Summaries")
    assert [video.video_id for video in videos] == ["P01_global", "P02_global", "P03_global", "P04_global"]
    assert videos[3].query is None
    assert np.asarray(videos[3].user_summary).shape == (3, 110)
    oracle = (made / "origin_data" / "Global_Summaries" / "P04" / "oracle.txt").read_text().split()
    assert [str(shot + 1) for shot in np.flatnonzero(np.asarray(videos[3].gt_summary))] == oracle


@pytest.mark.parametrize("below", [".", "origin_data", "data/origin_data", "metadata/origin_data"])
def test_where_the_folder_may_be(made: Path, tmp_path: Path, below: str) -> None:
    shutil.copytree(made / "origin_data", tmp_path / "given" / below, dirs_exist_ok=True)
    assert len(qfvs.load(tmp_path / "given")) == 180


def test_queries_without_users_have_the_oracle_alone(data: Path) -> None:
    shutil.rmtree(data / "origin_data" / "Query-Focused_Summaries" / "User_Summaries")
    video = qfvs.load(data)[0]
    assert (video.user_summary, video.user_score) == (None, None)
    assert evaluate(np.asarray(video.gt_summary), video, qfvs.PROTOCOL).values["concept_precision"] == 1


def test_the_rows_of_a_bench(made: Path) -> None:
    data = made / "origin_data" / "Global_Summaries"
    found = bench(Request(on="qfvs", data=str(data), seeds=2))
    assert found.split == "qfvs/leave-one-out"
    # 2 % of 90 to 120 shots are 1 or 2 of the oracle's 8: each has a pair, and no more can be found.
    best = [2 * size / (8 + size) for size in (2, 2, 1, 2)]
    assert value(found, "oracle", "concept_f1").mean == pytest.approx(np.mean(best))
    assert value(found, "oracle", "concept_precision").mean == 1
    users = [
        np.mean(
            [evaluate(np.zeros(len(user)), video, qfvs.PROTOCOL, summary=user).values["concept_f1"] for user in its]
        )
        for video in qfvs.load(data)
        if (its := video.user_summary) is not None
    ]
    assert value(found, "human", "concept_f1").mean == pytest.approx(np.mean(users)), "people against the oracle"
    assert 0 < value(found, "random", "concept_f1").mean < value(found, "human", "concept_f1").mean < 1


def test_a_fold_tests_one_video_and_chooses_on_another(made: Path) -> None:
    videos = qfvs.load(made)
    ids, groups = [video.video_id for video in videos], tasks(videos)
    folds = splits.folds("qfvs", ids, groups=groups, seed=1)
    assert [sorted({name[:3] for name in fold.test}) for fold in folds] == [["P01"], ["P02"], ["P03"], ["P04"]]
    for fold in folds:
        parts = [{name[:3] for name in part} for part in (fold.train, fold.val, fold.test)]
        assert [len(part) for part in parts] == [2, 1, 1]
        assert len(set.union(*parts)) == 4, "no video is in two parts"
    others = splits.folds("qfvs", ids, groups=groups, seed=2)
    assert [fold.val for fold in others] != [fold.val for fold in folds], "the seed draws the validation video"
    assert [fold.test for fold in others] == [fold.test for fold in folds]


def write_features(path: Path, total: int, *, size: int = 4, more: int = 0, key: str = "features") -> np.ndarray:
    """Features of `total` shots and some more, in segments of 30 and a rest, padded to 40, or as a plain table."""
    rows = np.random.default_rng(total).random((total + more, size)).astype(np.float32)
    with h5py.File(path, "w") as file:
        if key == "feature":
            file[key] = rows
            return rows
        starts = range(0, len(rows), 30)
        lengths = [len(rows[start : start + 30]) for start in starts] + [0]
        padded = np.full((len(lengths), 40, size), 9, np.float32)
        for segment, start, length in zip(padded, starts, lengths, strict=False):
            segment[:length] = rows[start : start + length]
        file["features"], file["seg_len"] = padded, np.array(lengths, np.int32)
    return rows


@pytest.mark.parametrize(("pattern", "key"), [("V{}_resnet_avg.h5", "features"), ("P0{}_fps1.h5", "feature")])
def test_features_of_shots(data: Path, pattern: str, key: str) -> None:
    (data / "processed").mkdir()
    rows = [
        write_features(data / "processed" / pattern.format(number), total, more=2 * (number == 4), key=key)
        for number, total in enumerate(QFVS_SHOTS.values(), 1)
    ]
    videos = qfvs.load(data)
    np.testing.assert_array_equal(videos[0].frame_feature, rows[0])
    np.testing.assert_array_equal(videos[-1].frame_feature, rows[3][:110])
    assert videos[0].frame_feature is videos[1].frame_feature, "the queries of one video share its features"
    np.testing.assert_array_equal(qfvs.load(data / "origin_data" / "Global_Summaries")[0].frame_feature, rows[0])
    assert qfvs.load(data / "origin_data")[0].frame_feature.shape == (100, 0)


def test_of_several_kinds_chans_own_is_taken(data: Path) -> None:
    for number, total in enumerate(QFVS_SHOTS.values(), 1):
        write_features(data / f"V{number}_resnet_avg.h5", total, size=3)
        write_features(data / f"V{number}_C3D.h5", total, size=5)
    assert qfvs.load(data)[0].frame_feature.shape == (100, 3)
    for number in range(1, 5):
        (data / f"V{number}_resnet_avg.h5").rename(data / f"V{number}_clip.h5")
    with pytest.raises(UsageError, match=r"features of several kinds \(C3D, clip\); leave one"):
        qfvs.load(data)


def change_h5(path: Path, **values: Any) -> None:
    with h5py.File(path, "a") as file:
        for key, content in values.items():
            del file[key]
            if content is not None:
                file[key] = content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "holds features x without P02"),
        (lambda path: path.write_bytes(b"<html>"), "V2_x.h5 is a web page"),
        (lambda path: path.write_bytes(b"nothing"), "V2_x.h5 is not an HDF5 file"),
        (lambda path: path.write_bytes(path.read_bytes()[:900]), "V2_x.h5 is cut off"),
        (lambda path: change_h5(path, features=None), "V2_x.h5 has no features; it has seg_len"),
        (lambda path: change_h5(path, seg_len=None), "V2_x.h5: seg_len does not fit features"),
        (lambda path: change_h5(path, seg_len=[30, 30]), "V2_x.h5: seg_len does not fit features"),
        (lambda path: change_h5(path, seg_len=[99] * 5), "V2_x.h5: seg_len does not fit features"),
        (lambda path: change_h5(path, features=np.full((5, 40, 4), np.nan)), "features: values holds values that are"),
        (lambda path: change_h5(path, seg_len=[30, 30, 30, 29, 0]), r"has \[119, 4\] shots and sizes; 120 shots"),
        (lambda path: change_h5(path, seg_len=[30, 30, 30, 30, 9]), r"has \[129, 4\] shots and sizes; 120 shots"),
    ],
)
def test_what_is_wrong_with_features(data: Path, change: Callable[[Path], Any], message: str) -> None:
    for number, total in enumerate(QFVS_SHOTS.values(), 1):
        write_features(data / f"V{number}_x.h5", total)
    change(data / "V2_x.h5")
    with pytest.raises(UsageError, match=message):
        qfvs.load(data)


def embeddings(words: int) -> dict[str, np.ndarray]:
    names = [f"Concept{number:02d}" for number in range(45)] + list(qfvs.RENAMED.values())
    rows = np.random.default_rng(0).random((48, words or 1, 6)).astype(np.float32)
    return {name: row if words else row[0] for name, row in zip(names, rows, strict=True)}


@pytest.mark.parametrize(("name", "words"), [("processed/query_dictionary.pkl", 0), ("txt_clip/query.pkl", 2)])
def test_embeddings_of_the_concepts(data: Path, name: str, words: int) -> None:
    path = data / name
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(embeddings(words)))
    videos = qfvs.load(data)
    its = embeddings(words)
    expected = np.concatenate([np.atleast_2d(its["Concept44"]), np.atleast_2d(its["Glass"])])
    (video,) = [video for video in videos if video.video_id == "P03_Concept44_Cupglass"]
    np.testing.assert_array_equal(np.asarray(video.query_feature), expected)


class Attack:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return print, ("this code ran",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "query_dictionary.pkl is a web page"),
        (b"", "query_dictionary.pkl is empty"),
        (pickle.dumps(embeddings(0))[:500], "query_dictionary.pkl is damaged"),
        (pickle.dumps({"a": Attack()}), "query_dictionary.pkl is damaged or holds no arrays"),
        (pickle.dumps([1, 2]), "query_dictionary.pkl holds no dictionary of arrays"),
        (pickle.dumps({"a": "b"}), "query_dictionary.pkl holds no dictionary of arrays"),
        (pickle.dumps({"Glass": np.zeros(3)}), "query_dictionary.pkl has no Concept00"),
        (pickle.dumps(embeddings(0) | {"Glass": np.full(6, np.nan)}), "query_dictionary.pkl: the concepts: Cupglass"),
        (pickle.dumps(embeddings(0) | {"Glass": np.zeros(5)}), "embeddings are not .words, size. of one size"),
        (pickle.dumps(embeddings(0) | {"Glass": np.zeros((1, 1, 6))}), "embeddings are not .words, size. of one size"),
    ],
)
def test_what_is_wrong_with_embeddings(data: Path, capsys: Any, content: bytes, message: str) -> None:
    (data / "query_dictionary.pkl").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        qfvs.load(data)
    assert "this code ran" not in capsys.readouterr().out


def test_two_files_of_embeddings(data: Path) -> None:
    for name in ("a", "b"):
        (data / name).mkdir()
        (data / name / "query_dictionary.pkl").write_bytes(pickle.dumps(embeddings(0)))
    with pytest.raises(UsageError, match="both embed the concepts"):
        qfvs.load(data)


def test_the_official_tags_decide_in_the_last_shot(data: Path) -> None:
    text = np.asarray(qfvs.load(data)[0].concept)
    write_qfvs_tags(data / "Tags.mat", data / "origin_data")
    official = np.asarray(qfvs.load(data)[0].concept)
    np.testing.assert_array_equal(official[:-1], text[:-1])
    assert official[-1].sum() == text[-1].sum() - 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], r"Tags.mat: P02 is \[119, 48\], its text \[120, 48\]"),
        (lambda rows: rows[:, :-1], r"Tags.mat: P02 is \[120, 47\], its text \[120, 48\]"),
        (lambda rows: np.roll(rows, 1, 0), "Tags.mat: P02, shot 1 shows other concepts than its text"),
    ],
)
def test_official_tags_of_another_version(data: Path, change: Callable[[np.ndarray], np.ndarray], message: str) -> None:
    write_qfvs_tags(data / "Tags.mat", data / "origin_data", {"P02": change})
    with pytest.raises(UsageError, match=message):
        qfvs.load(data)


def test_what_is_no_file_of_tags(data: Path) -> None:
    from scipy.io import savemat

    for values, message in (
        ({"Tags": np.zeros(4)}, "Tags is not a struct of Bin_Vecs"),
        ({"Others": 1}, "Tags.mat has no Tags"),
    ):
        savemat(data / "Tags.mat", values)
        with pytest.raises(UsageError, match=message):
            qfvs.load(data)
    (data / "Tags.mat").write_bytes(b"MATLAB 5.0 MAT-file" * 9)
    with pytest.raises(UsageError, match=r"Tags.mat is not a MATLAB 5 file, or is cut off"):
        qfvs.load(data)


FIRST = f"{ORACLES}/P01/Concept00_Concept01_oracle.txt"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (FIRST, None, "has 44 queries; expected 45"),
        (FIRST, "", "oracle.txt is empty"),
        (FIRST, "<!doctype html>", "oracle.txt is a web page"),
        (FIRST, "1\n2\nx\n", "oracle.txt, line 3: 'x' is none of the video's 100 shots"),
        (FIRST, "1\n0\n", "oracle.txt, line 2: '0' is none of the video's 100 shots"),
        (FIRST, "1\n101\n", "oracle.txt, line 2: '101' is none of the video's 100 shots"),
        (FIRST, "1.5\n", "oracle.txt, line 1: '1.5' is none of"),
        (FIRST, "1,2,3\n", "oracle.txt, line 1: '1,2,3' is none of"),
        (FIRST.replace("01_oracle", "99_oracle"), "1\n", "has 46 queries; expected 45"),
        (
            "Query-Focused_Summaries/User_Summaries/P04/Concept00_Concept01_user2.txt",
            "999\n",
            "user2.txt, line 1: '999'",
        ),
        ("Dense_per_shot_tags/Dictionary.txt", "'Baby'\n'Beach'\n", "Dictionary.txt has 2 concepts; expected 48"),
        ("Dense_per_shot_tags/Dictionary.txt", None, "Dictionary.txt is not there"),
        ("Dense_per_shot_tags/P03/P03.txt", None, "P03.txt is not there"),
        ("Dense_per_shot_tags/P03/P03.txt", "Concept01\nConcept1\n", "P03.txt, line 2: 'Concept1' is none of the 48"),
        ("Dense_per_shot_tags/P03/P03.txt", "Concept01\n", "none of the video's 1 shots"),
    ],
)
def test_what_is_wrong_in_a_file(data: Path, name: str, content: str | None, message: str) -> None:
    path = data / "origin_data" / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(UsageError, match=message):
        qfvs.load(data)


def test_a_query_of_unknown_concepts_and_a_text_that_is_none(data: Path) -> None:
    first = data / "origin_data" / FIRST
    first.rename(first.with_name("Concept00_oracle.txt"))
    with pytest.raises(UsageError, match=r"Concept00_oracle.txt is not named after two of the 48 concepts"):
        qfvs.load(data)
    first.with_name("Concept00_oracle.txt").rename(first)
    first.write_bytes(b"\xff\xfe1\x00")
    with pytest.raises(UsageError, match=r"oracle.txt is not a text"):
        qfvs.load(data)


def test_a_shot_may_show_nothing(data: Path) -> None:
    path = data / "origin_data" / "Dense_per_shot_tags" / "P01" / "P01.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "", *lines[2:]]))
    concept = np.asarray(qfvs.load(data)[0].concept)
    assert (len(concept), concept[1].sum()) == (100, 0)


def test_paths_that_are_no_data_set(tmp_path: Path, made: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not there"):
        qfvs.load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="holds no Dense_per_shot_tags: another data set's folder"):
        qfvs.load(tmp_path)
    (tmp_path / "origin_data.tar.gz").write_bytes(b"\x1f\x8b" + bytes(20))
    with pytest.raises(UsageError, match=r"origin_data.tar.gz is a gzip archive; unpack it"):
        qfvs.load(tmp_path / "origin_data.tar.gz")
    with pytest.raises(UsageError, match=r"Dictionary.txt is a file; name the folder"):
        qfvs.load(made / "origin_data" / "Dense_per_shot_tags" / "Dictionary.txt")


def test_methods_are_trained_on_two_videos_and_tested_on_one(data: Path) -> None:
    for number, total in enumerate(QFVS_SHOTS.values(), 1):
        write_features(data / f"V{number}_x.h5", total)
    found = bench(
        Request(
            on="qfvs", data=str(data / "origin_data" / "Global_Summaries"), methods=("mlp",), seeds=1,
            sets=("epochs=1", "model.hidden=[4]"),
        )
    )  # fmt: skip
    row = value(found, "mlp", "concept_f1")
    assert row.n == 4
    assert row.mean > 0
    assert [(run["num_train"], run["num_val"], run["num_test"]) for run in found.made["mlp"][0]["runs"]] == [
        (2, 1, 1)
    ] * 4


@pytest.fixture(scope="module")
def real(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    with tarfile.open(recordings / "benchmarks" / "QFVS" / "origin_data.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    shutil.copy(recordings / "benchmarks" / "QFVS" / "Tags.mat", folder)
    return folder


@pytest.mark.recorded
@pytest.mark.parametrize("below", [".", "data/origin_data"])
def test_the_real_files_give_the_official_figures(real: Path, recordings: Path, below: str) -> None:
    """With the official tags, and with the text alone, which differs from them in the last shot of three videos."""
    videos = {video.video_id: video for video in qfvs.load(real / below)}
    assert len(videos) == 180
    assert {video.title: len(video.frame_time_s) for video in videos.values()} == {
        "P01": 2783, "P02": 3692, "P03": 2152, "P04": 3588,
    }  # fmt: skip
    videos |= {video.video_id: video for video in qfvs.load(real / "data" / "origin_data" / "Global_Summaries")}
    pack = json.loads((recordings / "golden_real" / "14_qfvs_real.json").read_text())
    for case in pack["cases"]:
        name, _, user = case["name"].replace("/", "_").rpartition("_user")
        video = videos[name] if user.isdecimal() else videos[f"P0{case['video']}_global"]
        if user.isdecimal():
            shots = np.flatnonzero(np.asarray(video.user_summary)[int(user) - 1]) + 1
            assert (shots.tolist(), (np.flatnonzero(np.asarray(video.gt_summary)) + 1).tolist()) == (
                sorted(case["summary_shots"]), sorted(case["reference_shots"]),
            )  # fmt: skip
        total = len(video.frame_time_s)
        summary, oracle = (np.zeros(total, bool) for _ in range(2))
        summary[np.array(case["summary_shots"]) - 1] = True
        oracle[np.array(case["reference_shots"]) - 1] = True
        video = replace(video, gt_summary=oracle)
        values = evaluate(np.zeros(total), video, qfvs.PROTOCOL, summary=summary).values
        for key in ("precision", "recall", "f1"):
            assert values[f"concept_{key}"] == pytest.approx(case[key], abs=1e-9), case["name"]


@pytest.mark.recorded
def test_chance_is_high_on_the_real_files(real: Path) -> None:
    videos = qfvs.load(real)
    found: dict[str, list[float]] = {}
    oracle = qfvs.ceilings(real)["oracle"]
    for video in videos:
        trials = {name: baseline(video, qfvs.PROTOCOL, 0) for name, baseline in BASELINES.items()}
        trials["oracle"] = iter([Trial(video=video, frame_score=oracle[video.video_id])])
        for name, its in trials.items():
            values = [evaluate_one(each, F1).values["concept_f1"] for each in its]
            found.setdefault(name, []).append(float(np.mean(values)))
    figures = {name: float(np.mean(values)) for name, values in found.items()}
    assert figures["random"] == pytest.approx(0.471, abs=0.01)
    assert figures["human"] == pytest.approx(0.748, abs=1e-3)
    assert figures["oracle"] == pytest.approx(0.812, abs=1e-3)
