"""The columns of `quality`, each on a made-up video whose value is known, and what is said where parts are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stages.labels.label_kit import CLIP

from vsumdata.manifests import rows, tables
from vsumdata.manifests.errors import SkipVideo
from vsumdata.stages.encoders.clip import ClipText
from vsumdata.stages.labels import quality
from vsumdata.stages.stage import Context, Function, Row

RANDOM = {"clip_model": CLIP, "clip_weights": "seed:0", "clip_location": "seed:0", "still": 0.98, "fps": 2.0}


def said(*spans: tuple[float, float], text: str = "Cut the onion.") -> list[dict[str, Any]]:
    return [{"start_s": start_s, "end_s": end_s, "text": text} for start_s, end_s in spans]


def opened(**options: Any) -> Function:
    return quality.load(RANDOM | options, Context(root="/nowhere", scratch="/nowhere"))


def row(**change: Any) -> Row:
    feature = np.eye(8, dtype=np.float16)[[0, 0, 0, 1, 1, 2]]
    return {
        "video_id": "v",
        "videos": {"duration_s": 60.0},
        "transcripts": {"sentence": said((0, 1), (1, 2)), "speech_s": None},
        "frames": {"frame_feature": feature},
    } | change


def test_speech_counts_each_second_once_and_no_second_after_the_end() -> None:
    overlapping = said((0, 4), (2, 5), (3, 3.5), (18, 30))
    assert quality.speech_share(overlapping, None, 20) == pytest.approx(7 / 20)
    assert quality.speech_share(overlapping[::-1], None, 20) == pytest.approx(7 / 20)
    assert quality.speech_share(overlapping, 12.0, 20) == pytest.approx(0.6), "what was heard counts more"
    assert quality.speech_share([], None, 20) == 0
    assert quality.speech_share([], None, 0) is None


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted), max_size=6))
def test_speech_is_the_union_of_spans(spans: list[list[int]]) -> None:
    seconds = {second for start, stop in spans for second in range(start, min(stop, 20))}
    found = quality.speech_share(said(*((start, stop) for start, stop in spans)), None, 20)
    assert found == pytest.approx(len(seconds) / 20)


def test_words_are_those_of_the_whole_video() -> None:
    assert quality.words_per_minute(said((0, 1), (1, 2)), 120) == 3
    assert quality.words_per_minute(said((0, 1), text="Don't cut it"), 60) == 3
    # Scripts without spaces have no words to count: some letters stand for one.
    assert (quality.words_per_minute(said((0, 1), text="玉ねぎを薄く切ってから炒めます"), 60) or 0) > 3
    assert quality.words_per_minute([], 60) == 0
    assert quality.words_per_minute(said((0, 1)), 0) is None


def test_frames_stand_still_as_in_a_slide_show() -> None:
    slides = np.repeat(np.eye(4), 5, axis=0).astype(np.float16)
    assert quality.static_share(slides, 0.98) == pytest.approx(16 / 19)
    assert quality.static_share(np.eye(6), 0.98) == 0
    # float16 makes a cosine of 1 to one of .9995: a still picture must count even for still=1.
    still = np.tile(np.random.default_rng(0).normal(size=64), (3, 1))
    assert quality.static_share((still / np.linalg.norm(still[0])).astype(np.float16), 0.999999) == 1
    angle = np.deg2rad([0, 11, 23])
    moving = np.stack([np.cos(angle), np.sin(angle)], 1)
    assert quality.static_share(moving, 0.98) == 0.5, "cosines .982 and .978"
    assert quality.static_share(np.eye(1), 0.98) is None


def test_words_agree_with_the_frames_shown_meanwhile() -> None:
    frames, fps = np.eye(4)[[0, 0, 1, 1, 2, 2]], 2.0
    told = said((0, 1), (1, 2), (2, 3))
    assert quality.text_frame_agreement(np.eye(4)[:3], frames, told, fps) == pytest.approx(1)
    assert quality.text_frame_agreement(np.eye(4)[[1, 2, 3]], frames, told, fps) == pytest.approx(0)
    # The mean of two different frames, at unit norm; and what is said after the last frame is said over it.
    assert quality.text_frame_agreement(np.eye(4)[:1], frames, said((0, 2)), fps) == pytest.approx(0.5**0.5)
    assert quality.text_frame_agreement(np.eye(4)[2:3], frames, said((9, 10)), fps) == pytest.approx(1)
    assert quality.text_frame_agreement(np.zeros((0, 4)), frames, [], fps) is None


def test_a_row_has_the_tables_columns() -> None:
    found = opened()(row())
    assert "random (seed:0)" in found.pop("detail")
    (back,) = rows.to_rows(rows.to_table(tables.payload("quality", {"frame_dim": 8}), [found]))
    assert back["speech_share"] == pytest.approx(2 / 60)
    assert back["words_per_minute"] == 6
    assert back["static_share"] == pytest.approx(3 / 5)
    assert back["text_frame_agreement"] is None
    unknown = opened()(row(videos={"duration_s": None}))
    assert unknown["speech_share"] == pytest.approx(2 / 3), "six frames, two a second"


def test_what_is_missing_is_null_and_said() -> None:
    measure = opened()
    mute = measure(row(transcripts=None))
    assert (mute["speech_share"], mute["words_per_minute"], mute["static_share"]) == (None, None, pytest.approx(0.6))
    assert mute["detail"].startswith("no transcript; no text_frame_agreement: ")
    unseen = measure(row(frames=None))
    assert (unseen["speech_share"], unseen["static_share"]) == (pytest.approx(2 / 60), None)
    assert unseen["detail"].startswith("no frames; ")
    silent = measure(row(transcripts={"sentence": [], "speech_s": 0.0}))
    assert (silent["speech_share"], silent["words_per_minute"]) == (0, 0), "nobody speaks, which is known"
    with pytest.raises(SkipVideo) as skip:
        measure(row(transcripts=None, frames=None))
    assert skip.value.reason == "no_frames"


def test_a_text_tower_is_asked_where_there_is_one(clip_weights: Path) -> None:
    weights = str(clip_weights)
    text = ClipText(CLIP, weights).encode(["Cut the onion."])
    # Frames that show exactly what is said, as far as the model can tell.
    frames = {"frame_feature": np.repeat(text, 6, axis=0).astype(np.float16)}
    found = opened(clip_weights=weights, clip_location=weights)(row(frames=frames))
    assert found["text_frame_agreement"] == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(found["spoken_feature"], text[0], atol=1e-3)
    assert "detail" not in found
