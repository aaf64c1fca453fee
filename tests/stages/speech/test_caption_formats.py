"""Caption files in all formats and encodings that are read; damaged ones lose a line, not the file."""

from __future__ import annotations

import pytest

from vsumdata.stages.speech.captions import CaptionError, format_of, parse_captions, read_captions
from vsumdata.stages.speech.encodings import decode

ASS = (
    "[Script Info]\nScriptType: v4.00+\n\n[Events]\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)
TT = '<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" {}><body>{}</body></tt>'


def timed(text: str, form: str) -> list[tuple[float, float, str]]:
    return [(round(s.start_s, 2), round(s.end_s, 2), s.text) for s in parse_captions(text, form)]


def dialogue(text: str, times: str = "0:00:01.00,0:00:03.00") -> str:
    return f"Dialogue: 0,{times},Default,,0,0,0,,{text}\n"


@pytest.mark.parametrize(
    "text",
    [
        ASS + dialogue("Mix, the flour."),
        ASS.upper() + dialogue("Mix, the flour."),
        "[Events]\nFormat: Start, End, Text\nDialogue: 0:00:01.00,0:00:03.00,Mix, the flour.\n",
        "[Events]\nDialogue: Marked=0,0:00:01.00,0:00:03.00,D,NTP,0000,0000,0000,!Effect,Mix, the flour.\n",
        ASS + dialogue("{\\an8}{a note}Mix,\\Nthe\\hflour.{\\p1}m 0 0 l 9 9{\\p0}"),
        ASS + "Comment: 0,0:00:00.00,0:00:09.00,D,,0,0,0,,Never said.\n" + dialogue("Mix, the flour."),
        # A shadow: the same text at the same time.
        ASS + dialogue("Mix, the flour.") + dialogue("{\\c&H0&}Mix, the flour."),
    ],
)
def test_substation(text: str) -> None:
    assert format_of(text, "txt") == "ass"
    assert timed(text, "ass") == timed(text, "ssa") == [(1.0, 3.0, "Mix, the flour.")]


def test_a_damaged_dialogue_loses_itself_alone() -> None:
    found = read_captions(ASS + dialogue("Lost.", "x,y") + dialogue("Bake it."), "ass")
    assert [s.text for s in found.sentences] == ["Bake it."]
    assert found.note == "1 timing line could not be read"


def test_karaoke_of_substation_times_its_words() -> None:
    text = ASS + dialogue("{\\k50}Mix {\\kf100}it. {\\k50}Now.")
    assert timed(text, "ass") == [(1.0, pytest.approx(2.03, abs=0.02), "Mix it."), (2.5, 3.0, "Now.")]


@pytest.mark.parametrize(
    ("attributes", "body"),
    [
        ("", '<div><p begin="00:00:01.000" end="00:00:03.000">Mix the <span>flour</span>.</p></div>'),
        ("", '<div><p begin="00:00:01,000" end="00:00:03,000">Mix the<br/>flour.</p></div>'),
        ("", '<div><p begin="1s" dur="2s">Mix the flour.</p></div>'),
        ("", '<div><p begin="1000ms" end="3">Mix the flour.</p></div>'),
        ('ttp:tickRate="10000000"', '<div><p begin="10000000t" end="30000000t">Mix the flour.</p></div>'),
        ('ttp:frameRate="25"', '<div><p begin="00:00:01:00" end="75f">Mix the flour.</p></div>'),
        ("", '<div begin="0.5s"><p begin="0.5s" end="2.5s">Mix the flour.</p></div>'),
        ("", '<div><p><span begin="1s" end="3s">Mix the flour.</span></p></div>'),
        ("", '<div begin="1s" timeContainer="seq"><p dur="2s">Mix the flour.</p></div>'),
        ("", '<div><p begin="1s" end="3s">Mix the flour.<metadata>no</metadata></p><p begin="1s" end="3s"> </p></div>'),
        ("", '<div><p begin="1s" end="3s">Mix&nbsp;the flour.&#0;</p><p begin="00:00:0'),
    ],
)
def test_ttml(attributes: str, body: str) -> None:
    text = TT.format(attributes, body)
    assert format_of(text, "xml") == "ttml"
    for namespace in ("http://www.w3.org/ns/ttml", "http://www.w3.org/2006/10/ttaf1", ""):
        assert timed(text.replace("http://www.w3.org/ns/ttml", namespace, 1), "ttml") == [(1.0, 3.0, "Mix the flour.")]


def test_ttml_has_no_entities_of_its_own() -> None:
    bomb = '<!DOCTYPE tt [<!ENTITY a "Mix. Mix."><!ENTITY b "&a;&a;">]>'
    text = bomb + TT.format("", '<p begin="1s" end="3s">&b;Bake it.</p>')
    assert [s.text for s in parse_captions(text, "ttml")] == ["Bake it."]


def test_youtubes_own_xml() -> None:
    srv3 = (
        '<?xml version="1.0" encoding="utf-8" ?><timedtext format="3"><body><p t="1000" d="2000"><s>mix</s>'
        '<s t="500"> the</s><s t="900"> flour</s></p><p t="2990" d="10" a="1">\n</p><p t="9000" d="900">[Music]</p>'
        "</body></timedtext>"
    )
    assert timed(srv3, "srv3") == [(1.0, pytest.approx(2.55, abs=0.02), "mix the flour")]
    srv1 = '<transcript><text start="1.5" dur="2">It&amp;#39;s done.</text></transcript>'
    assert timed(srv1, "srv1") == [(1.5, 3.5, "It's done.")]
    srv2 = '<timedtext><text t="1500" d="2000">It is done.</text></timedtext>'
    assert timed(srv2, "srv2") == [(1.5, 3.5, "It is done.")]
    assert (format_of(srv3, "xml"), format_of(srv1, "xml")) == ("srv3", "srv1")


def test_lyrics() -> None:
    text = "[ar:Ann]\n[offset:+500]\n[00:01.50]Mix the flour.\n[00:03.50][01:00.5]<00:03.50>Bake <00:04.50>it.\n"
    assert format_of(text, "txt") == "lrc"
    found = timed(text, "lrc")
    assert [(start_s, words) for start_s, _, words in found] == [
        (1.0, "Mix the flour."),
        (3.0, "Bake it."),
        (60.0, "Bake it."),
    ]
    assert found[-1][1] < 75


def test_subviewer() -> None:
    text = "0:00:01.000,0:00:02.000\n>> Mix it.[br]Stir it.\n\n0:00:03.000,0:00:0x\nBake it.\n"
    assert [s.text for s in parse_captions(text, "sbv")] == ["Mix it.", "Stir it.", "Bake it."]


@pytest.mark.parametrize("form", ["ass", "ttml", "dfxp", "srv3", "srv1", "sbv", "lrc", "vtt", "srt", "json3"])
@pytest.mark.parametrize("text", ["", "hello", "<html><p>gone</p></html>", "{0}{25}Mix it.", "\0\0", "<SAMI></SAMI>"])
def test_other_files_are_refused(form: str, text: str) -> None:
    with pytest.raises(CaptionError):
        parse_captions(text, form)


# ---- encodings ---------------------------------------------------------------------------------------------

SPOKEN = {
    "cp1252": [
        "Ajoutez la crème brûlée à la pâte.",
        "Für die Soße müssen wir Äpfel schälen.",
        "Añade el azúcar.",
        "½ cup, 180°C",
    ],
    "cp1251": ["Добавьте муку и воду.", "сегодня мы приготовим борщ", "Додайте борошно, її перемішайте."],
    "koi8_r": ["Добавьте муку и воду.", "сегодня мы приготовим борщ"],
    "cp866": ["Добавьте муку и воду."],
    "cp1250": ["Dodaj mąkę i wodę, następnie wymieszaj żółtko.", "Přidejte mouku, těsto dobře prohněťte."],
    "cp1253": ["Προσθέστε αλεύρι και νερό."],
    "cp1254": ["Unu ve suyu ekleyin, karıştırın. Şimdi pişirin."],
    "cp1255": ["הוסיפו קמח ומים.", "שלום לכולם, היום נכין עוגה"],
    "cp1256": ["أضف الدقيق والماء."],
    "cp874": ["ใส่แป้งและน้ำ"],
    "gb18030": ["加入面粉和水。", "大家好，今天我们来学习怎么做面条。"],
    "big5": ["加入麵粉和水。"],
    "shift_jis": ["小麦粉を混ぜます。", "カレーの作り方"],
    "euc_jp": ["次に玉ねぎを切ります。"],
    "cp949": ["밀가루와 물을 넣으세요.", "안녕하세요 여러분"],
    "iso2022_jp": ["小麦粉を混ぜます。"],
    "utf-16-le": ["Mix it.", "Добавьте муку."],
    "utf-16-be": ["Mix it."],
    "utf-16": ["Mix it.", "加入面粉和水。"],
    "utf-32": ["Mix it."],
    "utf-32-le": ["Mix it."],
}


@pytest.mark.parametrize(("encoding", "line"), [(encoding, line) for encoding in SPOKEN for line in SPOKEN[encoding]])
def test_the_encoding_is_found_and_said(encoding: str, line: str) -> None:
    text = f"1\n00:00:01,000 --> 00:00:03,000\n{line}\n"
    found = decode(text.encode(encoding))
    assert found.text == text
    assert found.note.startswith("read as ")


def test_utf8_needs_no_word_and_its_damage_does() -> None:
    assert decode("Für die Soße.".encode()) == ("Für die Soße.", "")
    assert decode("Für\ufffd".encode()) == ("Für\ufffd", "")
    text, note = decode("Für die süße Soße, schön.".encode() + b" \xff gar")
    assert text == "Für die süße Soße, schön. \ufffd gar"
    assert note == "1 piece of it cannot be read as utf-8"


def test_what_is_expected_decides_between_equals() -> None:
    body = "Vařte tři minuty".encode("cp1250")
    assert decode(body, "cs-CZ").text == "Vařte tři minuty"
