"""Say whether a caption track is cleanly generated: if it is, its sentences serve, else Whisper is asked.

The paper takes Whisper where a video lacks cleanly generated subtitles, and does not say what that means. Here a track
is clean if it covers what is said, is no list of sounds, goes at the speed of speech, does not say one phrase over and
over, and is in its own language.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vsumdata.manifests.manifest import Clean
from vsumdata.stages.speech.captions import Captions
from vsumdata.stages.speech.sentences import LETTERS_PER_WORD, UNSPACED, Sentence

# A phrase of so many words that comes again is a loop, not a way of speaking.
PHRASE_WORDS = 5
# With fewer words neither speed nor language nor repetition tells anything.
FEWEST_WORDS = 20
# Pauses inside speech that captions do not show.
PAUSE_S = 0.5
# Function words that no other of these languages has. A text has its own language's in a tenth of its words.
FUNCTION_WORDS = {
    "en": "the and is it you that this with for are your",
    "de": "der die und das ist nicht sie ich ein eine mit auf",
    "fr": "les des est vous pas dans une pour avec sur c'est",
    "es": "los las que una con para por muy esto como del",
    "pt": "os uma você não com para isso muito mais seu",
    "it": "che di il gli della sono questo per più anche è",
    "nl": "het een van niet dat zijn voor met deze dan",
}
LEAST_SHARE, MOST_FOREIGN = 0.02, 0.1
VIDEO = "video"
# Letters of the scripts that languages are written in, where it is not Latin.
SCRIPTS = {
    **dict.fromkeys(("ru", "uk", "bg", "sr", "mk", "be", "kk"), "\u0400-\u04ff"),
    "el": "\u0370-\u03ff",
    **dict.fromkeys(("he", "iw", "yi"), "\u0590-\u05ff"),
    **dict.fromkeys(("ar", "fa", "ur"), "\u0600-\u06ff"),
    **dict.fromkeys(("hi", "mr", "ne"), "\u0900-\u097f"),
    "th": "\u0e00-\u0e7f",
    "ko": "\uac00-\ud7a3",
    "ja": "\u3040-\u30ff\u4e00-\u9fff",
    "zh": "\u4e00-\u9fff",
}
LATIN = "a-zA-Z\u00c0-\u024f\u1e00-\u1eff"
# Languages with two scripts, or whose script is not listed above.
LATIN_LANGUAGES = frozenset(
    "en de fr es pt it nl sv da no nb fi pl cs sk hu ro hr sl tr id ms vi et lv lt ca gl eu is sw tl".split()
)


class Quality(NamedTuple):
    """What a track is like. `reason` says why it is not clean, empty if it is."""

    clean: bool
    reason: str
    coverage: float | None  # of the speech, else of the video's length; None if neither is known
    sound_marks: float
    words_per_minute: float | None
    repeated: float

    @property
    def is_only_short(self) -> bool:
        """Whether nothing speaks against the track but how little of the video's length it covers."""
        return self.reason.endswith(f"of the {VIDEO}")


def quality(
    captions: Captions,
    limits: Clean,
    *,
    language: str,
    spoken: str | None = None,
    duration_s: float | None = None,
    speech: Sequence[tuple[float, float]] | None = None,
) -> Quality:
    """Judge a track in `language`; `spoken` is the language that the video's site states.

    `speech` are the spans (s) in which a voice was heard; None: nobody listened, and the video's length stands for it.
    """
    found = captions.sentences
    texts = words_of(sentence.text for sentence in found)
    num_words = count_words(texts)
    said_s = sum(sentence.end_s - sentence.start_s for sentence in found)
    marks = captions.num_marks / max(1, captions.num_marks + captions.num_cues)
    # Of a few words the speed is chance. Without any time it is beyond all limits.
    speed = 60 * num_words / max(said_s, 1e-3) if num_words >= FEWEST_WORDS else None
    repeated = share_repeated(texts)
    coverage, least, of = covered(found, duration_s, speech, limits)
    reasons = []
    if not found:
        reasons.append("no sentence")
    elif coverage is not None and coverage < least:
        reasons.append(f"covers {coverage:.0%} of the {of}")
    if marks > limits.max_sound_marks:
        reasons.append(f"{marks:.0%} are sounds")
    if speed is not None and not limits.min_words_per_minute <= speed <= limits.max_words_per_minute:
        reasons.append(f"{speed:.0f} words a minute")
    if repeated > limits.max_repeated:
        reasons.append(f"{repeated:.0%} is repeated")
    if mismatch := other_language(texts, language, spoken):
        reasons.append(mismatch)
    return Quality(not reasons, "; ".join(reasons), coverage, marks, speed, repeated)


def words_of(texts: Iterable[str]) -> list[str]:
    """The words of texts, in small letters."""
    return [word for text in texts for word in re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.casefold())]


def count_words(words: Iterable[str]) -> int:
    """How many words they are; in a script without spaces one of `words` may be several."""
    return sum(max(1, len(UNSPACED.findall(word)) // LETTERS_PER_WORD) for word in words)


def covered(
    found: Sequence[Sentence],
    duration_s: float | None,
    speech: Sequence[tuple[float, float]] | None,
    limits: Clean,
) -> tuple[float | None, float, str]:
    """(the share that sentences cover, the least that is enough, of what)."""
    if speech:
        heard_s = sum(stop - start for start, stop in speech)
        # Sentences may begin late or end early by a pause.
        spans = [(one.start_s - PAUSE_S, one.end_s + PAUSE_S) for one in found]
        return shared_s(spans, speech) / max(heard_s, 1e-3), limits.min_coverage_of_speech, "speech"
    if duration_s is None or duration_s <= 0:
        return None, 0.0, ""
    said_s = sum(max(0.0, min(one.end_s, duration_s) - one.start_s) for one in found)
    return min(1.0, said_s / duration_s), limits.min_coverage_of_video, VIDEO


def shared_s(spans: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]) -> float:
    """The seconds of `others` (in order, apart) that `spans` (in order) cover."""
    shared, first, at_s = 0.0, 0, 0.0
    for start_s, stop_s in spans:
        start_s = max(start_s, at_s)
        while first < len(others) and others[first][1] <= start_s:
            first += 1
        i = first
        while i < len(others) and others[i][0] < stop_s:
            shared += max(0.0, min(stop_s, others[i][1]) - max(start_s, others[i][0]))
            i += 1
        at_s = max(at_s, stop_s)
    return shared


def share_repeated(texts: Sequence[str]) -> float:
    """The share of phrases that came before."""
    if len(texts) < FEWEST_WORDS:
        return 0.0
    phrases = [tuple(texts[i : i + PHRASE_WORDS]) for i in range(len(texts) - PHRASE_WORDS + 1)]
    return 1 - len(set(phrases)) / len(phrases)


def other_language(texts: Sequence[str], language: str, spoken: str | None) -> str:
    """Why the words are not in `language`, or not in the one that is spoken; empty if they may be."""
    own = primary(language)
    if spoken and primary(spoken) != own:
        return f"captions in {language}, but {spoken} is spoken"
    if len(texts) < FEWEST_WORDS:
        return ""
    letters = "".join(texts)
    script = SCRIPTS.get(own) or (LATIN if own in LATIN_LANGUAGES else None)
    if script and 2 * len(re.findall(f"[{script}]", letters)) < sum(map(str.isalpha, letters)):
        return f"not the script of {language}"
    if own in FUNCTION_WORDS:
        shares = {
            name: sum(text in words for text in texts) / len(texts)
            for name, words in ((name, frozenset(line.split())) for name, line in FUNCTION_WORDS.items())
        }
        likely = max(shares, key=lambda name: shares[name])
        if shares[own] < LEAST_SHARE and shares[likely] > MOST_FOREIGN:
            return f"the words are not {language}, rather {likely}"
    return ""


def primary(language: str) -> str:
    """`en` of `en-US`."""
    return language.replace("_", "-").split("-")[0].lower()
