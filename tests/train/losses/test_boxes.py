"""Labels of segments, suppression and painting against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vsumdata.train.losses.boxes import (
    box_scores,
    boxes_of,
    centerness_label,
    cut,
    frame_scores,
    paint,
    reach_label,
    suppress,
)
from vsumdata.train.models.summarizer import Boxes, Scores

LABELS = st.lists(st.integers(0, 1), min_size=1, max_size=30)


def test_reach_by_hand() -> None:
    label = torch.tensor([[0.0, 1, 1, 1, 0, 1]])
    reach = reach_label(label)
    assert reach[0].tolist() == [[0, 0], [0, 2], [1, 1], [2, 0], [0, 0], [0, 0]]
    assert centerness_label(reach, label)[0].tolist() == [0, 0, 1, 0, 0, 0]


@settings(deadline=None)
@given(LABELS)
def test_reach_of_a_loop(values: list[int]) -> None:
    found = reach_label(torch.tensor([values]).float())[0].tolist()
    for at, value in enumerate(values):
        back = ahead = 0
        while value and at - back - 1 >= 0 and values[at - back - 1]:
            back += 1
        while value and at + ahead + 1 < len(values) and values[at + ahead + 1]:
            ahead += 1
        assert found[at] == [back, ahead]


@settings(deadline=None)
@given(LABELS)
def test_boxes_of_the_labels_are_the_runs(values: list[int]) -> None:
    label = torch.tensor([values]).float()
    boxes = boxes_of(reach_label(label))[0][label[0] > 0].numpy()
    painted = paint(np.ones(len(boxes)), cut(boxes, len(values)), len(values))
    assert painted.tolist() == values


def test_a_sentence_less_batch_has_labels_of_no_width() -> None:
    assert reach_label(torch.zeros(2, 0)).shape == (2, 0, 2)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.4, 0.5, 1.0]))
def test_suppression_of_a_loop(seed: int, overlap: float) -> None:
    rng = np.random.default_rng(seed)
    num = int(rng.integers(0, 20))
    boxes = rng.integers(0, 15, (num, 2))
    score = rng.permutation(num).astype(np.float32)  # no ties
    kept: list[tuple[int, int]] = []
    for i in np.argsort(-score):
        start, stop = boxes[i].tolist()
        if start < stop and all(hull_overlap((start, stop), other) < overlap for other in kept):
            kept.append((start, stop))
    kept_score, kept_box = suppress(score, boxes, overlap)
    assert [tuple(box) for box in kept_box.tolist()] == kept
    assert (np.diff(kept_score) < 0).all()


def hull_overlap(a: tuple[int, int], b: tuple[int, int]) -> float:
    return max(0, min(a[1], b[1]) - max(a[0], b[0])) / (max(a[1], b[1]) - min(a[0], b[0]))


def test_of_equal_scores_the_later_position_wins() -> None:
    score, boxes = suppress(np.array([0.5, 0.5]), np.array([[0, 4], [1, 5]]), 0.5)
    assert (score.tolist(), boxes.tolist()) == ([0.5], [[1, 5]])


def test_frames_under_no_box_score_nothing() -> None:
    assert paint(np.array([0.3, 0.9]), np.array([[0, 3], [2, 4]]), 6).tolist() == [0.3, 0.3, 0.9, 0.9, 0, 0]


def proposed(seed: int, lengths: list[int]) -> tuple[Scores, Tensor]:
    random = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    boxes = Boxes(reach=torch.rand(*shape, 2, generator=random) * 5, centerness=torch.rand(*shape, generator=random))
    mask = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    return Scores(frame_logit=torch.randn(shape, generator=random), frame_boxes=boxes), mask


def alone(scores: Scores, i: int, length: int) -> Scores:
    assert scores.frame_boxes is not None
    boxes = scores.frame_boxes
    part = slice(i, i + 1), slice(length)
    return Scores(
        frame_logit=scores.frame_logit[part],
        frame_boxes=Boxes(reach=boxes.reach[part], centerness=boxes.centerness[part]),
    )


@pytest.mark.parametrize("nms_overlap", [None, 0.4])
def test_scores_do_not_depend_on_batch_mates(nms_overlap: float | None) -> None:
    lengths = [1, 9, 20]
    scores, mask = proposed(0, lengths)
    together = frame_scores(scores, mask, nms_overlap)
    for i, length in enumerate(lengths):
        one = frame_scores(alone(scores, i, length), mask[i : i + 1, :length], nms_overlap)
        torch.testing.assert_close(together[i, :length], one[0], rtol=0, atol=1e-6)  # float32; scores in [0, 1]
        assert (together[i, length:] == 0).all()
        assert 0 <= float(one.min()) <= float(one.max()) <= 1


def test_officially_they_do() -> None:
    scores, mask = proposed(0, [5, 20])
    ours, theirs = box_scores(scores, mask), box_scores(scores, mask, "a2summ")
    assert ours.amax(1).tolist() == pytest.approx([1, 1])
    assert theirs.max() == pytest.approx(1)
    assert theirs[mask].max() < 1 or theirs.amax(1).min() < 1


def test_suppression_only_takes_away() -> None:
    scores, mask = proposed(3, [30])
    assert (frame_scores(scores, mask, 0.4) <= frame_scores(scores, mask, None)).all()


def test_a_model_without_boxes_scores_by_its_logits() -> None:
    logit = torch.tensor([[0.0, 2.0, 99.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    found = frame_scores(Scores(frame_logit=logit), mask, None)
    assert found.tolist() == [[0.5, pytest.approx(0.880797, abs=1e-6), 0]]
    assert not found.requires_grad


def test_bfloat16_is_scored_in_float32() -> None:
    scores = Scores(frame_logit=torch.tensor([[1.0]], dtype=torch.bfloat16))
    found = frame_scores(scores, torch.tensor([[True]]), None)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(0.7310586, abs=1e-6)
