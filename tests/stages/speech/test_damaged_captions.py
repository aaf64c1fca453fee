"""Caption files as tools and people damage them: times, headers inside, repeats, cut ends."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.recordings import RECORDINGS

from vsumdata.stages.speech.captions import CaptionError, format_of, parse_captions, read_captions
from vsumdata.stages.speech.encodings import decode
from vsumdata.stages.speech.timing import clock, timing_line


def timed(text: str, form: str) -> list[tuple[float, float, str]]:
    return [(round(s.start_s, 2), round(s.end_s, 2), s.text) for s in parse_captions(text, form)]


def srt(*cues: tuple[str, str]) -> str:
    return "\n".join(f"{number}\n{times}\n{text}\n" for number, (times, text) in enumerate(cues, 1))


def vtt(*cues: tuple[str, str]) -> str:
    return "WEBVTT\n\n" + "\n".join(f"{times}\n{text}\n" for times, text in cues)


# ---- the recorded cases ------------------------------------------------------------------------------------


CASES = {
    "captions_timing_lines/a02_float_ms.srt": [(1.25, 1.85, "Mix the flour."), (2.0, 3.0, "Add water.")],
    "captions_timing_lines/a04_negative.srt": [
        (0.0, 0.0, "Before the start."),
        (0.0, 2.0, "Across the start."),
        (3.0, 4.0, "After it."),
    ],
    "captions_timing_lines/a09_colon_ms.srt": [(1.0, 2.5, "Mix it."), (3.0, 4.0, "Bake it.")],
    "captions_timing_lines/a10_spaces_in_time.srt": [(1.0, 2.5, "Mix it."), (3.0, 4.0, "Bake it.")],
    "captions_timing_lines/a14_minutes3.vtt": [(5999.0, 6002.0, "Almost done."), (7200.0, 7210.0, "Done now.")],
    "captions_timing_lines/c01_fullwidth_colon.srt": [(1.52, 4.64, "Proteins do much."), (5.0, 6.0, "Bake it.")],
    "captions_timing_lines/c02_gt_entity.srt": [(1.52, 4.64, "Proteins do much."), (5.0, 6.0, "Bake it.")],
    "captions_timing_lines/c04_autosub_colon.srt": [
        (180.1, 185.2, "first take flour"),
        (186.0, 198.55, "then add water"),
        (200.0, 205.0, "then knead it"),
    ],
    "captions_timing_lines/c05_google_gs.srt": [
        (510.1, 515.0, "First, take the flour."),
        (519.2, 529.0, "Then add the water."),
        (530.0, 535.0, "Now bake it."),
    ],
    "captions_timing_lines/c06_negative_mid.srt": [(0.0, 1.0, "Two."), (1.0, 2.0, "One."), (4.0, 5.0, "Three.")],
    "captions_encoding/b07_cp1251.srt": [(1.0, 3.0, "Добавьте муку и воду.")],
    "captions_encoding/b08_gbk.srt": [(1.0, 3.0, "加入面粉和水。")],
    "captions_encoding/b10_shiftjis.srt": [(1.0, 3.0, "小麦粉を混ぜます。")],
    **{
        f"captions_encoding/{name}.srt": [
            (1.0, 3.0, "Ajoutez la crème brûlée à la pâte."),
            (3.0, 5.0, "C’est déjà prêt."),
        ]
        for name in ("b02_utf16le", "b03_utf16be", "b04_cp1252", "b09_utf16_nobom")
    },
    "captions_formats/a22_youtube.sbv": [(0.0, 5.34, "last time we saw a dough now we bake it")],
    "captions_formats/a23_ttml.ttml": [(1.0, 3.0, "Mix the flour."), (3.5, 5.0, "Bake it.")],
    "captions_formats/a25_ass.ass": [(1.0, 3.0, "Mix the flour.")],
    "captions_repeats/c07_daisy.vtt": [
        (1.0, 6.5, "Mix the flour with water."),
        (7.0, 11.0, "Knead the dough for a while."),
        (12.0, 13.0, "Bake it."),
    ],
    "captions_repeats/d01_karaoke.json3": [(1.0, 2.2, "mix the flour"), (3.0, 5.0, "then bake it")],
    "captions_blocks/c13_trailing.srt": [(1.0, 2.0, "Mix it."), (3.0, 4.0, "Bake it.")],
    "captions_blocks/nul.vtt": [(0.0, 2.0, "Mix it.")],
    "captions_blocks/unclosed_tags.vtt": [(0.0, 2.0, "It is a blue apple tree!"), (3.5, 4.0, "No way!")],
}


@pytest.mark.recorded
@pytest.mark.parametrize("name", CASES)
def test_a_recorded_case_says_what_it_should(name: str) -> None:
    path = RECORDINGS / "field_cases" / name
    if not path.is_file():
        pytest.skip(f"the recordings are not here: {name}")
    text = decode(path.read_bytes()).text
    assert timed(text, format_of(text, path.suffix[1:])) == CASES[name]


# ---- timing lines ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "time_s"),
    [
        ("00:00:01,249.0999999999999", 1.249),
        ("00:00:01:500", 1.5),
        ("0:01.5", 1.5),
        ("00 : 01 : 02 , 500", 62.5),
        ("00：00：01，500", 1.5),
        ("00:00:01 500", 1.5),
        ("00.00.01,500", 1.5),
        ("120:00.000", 7200.0),
        ("00:03:06,0:", 186.0),
        ("-00:00:01,500", 0.0),
        ("00:00:-1,500", 0.0),
        ("-1 day, 23:59:58.500000", 0.0),
        ("1 day, 0:00:05", 86405.0),
        ("12.5", 12.5),
        ("00:01:500", 1.5),
    ],
)
def test_damaged_times(text: str, time_s: float) -> None:
    found = timing_line(f"{text} --> 1000000:00:00,000")
    assert found is not None
    assert found.start_s == pytest.approx(time_s)


@pytest.mark.parametrize("arrow", ["-->", "->", "-- >", "--&gt;", "—>", "→", "-->  ", "＞".join(["--", ""])])
def test_damaged_arrows(arrow: str) -> None:
    assert timed(srt((f"00:00:01,000 {arrow} 00:00:02,000", "Mix it.")), "srt") == [(1.0, 2.0, "Mix it.")]


@pytest.mark.parametrize("line", ["Press File -> Save.", "so a &gt; b", "at 10:30 -> done", "x → y", "no arrow 00:01"])
def test_arrows_that_are_spoken(line: str) -> None:
    assert timing_line(line) is None
    assert parse_captions(srt(("00:00:01,000 --> 00:00:02,000", line)), "srt")


def test_unreadable_timing_lines_are_counted_and_never_spoken() -> None:
    text = srt(
        ("00:00:01,000 --> 00:00:02,000", "Mix it."),
        ("00:00:0x,000 --> soon", "Lost."),
        ("00:00:05,000 --> 00:00:1d,000", "Bake it."),
        ("00:00:08,000 --> 00:00:09,000", "Done."),
    )
    found = read_captions(text, "srt")
    assert [s.text for s in found.sentences] == ["Mix it.", "Bake it.", "Done."]
    assert found.note == "2 timing lines could not be read"
    assert found.sentences[1].start_s == 5.0
    assert 5.0 < found.sentences[1].end_s <= 8.0
    with pytest.raises(CaptionError, match="none of its 1 timing lines"):
        parse_captions("1\nx --> y\nLost.\n", "srt")


def test_what_whisper_prints_is_read() -> None:
    text = "[00:00.000 --> 00:02.000]  Mix the flour.\n[00:02.000 --> 00:04.000]  Bake it.\n"
    assert timed(text, format_of(text, "txt")) == [(0.0, 2.0, "Mix the flour."), (2.0, 4.0, "Bake it.")]


@given(st.text(alphabet="0123456789:.,- >;\uff1a&gt", max_size=30), st.text(alphabet="0123456789:.,- >d", max_size=20))
def test_any_times_are_times_or_none(left: str, right: str) -> None:
    found = timing_line(f"{left} --> {right}")
    assert found is not None
    assert all(value is None or 0 <= value < 1e12 for value in found[:2])
    assert clock(left) is None or clock(left) >= 0  # type: ignore[operator]


# ---- headers and blocks ------------------------------------------------------------------------------------


SEGMENT = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{ticks},LOCAL:00:00:00.000\n\n"


def test_joined_segments_say_each_cue_once() -> None:
    first = "1\n00:01.000 --> 00:04.000\nYes.\n\n2\n00:04.000 --> 00:06.000\nMix the flour.\n\n"
    clipped = "1\n00:06.000 --> 00:08.000\nMix the flour.\n\n00:08.000 --> 00:09.000\nBake it.\n"
    header = SEGMENT.format(ticks=900_000)
    expected = [(1.0, 4.0, "Yes."), (4.0, 8.0, "Mix the flour."), (8.0, 9.0, "Bake it.")]
    assert timed(header + first + header + clipped, "vtt") == expected
    # The whole cue in both segments, and no blank line before the header.
    whole = clipped.replace("00:06.000 --> 00:08", "00:04.000 --> 00:08")
    assert timed(header + first.rstrip() + "\n" + header + whole, "vtt") == expected


def test_a_short_answer_across_a_border_is_one_answer() -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\nYes.\n\nWEBVTT\n\n00:02.000 --> 00:03.000\nYes.\n"
    assert timed(text, "vtt") == [(1.0, 3.0, "Yes.")]


def test_segments_with_clocks_of_their_own() -> None:
    first = SEGMENT.format(ticks=900_000) + "00:01.000 --> 00:02.000\nMix it.\n\n"
    second = SEGMENT.format(ticks=900_000 + 10 * 90_000) + "00:01.000 --> 00:02.000\nBake<00:01.500> it.\n"
    assert timed(first + second, "vtt")[1][0] == 11.0


def test_notes_are_speech_in_srt_alone() -> None:
    cue = ("00:00:01,000 --> 00:00:03,000", "Mix it.\n\nNOTE the flour is wet now.")
    assert " ".join(s.text for s in parse_captions(srt(cue), "srt")) == "Mix it. NOTE the flour is wet now."
    assert " ".join(s.text for s in parse_captions(vtt((cue[0].replace(",", "."), cue[1])), "vtt")) == "Mix it."


@pytest.mark.parametrize("end", ["3\n", "\n3", "3\n00:00:0", "3\n00:00:05,000 --", "\n3\n00:00:05,000"])
def test_the_beginning_of_a_lost_cue_is_not_spoken(end: str) -> None:
    text = srt(("00:00:01,000 --> 00:00:02,000", "Mix 3!"), ("00:00:03,000 --> 00:00:04,000", "Bake it."))
    assert [s.text for s in parse_captions(text + end, "srt")] == ["Mix 3!", "Bake it."]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("<v Ann It is blue.", "It is blue."),
        ("<c.red Mix it.", "Mix it."),
        ("<i>Mix <b it.", "Mix it."),
        ("<font color=red Mix it.", "Mix it."),
        ("<00:01.500 Mix it.", "Mix it."),
        ("Mix <00:01.500 >it.", "Mix it."),
        ("{\\an8 Mix it.", "Mix it."),
        ("Mi\0x\x01 it.", "Mix it."),
        ("Mix &#0;it&#xD800;.", "Mix it."),
        ("3 < 5 and <3", "3 < 5 and <3"),
        ("File --&gt; Save.", "File Save."),
    ],
)
def test_open_tags_and_odd_characters(line: str, said: str) -> None:
    text = vtt(("00:01.000 --> 00:03.000", line))
    assert [s.text for s in parse_captions(text, "vtt")] == [said]


# ---- shares of a cue's time --------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", ["", "     ", "- ", "[Music] ", "♪ ♪ ♪ ", "\u200b" * 9, "<i>   </i>"])
def test_only_what_is_said_takes_time(lead: str) -> None:
    text = vtt(("00:00.000 --> 00:10.000", f"{lead}Mix it. Oil it."))
    assert timed(text, "vtt") == [
        (0.0, pytest.approx(5.33, abs=0.01), "Mix it."),
        (pytest.approx(5.33), 10.0, "Oil it."),
    ]


def test_joiners_take_no_time() -> None:
    text = vtt(("00:00.000 --> 00:10.000", "mi\u200d\u200d\u200d\u200d\u200dx. Cu\u0301\u0301t."))
    assert timed(text, "vtt")[1][0] == pytest.approx(10 * 5 / 9, abs=0.01)


# ---- repeats -----------------------------------------------------------------------------------------------


def test_a_text_shown_again_at_once_is_one() -> None:
    touching = [(f"00:0{i}.000 --> 00:0{i + 1}.000", "Mix the flour.") for i in range(1, 4)]
    assert timed(vtt(*touching), "vtt") == [(1.0, 4.0, "Mix the flour.")]
    # Later it is said again.
    later = ("00:08.000 --> 00:09.000", "Mix the flour.")
    assert len(timed(vtt(*touching, later), "vtt")) == 2


@pytest.mark.parametrize("answer", ["Yes.", "No, no.", "again and again", "はい。", "- No!\n- Yes!"])
def test_short_answers_are_said_again(answer: str) -> None:
    text = vtt(("00:01.000 --> 00:02.000", answer), ("00:02.000 --> 00:03.000", answer))
    assert " ".join(s.text for s in parse_captions(text, "vtt")).count(answer.splitlines()[-1].strip("- ")) == 2


def test_a_call_that_is_shown_twice_with_a_frame_between_is_said_twice() -> None:
    text = vtt(("00:01.000 --> 00:02.000", "Into the van!"), ("00:02.035 --> 00:03.000", "Into the van!"))
    assert len(parse_captions(text, "vtt")) == 2


def test_the_end_of_a_cue_shown_again_is_said_once() -> None:
    phrases = ["first we take a bowl", "then we add the flour", "now we pour the water", "and we knead it well"]
    cues = [
        (f"00:{2 * i:02}.000 --> 00:{2 * i + 2:02}.000", " ".join(phrases[max(0, i - 1) : i + 1])) for i in range(4)
    ]
    found = parse_captions(vtt(*cues), "vtt")
    assert " ".join(s.text for s in found) == " ".join(phrases)
    last = next(s for s in found if "knead" in s.text)
    assert last.end_s == 8.0


def test_a_line_that_grows_is_said_once() -> None:
    words = "mix the flour and the water".split()
    cues = [(f"00:0{i}.000 --> 00:0{i + 1}.000", " ".join(words[: i + 1])) for i in range(len(words))]
    assert timed(vtt(*cues), "vtt") == [(0.0, 6.0, " ".join(words))]


def test_karaoke_of_any_length_is_said_once() -> None:
    pens = (("mix", " it"), ("mix it", ""))
    events = [
        {"tStartMs": 1000 + 400 * i, "dDurationMs": 400, "segs": [{"utf8": piece} for piece in pieces]}
        for i, pieces in enumerate(pens)
    ]
    assert timed(json.dumps({"events": events}), "json3") == [(1.0, 1.8, "mix it")]
    coloured = vtt(("00:01.000 --> 00:02.000", "<c.y>mix</c> it"), ("00:02.000 --> 00:03.000", "mix <c.y>it</c>"))
    assert timed(coloured, "vtt") == [(1.0, 3.0, "mix it")]
