"""Highlights by hand, and the threshold that a planted one needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.train.training_kit import fitted, small

from vsumdata.datasets import synthetic
from vsumdata.manifests.errors import UsageError
from vsumdata.train.data.origin import Origin
from vsumdata.train.loop.predict import predict
from vsumdata.train.summarize.highlights import best_threshold, highlight, overlap, smoothed, tuned
from vsumdata.train.summarize.summary import boundaries


def test_the_peak_and_its_neighbours_above_the_threshold() -> None:
    score = np.array([0.9, 0.1, 0.6, 0.8, 1.0, 0.7, 0.2, 0.95])
    for threshold, expected in ((0.65, [3, 4, 5]), (0.5, [2, 3, 4, 5]), (1.5, [4]), (0.0, list(range(8)))):
        assert np.flatnonzero(highlight(score, threshold, sigma=1e-3)).tolist() == expected
    assert highlight(np.zeros(0), 0.5).shape == (0,)
    assert highlight(np.full(5, 0.3), 0.3, sigma=1e-3).all()


def test_smoothing_is_a_gaussian_mean() -> None:
    score = np.zeros(41)
    score[20] = 1
    found = smoothed(score, sigma=3)
    expected = np.exp(-0.5 * ((np.arange(41) - 20) / 3) ** 2)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-4)
    np.testing.assert_allclose(smoothed(np.full(7, 0.4), sigma=3), 0.4)


def test_smoothing_drops_a_single_frame() -> None:
    score = np.concatenate([np.full(20, 0.1), np.full(10, 0.8), np.full(20, 0.1)])
    score[3] = 1.0
    assert 20 <= highlight(score, 0.5, sigma=2).argmax() < 23


def test_the_threshold_is_tuned_on_other_videos() -> None:
    rng = np.random.default_rng(0)
    labels = [np.isin(np.arange(60), np.arange(at, at + 12)) for at in rng.integers(5, 40, 8)]
    scores = [np.where(label, 0.7, 0.4) + 0.05 * rng.standard_normal(60) for label in labels]
    threshold, value = best_threshold(scores[:4], labels[:4], sigma=1)
    assert 0.45 < threshold < 0.65
    assert value > 0.85
    held_out = [overlap(highlight(s, threshold, sigma=1), y) for s, y in zip(scores[4:], labels[4:], strict=True)]
    assert np.mean(held_out) > 0.85
    too_low = [overlap(highlight(s, 0.0, sigma=1), y) for s, y in zip(scores[4:], labels[4:], strict=True)]
    assert np.mean(too_low) < 0.3
    with pytest.raises(ValueError, match="at least one validation video"):
        best_threshold([], [])


def test_a_highlight_is_never_the_whole_video() -> None:
    """Where no peak meets a label, the whole video overlaps most: that is no threshold."""
    score = np.r_[np.zeros(20), np.ones(5), np.zeros(35)] * 0.5
    away, none = (np.zeros(60, bool) for _ in range(2))
    away[45:55] = True
    for labels in ([away], [none], [none, away]):
        with pytest.raises(ValueError, match=r"no peak where their labels are|with a labelled frame"):
            best_threshold([score] * len(labels), labels, sigma=1)
    there = np.roll(away, -25)
    assert best_threshold([score, score], [there, none], sigma=1)[0] > 0
    # A label of nearly all frames: the best real highlight counts, not everything.
    most = np.arange(60) > 2
    threshold, _ = best_threshold([score], [most], sigma=1)
    assert not highlight(score, threshold, sigma=1).all()


def test_overlap_of_empty_sets() -> None:
    assert overlap(np.zeros(3), np.zeros(3)) == 1
    assert overlap(np.array([1, 0, 0]), np.array([1, 1, 0])) == 0.5


def test_a_run_is_tuned_on_its_own_validation_videos(tmp_path: Path) -> None:
    spec = "videos=9,frames=40,noise=0"
    found = synthetic.load(spec)
    origin = Origin(data_set="synthetic", path=spec)
    trained = fitted(tmp_path / "run", small("mlp", "epochs=4"), found[:6], found[6:], origin=origin)
    answer = tuned("auto", trained)
    scores = [each.frame_score for each in predict(trained, found[6:])]
    labels = [np.asarray(each.gt_summary) for each in found[6:]]
    assert (answer.threshold, answer.overlap) == best_threshold(scores, labels)
    assert answer.num_videos == 3
    assert tuned("0.25", trained).threshold == 0.25
    blind = fitted(tmp_path / "blind", small(), found, origin=origin)
    with pytest.raises(UsageError, match="no validation videos to choose a threshold by"):
        tuned("auto", blind)


@pytest.mark.parametrize("asked", ["1.5", "-0.1", "nan", "much", ""])
def test_a_threshold_is_a_score(asked: str, tmp_path: Path) -> None:
    trained = fitted(tmp_path / "run", small(), synthetic.load("videos=4,frames=10"))
    with pytest.raises(UsageError, match="auto, or a score from 0 to 1"):
        tuned(asked, trained)


@pytest.mark.parametrize(("stated_s", "end_s"), [(35.0, 36.0), (35.4, 35.4), (34.0, 36.0), (100.0, 36.0), (None, 36.0)])
def test_the_last_frame_lasts_some_time(stated_s: float | None, end_s: float) -> None:
    """YouTube states whole seconds. A highlight on the last frame then had no length."""
    assert boundaries(36, 1.0, stated_s, None)[-1] == end_s
