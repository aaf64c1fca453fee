"""Several data sets as one pool: names, splits that train on several, kinds of features, crossings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import write_eccv16

from vsumdata.datasets import partition, pool, splits
from vsumdata.datasets.benchmarks import ovp, summe, youtube
from vsumdata.datasets.splits import Fold
from vsumdata.manifests.errors import UsageError

FILE = "../datasets/eccv16_dataset_{}_google_pool5.h5/video_{}"
TVSUM = [f"video_{i}" for i in range(1, 51)]
NUMBERS = {"summe": range(1, 26), "ovp": range(1, 51), "youtube": [*range(11, 22), *range(23, 51)]}
OTHERS = {name: [f"{name}/video_{i}" for i in its] for name, its in NUMBERS.items()}


def dsnet(path: Path, *, transfer: bool = False, train: tuple[str, ...] = ("summe", "ovp", "youtube")) -> Path:
    """DSNet's tvsum_aug.yml or tvsum_trans.yml, of two folds."""
    more = [FILE.format(name, i) for name in train for i in NUMBERS[name]]
    folds = []
    for first in (0, 10):
        tested = range(50) if transfer else range(first, first + 10)
        own = [FILE.format("tvsum", i + 1) for i in range(50) if i not in tested]
        test = [FILE.format("tvsum", i + 1) for i in tested]
        folds.append({"train_keys": [*more[:3], *own, *more[3:]], "test_keys": test})
    path.write_text(json.dumps(folds))
    return path


def test_the_training_lists_of_a_file_are_kept(tmp_path) -> None:
    augmented = splits.folds(f"tvsum/{dsnet(tmp_path / 'tvsum_aug.yml')}", TVSUM, others=OTHERS)
    assert [fold.test for fold in augmented] == [tuple(TVSUM[:10]), tuple(TVSUM[10:20])]
    for fold in augmented:
        assert {*fold.train, *fold.val} == {*TVSUM, *(v for its in OTHERS.values() for v in its)} - set(fold.test)
        # The protocol that selects is that of the data set that is tested.
        assert len(fold.val) == 8
        assert not [v for v in fold.val if "/" in v]
    (first, _) = splits.folds(f"tvsum/{dsnet(tmp_path / 'tvsum_trans.yml', transfer=True)}", TVSUM, others=OTHERS)
    assert first.test == tuple(TVSUM)
    assert sorted((*first.train, *first.val)) == sorted(v for its in OTHERS.values() for v in its)
    assert first.val
    assert first.label == "tvsum/tvsum_trans.yml, fold 1 of 2"


def test_a_list_of_a_part_is_kept_as_well(tmp_path) -> None:
    path = dsnet(tmp_path / "aug.yml", train=("summe",))
    folds = json.loads(path.read_text())
    folds[0]["train_keys"] = [v for v in folds[0]["train_keys"] if "summe" not in v or v.endswith("/video_7")]
    path.write_text(json.dumps(folds))
    first, second = splits.folds(f"tvsum/{path}", TVSUM, others=OTHERS)
    assert [v for v in first.train if "/" in v] == ["summe/video_7"]
    assert len([v for v in second.train if "/" in v]) == 25


def test_what_a_list_needs_is_said(tmp_path) -> None:
    path = dsnet(tmp_path / "tvsum_aug.yml")
    some = {"summe": OTHERS["summe"]}
    with pytest.raises(UsageError, match=r"fold 1 trains on videos of ovp, youtube too, .*\+ovp:PATH\+youtube:PATH"):
        splits.folds(f"tvsum/{path}", TVSUM, others=some)
    with pytest.raises(UsageError, match=r"trains on ovp/video_50, which is not among the 49 videos of ovp"):
        splits.folds(f"tvsum/{path}", TVSUM, others=OTHERS | {"ovp": OTHERS["ovp"][:49]})
    with pytest.raises(UsageError, match="fold 1 tests videos of tvsum; expected summe's, or name it first in --data"):
        splits.folds(f"summe/{path}", TVSUM[:25], others={"tvsum": []})
    with pytest.raises(UsageError, match="--split transfer: the training lists of .* say what is trained on"):
        splits.folds(f"tvsum/{path}/transfer", TVSUM, others=OTHERS)
    text = path.read_text().replace("eccv16_dataset_ovp", "vsumm")
    path.write_text(text)
    with pytest.raises(UsageError, match=r"trains on videos of .*vsumm_google_pool5.h5, which no known data set"):
        splits.folds(f"tvsum/{path}", TVSUM, others=OTHERS)


def test_settings_by_name() -> None:
    more = {v for its in OTHERS.values() for v in its}
    for split in ("tvsum", "tvsum/augmented", "tvsum/csta/augmented"):
        found = splits.folds(split, TVSUM, others=OTHERS)
        assert len(found) == 5
        assert all(set(fold.train) >= more and len(fold.test) == 10 for fold in found)
        assert found[1].label == "tvsum/csta, augmented, fold 2 of 5"
    (fold,) = splits.folds("tvsum/transfer", TVSUM, others=OTHERS)
    assert fold.test == tuple(TVSUM)
    assert {*fold.train, *fold.val} == more
    alone = splits.folds("tvsum/pgl-sum", TVSUM)
    found = splits.folds("tvsum/pgl-sum/canonical", TVSUM, others=OTHERS)
    assert [(fold.train, fold.val, fold.test) for fold in found] == [(f.train, f.val, f.test) for f in alone]
    (legacy,) = splits.folds("tvsum/transfer", TVSUM, others=OTHERS, legacy=True)
    assert legacy.val == legacy.test == tuple(TVSUM)
    assert set(legacy.train) == more
    for setting in ("augmented", "transfer"):
        with pytest.raises(UsageError, match=rf"--split {setting} trains on other data sets too; give them"):
            splits.folds(f"tvsum/{setting}", TVSUM)


def test_a_canonical_file_stays_canonical(tmp_path) -> None:
    path = dsnet(tmp_path / "tvsum.yml", train=())
    fold = splits.folds(f"tvsum/{path}", TVSUM, others=OTHERS)[0]
    assert {*fold.train, *fold.val} == set(TVSUM[10:])
    widened = splits.folds(f"tvsum/{path}/augmented", TVSUM, others=OTHERS)[0]
    assert len({*widened.train, *widened.val}) == 40 + 25 + 50 + 39


def test_names_of_a_pool(tmp_path) -> None:
    assert not pool.is_pool("tvsum:/data/a+b/x.h5")
    assert not pool.is_pool("s3://bucket/a+s3://b")
    assert pool.members("tvsum:/a+b/x.h5+summe:B") == [("tvsum", "/a+b/x.h5"), ("summe", "B")]
    assert pool.own_first("summe", "tvsum:A+summe:B") == ("B", [("tvsum", "A")])
    assert pool.own_first("tvsum", "A") == ("A", [])
    for data, message in (
        ("tvsum:A+sumne:B", "no data set `sumne`; did you mean `summe`"),
        ("tvsum:A+tvsum:B", "tvsum is named twice"),
        ("tvsum:A+shards:B", "a root cannot be in a pool; --features ROOT"),
        ("tvsum:A+ovp:", r"ovp needs --data PATH; get it from li-plus/DSNet"),
    ):
        with pytest.raises(UsageError, match=message):
            pool.members(data)
    assert pool.own_first("tvsum", "tvsum:A") == ("A", [])
    for data in ("tvsum:A+summe:B", "tvsum:A"):
        with pytest.raises(UsageError, match=r"lacks ovp, whose videos are to be measured; give ovp:PATH"):
            pool.own_first("ovp", data)


def test_the_videos_of_a_pool_keep_apart(tmp_path) -> None:
    own = summe.load(write_eccv16(tmp_path / "summe.h5", 25))
    others = pool.opened(
        [
            pool.Member("ovp", str(write_eccv16(tmp_path / "ovp.h5", 50, five()))),
        ],
        None,
    )
    found = others.with_own(own, "summe", has_root=False)
    assert len(found) == 75
    assert partition.ids_of(found) == [*TVSUM[:25], *OTHERS["ovp"]]
    assert [video.video_id for video in found] == partition.ids_of(found)
    assert (found[24].video_id, found[25].video_id, found[-1].video_id) == ("video_25", "ovp/video_1", "ovp/video_50")
    chosen = partition.pick(found, ["ovp/video_2", "video_2", "ovp/nothing"])
    assert [video.video_id for video in chosen] == ["ovp/video_2", "video_2"]
    assert chosen[0].n_frames == 62
    with pytest.raises(IndexError):
        found[75]
    assert others.unlisted([Fold(("video_1", "ovp/video_3"), (), ())]) == []
    assert others.unlisted([Fold(("video_1",), (), ())]) == OTHERS["ovp"]


def five() -> dict:
    """OVP's videos have five users. TVSum's, of the same names, have twenty."""
    return {f"video_{i}": {"user_summary": np.ones((5, 60 + i), np.float32)} for i in range(1, 51)}


def test_features_of_two_kinds_are_refused(tmp_path) -> None:
    own = summe.load(write_eccv16(tmp_path / "summe.h5", 25))
    bare = [replace(video, frame_feature=video.frame_feature[:, :4]) for video in own]
    pool.check_alike([("summe", own), ("tvsum", own)], has_root=False)
    with pytest.raises(UsageError, match=r"not of one size: 8 \(summe\), 4 \(tvsum\); --features ROOT gives all"):
        pool.check_alike([("summe", own), ("tvsum", bare)], has_root=False)
    # Mr. HiSum's have GoogLeNet's size, and are none.
    with pytest.raises(UsageError, match=r"not of one model: GoogLeNet pool5 \(summe\), Inception of YouTube-8M"):
        pool.check_alike([("summe", own), ("mrhisum", own)], has_root=False)
    pool.check_alike([("summe", own), ("mrhisum", own)], has_root=True)


def test_what_crosses_between_data_sets_is_named(tmp_path) -> None:
    own = summe.load(write_eccv16(tmp_path / "summe.h5", 25))
    same = replace(own[3], frame_feature=own[3].frame_feature + np.float32(1e-4))
    found = pool.Pooled(own, [("tvsum", [same, own[4]])])
    fold = Fold(("video_1",), (), ("video_4",))
    made = partition.Partition("x", ((fold,),))
    assert partition.what_crosses(made, found) == []
    (said,) = partition.what_crosses(made, found, ["tvsum/video_4"])
    assert "near-duplicate video_4 and tvsum/video_4" in said
    with_url = [replace(video, url="https://www.youtube.com/watch?v=AAAAAAAAAAA") for video in (own[3], own[8])]
    (said,) = partition.what_crosses(made, pool.Pooled(with_url[:1], [("tvsum", with_url[1:])]), ["tvsum/video_9"])
    assert "video video_4 and tvsum/video_9" in said


def test_ovp_and_youtube_need_three_keys_alone(tmp_path) -> None:
    """pytorch-vsumm-reinforce: OVP and YouTube have features, gtscore and gtsummary."""
    nothing = dict.fromkeys(("user_summary", "change_points", "n_frame_per_seg", "n_frames", "picks", "n_steps"))
    for module, first in ((ovp, 1), (youtube, 11)):
        path = tmp_path / f"eccv16_dataset_{module.NAME}_google_pool5.h5"
        write_eccv16(path, 51 - first, {f"video_{i}": nothing for i in range(1, 51)}, first=first)
        found = module.load(path)
        assert [each.video_id for each in found] == [v.partition("/")[2] for v in OTHERS[module.NAME]]
        assert (found[0].n_frames, found[0].user_summary, found[0].change_points) == (None, None, None)
        assert found[0].picks.tolist() == [15 * at for at in range(len(found[0].frame_feature))]
        assert found[0].frame_time_s[:3].tolist() == [0, 0.5, 1]
        assert found[0].gt_summary is not None
    # DSNet's have shots and frames too.
    write_eccv16(path, 40, {f"video_{i}": {"user_summary": None} for i in range(1, 51)}, first=11)
    found = youtube.load(tmp_path)
    assert (found[0].n_frames, found[0].change_points.tolist()) == (71, [[0, 19], [20, 44], [45, 70]])
    with pytest.raises(UsageError, match=r"holds 40 videos, not video_1 to video_50"):
        ovp.load(path)
    with pytest.raises(UsageError, match="video_13 has no gtscore"):
        youtube.load(write_eccv16(path, 40, {"video_13": {"gtscore": None}}, first=11))
    with pytest.raises(UsageError, match=r"holds 25 videos, without 25 of YouTube's 39 \(first: video_26\)"):
        youtube.load(write_eccv16(path, 25))
    with pytest.raises(UsageError, match="of 20 users, as TVSum's; OVP has 5"):
        ovp.load(write_eccv16(path, 50))
