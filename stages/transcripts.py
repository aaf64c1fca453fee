"""What is said in a video, as sentences with times: from its captions, else heard by Whisper."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vsumdata.pipeline.errors import FailVideo, SkipVideo
from vsumdata.pipeline.stage import Context, Row
from vsumdata.stages import speech, voice
from vsumdata.stages.captions import CaptionError, Sentence, parse_captions
from vsumdata.stages.decode import stream_audio
from vsumdata.stages.sentences import Word, sentences

__all__ = ["Sentence", "load", "parse_captions"]

AUDIO_TIMEOUT_S = 1700.0  # decoding waits while the model listens
# Below it Whisper guesses the language of what is hardly speech: it is decoded as the first one asked for.
MIN_LANGUAGE_PROBABILITY = 0.5
NO_SPACE_AFTER = ("。", "！", "？")


def load(options: Mapping[str, Any], context: Context) -> Callable[[Row], Row]:
    """`options`: `languages`, `engine`, `model` (as the manifest names it), `location` (what is opened).

    The model is loaded when the first video without captions arrives; one that cannot be had raises then.
    """

    @functools.cache
    def engine() -> speech.Engine:
        return speech.open_engine(options["engine"], options["location"], context.device, context.threads)

    def transcribe(row: Row) -> Row:
        found, why_not = from_captions(row["videos"], options["languages"])
        if found is None:
            if "media" not in row:
                raise FailVideo("file_missing", why_not)
            if not Path(row["media"]).is_file():
                raise FailVideo("file_missing", str(row["media"]))
            found = from_speech(row["media"], options, engine)
            if why_not:
                found["detail"] = "; ".join(filter(None, [why_not, found.get("detail", "")]))
        return found

    return transcribe


def from_captions(video: Mapping[str, Any], languages: Sequence[str]) -> tuple[Row | None, str]:
    """The transcript that the video's caption gives, else None and, where there is a caption, why not."""
    caption = video["caption"]
    if caption is None:
        return None, ""
    language = caption["language"] or video["language"] or languages[0]
    if base(language) not in map(base, languages):
        return None, f"caption in {language}"
    try:
        found = parse_captions(caption["text"] or "", caption["format"])
    except CaptionError as error:
        return None, f"caption: {error}"
    if not found:
        return None, "caption without a sentence"
    return payload(caption["kind"], language, found, engine="captions"), ""


def from_speech(media: str, options: Mapping[str, Any], engine: Callable[[], speech.Engine]) -> Row:
    """The transcript that Whisper gives; sound without speech is `none`, with no sentences."""
    language: str | None = None
    words: list[Word] = []
    speech_s, num_windows, num_again = 0.0, 0, 0
    with contextlib.closing(stream_audio(media, timeout_s=AUDIO_TIMEOUT_S)) as sound:
        for stretch in voice.stretches(sound):
            if not stretch.windows:
                continue
            if language is None:
                language = spoken_language(engine(), stretch, options["languages"])
            for heard, again in speech.transcribe(engine(), stretch.audio, stretch.windows, language):
                words += [Word(w.start_s + stretch.start_s, w.end_s + stretch.start_s, w.text) for w in heard]
                num_again += again
            speech_s += sum(window.speech_s for window in stretch.windows)
            num_windows += len(stretch.windows)
    model = {"engine": options["engine"], "model": options["model"], "speech_s": speech_s}
    found = list(sentences(spoken(words)))
    row = payload("asr" if found else "none", language if found else None, found, **model)
    if num_again:
        row["detail"] = f"{num_again} of {num_windows} windows decoded a second time, sequentially"
    return row


def spoken_language(engine: speech.Engine, stretch: voice.Stretch, languages: Sequence[str]) -> str:
    """The language of the first speech; raises SkipVideo("language") where it is surely not one asked for."""
    language, probability = speech.detect_language(engine, stretch.audio, stretch.windows)
    if base(language) in map(base, languages):
        return language
    if probability >= MIN_LANGUAGE_PROBABILITY:
        raise SkipVideo("language", language)
    return base(languages[0])


def spoken(pieces: Iterable[Word]) -> list[Word]:
    """Whisper's pieces as words in order: one without a space before it belongs to the word before."""
    words: list[Word] = []
    for piece in sorted(pieces, key=lambda word: word.start_s):
        text = piece.text.strip()
        if not text:
            continue
        if words:
            before = words[-1]
            joined = not piece.text[0].isspace() and not before.text.endswith(NO_SPACE_AFTER)
            if joined and piece.start_s - before.end_s < 0.5:
                words[-1] = Word(before.start_s, max(before.end_s, piece.end_s), before.text + text)
                continue
            words[-1] = before._replace(end_s=min(before.end_s, piece.start_s))
        words.append(Word(piece.start_s, max(piece.start_s, piece.end_s), text))
    return words


def payload(
    kind: str,
    language: str | None,
    found: Sequence[Sentence],
    *,
    engine: str,
    model: str | None = None,
    speech_s: float | None = None,
) -> Row:
    return {
        "kind": kind,
        "language": language,
        "engine": engine,
        "model": model,
        "speech_s": speech_s,
        "sentence": [sentence._asdict() for sentence in found],
    }


def base(language: str) -> str:
    """`en` of `en-US`."""
    return language.replace("_", "-").split("-")[0].lower()
