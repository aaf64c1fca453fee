"""Caption files as sentences, and the choice of a caption track."""

import json
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.recordings import RECORDINGS

from vsumdata.stages.speech import repeats
from vsumdata.stages.speech.captions import FORMATS, CaptionError, choose_track, parse_captions
from vsumdata.stages.speech.sentences import PAUSE_S, Word, sentences

ROLLING = """WEBVTT
Kind: captions
Language: en

00:00:00.000 --> 00:00:02.000 align:start position:0%

cut<00:00:00.500><c> the</c><00:00:01.000><c> onion</c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
cut the onion

00:00:02.010 --> 00:00:04.000 align:start position:0%
cut the onion
cut<00:00:02.500><c> the</c><00:00:03.000><c> onion</c>

00:00:04.000 --> 00:00:04.010 align:start position:0%
cut the onion

00:00:04.010 --> 00:00:09.000 align:start position:0%
cut the onion
slowly
"""
ROLLING_SRT = """1
00:00:01,120 --> 00:00:04,030

what is this

2
00:00:04,030 --> 00:00:04,040
what is this


3
00:00:04,040 --> 00:00:07,670
what is this
a wheel

4
00:00:07,670 --> 00:00:07,680


5
00:00:07,680 --> 00:00:09,509

a wheel
"""


def recorded(name: str) -> str:
    path = RECORDINGS / name
    if not path.exists():
        pytest.skip(f"the recordings are not here: {path.name}")
    return path.read_text(encoding="utf-8")


def spoken(sentences) -> list[str]:
    return " ".join(sentence.text for sentence in sentences).split()


def assert_in_order(sentences) -> None:
    assert all(0 <= sentence.start_s <= sentence.end_s for sentence in sentences)
    assert all(before.end_s <= after.start_s for before, after in pairwise(sentences))
    assert all(sentence.text.strip() for sentence in sentences)


def test_rolling_vtt_gives_each_word_once_even_where_a_line_is_said_twice():
    sentences = parse_captions(ROLLING, "vtt")
    assert spoken(sentences) == "cut the onion cut the onion slowly".split()
    assert_in_order(sentences)


def test_rolling_srt_without_word_times_gives_each_word_once():
    sentences = parse_captions(ROLLING_SRT, "srt")
    assert " ".join(spoken(sentences)) == "what is this a wheel a wheel"


def test_a_line_repeated_in_plain_captions_is_kept():
    text = "1\n00:00:01,000 --> 00:00:02,000\nYes.\n\n2\n00:00:02,000 --> 00:00:03,000\nYes.\n"
    assert parse_captions(text, "srt") == [(1.0, 2.0, "Yes."), (2.0, 3.0, "Yes.")]


def test_tags_entities_notes_names_and_sounds_are_left_out():
    text = (
        "\ufeffWEBVTT\n\nSTYLE\n::cue { color: red }\n\nNOTE\nnot said\n\nintro\n00:01.000 --> 00:03.000\n"
        "<v Ann>Mix <i>salt</i> &amp; water.</v> [Music]\n\nNOTE never said\nat all\n\n"
        "outro\n00:04.000 --> 00:05.000\n&gt;&gt; 3 &lt; 5 &nbsp; ♪ {\\an8}Done\n"
    )
    assert [sentence.text for sentence in parse_captions(text, "vtt")] == ["Mix salt & water.", "3 < 5 Done"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See www.marxists.org for 3.5 cups. Stir!", ["See www.marxists.org for 3.5 cups.", "Stir!"]),
        ("Ask Dr. Smith. Then go.", ["Ask Dr. Smith.", "Then go."]),
        ("Add 2 tbsp. salt. Is it good? Yes.", ["Add 2 tbsp. salt.", "Is it good?", "Yes."]),
        ("Well... maybe. 1. Boil it.", ["Well... maybe.", "1. Boil it."]),
        ('He said "stop." Then it ended.', ['He said "stop."', "Then it ended."]),
    ],
)
def test_sentences_end_at_their_marks(text: str, expected: list[str]):
    caption = f"WEBVTT\n\n00:00:10.000 --> 00:00:20.000\n{text}\n"
    sentences = parse_captions(caption, "vtt")
    assert [sentence.text for sentence in sentences] == expected
    assert (sentences[0].start_s, sentences[-1].end_s) == (10.0, 20.0)
    assert_in_order(sentences)


def test_unpunctuated_speech_is_cut_at_pauses_and_by_length():
    first = [{"utf8": f" word{i}", "tOffsetMs": 300 * i} for i in range(60)]
    second = [{"utf8": "after", "tOffsetMs": 0}, {"utf8": " a"}, {"utf8": " pause", "tOffsetMs": 900}]
    events = [
        {"tStartMs": 0, "dDurationMs": 30_000, "segs": first},
        {"tStartMs": 18_300, "dDurationMs": 9_000, "aAppend": 1, "segs": [{"utf8": "\n"}]},
        {"tStartMs": 22_000, "dDurationMs": 3_000, "segs": second},
    ]
    sentences = parse_captions(json.dumps({"events": events}), "json3")
    assert all(len(sentence.text.split()) <= 25 for sentence in sentences)
    assert sentences[-1].text == "after a pause"
    assert sentences[-1].start_s == 22.0
    assert sentences[-2].end_s < 19.0
    assert len(spoken(sentences)) == 63


def test_json3_without_word_times_and_with_an_appended_event():
    events = [
        {"tStartMs": 0, "dDurationMs": 9000, "id": 1},
        {"tStartMs": 1000, "dDurationMs": 2000, "segs": [{"utf8": "Hello"}, {"utf8": " world.\nSecond"}]},
        {"tStartMs": 3000, "dDurationMs": 1000, "aAppend": 1, "segs": [{"utf8": " line."}]},
    ]
    sentences = parse_captions(json.dumps({"wireMagic": "pb3", "events": events}), "json3")
    assert [sentence.text for sentence in sentences] == ["Hello world.", "Second line."]
    assert sentences[0].start_s == 1.0
    assert sentences[1].end_s == 4.0


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("", "vtt"),
        ("hello", "srt"),
        ("<html>not here</html>", "vtt"),
        ("WEBVTT", "ttml"),
        ("{", "json3"),
        ("[]", "json3"),
        ("{}", "json3"),
        pytest.param("[" * 100_000, "json3", id="deep"),
    ],
)
def test_unusable_text_raises_caption_error(text: str, format: str):
    with pytest.raises(CaptionError):
        parse_captions(text, format)


def test_valid_files_without_speech_give_no_sentence():
    assert parse_captions("WEBVTT\nKind: captions\n", "vtt") == []
    assert parse_captions('{"events": []}', "json3") == []


# ---- arbitrary input ---------------------------------------------------------------------------------------

clock = st.builds("{:02}:{:02}:{:02}.{:03}".format, *[st.integers(0, 99)] * 3, st.integers(0, 999))
line = st.one_of(
    st.text(max_size=30),
    st.builds("{} --> {}".format, clock, clock),
    st.builds("a<{}><c> b</c>".format, clock),
)
number = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))
segment = st.fixed_dictionaries({}, optional={"utf8": st.text(max_size=20) | number, "tOffsetMs": number})
event = st.fixed_dictionaries(
    {}, optional={"tStartMs": number, "dDurationMs": number, "segs": st.lists(segment | number)}
)


@given(st.lists(line).map("\n".join), st.sampled_from([*FORMATS, "ttml"]), st.booleans())
def test_arbitrary_text_raises_nothing_but_caption_error(text: str, format: str, header: bool):
    try:
        sentences = parse_captions("WEBVTT\n\n" * header + text, format)
    except CaptionError:
        return
    assert_in_order(sentences)


@given(st.lists(event | number).map(lambda events: json.dumps({"events": events})))
def test_arbitrary_json3_events_give_ordered_sentences(text: str):
    assert_in_order(parse_captions(text, "json3"))


# ---- recordings --------------------------------------------------------------------------------------------


@pytest.mark.recorded
def test_recorded_rolling_vtt_has_every_spoken_word_once():
    text = recorded("captions/manifesto.vtt")
    # Counted in another way: the last line of each cue is new, except in echoes, which last 10 ms.
    said: list[str] = []
    for block in text.strip().split("\n\n")[1:]:
        timing, *rows = block.split("\n")
        start, end = (float(clock.split()[0].split(":")[-1]) for clock in timing.split(" --> "))
        if abs(end - start) > 0.05:
            said += re.sub("<[^>]*>", "", rows[-1]).split()
    sentences = parse_captions(text, "vtt")
    words = spoken(sentences)
    assert words == said
    assert words[0] == "this"
    assert words[-1] == "languages"
    phrases = Counter(zip(*(words[i:] for i in range(6)), strict=False))
    assert max(phrases.values()) == 1
    assert any("www.marxists.org" in sentence.text for sentence in sentences)
    assert_in_order(sentences)
    assert sentences[0].start_s == pytest.approx(1.599)
    assert sentences[-1].end_s <= 87.84


@pytest.mark.recorded
def test_recorded_json3_has_every_segment_once_with_its_time():
    text = recorded("captions/ytenglishhub__data_js.asr.json3")
    segments = [
        (event["tStartMs"] + segment.get("tOffsetMs", 0), segment["utf8"].strip())
        for event in json.loads(text)["events"]
        for segment in event.get("segs", [])
        if segment["utf8"].strip()
    ]
    sentences = parse_captions(text, "json3")
    assert spoken(sentences) == [word for _, word in segments]
    starts = {round(start_ms / 1000, 3) for start_ms, _ in segments}
    assert all(round(sentence.start_s, 3) in starts for sentence in sentences)
    assert max(len(sentence.text.split()) for sentence in sentences) <= 25
    assert_in_order(sentences)


@pytest.mark.recorded
def test_recorded_plain_vtt_keeps_its_sentences():
    text = recorded("captions/longson__N0gZFvpxNhQ.en.vtt")
    body = [row for row in text.splitlines()[3:] if row.strip() and "-->" not in row]
    sentences = parse_captions(text, "vtt")
    assert spoken(sentences) == " ".join(body).split()
    assert sentences[0] == (0.0, pytest.approx(1.33, abs=0.1), "Hello everybody!")
    assert "What English level do you currently have?" in [sentence.text for sentence in sentences]
    assert sentences[-1].end_s == pytest.approx(214.62)
    assert_in_order(sentences)


# ---- the choice of a track ----------------------------------------------------------------------------------


RECORDED = RECORDINGS / "youtube" / "info_json"


@pytest.mark.recorded
@pytest.mark.parametrize(
    ("name", "languages", "expected"),
    [
        ("pinchflat__example.info.json", ["en"], ("en", "automatic", "json3")),
        ("pinchflat__example.info.json", ["en-GB"], ("en", "automatic", "json3")),
        ("pinchflat__example.info.json", ["de"], ("de", "manual", "json3")),
        ("pinchflat__example.info.json", ["fr"], None),
        ("tubesync__metadata_2023-06-29.json", ["en"], ("en", "automatic", "json3")),
        ("tubesync__metadata_2023-06-29.json", ["de", "fr"], None),
    ],
)
def test_recorded_info_gives_an_untranslated_track(name: str, languages: list[str], expected):
    if not RECORDED.exists():
        pytest.skip("the recordings are not here")
    track = choose_track(json.loads((RECORDED / name).read_text(encoding="utf-8")), languages)
    assert (track and (track.language, track.kind, track.format)) == expected
    if track is not None:
        assert track.url is not None
        assert "tlang=" not in track.url
        assert f"lang={track.language}" in track.url


def entry(ext: str, query: str = "", **more) -> dict:
    return {"ext": ext, "url": f"https://www.youtube.com/api/timedtext?v=x{query}&fmt={ext}", **more}


def test_manual_before_automatic_and_json3_before_vtt():
    info: dict[str, Any] = {
        "language": "en",
        "subtitles": {
            "live_chat": [entry("json3")],
            "en-US": [entry("ttml"), entry("vtt"), entry("json3")],
            "en": [entry("srt"), entry("vtt")],
        },
        "automatic_captions": {"en": [entry("json3", "&kind=asr")]},
    }
    track = choose_track(info, ["en"])
    assert track is not None
    assert (track.language, track.kind, track.format) == ("en", "manual", "vtt")
    del info["subtitles"]["en"]
    track = choose_track(info, ["en"])
    assert track is not None
    assert (track.language, track.kind, track.format) == ("en-US", "manual", "json3")


def test_keys_with_suffixes_and_tracks_with_data_only():
    info = {"subtitles": {"de-CcQ45jRV4-E": [{"ext": "vtt", "data": "WEBVTT\n"}]}, "automatic_captions": None}
    track = choose_track(info, ["de"])
    assert track is not None
    assert (track.language, track.url, track.data) == ("de", None, "WEBVTT\n")


def test_translated_and_foreign_automatic_tracks_are_never_chosen():
    translated = {"de": [entry("json3", "&lang=en&tlang=de")], "en": [entry("json3", "&lang=en&tlang=en")]}
    assert choose_track({"language": "en", "automatic_captions": translated}, ["de", "en"]) is None
    playlist = {"de": [entry("vtt", protocol="m3u8_native")]}
    assert choose_track({"language": "de", "automatic_captions": playlist}, ["de"]) is None
    dubbed = {"de-orig": [entry("vtt")], "de": [entry("vtt")], "en": [entry("vtt")]}
    assert choose_track({"automatic_captions": dubbed}, ["en"]) is None
    assert choose_track({"subtitles": {"live_chat": [entry("json3")]}}, ["live_chat", "en"]) is None
    assert choose_track({"subtitles": {"en": [{"ext": "vtt"}, None]}, "automatic_captions": []}, ["en"]) is None


def test_the_longest_repetition_counts() -> None:
    assert repeats.num_repeated(["la", "la"], ["la", "la", "x"]) == 2


def test_a_pause_of_exactly_the_limit_ends_a_sentence() -> None:
    words = [Word(0, 1, "one"), Word(1 + PAUSE_S, 2 + PAUSE_S, "two")]
    assert [sentence.text for sentence in sentences(words)] == ["one", "two"]
