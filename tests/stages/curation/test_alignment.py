"""Steps and sentences: against all alignments of small cases, and on planted ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vsumdata.stages.curation.alignment import Run, align, belonging


def every(num_steps: int, num_sentences: int, at: int = 0) -> Iterator[list[Run | None]]:
    """All alignments: for each step a run or none, in order, without overlap."""
    if not num_steps:
        yield []
        return
    runs: list[Run | None] = [None, *itertools.combinations(range(at, num_sentences + 1), 2)]
    for run in runs:
        for rest in every(num_steps - 1, num_sentences, at if run is None else run[1]):
            yield [run, *rest]


def value(runs: list[Run | None], gain: np.ndarray) -> float:
    return float(sum(gain[step, run[0] : run[1]].sum() for step, run in enumerate(runs) if run is not None))


similarities = st.tuples(st.integers(1, 3), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-8, 8).map(lambda number: number / 8))
)


@given(similarities)
def test_no_alignment_is_better(similarity: np.ndarray) -> None:
    found, gain = align(similarity), similarity - similarity.mean()
    there = [run for run in found if run is not None]
    assert all(first < stop for first, stop in there)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(there))
    best = max(value(runs, gain) for runs in every(*similarity.shape))
    assert value(found, gain) == pytest.approx(best, abs=1e-9)


def test_planted_runs_are_found() -> None:
    rng = np.random.default_rng(0)
    step = rng.normal(size=(6, 32))
    owner = [None, 0, 0, 0, None, 1, 1, 2, 2, 2, None, None, 4, 4, 5, 5, 5, None]  # step 3 is not spoken of
    spoken = np.stack([rng.normal(size=32) if own is None else step[own] + 0.3 * rng.normal(size=32) for own in owner])
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (step, spoken)]
    found = align(unit[0] @ unit[1].T)
    # What nobody planted may resemble a step a little more than the mean does; whole runs are there.
    for number in (0, 1, 2, 4, 5):
        own = [at for at, of in enumerate(owner) if of == number]
        run = found[number]
        assert run is not None
        assert run[0] <= own[0] <= own[-1] < run[1]


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_without_steps_or_sentences(shape: tuple[int, int]) -> None:
    assert align(np.zeros(shape)) == [None] * shape[0]


def test_equal_similarities_align_nothing() -> None:
    assert align(np.full((2, 3), 0.4)) == [None, None]


@given(similarities)
def test_belonging_is_the_share_of_all_alignments(gain: np.ndarray) -> None:
    weights, shares = 0.0, np.zeros(gain.shape)
    for runs in every(*gain.shape):
        weight = np.exp(value(runs, gain))
        weights += weight
        for step, run in enumerate(runs):
            if run is not None:
                shares[step, run[0] : run[1]] += weight
    np.testing.assert_allclose(belonging(gain), shares / weights, atol=1e-9)


def test_belonging_bears_long_videos_and_strong_gains() -> None:
    gain = np.full((3, 5000), -900.0)
    for step in range(3):
        gain[step, 1000 * step : 1000 * step + 1000] = 900.0
    found = belonging(gain)
    assert [found[step, 1000 * step : 1000 * step + 1000].min() for step in range(3)] == pytest.approx([1] * 3)
    assert found.sum() == pytest.approx(3000)
    assert belonging(np.zeros((0, 4))).shape == (0, 4)
