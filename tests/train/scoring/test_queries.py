"""QVHighlights' protocol on one query, and what a method that gives a part of the predictions is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.datasets.video import Video
from vsumdata.train.scoring.baselines import BASELINES, Trial
from vsumdata.train.scoring.evaluate import MOMENTS, SALIENCY, UnusableScoresError, evaluate
from vsumdata.train.scoring.measure import allowed_metrics
from vsumdata.train.scoring.metrics_highlights import saliency
from vsumdata.train.scoring.metrics_moments import moment_ap

RULES = PROTOCOLS["qvhighlights"]
RATING = np.array([[0, 4, 3, 2, 0, 0], [0, 3, 1, 2, 0, 0], [0, 4, 4, 4, 0, 0]], np.float32)
VIDEO = Video(
    video_id="cut/1",
    frame_time_s=np.arange(6, dtype=np.float32) * 2,
    frame_feature=np.zeros((6, 0), np.float32),
    duration_s=12.0,
    user_score=RATING,
    moment=np.array([[2, 8]], np.float32),
)
SCORE = np.array([0.1, 0.9, 0.2, 0.5, 0.3, 0.0])
WINDOWS = np.array([[2, 8, 0.9], [0, 12, 0.4], [8, 12, 0.1]])


def measured(score: Any = SCORE, moments: Any = WINDOWS, video: Video = VIDEO) -> dict[str, float]:
    return evaluate(np.asarray(score, float), video, RULES, moments=moments).values


def test_each_metric_is_that_of_the_official_code() -> None:
    found = measured()
    assert tuple(found) == RULES.metrics == (*SALIENCY, *MOMENTS)
    for name, level in (("fair", 2), ("good", 3), ("verygood", 4)):
        ap, hit = saliency(SCORE, RATING.T, level)
        assert (found[f"hl_map_{name}"], found[f"hl_hit1_{name}"]) == (ap, hit)
    assert found["hl_hit1_verygood"] == 1
    assert (found["mr_r1_50"], found["mr_r1_70"], found["mr_map"]) == (1, 1, 1)
    # The first window decides R1, whatever the scores say: the official code takes the order of the submission.
    other = measured(moments=WINDOWS[[1, 0, 2]])
    assert (other["mr_r1_50"], other["mr_r1_70"]) == (1, 0)  # [0, 12] overlaps [2, 8] by half
    assert VIDEO.moment is not None
    assert other["mr_map"] == moment_ap(WINDOWS[[1, 0, 2]], VIDEO.moment).mean() == 1
    halves = measured(moments=np.array([[2, 5.4, 0.5]]))
    assert (halves["mr_map_50"], halves["mr_map_75"]) == (1, 0)
    assert halves["mr_map"] == pytest.approx(0.2)  # at .5 and .55


def test_scores_of_another_number_are_fitted_as_in_the_official_code() -> None:
    short, padded = measured(SCORE[:4]), measured([*SCORE[:4], 0, 0])
    assert short == padded
    beyond = measured([*SCORE, 2.0])
    assert {name: value for name, value in beyond.items() if "hit1" not in name} == {
        name: value for name, value in measured().items() if "hit1" not in name
    }
    assert beyond["hl_hit1_fair"] == 0, "the best score is of no clip"
    with pytest.raises(UnusableScoresError, match="wrong_length"):
        measured([])
    with pytest.raises(UnusableScoresError, match="not_finite"):
        measured([1, np.nan])
    strict = replace(RULES, missing_score="error")
    with pytest.raises(UnusableScoresError, match=r"\[4\] scores where 6 are needed"):
        evaluate(SCORE[:4], VIDEO, strict, moments=WINDOWS)


def test_a_method_that_proposes_nothing_or_scores_nothing_has_the_other_metrics() -> None:
    allowed, missing = allowed_metrics(Trial(video=VIDEO, frame_score=SCORE), RULES)
    assert allowed == SALIENCY
    assert missing == dict.fromkeys(MOMENTS, "it proposes no moments")
    allowed, missing = allowed_metrics(Trial(video=VIDEO, frame_score=np.zeros(0), moments=WINDOWS), RULES)
    assert allowed == MOMENTS
    assert missing == dict.fromkeys(SALIENCY, "it scores no clips")
    nothing = evaluate(SCORE, VIDEO, RULES, moments=np.zeros((0, 3)))
    assert [nothing.values[name] for name in MOMENTS] == [0] * 5
    assert "no_moments" in nothing.notes


def test_without_labels_there_is_a_reason() -> None:
    bare = replace(VIDEO, user_score=None, moment=None)
    _, missing = allowed_metrics(Trial(video=bare, frame_score=SCORE, moments=WINDOWS), RULES)
    assert missing["hl_map_fair"] == "cut/1: protocol qvhighlights needs user_score"
    assert missing["mr_map"] == "cut/1: protocol qvhighlights needs moment"


def test_chance_proposes_moments_and_people_do_not() -> None:
    (chance,) = BASELINES["random"](VIDEO, RULES, 0)
    assert chance.moments is not None
    assert chance.moments.shape == (10, 3)
    assert (chance.moments[:, 0] <= chance.moments[:, 1]).all()
    assert chance.moments[:, :2].min() >= 0
    assert chance.moments[:, :2].max() <= 12
    (again,) = BASELINES["random"](VIDEO, RULES, 0)
    np.testing.assert_array_equal(again.moments, chance.moments)
    (other,) = BASELINES["random"](replace(VIDEO, moment=None), RULES, 0)
    assert other.moments is None
    np.testing.assert_array_equal(other.frame_score, chance.frame_score)
    for trial in BASELINES["human"](VIDEO, RULES, 0):
        assert trial.moments is None
        assert set(allowed_metrics(trial, RULES)[0]) == set(SALIENCY)
