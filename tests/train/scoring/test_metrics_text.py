"""ROUGE as rouge-score gives it, BLiSS's cosine and the CLIP scores against plain restatements."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.train.scoring.metrics_text import cross_f_clip, f_clip, keyframe_cosine, rouge

ROWS = st.integers(1, 5)


def test_rouge_by_hand() -> None:
    found = rouge("the cats sat", "the cat sat down")
    assert found.rouge1 == pytest.approx(2 * 3 / 7)  # the stemmer makes cats a cat
    assert found.rouge2 == pytest.approx(2 * 2 / 5)
    assert found.rougeL == pytest.approx(2 * 3 / 7)


def test_rouge_compares_sentences() -> None:
    # The union of the sentences' common subsequences, whatever their order.
    assert rouge("One two. Three four.", "Three four. One two.").rougeL == 1
    assert rouge("One two three four.", "Three four one two.").rougeL == pytest.approx(0.5)


@pytest.mark.parametrize("gap", [" ", "\n", "\n\n", "  "])
def test_a_reference_of_one_string_is_cut_into_its_sentences(gap: str) -> None:
    """BLiSS's `highlight` may be one string: its sentences count, not its lines."""
    first, second = "Dr. Lee paints the sky at 3 p.m. today.", "She then adds a tree, e.g. a pine!"
    found = rouge(f"{second} {first}", f"{first}{gap}{second}")
    assert found.rougeL == 1
    assert rouge(f"{second} {first}".replace(".", "").replace("!", ""), f"{first}{gap}{second}").rougeL < 0.9


def test_sentences_end_where_punkt_says() -> None:
    """Abbreviations of its English parameters end none: with other cuts the union of subsequences would differ."""
    assert rouge("See Mr. Fox now. Go on.", "Go on. See Mr. Fox now.").rougeL == 1
    # Were `Mr.` an end, the parts around it would match whatever their order.
    assert rouge("See Mr. Fox now.", "Fox see Mr. now.").rougeL == pytest.approx(3 / 4)


def test_rouge_of_nothing() -> None:
    assert rouge("", "a word") == (0, 0, 0)
    assert rouge("", "") == (0, 0, 0)


def test_key_frames_are_paired_once_each() -> None:
    frames = np.array([[1.0, 0], [0, 1], [1, 1], [-1, 0]])
    reference = np.array([[1.0, 0], [1, 0.1]])
    # Cosines run from -1 to 1, so the normalised ones are (cos + 1) / 2; the first takes frame 0, then frame 2 is left.
    second = (np.dot([1, 0.1], [1, 1]) / np.linalg.norm([1, 0.1]) / np.sqrt(2) + 1) / 2
    found = keyframe_cosine(frames, reference, np.array([0, 2]))
    assert found == pytest.approx((1 + second) / 2)
    assert keyframe_cosine(frames, reference[:1], np.array([0, 2])) == pytest.approx(1)


def test_key_frames_of_nothing() -> None:
    frames = np.eye(3)
    assert keyframe_cosine(frames, frames, np.empty(0, int)) == 0
    assert keyframe_cosine(frames, frames[:0], np.array([1])) == 0
    assert keyframe_cosine(np.ones((2, 3)), np.ones((1, 3)), np.array([1])) == 0  # all alike: nothing to tell apart
    with pytest.raises(ValueError, match="finite"):
        keyframe_cosine(frames * np.nan, frames, np.array([1]))


def by_hand(reference: np.ndarray, predicted: np.ndarray) -> float:
    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return max(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), 0)

    recall = np.mean([max(cosine(a, b) for b in predicted) for a in reference])
    precision = np.mean([max(cosine(a, b) for a in reference) for b in predicted])
    return float(2 * recall * precision / (recall + precision)) if recall + precision else 0.0


@given(ROWS, ROWS, st.integers(0, 10**6))
def test_f_clip(rows: int, others: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((rows, 4)), rng.standard_normal((others, 4))
    found = f_clip(a, b)
    assert found.f1 == pytest.approx(by_hand(a, b))
    assert 0 <= found.f1 <= 1
    assert f_clip(b, a).f1 == pytest.approx(found.f1)
    assert f_clip(a, a).f1 == pytest.approx(1)
    assert f_clip(a, np.concatenate([b, b[:1]])).recall == pytest.approx(found.recall)
    c, d = rng.standard_normal((2, 3, 4))
    assert cross_f_clip(a, b, c, d) == pytest.approx((by_hand(a, d) + by_hand(b, c)) / 2)


def test_f_clip_of_nothing_in_common() -> None:
    one = np.eye(4)
    assert f_clip(one[:2], one[2:]).f1 == 0
    assert f_clip(one[:1], -one[:1]).f1 == 0
    assert f_clip(one, one[:0]) == (0, 0, 0)
    for reference, predicted in itertools.product([np.zeros((1, 4)), one], [np.zeros((1, 4))]):
        assert f_clip(reference, predicted).f1 == 0
