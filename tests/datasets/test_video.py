"""Shape checks of Video, padding of Batch, splits by task."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.datasets.splits import normalise, split_of
from vsumdata.datasets.video import Video, collate

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def video(video_id: str = "a", frames: int = 4, sentences: int = 2, dim: int = 3) -> Video:
    rng = np.random.default_rng(frames)
    return Video(
        video_id=video_id,
        frame_time_s=np.arange(frames, dtype=np.float32),
        frame_feature=rng.normal(size=(frames, dim)).astype(np.float16),
        replay_score=rng.random(frames, dtype=np.float32),
        shot_start=np.array([0], np.int32),
        shot_stop=np.array([frames], np.int32),
        sentence=[{"start_s": float(i), "end_s": i + 0.5, "text": "cut"} for i in range(sentences)],
        sentence_feature=np.ones((sentences, 5), np.float16),
        global_feature=np.ones(5, np.float16),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_feature": np.zeros((3, 7))}, r"a: frame_feature is \[3, 7\]; expected \[4, D\]"),
        ({"frame_feature": np.zeros(4)}, r"frame_feature is \[4\]; expected \[4, D\]"),
        ({"step_span": np.zeros((1, 2))}, r"step_span is \[1, 2\]; expected \[0, 2\]"),
        ({"replay_score": np.zeros(5)}, r"replay_score is \[5\]; expected \[4\]"),
        ({"replay_score": [0.0] * 4}, "replay_score is list; expected a numpy array"),
        ({"shot_stop": np.array([2, 4])}, r"shot_stop is \[2\]; expected \[1\]"),
        ({"shot_stop": np.array([3])}, r"shots \[\(0, 3\)\] do not cut frames 0 to 4"),
        ({"shot_stop": None}, "come together"),
        ({"sentence_feature": np.zeros((3, 5))}, r"sentence_feature is \[3, 5\]; expected 2 rows"),
        ({"global_feature": np.zeros(6)}, r"global_feature is \[6\]; expected \[5\]"),
        ({"step_feature": np.zeros((1, 5))}, r"step_feature is \[1, 5\]; expected 0 rows"),
        ({"user_score": np.zeros((2, 5))}, r"user_score is \[2, 5\]; expected \[U, 4\]"),
        ({"change_points": np.zeros((2, 3))}, r"change_points is \[2, 3\]; expected \[any, 2\]"),
        (
            {"user_score": np.zeros((3, 4)), "user_summary": np.zeros((2, 8))},
            r"user_summary is \[2, 8\]; expected \[3, any\]",
        ),
        ({"picks": np.arange(3)}, r"picks is \[3\]; expected \[4\]"),
        ({"summary": [{"text": "cut"}]}, r"in summary; expected {text, time_s}"),
        ({"summary": [{"text": " ", "time_s": []}]}, "a sentence of summary has no text"),
        (
            {"summary": [{"text": "cut", "time_s": [2.0, 1.0]}]},
            r"time_s in summary is \[2.0, 1.0\]; expected ascending",
        ),
        ({"summary": [{"text": "cut", "time_s": [-1.0]}]}, "expected ascending seconds"),
        ({"summary": [{"text": "cut", "time_s": [float("nan")]}]}, "expected ascending seconds"),
    ],
)
def test_a_wrong_shape_is_an_error_that_prints_it(change, message):
    with pytest.raises(ValueError, match=message):
        replace(video(), **change)


def test_benchmark_fields_fit_together():
    found = replace(
        video(),
        user_score=np.zeros((2, 4)),
        user_summary=np.zeros((2, 57)),
        change_points=np.array([[0, 29], [30, 59]]),
        picks=np.arange(4) * 15,
        n_frames=60,
    )
    assert found.user_summary.shape == (2, 57)  # published files are a few frames off
    np.testing.assert_array_equal(found.sentence_span, [[0, 0.5], [1, 1.5]])
    assert video(sentences=0).sentence_span.shape == (0, 2)


def test_collate_pads_and_masks():
    batch = collate([video("a", 4, 2), video("b", 6, 0)])
    assert batch.video_id == ("a", "b")
    assert batch.frame_feature.shape == (2, 6, 3)
    assert batch.frame_mask.sum(1).tolist() == [4, 6]
    assert batch.sentence_mask.tolist() == [[True, True], [False, False]]
    assert batch.sentence_span.shape == (2, 2, 2)
    assert batch.frame_feature[0, 4:].abs().sum() == 0
    np.testing.assert_allclose(batch.frame_feature[1], video("b", 6).frame_feature.astype(np.float32))
    assert batch.step_feature is None
    assert batch.to("cpu").replay_score.shape == (2, 6)


def test_collate_tells_a_missing_label_from_a_zero():
    batch = collate([video("a", 4), replace(video("b", 2), replay_score=None, global_feature=None)])
    assert batch.replay_mask.tolist() == [[True] * 4, [False] * 4]
    assert batch.global_mask.tolist() == [True, False]
    assert batch.global_feature[1].abs().sum() == 0


def test_collate_refuses_features_of_different_models():
    with pytest.raises(ValueError, match=r"frame_feature differs .*\(3,\), \(4,\)"):
        collate([video("a"), video("b", dim=4)])
    with pytest.raises(ValueError, match="at least one"):
        collate([])


@pytest.mark.parametrize(
    "title",
    [
        "How to Cook Lamb Steaks",
        "Cook Lamb Steaks - wikiHow",
        "  COOK lamb, steaks!",
        "How To: Cook lamb steaks",
    ],
)
def test_titles_of_one_task_are_one_task(title):
    assert normalise(title) == "cook lamb steaks"
    assert split_of(title, SHARES) == split_of("Cook Lamb Steaks", SHARES)


@given(st.text())
def test_a_task_never_crosses_splits(task):
    assert normalise(normalise(task)) == normalise(task)
    assert split_of(normalise(task), SHARES) == split_of(task, SHARES) == split_of(f" {task} ", SHARES)


def test_shares_are_kept_and_splits_never_change():
    count = Counter(split_of(f"task {i}", SHARES) for i in range(4000))
    assert {name: round(n / 4000, 1) for name, n in count.items()} == SHARES
    # A change here splits every data set made before differently.
    pinned = {"tie a tie": "test", "peel garlic": "train", "boil eggs": "train", "fold a map": "val"}
    assert {task: split_of(task, SHARES) for task in pinned} == pinned
    assert split_of("x", {"train": 0, "test": 3}) == "test"
    with pytest.raises(ValueError, match="positive"):
        split_of("x", {"train": 0.0})
