"""Key frames matched with users': by time against brute force, by pictures, and the degenerate cases."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.train.scoring.metrics_keyframes import Cus, cus, cus_of, frames_of, hue_histogram, num_alike, num_pairs

FRAMES = st.lists(st.integers(0, 12), max_size=5)


def brute_force(ours: list[int], theirs: list[int], most_apart: int) -> int:
    """The most pairs that any assignment of the key frames has."""
    few, many = sorted([sorted(set(ours)), sorted(set(theirs))], key=len)
    return max(
        sum(abs(a - b) <= most_apart for a, b in zip(few, order, strict=True))
        for order in itertools.permutations(many, len(few))
    )


@given(FRAMES, FRAMES, st.integers(0, 4))
def test_no_assignment_has_more_pairs(ours: list[int], theirs: list[int], most_apart: int) -> None:
    assert num_pairs(ours, theirs, most_apart) == brute_force(ours, theirs, most_apart)


def test_a_key_frame_has_one_partner() -> None:
    assert num_pairs([100, 110, 120], [110], 120) == 1
    assert num_pairs([110], [100, 110, 120], 120) == 1
    assert num_pairs([0, 121], [0, 241], 120) == 2, "the tolerance itself is near enough"
    assert num_pairs([0, 120], [0, 241], 120) == 1
    assert num_pairs([61, 61, 331, 331], [61, 331], 0) == 2, "a number that is there twice is one key frame"


def test_cus_is_of_the_users_key_frames_and_their_mean() -> None:
    # As CUS' example has it: of four key frames two are the user's two, and two are errors.
    assert cus([10, 500, 900, 1300], [[10, 500]], 0) == pytest.approx(Cus(1, 1, 2 * 2 / 6))
    found = cus([10, 500], [[10], [10, 500, 900, 1300]], 0)
    assert found == pytest.approx(Cus((1 + 0.5) / 2, (1 + 0) / 2, (2 / 3 + 4 / 6) / 2))


def test_empty_sides() -> None:
    assert cus([], [[1, 2]], 9) == Cus(0, 0, 0)
    assert cus([1], [[], [1]], 9) == Cus(1, 0, 1), "a user without key frames says nothing"
    assert all(map(math.isnan, cus([1], [[]], 9)))
    with pytest.raises(ValueError, match="zip"):
        cus_of([1], 1, [1, 2])


def test_a_summary_is_of_picks_or_of_all_frames() -> None:
    picks = np.array([0, 15, 30])
    assert frames_of(np.array([0, 1, 1]), picks).tolist() == [15, 30]
    assert frames_of(np.array([0, 1, 1, 0]), picks).tolist() == [1, 2]
    assert frames_of(np.array([0, 1, 1]), None).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("colour", "range_of_hue"),
    [
        ((255, 0, 0), 0), ((255, 255, 0), 2), ((0, 255, 0), 5), ((0, 255, 255), 8), ((0, 0, 255), 10),
        ((255, 0, 255), 13), ((255, 0, 20), 15), ((90, 90, 90), 0), ((0, 0, 0), 0),
    ],
)  # fmt: skip
def test_the_hue_of_a_colour(colour: tuple[int, int, int], range_of_hue: int) -> None:
    """A circle of 360 degrees in 16 ranges of 22.5: red 0, yellow 60, green 120, cyan 180, blue 240, magenta 300."""
    picture = np.tile(np.array(colour, np.uint8), (2, 3, 1))
    assert np.flatnonzero(hue_histogram(picture)).tolist() == [range_of_hue]
    assert hue_histogram(picture).sum() == 1


def test_hues_are_shares_of_the_pixels() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0] = (0, 0, 200)
    picture[1] = (0, 100, 0)
    assert hue_histogram(picture)[[5, 10]].tolist() == [0.5, 0.5]


def test_pictures_are_paired_where_their_hues_are_near() -> None:
    blue, green = np.eye(16)[[10, 5]]
    near = 0.8 * blue + 0.2 * green  # 0.4 from blue, 1.6 from green
    at_the_limit = 0.75 * blue + 0.25 * green
    assert num_alike(np.array([blue, near]), np.array([near, green])) == 1
    assert num_alike(np.array([near]), np.array([blue, near])) == 1
    assert num_alike(np.array([blue]), np.array([at_the_limit])) == 0, "0.5 apart is not less than 0.5"
    assert num_alike(np.zeros((0, 16)), np.array([blue])) == 0
    # The first that would do for `near` is the only one for `blue`: the best matching has both.
    far = 0.61 * blue + 0.39 * green
    assert num_alike(np.array([near, blue]), np.array([blue, far])) == 2
