"""The rules that make training targets, on synthetic videos and on small ones by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsumdata.datasets import synthetic
from vsumdata.datasets.benchmarks.registry import DATASETS
from vsumdata.datasets.keyshots import summary_from_scores
from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.datasets.video import Video
from vsumdata.train.data.targets import (
    DEFAULT_RULES,
    Rule,
    default_rule,
    lacks_target,
    positive_rate,
    rate_warning,
    with_targets,
)

RULES: tuple[Rule, ...] = ("replay", "keyshots", "given")


def video(num_frames: int = 6, **more: Any) -> Video:
    return Video(
        video_id="v",
        frame_time_s=np.arange(num_frames, dtype=np.float32),
        frame_feature=np.zeros((num_frames, 2), np.float32),
        **more,
    )


def spoken(*spans: tuple[float, float]) -> dict[str, Any]:
    sentences = [{"start_s": start, "end_s": end, "text": "words"} for start, end in spans]
    return {"sentence": sentences, "sentence_feature": np.zeros((len(spans), 3), np.float32)}


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def there(array: np.ndarray | None) -> np.ndarray:
    assert array is not None
    return array


def test_replay_labels_what_reaches_its_threshold() -> None:
    replay = scores(0, 0.1499, 0.15, 1, 0.2, 0)
    found = with_targets(video(replay_score=replay, gt_score=scores(0, 0, 0, 0, 0, 1)), "replay")
    assert found.gt_summary.tolist() == [0, 0, 1, 1, 1, 0]
    assert found.gt_score.tolist() == replay.tolist()


def test_mrhisums_gt_score_is_a_replay_score() -> None:
    given_summary = np.array([1, 1, 1, 1, 1, 1], np.uint8)
    found = with_targets(video(gt_score=scores(0, 0.2, 1, 0, 0, 0), gt_summary=given_summary), "replay")
    assert found.gt_summary.tolist() == [0, 1, 1, 0, 0, 0]


def test_a_sentence_is_positive_if_a_frame_in_its_time_is() -> None:
    more = spoken((0, 2), (1, 2.5), (2.5, 3), (3, 4), (2, 2))  # half-open; the third is between two frames
    found = with_targets(video(replay_score=scores(0, 0, 1, 0, 0, 0), **more), "replay")
    assert found.sentence_label.tolist() == [0, 1, 0, 0, 0]


def test_sentences_without_features_have_no_label() -> None:
    more = {"sentence": spoken((0, 2))["sentence"]}
    assert with_targets(video(replay_score=scores(0, 0, 1, 0, 0, 0), **more), "replay").sentence_label is None


def test_given_labels_stay_and_make_what_is_missing() -> None:
    summary, label = np.array([0, 1, 1, 0, 0, 0], np.uint8), np.array([0, 1], np.uint8)
    found = with_targets(video(gt_summary=summary, sentence_label=label, **spoken((0, 3), (4, 6))), "given")
    assert found.gt_summary.tolist() == summary.tolist()
    assert found.gt_score.tolist() == summary.tolist()
    assert found.sentence_label.tolist() == [0, 1]
    other = with_targets(video(gt_score=scores(0.2, 0.5, 0.9, 0, 0, 0), **spoken((0, 1), (2, 6))), "given")
    assert other.gt_summary.tolist() == [0, 1, 1, 0, 0, 0]  # by majority
    assert other.sentence_label.tolist() == [0, 1]


def test_key_sentences_are_the_global_text_of_a_training_video_without_another() -> None:
    feature = np.arange(9, dtype=np.float32).reshape(3, 3)
    label = np.array([1, 0, 1], np.uint8)
    labelled = {**spoken((0, 2), (2, 4), (4, 6)), "sentence_feature": feature, "sentence_label": label}
    bliss = video(gt_summary=np.ones(6, np.uint8), **labelled)
    found = with_targets(bliss, "given")
    assert there(found.step_feature).tolist() == feature[[0, 2]].tolist()
    assert [step["text"] for step in found.step] == ["words", "words"]
    assert there(found.global_feature).tolist() == feature[[0, 2]].mean(0).tolist()
    # The labels are what is to be found: a held-out video does not show them, nor do labels of our own making.
    assert bliss.global_feature is None
    assert with_targets(replace(bliss, gt_score=np.ones(6, np.float32)), "replay").global_feature is None
    assert with_targets(replace(bliss, sentence_label=None), "given").global_feature is None
    assert with_targets(replace(bliss, sentence_label=label * 0), "given").step_feature is None
    own = with_targets(replace(bliss, global_feature=feature[1]), "given")
    assert there(own.global_feature).tolist() == feature[1].tolist()
    assert own.step_feature is None


def test_keyshots_are_the_benchmarks_own() -> None:
    for planted in synthetic.load("videos=3,seed=5"):
        found = with_targets(planted, "keyshots")
        stretched = (planted.gt_score - planted.gt_score.min()) / np.ptp(there(planted.gt_score))
        expected = summary_from_scores(stretched, planted, PROTOCOLS["a2summ"])[planted.picks]
        assert found.gt_summary.tolist() == expected.tolist()
        assert 0 < found.gt_summary.mean() <= 0.17
        assert np.array_equal(there(found.gt_score), there(planted.gt_score))  # within 0 and 1 already


def test_keyshots_of_our_own_videos_are_of_their_shots_and_replay() -> None:
    replay = np.zeros(20, np.float32)
    replay[6:9] = 1
    shots = {"shot_start": np.array([0, 6, 9], np.int32), "shot_stop": np.array([6, 9, 20], np.int32)}
    found = with_targets(video(20, replay_score=replay, **shots), "keyshots")
    assert np.flatnonzero(there(found.gt_summary)).tolist() == [6, 7, 8]
    assert found.change_points is None  # only targets were added
    assert found.user_summary is None


def test_tvsums_scores_from_1_to_5_are_stretched() -> None:
    planted = synthetic.load("videos=1")[0]
    found = with_targets(replace(planted, gt_score=1 + 4 * there(planted.gt_score)), "keyshots")
    assert (found.gt_score.min(), found.gt_score.max()) == (0, 1)
    assert np.array_equal(there(found.gt_summary), there(with_targets(planted, "keyshots").gt_summary))


@pytest.mark.parametrize(
    ("rule", "more", "why"),
    [
        ("replay", {}, "no replay score"),
        ("replay", {"replay_score": scores(0, 0, np.nan, 0, 0, 0)}, "not finite"),
        ("replay", {"gt_score": scores(1, 2, 3, 4, 5, 5)}, "not replay scores"),
        ("keyshots", {}, "no importance"),
        ("keyshots", {"gt_score": scores(0, 0, 0, 0, 0, 0)}, "same score throughout"),
        ("keyshots", {"gt_score": scores(0, 0, 1, 0, 0, 0)}, "no shots"),
        ("given", {"replay_score": scores(0, 0, 1, 0, 0, 0)}, "no importance"),
    ],
)
def test_what_lacks_a_target_says_why(rule: Rule, more: dict[str, Any], why: str) -> None:
    assert why in (lacks_target(video(**more), rule) or "")
    with pytest.raises(ValueError, match=why):
        with_targets(video(**more), rule)


@pytest.mark.parametrize("rule", RULES)
def test_a_video_without_frames_lacks_a_target(rule: Rule) -> None:
    empty = scores()
    assert lacks_target(video(0, gt_score=empty, replay_score=empty), rule) == "no frames"


@settings(deadline=None, max_examples=30)
@given(
    rule=st.sampled_from(RULES),
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30),
    stretch=st.sampled_from([1.0, 5.0]),
)
def test_targets_fit_the_video_and_are_within_0_and_1(rule: Rule, values: list[float], stretch: float) -> None:
    num, score = len(values), np.array(values, np.float32) * stretch
    shots = {"shot_start": np.array([0], np.int32), "shot_stop": np.array([num], np.int32)}
    bare = video(num, gt_score=score, replay_score=score, **shots, **spoken((0, 1), (0, 50)))
    if lacks_target(bare, rule) is not None:
        return
    found = with_targets(bare, rule)
    assert found.gt_score.shape == found.gt_summary.shape == (num,)
    assert 0 <= found.gt_score.min() <= found.gt_score.max() <= 1
    assert set(np.unique(there(found.gt_summary))) <= {0, 1}
    assert found.sentence_label.tolist() == [int(found.gt_summary[0]), int(found.gt_summary.any())]
    again = with_targets(found, "given")
    assert np.array_equal(there(again.gt_summary), there(found.gt_summary))


@pytest.mark.parametrize("rule", RULES)
def test_a_single_frame_is_no_special_case(rule: Rule) -> None:
    one = video(1, gt_score=scores(0.7), replay_score=scores(0.7))
    if rule == "keyshots":
        assert lacks_target(one, rule) == "the same score throughout"
    else:
        assert with_targets(one, rule).gt_summary.tolist() == [1]


def test_every_data_set_has_a_rule() -> None:
    assert set(DEFAULT_RULES) == set(DATASETS)
    assert default_rule("mrhisum") == "replay"


def test_the_rate_of_positives_is_over_all_frames() -> None:
    many = with_targets(video(6, replay_score=scores(1, 1, 1, 1, 1, 0)), "replay")
    few = with_targets(video(4, replay_score=scores(1, 0, 0, 0)), "replay")
    assert positive_rate(iter([many, few, video()])) == 0.6
    assert positive_rate([]) == 0
    assert rate_warning(0.6) is None
    assert "keyshots" in (rate_warning(positive_rate([many])) or "")
