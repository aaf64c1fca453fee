"""SummDiff's WSE, CIS and WIR: equal to a plain restatement by brute force, and right where the answer is known."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.datasets.benchmarks.benchmark_files import write_mrhisum

from vsumdata.datasets.benchmarks import mrhisum
from vsumdata.datasets.knapsack import knapsack
from vsumdata.datasets.protocol import protocol
from vsumdata.train.benchmark.score import Request, score
from vsumdata.train.scoring.evaluate import evaluate
from vsumdata.train.scoring.metrics_knapsack import NAMES, errors

SUMMDIFF = protocol("summdiff")


def best_value(values: list[float], weights: list[int], room: int) -> float:
    return max(
        sum(itertools.compress(values, choice))
        for choice in itertools.product((0, 1), repeat=len(values))
        if sum(itertools.compress(weights, choice)) <= room
    )


def first_beyond(values: list[float], weights: list[int], room: int) -> float:
    """The value per frame of the first item, by falling value per frame, that no longer fits; -1 if all do."""
    total = 0
    for density, weight in sorted(
        ((v / w, w) for v, w in zip(values, weights, strict=True)), key=lambda pair: -pair[0]
    ):
        total += weight
        if total > room:
            return density
    return -1


def official(score: Any, truth: Any, chosen: Any, frames: Any, room: int) -> tuple[float, float, float]:
    """Kwanseok-K/SummDiff@1d4b8ae `evaluate_knapsack_opt`, in lists and without its knapsack's table."""
    reference = sum(g for g, inside in zip(truth, chosen, strict=True) if inside)
    items = [item for item in zip(score, truth, chosen, frames, strict=True) if item[3] <= room]
    harm, wse, worst, slacks, prices = 0.0, 0.0, [0.0], [], [0.0]
    for at, (s, g, inside, w) in enumerate(items):
        values, weights = [i[1] for i in items[:at] + items[at + 1 :]], [i[3] for i in items[:at] + items[at + 1 :]]
        left = room if inside else room - w
        forced = best_value(values, weights, left) + (0 if inside else g)
        slacks.append(forced - reference if inside else reference - forced)
        prices.append(first_beyond(values, weights, left))
        if (inside and s < g) or (not inside and s > g):
            harm, wse = harm + abs(s - g), wse + w * abs(s - g)
            worst.append(forced)
    held = 0
    for (s, g, inside, w), slack in zip(items, slacks, strict=True):
        if inside:
            held += w * (s - g > max(slack, w * max(prices) - g) or s > g)
        else:
            held += w * (s - g < min(slack, g - w * min(prices)) or s < g)
    return wse, harm - reference + max(worst), held / sum(w for *_, w in items)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    num = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    frames = rng.integers(1, 7, num)
    room = max(int(frames.min()), int(frames.sum() * draw(st.sampled_from([0.15, 0.3, 0.6]))))
    truth, score = rng.random((2, num))
    chosen = np.zeros(num, bool)
    chosen[knapsack(truth, frames, room)] = True
    if draw(st.booleans()):  # a reference that is not the knapsack's own choice
        chosen = rng.random(num) < 0.3
    return score, truth, chosen, frames, room


@given(cases())
def test_equals_the_official_code(case: tuple) -> None:
    assert errors(*case) == pytest.approx(official(*(np.asarray(part).tolist() for part in case)), abs=1e-9)


@given(cases())
def test_errors_that_do_no_harm_cost_nothing(case: tuple) -> None:
    _, truth, chosen, frames, room = case
    better = errors(np.where(chosen, truth + 0.1, truth - 0.1), truth, chosen, frames, room)
    assert (better.wse, better.wir) == (0, 1)
    assert better.cis == pytest.approx(-truth[chosen].sum())
    worse = errors(np.where(chosen, truth - 0.1, truth + 0.1), truth, chosen, frames, room)
    kept = frames <= room
    assert worse.wse == pytest.approx(0.1 * frames[kept].sum())
    assert worse.cis > better.cis


@given(cases())
def test_wir_is_a_share_and_longer_shots_than_the_capacity_do_not_count(case: tuple) -> None:
    score, truth, chosen, frames, room = case
    found = errors(*case)
    assert 0 <= found.wir <= 1
    assert found.wse >= 0
    longer = errors(
        np.append(score, 0.9), np.append(truth, 0.1), np.append(chosen, False), np.append(frames, room + 1), room
    )
    assert longer == found


def test_by_hand() -> None:
    # Three shots of two frames, room for one: the first is the best, and the second is overrated.
    found = errors(
        np.array([0.9, 0.8, 0.1]), np.array([0.9, 0.5, 0.1]), np.array([True, False, False]), np.full(3, 2), 2
    )
    assert found.wse == pytest.approx(2 * 0.3)
    # With the second forced in the value is .5, .4 below the best: its error of .3 leaves the choice as it is.
    assert found.cis == pytest.approx(0.3 - 0.9 + 0.5)
    # The second may rise by min(.9 - .5, .5). The first may not sink: its bound is max(.5 - .9, 2 · .45 - .9) = 0.
    assert found.wir == pytest.approx(4 / 6)


def test_nothing_fits() -> None:
    found = errors(np.ones(2), np.ones(2), np.ones(2, bool), np.array([5, 0]), 2)
    assert np.isnan(found).all()


def test_on_a_video_of_mr_hisum(tmp_path: Path) -> None:
    """Its shots are half-open, but a mean counts one frame more, as in the official code."""
    video = mrhisum.load(write_mrhisum(tmp_path))[0]
    shots = np.array([[0, 2], [2, 4], [4, 7], [7, 20], [20, 23]])
    video = type(video)(**{**vars(video), "change_points": shots, "gt_summary": np.repeat([0, 1, 0], [4, 3, 16])})
    frame_score = np.random.default_rng(2).random(23)
    # float32, as `shot_scores` of the official code.
    means = [
        [float(np.float32(scores[start : stop + 1]).mean()) for start, stop in shots]
        for scores in (frame_score, np.asarray(video.gt_score))
    ]
    expected = official(means[0], means[1], [0, 0, 1, 0, 0], np.diff(shots)[:, 0].tolist(), 3)
    found = evaluate(frame_score, video, SUMMDIFF).values
    assert [found[name] for name in NAMES] == pytest.approx(expected, abs=1e-6)
    assert found["tau"] == pytest.approx(evaluate(frame_score, video, protocol("scores-vs-mean")).values["tau"])


def test_several_predictions_of_a_video_count_as_their_mean(tmp_path: Path) -> None:
    """A file of [S,T] scores: `score` measures each row, and lower is better for WSE."""
    videos = mrhisum.load(write_mrhisum(tmp_path))
    with_shots(tmp_path)
    rng = np.random.default_rng(0)
    rows = {video.video_id: rng.random((3, len(video.frame_time_s))) for video in videos}
    (tmp_path / "several.json").write_text(json.dumps({name: its.tolist() for name, its in rows.items()}))
    singles = []
    for at in range(3):
        singles.append(f"one={tmp_path / f'one_{at}.json'}")
        (tmp_path / f"one_{at}.json").write_text(json.dumps({name: its[at].tolist() for name, its in rows.items()}))
    request = Request(
        predictions=(str(tmp_path / "several.json"), *singles),
        on="mrhisum",
        data=str(tmp_path),
        protocols=("summdiff",),
    )
    found = {(row.method, row.metric): row for row in score(request).rows}
    for metric in ("wse", "cis", "wir", "tau", "f1", "map50"):
        assert found["several", metric].mean == pytest.approx(found["one", metric].mean), metric
        assert found["several", metric].n == 4
    assert found["mean-user", "wse"].mean == 0


def with_shots(folder: Path) -> None:
    """Short shots, of which some fit into 15 % of the frames."""
    import h5py

    with h5py.File(folder / "mr_hisum.h5", "r+") as file:
        for group in file.values():
            stop = np.append(np.arange(2, 20, 2), len(group["gtscore"]))
            del group["change_points"]
            group["change_points"] = np.stack([np.append(0, stop[:-1]), stop], 1)
