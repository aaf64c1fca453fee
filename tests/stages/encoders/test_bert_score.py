"""BERTScore's matching by hand; the golden packs hold the whole against the official package."""

from __future__ import annotations

import numpy as np
import pytest

from vsumdata.stages.encoders.bert_score import matched


def test_words_look_for_their_like_and_special_tokens_do_not() -> None:
    a, b, c = np.eye(3)
    ours = np.array([c, a, b]), np.array([False, True, True])
    theirs = np.array([b, a]), np.array([False, True])
    precision, recall, f1 = matched(ours, theirs)
    assert (precision, recall) == (1, 1), "b finds the special token, which itself looks for nothing"
    assert f1 == 1
    assert matched((np.array([a, b]), np.array([True, True])), (np.array([a]), np.array([True]))) == (
        0.5, 1, pytest.approx(2 / 3),
    )  # fmt: skip


def test_a_text_without_words_scores_nothing() -> None:
    empty = np.eye(3)[:2], np.array([False, False])
    assert matched(empty, (np.eye(3), np.ones(3, bool))) == (0, 0, 0)
