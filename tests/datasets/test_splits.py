"""Published splits, nested validation, and what must not cross."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as prop
from hypothesis import strategies as st

from vsumdata.datasets import splits
from vsumdata.datasets.crossings import check, crossings
from vsumdata.datasets.partition import nested
from vsumdata.datasets.splits import Fold, folds
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

SIZES = {"tvsum": 50, "summe": 25}


def ids(data_set: str) -> list[str]:
    return [f"video_{i}" for i in range(1, SIZES[data_set] + 1)]


# How many of the videos the five test sets together hold.
@pytest.mark.parametrize(
    ("name", "union"),
    [
        ("tvsum", 50),
        ("tvsum/csta", 50),
        ("tvsum/msva-random", 50),
        ("tvsum/msva-ordered", 50),
        ("tvsum/pgl-sum", 34),
        ("tvsum/ca-sum", 34),
        ("tvsum/vasnet", 31),
        ("tvsum/dsnet", 32),
        ("summe", 25),
        ("summe/csta", 25),
        ("summe/msva-random", 25),
        ("summe/msva-ordered", 25),
        ("summe/pgl-sum", 18),
        ("summe/vasnet", 17),
        ("summe/msva-early", 17),
        ("summe/dsnet", 16),
    ],
)
def test_published_splits(name, union):
    data_set = name.partition("/")[0]
    found = folds(name, ids(data_set))
    assert len(found) == 5
    tested = [video_id for fold in found for video_id in fold.test]
    assert len(set(tested)) == union
    assert (len(tested) == len(set(tested))) == (union == SIZES[data_set]), "a partition tests every video once"
    for fold in found:
        assert len(fold.test) == SIZES[data_set] / 5
        assert sorted(fold.train + fold.val + fold.test) == sorted(ids(data_set)), "disjoint, and nothing is lost"
        assert len(fold.val) == len(fold.test) * 4 / 5  # a fifth of the training videos
        assert not fold.legacy


def test_the_default_is_a_partition_and_single_folds_are_as_published():
    assert splits.sources("tvsum")[0] == splits.sources("summe")[0] == "csta"
    assert folds("tvsum", ids("tvsum"))[0].label == "tvsum/csta, fold 1 of 5"
    assert set(folds("summe", ids("summe"))[0].test) == {f"video_{i}" for i in (2, 11, 13, 14, 24)}
    assert folds("tvsum/msva-ordered", ids("tvsum"))[1].test == tuple(f"video_{i}" for i in range(11, 21))
    assert set(folds("summe/pgl-sum", ids("summe"))[0].test) == {f"video_{i}" for i in (4, 9, 16, 21, 25)}
    assert "video_35" in folds("tvsum/dsnet", ids("tvsum"))[0].test


def test_validation_comes_from_training_videos_by_the_seed():
    first, again, other = (folds("tvsum", ids("tvsum"), seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert [fold.test for fold in first] == [fold.test for fold in other]
    assert all(one.val != two.val for one, two in zip(first, other, strict=True))


def test_legacy_validates_on_the_test_videos_and_says_so():
    for fold in folds("summe", ids("summe"), legacy=True):
        assert fold.val == fold.test
        assert fold.legacy
        assert len(fold.train) == 20
        assert fold.label.endswith("legacy: validated on the test videos")


def test_each_task_may_be_tested_once_and_another_chooses_the_epoch():
    groups = {f"v{i}": f"task {i % 3}" for i in range(9)}
    for name in ("qfvs", "qfvs/leave-one-out", "mine/leave-one-out"):
        found = folds(name, list(groups), groups=groups)
        assert [{groups[each] for each in fold.test} for fold in found] == [{"task 0"}, {"task 1"}, {"task 2"}]
        assert all({len(fold.train), len(fold.val), len(fold.test)} == {3} for fold in found)
        assert found[0].label == f"{name.partition('/')[0]}/leave-one-out, fold 1 of 3"
    with pytest.raises(UsageError, match="9 videos of 1 groups cannot be split"):
        folds("qfvs", list(groups), groups=dict.fromkeys(groups, "one"))
    # A published split stays the default of its data set.
    assert len(folds("tvsum/leave-one-out", ids("tvsum"))) == 50


def test_a_split_that_does_not_fit():
    with pytest.raises(UsageError, match="no split 'nonesuch' of tvsum is known; known: csta, dsnet, msva-ordered"):
        folds("tvsum/nonesuch", ids("tvsum"))
    with pytest.raises(UsageError, match=r"tests video_\d+, which is not among the 25 videos"):
        folds("tvsum", ids("summe"))
    with pytest.raises(UsageError, match="cannot be split"):
        folds("own", ["a"])


@prop(st.dictionaries(st.text(max_size=3), st.integers(0, 6), min_size=2, max_size=40), st.integers(0, 5))
def test_own_folds_keep_groups_together(group_of, seed):
    groups = {video_id: str(group) for video_id, group in group_of.items()}
    if len(set(groups.values())) < 2:
        return
    found = folds("own", list(groups), seed=seed, groups=groups)
    assert sorted(video_id for fold in found for video_id in fold.test) == sorted(groups)
    for fold in found:
        parts = [{groups[video_id] for video_id in part} for part in (fold.train, fold.val, fold.test)]
        assert sum(map(len, parts)) == len(set().union(*parts))
        assert fold.train


def test_splits_from_their_published_files(tmp_path):
    pairs = [(["video_1", "video_3"], ["video_2"]), (["video_2", "video_3"], ["video_1"])]
    as_json = tmp_path / "tvsum_splits.json"
    as_json.write_text(json.dumps([{"train_keys": train, "test_keys": test} for train, test in pairs], indent="\t"))
    as_yml = tmp_path / "tvsum.yml"
    prefix = "  - ../datasets/eccv16_dataset_tvsum_google_pool5.h5/"
    as_yml.write_text(
        "".join(
            f"- test_keys:\n{''.join(f'{prefix}{v}' + chr(10) for v in test)}"
            f"  train_keys:\n{''.join(f'{prefix}{v}' + chr(10) for v in train)}"
            for train, test in pairs
        )
    )
    as_txt = tmp_path / "TVSum_splits.txt"
    as_txt.write_text("".join(f"TVSum/split{i}/{','.join(a)}/{','.join(b)}\n" for i, (a, b) in enumerate(pairs)))
    for path in (as_json, as_yml, as_txt):
        found = folds(f"tvsum/{path}", ["video_1", "video_2", "video_3"])
        assert [fold.test for fold in found] == [("video_2",), ("video_1",)]
        assert found[0].label == f"tvsum/{path.name}, fold 1 of 2"


@pytest.mark.parametrize("form", ["json", "yml"])
def test_a_split_that_trains_on_other_data_sets_is_refused(tmp_path, form):
    """VASNet's tvsum_aug_splits.json and DSNet's tvsum_trans.yml: `video_1` of each data set is another video."""
    file = "eccv16_dataset_{}_google_pool5" if form == "json" else "../datasets/eccv16_dataset_{}_google_pool5.h5"
    tvsum, ovp = (f"{file.format(name)}/video_" for name in ("tvsum", "ovp"))
    path = tmp_path / f"split.{form}"
    path.write_text(json.dumps([{"train_keys": [ovp + "1", tvsum + "2"], "test_keys": [tvsum + "1"]}]))
    assert splits.read(path) == [["video_1"]]
    with pytest.raises(
        UsageError, match=r"fold 1 trains on videos of ovp too, which --data does not name; .*or the canonical split"
    ):
        folds(f"tvsum/{path}", ["video_1", "video_2"])
    with pytest.raises(UsageError, match="fold 1 tests videos of tvsum; expected summe's"):
        folds(f"summe/{path}", ["video_1", "video_2"])
    path.write_text(json.dumps([{"train_keys": [ovp + "1", tvsum + "1"], "test_keys": [tvsum + "1"]}]))
    with pytest.raises(UsageError, match="trains on one"):
        splits.read(path)


def test_another_data_sets_split_is_refused(tmp_path):
    """All of SumMe's names are names of TVSum too."""
    summe, tvsum = ids("summe"), ids("tvsum")
    path = tmp_path / "por_summe_splits.json"
    path.write_text(json.dumps([{"train_keys": summe[5:], "test_keys": summe[:5]}]))
    assert folds(f"summe/{path}", summe)[0].test == tuple(summe[:5])
    with pytest.raises(UsageError, match=r"por_summe.*: fold 1 divides 25 videos; expected all 50 of tvsum"):
        folds(f"tvsum/{path}", tvsum)
    path.write_text(json.dumps([{"train_keys": tvsum[5:], "test_keys": tvsum[:5]}]))
    with pytest.raises(UsageError, match=r"fold 1 names video_\d+, which is not among the 25 videos of summe"):
        folds(f"summe/{path}", summe)
    as_txt = tmp_path / "splits.txt"
    as_txt.write_text(f"SumMe/split0/{','.join(tvsum[5:])}/{','.join(tvsum[:5])}\n")
    with pytest.raises(UsageError, match="fold 1 tests videos of summe; expected tvsum's"):
        folds(f"tvsum/{as_txt}", tvsum)


@pytest.mark.recorded
@pytest.mark.parametrize("name", ["non_overlap_random_{}_splits.json", "por_{}_splits.json"])
def test_the_published_files_divide_their_own_data_set(recordings, name):
    for ours, other in (("tvsum", "summe"), ("summe", "tvsum")):
        path = recordings / "benchmarks" / "splits" / name.format(ours)
        for fold in folds(f"{ours}/{path}", ids(ours)):
            assert {*fold.train, *fold.val, *fold.test} == set(ids(ours))
        with pytest.raises(UsageError, match="another data set's split"):
            folds(f"{other}/{path}", ids(other))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "[1, 2]", "is not in the format"),
        ("a.json", "{}}", "is not in the format"),
        ("a.yml", "- [\n- :", "is not in the format"),
        ("a.json", '[{"train_keys": ["video_1"]}]', "is not in the format"),
        ("a.txt", "TVSum/split0/video_1", "is not in the format"),
        (
            "a.json",
            '[{"train_keys": ["video_1"], "test_keys": ["video_1"]}]',
            "fold 1 has no test videos, or trains on one",
        ),
        ("a.json", '[{"train_keys": ["video_1"], "test_keys": []}]', "fold 1 has no test videos, or trains on one"),
    ],
)
def test_a_split_file_that_is_none(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        folds(f"tvsum/{path}", ids("tvsum"))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def video(video_id: str, seed: int, *, task: str | None = None, duration_s: float = 60, noise: float = 0) -> Video:
    rng = np.random.default_rng(seed)
    feature = rng.normal(size=(40, 1)) * 0.3 + rng.normal(size=64)
    feature += noise * np.random.default_rng(seed + 1).normal(size=feature.shape)
    return Video(
        video_id=video_id,
        frame_time_s=np.arange(40, dtype=np.float32),
        frame_feature=feature.astype(np.float16),
        task=task,
        duration_s=duration_s,
    )


def test_what_crosses_is_named():
    videos = [
        video("a", 1, task="Boil eggs"),
        video("b", 2, task="How to boil eggs - wikiHow"),
        video("c", 1, noise=0.05, duration_s=60.5),  # a's pictures, encoded anew
        video("d", 4),
        video("longer", 1, duration_s=70),  # a's pictures, but another cut
    ]
    fold = Fold(train=("a", "d"), val=("c",), test=("b", "d", "longer"), label="fold 1")
    assert {str(found) for found in crossings([fold], videos)} == {
        "video d (fold 1)",
        "task a and b (fold 1)",
        "near-duplicate a and c (fold 1)",
    }
    with pytest.raises(UsageError, match="3 crossings between training, validation and test videos: video d"):
        check([fold], videos)


@pytest.mark.parametrize("size", [8, 64, 512])
def test_independent_features_are_no_near_duplicates_and_copies_are(size):
    """GoogLeNet's features are positive: the means of any two videos then have a cosine of .99 and more."""
    rng = np.random.default_rng(size)
    features = [rng.random((60, size), np.float32) for _ in range(40)]
    copies = [feature + 0.02 * rng.standard_normal(feature.shape, np.float32) for feature in features[:5]]
    found = [
        replace(video(f"v{number}", 1), frame_feature=feature, frame_time_s=np.arange(60, dtype=np.float32))
        for number, feature in enumerate([*features, *copies])
    ]
    fold = Fold(train=tuple(each.video_id for each in found[:40]), val=(), test=tuple(v.video_id for v in found[40:]))
    assert {(each.first, each.second) for each in crossings([fold], found)} == {
        (f"v{i}", f"v{40 + i}") for i in range(5)
    }
    alike = [replace(each, frame_feature=features[0]) for each in found[:4]]
    halves = Fold(train=("v0", "v1"), val=(), test=("v2", "v3"))
    assert len(list(crossings([halves], alike))) == 4, "all videos are one"


def test_what_does_not_cross():
    videos = [video("a", 1, task="x"), video("b", 1, task="x"), video("c", 3), video("d", 4)]
    check([Fold(train=("a", "b"), val=("c",), test=("d",))], videos)
    check([Fold(train=("a", "b"), val=("d",), test=("d",))], videos)  # legacy: val is the test fold
    with pytest.raises(UsageError, match=r"names e, which is not among the 4 videos"):
        check([Fold(train=("e",), val=(), test=("d",))], videos)
    bare = [replace(v, frame_feature=np.zeros((40, 0)), task=None) for v in videos]
    check([Fold(train=("a",), val=(), test=("b",))], bare)  # nothing to compare


def test_published_folds_of_distinct_videos_pass_the_check():
    videos = [video(video_id, seed) for seed, video_id in enumerate(ids("summe"))]
    for source in splits.sources("summe"):
        check(folds(f"summe/{source}", ids("summe")), videos)


def test_videos_of_the_same_length_and_kind_are_no_near_duplicates():
    common = np.random.default_rng(0).normal(size=64)
    videos = []
    for seed in range(20):
        own = video(f"v{seed}", seed)
        videos.append(replace(own, frame_feature=(own.frame_feature + common).astype(np.float16)))  # cosines near 0.5
    ids_ = tuple(v.video_id for v in videos)
    check([Fold(train=ids_[:10], val=(), test=ids_[10:])], videos)


def test_the_videos_own_split():
    videos = [replace(video(name, 1), split=split) for name, split in (("a", "train"), ("b", "test"), ("c", "val"))]
    assert splits.given(videos) == Fold(("a",), ("c",), ("b",), "as published")
    with pytest.raises(UsageError, match="none of the videos is in the split `test`"):
        splits.given(videos[:1])


def test_a_nested_validation_part_takes_whole_tasks() -> None:
    ids = tuple(f"v{n}" for n in range(40))
    groups = {each: f"task {n // 4}" for n, each in enumerate(ids)}
    fold = nested(Fold(ids, (), ("t",), "x"), groups, seed=0)
    assert fold.val
    assert {groups[each] for each in fold.val}.isdisjoint(groups[each] for each in fold.train)
