"""Pictures in order: the dynamic programme against all possibilities, and what a picture covers."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.stages.labels.placing import cosines, fit, place, stretch


def worth(fits, places, least):
    """The sum that `place` maximises; None for places out of order."""
    begins = [begin for begin in places if begin is not None]
    if begins != sorted(begins):
        return None
    return sum(row[begin] - least for row, begin in zip(fits, places, strict=True) if begin is not None)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 0.9]))
def test_no_order_of_pictures_is_worth_more(num_pictures, num_frames, seed, least):
    # Halves and quarters: many ties, and exact sums.
    fits = np.random.default_rng(seed).integers(-2, 5, (num_pictures, num_frames)) / 4
    fits[np.random.default_rng(seed + 1).random(fits.shape) < 0.1] = -np.inf
    found = place(list(fits), least)
    every = itertools.product([None, *range(num_frames)], repeat=num_pictures)
    values = [value for places in every if (value := worth(fits, places, least)) is not None]
    assert worth(fits, found, least) == pytest.approx(max(values))


def test_a_picture_that_fits_nowhere_leaves_the_others_their_places():
    fits = [np.array([0.0, 0.9, 0.0, 0.0]), np.array([0.3, 0.2, 0.1, 0.4]), np.array([0.95, 0.0, 0.8, 0.0])]
    # The third one's best frame comes before the first picture's.
    assert place(fits, 0.5) == [1, None, 2]
    assert place([], 0.5) == []


def test_cosines_of_a_clip_are_means_along_the_video():
    frame = np.eye(5, dtype=np.float16)
    clip = frame[[2, 3]]
    assert cosines(clip, frame).tolist() == [0, 0, 1, 0, -np.inf]
    assert cosines(frame[[1]], frame).tolist() == [0, 1, 0, 0, 0]
    # Longer than the video.
    assert cosines(np.concatenate([frame, frame]), frame).tolist() == [1] + [-np.inf] * 4


def test_fit_is_1_for_the_same_picture_and_0_for_half_of_the_frames():
    assert fit(np.array([0.5, 0.6, 1.0, 0.8, -np.inf])) == pytest.approx([-2 / 3, -1 / 3, 1, 1 / 3, -np.inf])
    # A video that shows one picture all the time: which of its frames is nearest is chance.
    assert np.abs(fit(np.array([0.9999, 1.0, 0.9998]))).max() < 0.5


def test_an_image_covers_what_is_alike_beside_it_in_its_shot_and_a_clip_itself():
    shots = (np.array([0, 3]), np.array([3, 9]))
    found = np.array([0.9, 0.9, 0.9, 0.85, 0.92, 0.9, 0.7, 0.9, 0.9])
    assert stretch(4, 1, found, 0.1, shots) == (3, 6)
    assert stretch(4, 1, found, 0.05, shots) == (4, 6)
    assert stretch(4, 3, found, 0.1, shots) == (4, 7)
