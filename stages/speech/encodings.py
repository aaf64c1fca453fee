"""Read a caption file's bytes as text, in whatever encoding it was saved.

Caption files state no encoding. A byte order mark, then UTF-8, then zero bytes (UTF-16) are certain; everything else is
detected: every candidate decodes the bytes, and the one whose letters look most like a language's wins.
"""

from __future__ import annotations

import codecs
import functools
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    # Before UTF-16, whose mark is its beginning.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Detection looks at so many bytes beyond ASCII. More tell nothing new.
SAMPLE_BYTES = 4000
# Below this score no candidate is believed. A right one has about 1.
LEAST_SCORE = 0.35
# How much a language that the caller expects counts, so that it decides between equals.
EXPECTED = 0.15

CYRILLIC, OFTEN_CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюяё", "оеаинтсрвлкмдпу"
UKRAINIAN = "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя"
GREEK, OFTEN_GREEK = "αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώϊϋΐΰ", "αοιετσνηυρπκμλωςάόίέή"
HEBREW = "אבגדהוזחטיכלמנסעפצקרשתךםןףץ"
ARABIC, OFTEN_ARABIC = "ابتثجحخدذرزسشصضطظعغفقكلمنهويىةءآأؤإئ،؟", "الينمورتبعدفهسكقحة"
THAI, OFTEN_THAI = "".join(map(chr, (*range(0x0E01, 0x0E3A), *range(0x0E40, 0x0E4F)))), "านรกเงอมลยวดทสตะปบคหแจชพขไใโ่้ีัิุู็์ำ"
# Letters beyond ASCII. A right decoding has those of one language.
LATIN = {
    "fr": "àâçéèêëîïôûùüœæ",
    "de": "äöüß",
    "es": "áéíóúñüªº",
    "pt": "áâãàçéêíóôõúªº",
    "it": "àèéìòùù",
    "nl": "ëïéèöü",
    "sv": "åäöé",
    "da": "æøåé",
    "is": "áæéíðóöúýþ",
    "tr": "çğıöşüâîi̇",
    "pl": "ąćęłńóśźż",
    "cs": "áčďéěíňóřšťúůýž",
    "sk": "áäčďéíĺľňóôŕšťúýž",
    "hu": "áéíóöőúüű",
    "ro": "ăâîșțşţ",
    "hr": "čćđšž",
    "lt": "ąčęėįšųūž",
    "lv": "āčēģīķļņšūž",
    "vi": "ăâđêôơưàèìòùỳáéíóúý\u0300\u0301\u0303\u0309\u0323",
}
# In the order of preference among equals.
SINGLE_BYTE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("cp1252", ("fr", "de", "es", "pt", "it", "nl", "sv", "da")),
    ("cp1250", ("pl", "cs", "sk", "hu", "ro", "hr")),
    ("cp1254", ("tr",)),
    ("cp1257", ("lt", "lv")),
    ("cp1258", ("vi",)),
    ("iso8859_15", ("fr",)),
    ("iso8859_2", ("pl", "cs", "hu", "ro", "hr")),
    # After Turkish, which has its letters in the same places.
    ("cp1252", ("is",)),
    ("mac_roman", ("fr", "de", "es", "it")),
)
OTHER_SCRIPTS = (
    ("cp1251", "ru", CYRILLIC, OFTEN_CYRILLIC),
    ("cp1251", "uk", UKRAINIAN, OFTEN_CYRILLIC + "і"),
    ("koi8_r", "ru", CYRILLIC, OFTEN_CYRILLIC),
    ("koi8_u", "uk", UKRAINIAN, OFTEN_CYRILLIC + "і"),
    ("cp866", "ru", CYRILLIC, OFTEN_CYRILLIC),
    ("iso8859_5", "ru", CYRILLIC, OFTEN_CYRILLIC),
    ("mac_cyrillic", "ru", CYRILLIC, OFTEN_CYRILLIC),
    ("cp1253", "el", GREEK, OFTEN_GREEK),
    ("iso8859_7", "el", GREEK, OFTEN_GREEK),
    ("cp1255", "he", HEBREW, HEBREW),
    ("cp1256", "ar", ARABIC, OFTEN_ARABIC),
    ("cp874", "th", THAI, OFTEN_THAI),
)
# The characters in daily use have these lead bytes; rarer ones stand elsewhere in each table.
MULTI_BYTE = (
    ("cp949", "ko", range(0xB0, 0xC9)),
    ("gb18030", "zh", range(0xB0, 0xD8)),
    ("big5hkscs", "zh", range(0xA4, 0xC7)),
    ("cp932", "ja", range(0x88, 0x98)),
    ("euc_jp", "ja", range(0xB0, 0xD0)),
)
# Characters that any language may have between its words.
NEUTRAL = frozenset("’‘“”„‚…–—«»‹›¿¡°½¼¾€£©®™·•\xa0\xad♪´")


# Letters that are words.
LONE = frozenset("àáâéèêíóòôåöøæąñавикосуяієйοηώ")


class Decoded(NamedTuple):
    """A file's text. `note` says what a person should know of its encoding; empty for sound UTF-8."""

    text: str
    note: str


def decode(body: bytes, language: str = "") -> Decoded:
    """Decode a caption file's bytes; `language` (`en`, `ja`) is the one that is expected. Takes any bytes.

    What no encoding explains becomes U+FFFD, and the note says how often.
    """
    for mark, encoding in MARKS:
        if body.startswith(mark):
            return replaced(body[len(mark) :], encoding, "" if encoding == "utf-8" else f"{encoding} by its mark")
    if found := wide(body):
        return replaced(body, found, f"{found}, detected")
    if b"\x1b$" in body:
        return replaced(body, "iso2022_jp_2", "iso2022_jp, detected")
    try:
        return Decoded(body.decode(), "")
    except UnicodeDecodeError:
        pass
    # Real UTF-8 with a damaged piece has far more whole characters beyond ASCII than broken ones.
    text = body.decode("utf-8", "replace")
    whole = sum(character > "\x7f" for character in text.replace("\ufffd", ""))
    damage = re.findall("\ufffd+", text)
    if whole > 3 * sum(map(len, damage)) or (len(damage) == 1 and whole > 2):
        return replaced(body, "utf-8", "")
    encoding = detected(body, language.lower().replace("_", "-").split("-")[0])
    return replaced(body, encoding, f"{encoding}, detected")


def replaced(body: bytes, encoding: str, note: str) -> Decoded:
    """Decode; the note counts what could not be."""
    text = body.decode(encoding, "replace")
    # The file may hold U+FFFD itself: someone else's damage.
    own = len(body.decode(encoding, "ignore"))
    lost = len(text) - own
    damage = f"{lost} {'piece' if lost == 1 else 'pieces'} of it cannot be read as {encoding}" if lost else ""
    return Decoded(text, "; ".join(filter(None, [f"read as {note}" if note else "", damage])))


def wide(body: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: the zero bytes of its ASCII characters tell."""
    if len(body) < 4 or body.count(0) * 5 < len(body):
        return None
    shares = [body[at::4].count(0) / max(1, len(body[at::4])) for at in range(4)]
    if min(shares[2], shares[3]) > 0.9 and shares[0] < 0.1:
        return "utf-32-le"
    if min(shares[0], shares[1]) > 0.9 and shares[3] < 0.1:
        return "utf-32-be"
    even, odd = (shares[0] + shares[2]) / 2, (shares[1] + shares[3]) / 2
    # Zeros in one place alone; elsewhere they are damage, or no text at all.
    if odd > 0.25 and even < 0.1:
        return "utf-16-le"
    return "utf-16-be" if even > 0.25 and odd < 0.1 else None


def detected(body: bytes, language: str) -> str:
    """The encoding whose text looks most like a language's; `latin_1`, which takes all bytes, if none does."""
    sample = spoken_bytes(body)
    # `max` takes the first of equals.
    best = max(candidates(sample, language), key=lambda found: found[0], default=(0.0, ""))
    if best[0] >= LEAST_SCORE:
        return best[1]
    # charset-normalizer knows forty encodings more. Of a few lines it takes Japanese for Korean and French for Polish
    # (3.5), so it is asked last.
    from charset_normalizer import from_bytes

    found = from_bytes(sample).best()
    if found is None or not decodes(body, found.encoding):
        return "cp1252" if decodes(body, "cp1252") else "latin_1"
    return found.encoding


def spoken_bytes(body: bytes) -> bytes:
    """The lines that hold more than ASCII: times and counters tell nothing."""
    sample = b""
    for line in body.splitlines():
        if not line.isascii():
            sample += line + b"\n"
            if len(sample) > SAMPLE_BYTES:
                break
    return sample[: 2 * SAMPLE_BYTES]


def decodes(body: bytes, encoding: str) -> bool:
    try:
        body.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return False
    return True


def candidates(sample: bytes, language: str) -> Iterable[tuple[float, str]]:
    """Yield (score, encoding) for each encoding and language that explains the bytes."""
    for encoding, lead_language, leads in MULTI_BYTE:
        text = strictly(sample, encoding)
        if text is not None:
            yield of_pairs(text, encoding, leads) + EXPECTED * (lead_language == language), encoding
    for encoding, languages in SINGLE_BYTE:
        text = strictly(sample, encoding)
        if text is not None:
            for each in languages:
                yield of_letters(text, LATIN[each], LATIN[each], True) + EXPECTED * (each == language), encoding
    for encoding, each, letters, often in OTHER_SCRIPTS:
        text = strictly(sample, encoding)
        if text is not None:
            yield of_letters(text, letters, often, False) + EXPECTED * (each == language), encoding


def strictly(sample: bytes, encoding: str) -> str | None:
    """The sample's text. A multi-byte character may be cut off at its end."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return None


def of_pairs(text: str, encoding: str, leads: range) -> float:
    """Score a text of Chinese, Japanese or Korean: the share of characters in daily use, minus that of others."""
    score, num, kana = 0.0, 0, 0
    for character in text:
        if character < "\x80" or character in "、。，．！？「」『』・…　（）：；～ー":
            continue
        num += 1
        if "\u3041" <= character <= "\u30ff":
            kana += 1
            score += 1
        elif is_common(character, encoding, leads):
            score += 1
        else:
            score -= 1
    if not num:
        return 0.0
    # The tables of all four have kana, but Japanese has them in every sentence, and the others have none.
    return score / num - (0.6 if (kana == 0) == (encoding in ("cp932", "euc_jp")) else 0.0)


@functools.cache
def is_common(character: str, encoding: str, leads: range) -> bool:
    raw = character.encode(encoding, "ignore")
    if len(raw) != 2 or raw[0] not in leads or (encoding in ("gb18030", "cp949", "euc_jp") and raw[1] < 0xA1):
        return False
    return (unicodedata.name(character, "").startswith("HANGUL")) == (encoding == "cp949")


def of_letters(text: str, letters: str, often: str, latin: bool) -> float:
    """Score a text by its characters beyond ASCII: letters of one language, in words and not inside them."""
    score, num = 0.0, 0
    for word in re.findall(r"\S+", text):
        for before, character, after in zip(" " + word, word, word[1:] + " ", strict=False):
            if character < "\x80":
                continue
            if character in NEUTRAL:
                # An apostrophe stands inside a word, quotation marks beside it; a fraction or a currency does neither.
                if (before.isalpha() and (after.isalpha() or character in "½¼¾€£°•")) and character not in "’´":
                    score, num = score - 1, num + 1
                continue
            num += 1
            small = character.lower()
            alone = not (before + after).strip() and small not in LONE
            # What stands at the end or inside of words, never the other way round: Hebrew's last forms, vowel signs.
            alone |= (small in "םןףץך" and after.isalpha()) or (
                before == " " and bool(unicodedata.combining(character))
            )
            score += (1.0 if small in often else 0.4) if small in letters and not alone else -1.0
            score -= 1.0 * (character.isupper() and before.islower())
            score -= 0.15 * (character.isupper() and (before.isupper() or after.isupper()))
            # Latin letters beside Cyrillic ones; words of accents alone.
            neighbours = [one for one in (before, after) if one.isalnum()]
            if neighbours and all((one < "\x80") != latin for one in neighbours):
                score -= 0.7 if not latin or len(neighbours) == 2 else 0.2
    # Nothing but quotation marks: whatever comes first.
    return score / num if num else 0.8
