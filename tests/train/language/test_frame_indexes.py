"""Frames and indexes: which frame an index shows, and what an index says of the frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.train.language.frame_indexes import (
    index_of_time,
    labels_of_indexes,
    nearest_index,
    official_frames,
    scores_of_frames,
    shown_frames,
    summary_of_frames,
)

FRAMES, INDEXES = st.integers(1, 400), st.integers(2, 150)


@given(FRAMES, INDEXES)
def test_the_shown_frames_go_from_the_first_to_the_last(num_frames: int, num_indexes: int) -> None:
    shown = shown_frames(num_frames, num_indexes)
    exact = np.arange(num_indexes) * (num_frames - 1) / (num_indexes - 1)
    assert (shown[0], shown[-1]) == (0, num_frames - 1)
    assert (np.diff(shown) >= 0).all()
    assert (np.abs(shown - exact) <= 0.5 + 1e-9).all()


def test_halves_go_down() -> None:
    assert shown_frames(4, 3).tolist() == [0, 1, 3]
    assert shown_frames(2, 3).tolist() == [0, 0, 1]


@given(INDEXES, st.data())
def test_there_and_back_is_the_identity_up_to_n_frames(num_indexes: int, data: st.DataObject) -> None:
    num_frames = data.draw(st.integers(1, num_indexes))
    score = np.random.default_rng(num_frames).random(num_frames)
    assert scores_of_frames(labels_of_indexes(score, num_indexes), num_frames) == pytest.approx(score)
    label = score > 0.5
    indexes = np.flatnonzero(labels_of_indexes(label, num_indexes)).tolist()
    assert summary_of_frames(indexes, num_indexes, num_frames).tolist() == label.tolist()


@given(INDEXES, st.integers(0, 300))
def test_of_more_frames_each_has_the_score_of_its_nearest_index(num_indexes: int, more: int) -> None:
    num_frames = num_indexes + 1 + more
    score = np.random.default_rng(more).random(num_indexes)
    found = scores_of_frames(score, num_frames)
    assert found[shown_frames(num_frames, num_indexes)] == pytest.approx(score), "a shown frame has its own index"
    where = np.arange(num_frames) * (num_indexes - 1) / (num_frames - 1)
    assert (np.abs(nearest_index(num_frames, num_indexes) - where) <= 0.5 + 1e-9).all()


def test_a_single_frame_is_shown_by_all_indexes() -> None:
    assert shown_frames(1, 100).tolist() == [0] * 100
    assert nearest_index(1, 100).tolist() == [0]
    assert scores_of_frames(np.arange(4.0), 1).tolist() == [1.5]
    assert summary_of_frames([3], 4, 1).tolist() == [True]
    assert summary_of_frames([], 4, 1).tolist() == [False]


@pytest.mark.parametrize(("num_frames", "num_indexes"), [(0, 100), (5, 1)])
def test_nothing_to_show_is_an_error(num_frames: int, num_indexes: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        shown_frames(num_frames, num_indexes)


def test_moments() -> None:
    assert [index_of_time(time_s, 100) for time_s in (0.5, 1.5, 2.5, 99.6, 250, -3)] == [0, 2, 2, 99, 99, 0]
    assert index_of_time(5, 10, 16) == 8
    with pytest.raises(ValueError, match="no moments"):
        index_of_time(0, 0)


def test_official_frames_round_down() -> None:
    assert official_frames(10, 4, 25.0).tolist() == [0, 3, 6, 9]
    assert official_frames(10, 4, 25.0, (0.04, 9.0)).tolist() == [1, 3, 6, 9]
