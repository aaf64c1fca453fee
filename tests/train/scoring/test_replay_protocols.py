"""The protocols `mosu`, `sd-mvsum` and `sd-mvsum-videoxum` against plain restatements of what the official code does.

Restated from smkim37/TripleSumm@b7a8e7e utils/compute_metrics.py and IDT-ITI/SD-MVSum@5bc59a2
sm-{mrhisum,videoxum}/model (solver.py, utils/generate_summary.py, utils/evaluation_metrics.py).
"""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score

from vsumdata.datasets.keyshots import summary_from_scores
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.train.scoring import chance
from vsumdata.train.scoring.baselines import random
from vsumdata.train.scoring.evaluate import evaluate
from vsumdata.train.scoring.metrics_highlights import best_clips, clip_means

MOSU, SD_MVSUM, XUM = protocol("mosu"), protocol("sd-mvsum"), protocol("sd-mvsum-videoxum")
SHARES = {"map50": 0.5, "map15": 0.15}


def a_video(score: Any, **more: Any) -> Video:
    """A video of one frame a second with that importance."""
    num = len(score)
    second = np.arange(num)
    fields: dict[str, Any] = {"frame_feature": np.zeros((num, 0), np.float32), "gt_score": np.asarray(score)}
    return Video(video_id="v", frame_time_s=second.astype(np.float32), picks=second, n_frames=num, **(fields | more))


def triplesumm(predicted: list[float], truth: list[float]) -> dict[str, float]:
    """τ, ρ and the two AP of one video. Of clips that tie, those later in time are relevant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        values = {
            "tau": float(stats.kendalltau(predicted, truth)[0]),
            "rho": float(stats.spearmanr(predicted, truth)[0]),
        }
    shots = [range(first, min(first + 5, len(truth))) for first in range(0, len(truth), 5)]
    theirs, ours = ([math.fsum(scores[at] for at in shot) / 5 for shot in shots] for scores in (truth, predicted))
    for name, share in SHARES.items():
        ranked = sorted(range(len(shots)), key=lambda shot: (theirs[shot], shot))
        best = ranked[-math.ceil(len(shots) * share) :]
        values[name] = float(average_precision_score([int(shot in best) for shot in range(len(shots))], ours))
    return values


# Sixteenths: sums of five are exact in any order, so ties are ties in both.
SCORES = st.lists(st.integers(0, 16).map(lambda whole: whole / 16), min_size=2, max_size=80)


@given(SCORES, st.randoms(use_true_random=False))
def test_mosu_is_triplesumms_evaluation(truth: list[float], draw: Any) -> None:
    predicted = [draw.randrange(17) / 16 for _ in truth]
    found = evaluate(np.array(predicted, np.float32), a_video(np.array(truth, np.float32)), MOSU).values
    assert list(found) == ["tau", "rho", "map50", "map15"]
    assert found == pytest.approx(triplesumm(predicted, truth), nan_ok=True, abs=1e-12)


def test_mosu_on_scores_without_ties() -> None:
    rng = np.random.default_rng(3)
    for num in (2, 4, 5, 6, 33, 199, 3000):
        predicted, truth = rng.random((2, num), np.float32)
        found = evaluate(predicted, a_video(truth), MOSU).values
        assert found == pytest.approx(triplesumm(predicted.tolist(), truth.tolist()), abs=1e-12), num


def test_mosu_by_hand() -> None:
    # Three clips: .6, .5 and (.9 + .9) / 5 = .36. Not padded, the last would be the best with .9.
    truth = [0.6] * 5 + [0.5] * 5 + [0.9] * 2
    assert clip_means(np.array(truth), 5, "zero-padded") == pytest.approx([0.6, 0.5, 0.36])
    predicted = [0.1] * 5 + [0.3] * 5 + [0.9] * 2
    # ceil(1.5) = 2 clips are relevant, the first two: ranked 3rd and 2nd. ceil(.45) = 1 is, ranked 3rd.
    found = evaluate(np.array(predicted), a_video(truth), MOSU).values
    assert found["map50"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["map15"] == pytest.approx(1 / 3)


def test_mosu_differs_from_mr_hisum() -> None:
    """The two protocols choose other clips: by floor and ceil, of ties the earlier and the later."""
    means = np.array([0.5, 0.9, 0.9, 0.1])
    assert best_clips(means, 0.15).sum() == 0
    assert best_clips(means, 0.15, "ceil").tolist() == [False, True, False, False]
    assert best_clips(means, 0.15, "ceil", "later").tolist() == [False, False, True, False]


@pytest.mark.parametrize("constant", ["predicted", "truth"])
def test_mosu_has_no_rank_of_constant_scores(constant: str) -> None:
    scores = {"predicted": np.linspace(0, 1, 12), "truth": np.linspace(0, 1, 12)} | {constant: np.full(12, 0.5)}
    found = evaluate(scores["predicted"], a_video(scores["truth"]), MOSU)
    assert np.isnan([found.values["tau"], found.values["rho"]]).all()
    assert 0 < found.values["map50"] <= 1


def test_chance_under_mosu_is_the_closed_form() -> None:
    video = a_video(np.random.default_rng(1).random(100))
    drawn = [evaluate(next(random(video, MOSU, seed)).frame_score, video, MOSU).values for seed in range(200)]
    for name, share in SHARES.items():
        expected = chance.average_precision(20, math.ceil(20 * share))
        assert np.mean([values[name] for values in drawn]) == pytest.approx(expected, abs=0.03)
    assert np.std([values["tau"] for values in drawn]) == pytest.approx(chance.tau_deviation(100), rel=0.2)


# SM-MrHiSum


def sd_mvsum_summary(score: np.ndarray, shots: list[list[int]]) -> list[int]:
    """SD-MVSum's summary: the best choice of shots by brute force; without ties there is one."""
    weights = [stop - start for start, stop in shots]
    weights[-1] += 1
    values = [float(np.float32(score[start : stop + 1]).mean()) for start, stop in shots]
    room = math.floor(len(score) * 0.15)
    fitting = (
        choice
        for choice in itertools.product((0, 1), repeat=len(shots))
        if sum(itertools.compress(weights, choice)) <= room
    )
    best = max(fitting, key=lambda choice: sum(itertools.compress(values, choice)))
    return [taken for taken, weight in zip(best, weights, strict=True) for _ in range(weight)]


@given(st.lists(st.integers(1, 6), min_size=2, max_size=9), st.integers(0, 2**32), st.booleans())
def test_sd_mvsum(lengths: list[int], seed: int, ends_at_the_last_frame: bool) -> None:
    rng = np.random.default_rng(seed)
    stops = np.cumsum(lengths)
    num = int(stops[-1]) + ends_at_the_last_frame
    shots = [[int(stop - length), int(stop)] for stop, length in zip(stops, lengths, strict=True)]
    score, truth, summary = rng.random(num, np.float32), rng.random(num), rng.random(num) < 0.3
    video = a_video(truth, gt_summary=summary, user_summary=summary[None], change_points=np.array(shots))
    made = sd_mvsum_summary(score, shots)
    assert summary_from_scores(score, video, SD_MVSUM).astype(int).tolist() == made
    padded = np.zeros(len(made))
    padded[:num] = summary
    common = (padded * made).sum()
    expected = 2 * common / (padded.sum() + sum(made)) if common else 0
    found = evaluate(score, video, SD_MVSUM).values
    assert found["f1"] == pytest.approx(expected, abs=1e-6)
    assert found["tau"] == pytest.approx(stats.kendalltau(score, truth)[0])
    assert found["rho"] == pytest.approx(stats.spearmanr(score, truth)[0])


# SM-VideoXum


@given(SCORES, st.randoms(use_true_random=False))
def test_sd_mvsum_on_videoxum(score: list[float], draw: Any) -> None:
    reference = [draw.random() < 0.2 for _ in score]
    threshold = sorted(score, reverse=True)[int(0.15 * len(score))]
    chosen = [value >= threshold for value in score]
    common = sum(map(bool.__and__, chosen, reference))
    too_many = np.mean(chosen) > 0.25
    expected = 0 if too_many or not common else 2 * common / (sum(chosen) + sum(reference))
    video = a_video(reference, gt_summary=np.array(reference, np.uint8), user_summary=np.array([reference]))
    found = evaluate(np.array(score, np.float32), video, XUM)
    assert found.values == {"f1": pytest.approx(expected, abs=1e-6)}
    assert ("too_many_chosen" in found.notes) == too_many
