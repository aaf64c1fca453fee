"""KTS against exhaustive search, ruptures, and the field's official code."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import ruptures
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.recordings import RECORDINGS

from vsumdata.stages.pictures import shots as kts

GOLDEN = RECORDINGS / "golden"


def planted(num_frames: int, borders: list[int], noise: float = 0.1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    label = np.searchsorted(borders, np.arange(num_frames), side="right")
    x = rng.standard_normal((len(borders) + 1, 16))[label] + noise * rng.standard_normal((num_frames, 16))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def cost(features: np.ndarray, cuts: tuple[int, ...], vmax: float) -> float:
    """The published cost, computed directly."""
    n, m = len(features), len(cuts)
    parts = itertools.pairwise((0, *cuts, n))
    scatter = sum(((features[a:b] - features[a:b].mean(0)) ** 2).sum() for a, b in parts)
    return scatter / n + (vmax * m / (2 * n) * (np.log(n / m) + 1) if m else 0)


def by_every_number(features: np.ndarray, vmax: float) -> list[int]:
    """As in the field's code: obj(m) for every m, then the first m of least cost."""
    n = len(features)
    scatter = np.full((n + 1, n + 1), np.inf)
    for start, stop in itertools.combinations(range(n + 1), 2):
        scatter[start, stop] = ((features[start:stop] - features[start:stop].mean(0)) ** 2).sum()
    row, last_cuts, costs = scatter[0], [], []
    for m in range(n):
        costs.append(row[n] / n + (vmax * m / (2 * n) * (np.log(n / m) + 1) if m else 0))
        last_cuts.append((row[:, None] + scatter).argmin(0))
        row = (row[:, None] + scatter).min(0)
    points = [n]
    for m in range(int(np.argmin(costs)), 0, -1):
        points.append(int(last_cuts[m - 1][points[-1]]))
    return points[:0:-1]


@settings(max_examples=200, deadline=None)
@given(
    num_frames=st.integers(1, 10),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.05, 0.4, 1.0, 3.0]),
    vmax=st.sampled_from([0.0, 0.1, 1.0, 3.0]),
    max_changes=st.none() | st.integers(0, 9),
)
def test_no_other_choice_costs_less(num_frames, seed, scale, vmax, max_changes):
    features = np.random.default_rng(seed).standard_normal((num_frames, 3)) * scale
    found = tuple(kts.change_points(features, max_changes, vmax).tolist())
    numbers = range(num_frames if max_changes is None else min(max_changes + 1, num_frames))
    assert len(found) in numbers
    choices = itertools.chain.from_iterable(itertools.combinations(range(1, num_frames), m) for m in numbers)
    assert cost(features, found, vmax) <= min(cost(features, cuts, vmax) for cuts in choices) + 1e-12


@settings(max_examples=150, deadline=None)
@given(
    num_frames=st.integers(11, 70),
    num_shots=st.integers(1, 20),
    seed=st.integers(0, 10**6),
    noise=st.sampled_from([0.05, 0.3, 0.7, 2.0]),
    vmax=st.sampled_from([0.05, 0.3, 1.0, 2.0]),
)
def test_equals_the_search_over_every_number_of_changes(num_frames, num_shots, seed, noise, vmax):
    borders = np.sort(np.random.default_rng(seed).integers(1, num_frames, num_shots - 1)).tolist()
    features = planted(num_frames, borders, noise, seed)
    assert kts.change_points(features, vmax=vmax).tolist() == by_every_number(features, vmax)


@pytest.mark.parametrize("num_frames", [40, 130, 700])
def test_equals_ruptures_with_as_many_changes(num_frames):
    features = planted(num_frames, [7, 19, 30], noise=0.4, seed=num_frames)
    found = kts.change_points(features)
    assert len(found) > 0
    search = ruptures.KernelCPD(kernel="linear", min_size=1, jump=1).fit(features)
    assert [*found.tolist(), num_frames] == search.predict(n_bkps=len(found))


def test_planted_shots_are_found_and_cover_all_frames():
    start, stop = kts.shots(planted(60, [13, 20, 41]).astype(np.float16))
    assert start.tolist() == [0, 13, 20, 41]
    assert stop.tolist() == [13, 20, 41, 60]
    assert start.dtype == stop.dtype == np.int32


@pytest.mark.parametrize("value", [1.0, 0.1, 1e4])
def test_equal_frames_are_one_shot(value):
    assert kts.change_points(np.full((50, 4), value)).tolist() == []


def test_the_earliest_of_equal_choices_wins():
    # The third frame is as close to the first two as to the last two.
    assert kts.change_points(np.array([[1, 0], [1, 0], [0.5, 0.5], [0, 1], [0, 1]])).tolist() == [2]
    # The first and the last frame are alike, and only one of them may be cut off.
    assert kts.change_points(np.array([[1, 0], [0, 1], [0, 1], [1, 0]]), max_changes=1, vmax=0.1).tolist() == [1]


def test_what_all_frames_share_loses_no_digits():
    features = planted(300, [20, 90, 91, 95, 200], noise=0.3)
    assert kts.change_points(features + 1e7).tolist() == kts.change_points(features).tolist()


def test_one_and_two_frames():
    assert [a.tolist() for a in kts.shots(np.ones((1, 4)))] == [[0], [1]]
    assert [a.tolist() for a in kts.shots(np.ones((2, 4)))] == [[0], [2]]
    # Two orthogonal unit frames: one shot costs 0.5, two cost (ln 2 + 1)/4 = 0.42.
    assert [a.tolist() for a in kts.shots(np.eye(2))] == [[0, 1], [1, 2]]


def test_max_changes_bounds_the_number():
    features = planted(60, [13, 30, 41])
    assert len(kts.change_points(features, max_changes=2)) == 2
    assert len(kts.change_points(features, max_changes=0)) == 0


def test_fewer_changes_than_the_bound_where_they_cost_less():
    # Frames at right angles, m of 10 changes: 0.07 (9 - m) and the penalty, least at one of the ends.
    features = np.eye(10) * 0.7**0.5
    assert [len(kts.change_points(features, bound)) for bound in (None, 9, 8, 5)] == [9, 9, 8, 0]


def test_an_hour_of_short_shots():
    borders = np.cumsum(np.random.default_rng(3).integers(3, 15, 380)).tolist()
    assert 3000 < borders[-1] < 3600
    assert kts.change_points(planted(3600, borders, noise=0.01)).tolist() == borders


def test_long_videos_are_cut_into_windows(monkeypatch):
    monkeypatch.setattr(kts, "MAX_WINDOW", 50)
    features = planted(120, [10, 60, 100], noise=0.01)
    assert kts.change_points(features).tolist() == [10, 40, 60, 80, 100]


def test_features_without_frames_are_refused():
    with pytest.raises(ValueError, match=r"\(0, 4\)"):
        kts.shots(np.zeros((0, 4)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(value):
    features = np.ones((5, 4), np.float16)
    features[3, 1] = value
    with pytest.raises(ValueError, match="frame 3 "):
        kts.shots(features)


def test_a_reward_for_changes_is_refused():
    with pytest.raises(ValueError, match="-1"):
        kts.change_points(np.eye(3), vmax=-1)


@pytest.mark.recorded
def test_equals_the_official_code():
    if not GOLDEN.is_dir():
        pytest.skip("the recorded data is not here")
    cases = json.loads((GOLDEN / "01_kts.json").read_text())["cases"]
    arrays = np.load(GOLDEN / "01_kts.npz")
    checked = 0
    for case, run in [(one, run) for one in cases for run in one["runs"]]:
        # Our function has neither desc_rate nor limits of a shot's length.
        if {"desc_rate", "lmin", "lmax"} & run.keys():
            continue
        found = kts.change_points(arrays[case["features_array"]], run["max_ncp"], run["vmax"])
        assert found.tolist() == run["change_points"], (case["name"], run["max_ncp"], run["vmax"])
        checked += 1
    assert checked >= 16
