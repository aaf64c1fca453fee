"""When automatic captions are cleanly generated, and when Whisper is asked instead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vsumdata.manifests.manifest import Clean
from vsumdata.stages.speech.captions import read_captions
from vsumdata.stages.speech.quality import Quality, quality

TALK = (
    "first we take the flour and put it into a bowl then you add some water and a little bit of salt for the taste "
    "now mix it with your hands until it is smooth and let the dough rest for about ten minutes that is all you need"
).split()


def track(words: list[str], each_s: float = 0.4, begin_s: float = 0.0, marks: int = 0) -> str:
    """An automatic track that says a word every `each_s`, and [Music] so often after them."""
    events: list[dict[str, Any]] = [
        {"tStartMs": 1000 * (begin_s + each_s * i), "dDurationMs": 1000 * each_s, "segs": [{"utf8": f" {word}"}]}
        for i, word in enumerate(words)
    ]
    end_s = begin_s + each_s * len(words)
    events += [
        {"tStartMs": 1000 * (end_s + i), "dDurationMs": 900, "segs": [{"utf8": "[Music]"}]} for i in range(marks)
    ]
    return json.dumps({"events": events})


def judge(text: str, **more: Any) -> Quality:
    return quality(read_captions(text, "json3"), Clean(), **{"language": "en", "duration_s": 20.0, **more})


def test_a_talk_is_clean() -> None:
    found = judge(track(TALK))
    assert (found.clean, found.reason) == (True, "")
    assert found.coverage == pytest.approx(0.98)


@pytest.mark.parametrize(
    ("text", "more", "why"),
    [
        (track(TALK), {"duration_s": 600.0}, "covers 3% of the video"),
        (track(TALK), {"speech": [(0.0, 17.0), (30.0, 90.0)]}, "of the speech"),
        (track([]), {}, "no sentence"),
        (track(TALK, marks=60), {}, "are sounds"),
        (track(TALK, each_s=0.05), {"duration_s": 3.0}, "words a minute"),
        (track(["thank", "you", "for", "watching"] * 20), {"duration_s": 32.0}, "is repeated"),
        (track(TALK), {"language": "ru"}, "not the script of ru"),
        (track(TALK), {"language": "fr"}, "the words are not fr, rather en"),
        (track(TALK), {"spoken": "de"}, "captions in en, but de is spoken"),
    ],
)
def test_why_a_track_is_not_clean(text: str, more: dict[str, Any], why: str) -> None:
    found = judge(text, **more)
    assert not found.clean
    assert why in found.reason


def test_silence_is_not_held_against_captions_where_the_sound_is_known() -> None:
    assert not judge(track(TALK), duration_s=600.0).clean
    assert judge(track(TALK), duration_s=600.0, speech=[(0.0, 17.0)]).clean


def test_limits_are_settings() -> None:
    captions = read_captions(track(TALK), "json3")
    assert quality(captions, Clean(min_coverage_of_video=0.01), language="en", duration_s=600.0).clean


def test_nothing_is_known_without_a_length() -> None:
    assert judge(track(TALK), duration_s=None).coverage is None
    assert judge(track(TALK), duration_s=None).clean
