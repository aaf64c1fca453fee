"""Odd caption files that players accept: each word must come out once."""

import json
import re
from itertools import pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.datasets.sample.site import ASSETS
from vsumdata.stages.speech.captions import Sentence, choose_track, parse_captions
from vsumdata.stages.speech.sentences import MAX_WORDS

COLOURED = """WEBVTT
Kind: captions
Language: en
Style:
::cue(c.colorCCCCCC) { color: rgb(204,204,204); }
##

00:00:00.000 --> 00:00:02.000 align:start position:0%

<c.colorE5E5E5>cut<00:00:00.500><c> the</c></c><c.colorCCCCCC><00:00:01.000><c> onion</c></c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
<c.colorE5E5E5>cut the<c.colorCCCCCC> onion</c></c>
 </c>

00:00:02.010 --> 00:00:04.000 align:start position:0%
<c.colorE5E5E5>cut the<c.colorCCCCCC> onion
</c>
<v Ann><c.colorE5E5E5>cut<00:00:02.500><c> the</c><00:00:03.000><c>&nbsp;onion</c></c></v>

00:00:04.000 --> 00:00:04.010 align:start position:0%
cut the&nbsp;onion
"""


def vtt(*cues: str) -> str:
    """A file with cues of one second each and no newline at its end."""
    times = [
        f"00:{i // 60:02}:{i % 60:02}.000 --> 00:{(i + 1) // 60:02}:{(i + 1) % 60:02}.000" for i in range(len(cues))
    ]
    return "WEBVTT\n\n" + "\n\n".join(f"{time}\n{cue}" for time, cue in zip(times, cues, strict=True))


def json3(*events: dict) -> str:
    return json.dumps({"wireMagic": "pb3", "events": events})


def said(text: str, format: str) -> str:
    return " ".join(sentence.text for sentence in parse_captions(text, format))


def test_colours_and_voices_do_not_hide_that_a_line_is_repeated():
    assert said(COLOURED, "vtt") == "cut the onion cut the onion"


@pytest.mark.parametrize(
    "cues",
    [
        ["again and again", "again and again", "and again"],
        ["no no no", "no no no", "no no no"],
        ["we cut it\nla la la", "then we fry it\nla la la", "and eat\nla la la"],
        ["Yes.", "Yes.", "Yes.\nYes."],
        ["first<00:00:00.500> we", "Yes", "Yes", "then<00:00:03.500> go"],
    ],
)
def test_what_people_say_again_is_kept(cues):
    words = re.sub(r"<[^>]*>", "", " ".join(cues)).split()
    assert said(vtt(*cues), "vtt").split() == words
    numbered = vtt(*cues).replace("WEBVTT\n\n", "").replace(".000", ",000")
    assert said(numbered, "srt").split() == words


@pytest.mark.parametrize("num_lines", [2, 3])
def test_lines_that_roll_up_together_are_said_once(num_lines):
    lines = [f"line {name} is said here" for name in "one two three four five six".split()]
    text = vtt(*("\n".join(lines[max(0, i - num_lines) : i]) for i in range(1, len(lines) + 1)))
    assert said(text, "vtt") == " ".join(lines)
    assert said(text.replace("WEBVTT\n\n", "").replace(".000", ",000"), "srt") == " ".join(lines)


def test_layers_of_one_line_are_said_once():
    text = vtt("<c.black>Stir\nit.</c>", "Yes.") + "\n\n00:00:00.000 --> 00:00:01.000\nStir it.\n"
    assert said(text, "vtt") == "Stir it. Yes."
    event = {"tStartMs": 0, "dDurationMs": 900, "segs": [{"utf8": "Stir it."}]}
    assert said(json3(event, event | {"wpWinPosId": 2}), "json3") == "Stir it."


def test_a_zero_length_cue_that_repeats_is_no_echo():
    text = "".join(f"00:00:0{i},000 --> 00:00:0{i},000\nno no\n\n" for i in range(5))
    assert said(text, "srt") == " ".join(["no"] * 10)


def test_two_speakers_at_once_do_not_mix_their_words():
    text = (
        "WEBVTT\n\n00:01.000 --> 00:05.000 align:left\n<v Ann>I think so.\n\n"
        "00:01.000 --> 00:04.000 align:right\n<v.loud Bob>No way, Ann.\n\n00:02.000 --> 00:06.000\nStop it.\n"
    )
    sentences = parse_captions(text, "vtt")
    assert [sentence.text for sentence in sentences] == ["I think so.", "No way, Ann.", "Stop it."]
    assert sentences[-1] == Sentence(2.0, 6.0, "Stop it.")


def test_word_times_outside_their_cue_shuffle_nothing():
    text = vtt("la<00:00:09.000><c> le</c><00:00:00.100><c> li</c>", "lo<00:00:00.000><c> lu</c>")
    [sentence] = parse_captions(text, "vtt")
    assert sentence.text == "la le li lo lu"
    assert (sentence.start_s, sentence.end_s) == (0.0, pytest.approx(1.47))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("مرحبا بالعالم؟ كيف حالك۔", ["مرحبا بالعالم؟", "كيف حالك۔"]),
        ("\u202bשלום עולם.\u202c מה שלומך?", ["שלום עולם.", "מה שלומך?"]),
        ("卵を割ります。「混ぜて！」次は？", ["卵を割ります。", "「混ぜて！」", "次は？"]),
        ("आटा मिलाओ। पानी डालो।", ["आटा मिलाओ।", "पानी डालो।"]),
        ("می\u200cخواهم بروم.", ["می\u200cخواهم بروم."]),
        ("♪ la la ♪ [Applause] >> Hi. &gt;&gt;&gt;Ho. [ __ ] \u200b", ["la la Hi.", "Ho."]),
        ("<i>One</i>\u00a0and&nbsp;<b>two</b> &amp; &lt;three&gt;", ["One and two & <three>"]),
        ("{\\an8}{\\i1}One{\\i0}\\Ntwo\\hthree", ["One two three"]),
        ("- Hi.\n<i>- Ho.</i>\n- ¿Qué?", ["Hi.", "Ho.", "¿Qué?"]),
        ("-5 - 3 degrees\n-- so -\n- ", ["-5 - 3 degrees -- so - -"]),
        ("<ruby>東京<rt>とうきょう</rt>都<rt>と</ruby>です。", ["東京都です。"]),
    ],
)
def test_scripts_and_marks(text, expected):
    assert [sentence.text for sentence in parse_captions(vtt(text), "vtt")] == expected


def test_text_without_spaces_is_cut_by_its_letters():
    sentences = parse_captions(vtt(*["今日は料理をします"] * 20), "vtt")
    assert all(len(sentence.text.replace(" ", "")) <= 2 * MAX_WORDS + 9 for sentence in sentences)
    assert sum(sentence.text.count("料理") for sentence in sentences) == 20


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_headers_blocks_marks_and_line_ends(newline):
    text = (
        "\ufeffWEBVTT - a title\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n\nREGION\nid:fred\nwidth:40%\n\n"
        "STYLE\n::cue(b) {\n  color: red;\n}\n\nNOTE one line\n\nNOTE\nmore\nlines\n\n"
        "1\n101:00:01.000 --> 101:00:02,500 region:fred align:left\nLate.\n\n"
        "NOTE between\n\n00:01.5 --> 00:02.0\nEarly."
    )
    assert parse_captions(text.replace("\n", newline), "vtt") == [
        (1.5, 2.0, "Early."),
        (363601.0, 363602.5, "Late."),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "00:00:01,000 --> 00:00:02,000\nMix 3\n\n00:00:02,000 --> 00:00:03,000\n12\n",
        "1\n00:00:01,000 --> 00:00:02,000\nMix 3\n2\n00:00:02,000 --> 00:00:03,000\n12",
        "1\n00:00:01,000 --> 00:00:02,000 X1:5 Y1:5\n\nMix\n3\n\n\n2\n00:00:02,000 --> 00:00:03,000\n12\n\n",
        "7\r\n00:00:02,000 --> 00:00:03,000\r\n12\r\n\r\n9\r\n0:00:01,0 --> 0:00:02,0\r\nMix 3\r\n",
    ],
)
def test_srt_with_and_without_counters_and_blank_lines(text):
    assert said(text, "srt") == "Mix 3 12"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("00:00:01 --> 00:00:02", "00:00:03 --> 00:00:04"),
        ("00:00:01,000000 --> 00:00:02,000000000000", "00:00:03,0 --> 00:00:04"),
        ("00:00:01,000 -> 00:00:02,000", "00:00:03, 000 -> 00:00:04, 000"),
    ],
)
def test_timing_lines_with_other_fractions_and_arrows(first, second):
    text = f"1\n{first}\nHello.\n\n2\n{second}\nWorld.\n"
    assert parse_captions(text, "srt") == [(1.0, 2.0, "Hello."), (3.0, 4.0, "World.")]


def test_a_format_in_capitals():
    assert said(vtt("Hello."), "VTT") == "Hello."


def test_json3_times_that_are_texts_or_missing():
    text = json3(
        {"dDurationMs": "900", "segs": [{"utf8": "Hello."}]},
        {"tStartMs": "2000", "dDurationMs": 1000, "segs": [{"utf8": "World."}]},
    )
    assert parse_captions(text, "json3") == [(0.0, 0.9, "Hello."), (2.0, 3.0, "World.")]


def test_json3_windows_appended_and_empty_events_and_late_segments():
    text = json3(
        {"tStartMs": 0, "dDurationMs": 99_000, "id": 1, "wpWinPosId": 1, "wsWinStyleId": 1},
        {
            "tStartMs": 10,
            "dDurationMs": 4000,
            "wWinId": 1,
            "segs": [{"utf8": "mix"}, {"utf8": " it", "tOffsetMs": 900}],
        },
        {"tStartMs": 500, "dDurationMs": 3500, "wWinId": 1, "aAppend": 1, "segs": [{"utf8": "\n"}]},
        {"tStartMs": 600, "dDurationMs": 10},
        {"tStartMs": 4010, "segs": []},
        {"tStartMs": 5000, "dDurationMs": 500, "segs": [{"utf8": "then"}, {"utf8": " bake", "tOffsetMs": 90_000}]},
        {"tStartMs": 7000, "dDurationMs": 0, "segs": [{"utf8": "now"}]},
    )
    assert [(round(start_s, 2), text) for start_s, _, text in parse_captions(f"\ufeff{text}", "json3")] == [
        (0.01, "mix it"),
        (5.0, "then bake"),
        (7.0, "now"),
    ]


pieces = st.sampled_from("mix it well no no then <i>fry</i> ♪ [Music] 12 &amp; 卵。".split()) | st.text(max_size=6)


@given(st.lists(st.lists(pieces, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=9))
def test_a_rolling_file_says_what_its_lines_say(lines):
    """A track that rolls as YouTube's do gives the words of its lines, whatever they contain."""
    lines = [" ".join(re.sub(r"[<>&\[\]{}\\-]", "", line).split()) or "so" for line in lines]
    cues, before = [], ""
    for i, line in enumerate(lines):
        first, *others = line.split()
        timed = first + "".join(f"<00:00:{2 * i:02}.{100 + k}><c> {word}</c>" for k, word in enumerate(others))
        cues.append(f"00:00:{2 * i:02}.000 --> 00:00:{2 * i + 1:02}.990\n{before or ' '}\n{timed}\n")
        cues.append(f"00:00:{2 * i + 1:02}.990 --> 00:00:{2 * i + 2:02}.000\n{line}\n \n")
        before = line
    # With pauses: in cues that touch, the same line is no new one.
    plain = "WEBVTT\n\n" + "\n".join(
        f"00:00:{2 * i:02}.000 --> 00:00:{2 * i + 1:02}.000\n{line}\n" for i, line in enumerate(lines)
    )
    assert said("WEBVTT\n\n" + "\n".join(cues), "vtt").split() == said(plain, "vtt").split()


@pytest.mark.parametrize("name", sorted(path.name for path in (ASSETS / "captions").iterdir()))
def test_captions_of_the_sample_say_what_is_spoken(name):
    video_id, kind, _, format = name.rsplit(".", 3)
    corpus = yaml.safe_load(ASSETS.with_name("corpus.yaml").read_text(encoding="utf-8"))
    video = next(video for video in corpus["videos"] if video["id"] == video_id)
    script = " ".join(sentence for step in video["steps"] for sentence in step["say"])
    words = script if kind == "manual" else re.sub(r"[^a-z' ]", "", script.lower())
    sentences = parse_captions((ASSETS / "captions" / name).read_text(encoding="utf-8"), format)
    assert " ".join(sentence.text for sentence in sentences).split() == words.split()
    assert all(before.end_s <= after.start_s for before, after in pairwise(sentences))


def track(**more) -> dict:
    return {"ext": "json3", "url": "https://www.youtube.com/api/timedtext?v=x&fmt=json3", **more}


def test_the_spoken_language_is_the_marked_one_else_the_stated_one():
    dubbed = {"en": [track()], "de": [track()], "de-orig": [track()]}
    chosen = choose_track({"language": "en", "automatic_captions": dubbed}, ["en", "de"])
    assert chosen is not None
    assert (chosen.language, chosen.kind) == ("de", "automatic")
    del dubbed["de-orig"]
    chosen = choose_track({"language": "en-US", "automatic_captions": dubbed}, ["de", "en"])
    assert chosen is not None
    assert chosen.language == "en"
    assert choose_track({"language": None, "automatic_captions": dubbed}, ["de", "en"]) is None


def test_tracks_without_an_address_are_passed_over():
    bare = {"ext": "json3", "name": "English"}
    manual = {"en": [bare, track(url=None), track(url="")], "en-CcQ45jRV4-E": [track(ext="vtt")]}
    chosen = choose_track({"subtitles": manual, "automatic_captions": {"en": [track()]}}, ["en"])
    assert chosen is not None
    assert (chosen.language, chosen.kind, chosen.format) == ("en", "manual", "vtt")
    manual["en"].append(track(ext="srt"))
    chosen = choose_track({"subtitles": dict(reversed(manual.items()))}, ["en"])
    assert chosen is not None
    assert chosen.format == "srt"


def test_an_entity_of_thousands_of_digits_is_no_character():
    """`html.unescape` raised: Python converts no number of more than 4,300 digits."""
    srt = f"1\n00:00:01,000 --> 00:00:02,000\nSalt &#{'9' * 5000}; &#233;.\n"
    assert [sentence.text for sentence in parse_captions(srt, "srt")] == ["Salt é."]
