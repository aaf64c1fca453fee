"""The text that a model reads: which token covers which frame, and that tokens do not depend on batch mates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vsumdata.datasets.video import Video, collate
from vsumdata.train.models.text import no_text, text_of


def video(name, num_frames=6, spans=None, steps=None, with_global=True) -> Video:
    rng = np.random.default_rng(len(name))
    return Video(
        video_id=name,
        frame_time_s=np.arange(num_frames) / 2,
        frame_feature=np.ones((num_frames, 3), np.float32),
        sentence=[{"start_s": start, "end_s": end, "text": ""} for start, end in spans or ()],
        sentence_feature=None if spans is None else rng.normal(size=(len(spans), 4)).astype(np.float32),
        step=[{"section": 0, "headline": "", "text": ""}] * (steps or 0),
        step_feature=None if steps is None else rng.normal(size=(steps, 4)).astype(np.float32),
        global_feature=rng.normal(size=4).astype(np.float32) if with_global else None,
    )


SPOKEN = video("spoken", 8, [(0.0, 1.0), (1.0, 1.5), (9.0, 10.0)], steps=2)
SHORT = video("short", 3, [(0.0, 9.0)])
SILENT = video("silent", 5, with_global=False)


def test_a_sentence_covers_the_frames_from_its_start_to_before_its_end():
    text = text_of(collate([SPOKEN]), "subtitles")
    assert text.cover[0].int().tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0]] + [[0, 0, 0]] * 5
    assert text.timed.equal(text.mask)


def test_padding_is_covered_by_nothing_and_covers_nothing():
    text = text_of(collate([SPOKEN, SHORT]), "subtitles")  # padded frames and sentences are all at 0 s
    assert text.cover[1].int().tolist() == [[1, 0, 0]] * 3 + [[0, 0, 0]] * 5
    assert text.mask.tolist() == [[True] * 3, [True, False, False]]


@pytest.mark.parametrize("kind", ["subtitles", "global", "both", "none"])
def test_a_batch_without_that_text_has_none(kind):
    assert text_of(collate([SILENT]), kind) is None
    assert (text_of(collate([SILENT, SHORT]), kind) is None) == (kind == "none")


def test_global_text_covers_every_frame_and_has_no_time():
    batch = collate([SPOKEN, SHORT, SILENT])
    assert batch.global_feature is not None
    text = text_of(batch, "global")
    assert text.mask.tolist() == [[True], [True], [False]]
    assert text.feature[:, 0].equal(batch.global_feature)
    assert text.cover[:2, :, 0].equal(batch.frame_mask[:2])
    assert not text.cover[2].any()
    assert not text.timed.any()


def test_steps_stand_for_the_global_text_where_there_are_any():
    batch = collate([SPOKEN, SHORT, SILENT])
    text = text_of(batch, "global", "steps")
    assert text.mask.tolist() == [[True, True], [True, False], [False, False]]
    assert text.feature[0].equal(batch.step_feature[0])
    assert text.feature[1, 0].equal(batch.global_feature[1])
    alone = collate([video("no global", 4, steps=3, with_global=False)])
    assert alone.step_feature is not None
    assert text_of(alone, "global", "steps").feature.equal(alone.step_feature)
    assert text_of(alone, "global", "description") is None


def test_both_is_the_subtitles_then_the_global_text_without_a_gap():
    batch = collate([SPOKEN, SHORT, SILENT, video("told", 4)])
    text = text_of(batch, "both")
    assert text.mask.int().tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert text.timed.int().tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert text.feature[1, :2].equal(torch.stack([batch.sentence_feature[1, 0], batch.global_feature[1]]))
    assert text.cover[0, :, 3].all()
    assert text.cover[3, :, 0].equal(batch.frame_mask[3])


@pytest.mark.parametrize("kind", ["subtitles", "global", "both"])
@pytest.mark.parametrize("tokens", ["description", "steps"])
def test_a_videos_tokens_do_not_depend_on_its_mates(kind, tokens):
    batch = text_of(collate([SHORT, SPOKEN, SILENT]), kind, tokens)
    for i, one in enumerate((SHORT, SPOKEN)):
        alone, t = text_of(collate([one]), kind, tokens), len(one.frame_time_s)
        m = alone.mask.shape[1]
        assert batch.mask[i].sum() == m
        assert batch.feature[i, :m].equal(alone.feature[0])
        assert batch.timed[i, :m].equal(alone.timed[0])
        assert batch.cover[i, :t, :m].equal(alone.cover[0])
        assert not batch.cover[i, t:].any()
        assert not batch.cover[i, :, m:].any()


def test_both_is_the_one_kind_that_there_is():
    batch = collate([video("told", 4)])
    assert text_of(batch, "both").feature.equal(text_of(batch, "global").feature)


def test_no_text_has_no_token():
    text = no_text(collate([SPOKEN, SHORT]), 4)
    assert (text.feature.shape, text.cover.shape) == ((2, 0, 4), (2, 8, 0))


def test_timed_steps_cover_the_frames_of_their_time() -> None:
    times = np.array([[0.5, 2.0], [np.nan, np.nan]], np.float32)
    known, unknown = replace(SPOKEN, step_span=times), video("unknown", 8, steps=3)
    batch = collate([known, unknown, SHORT])
    assert batch.step_span is not None
    timed, open_ = (text_of(batch, "global", "steps", timed_steps=on) for on in (True, False))
    assert timed.cover[0, :, 0].int().tolist() == [0, 1, 1, 1, 0, 0, 0, 0]
    assert timed.timed.tolist() == [[True, False, False], [False] * 3, [False] * 3]
    # A step without a time, a video without times and one without steps are covered as before.
    assert timed.cover[0, :, 1:].equal(open_.cover[0, :, 1:])
    assert timed.cover[1:].equal(open_.cover[1:])
    assert not open_.timed.any()
    assert timed.feature.equal(open_.feature)
    both = text_of(batch, "both", "steps", timed_steps=True)
    assert both.timed[0].tolist() == [True] * 4 + [False] * 2
    assert text_of(collate([unknown]), "global", "steps", timed_steps=True).cover.all()
