"""The `transcripts` table: a video's speech as sentences with times, from its captions, else from Whisper."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vsumdata.manifests.errors import FailVideo, SkipVideo
from vsumdata.stages.pictures.decode import stream_audio
from vsumdata.stages.speech import voice, whisper
from vsumdata.stages.speech.captions import CaptionError, Sentence, parse_captions
from vsumdata.stages.speech.sentences import Word, sentences
from vsumdata.stages.stage import Context, Row

__all__ = ["Sentence", "load", "parse_captions"]

# With a lower probability Whisper guesses from what is hardly speech. Such sound is decoded in the first of the
# manifest's languages instead of being skipped.
MIN_LANGUAGE_PROBABILITY = 0.5
NO_SPACE_AFTER = ("。", "！", "？")


def load(options: Mapping[str, Any], context: Context) -> Callable[[Row], Row]:
    """Return the row function of `transcripts`.

    `options`: `languages`, `engine`, `model` (as the manifest names it), `location` (what is opened), `device` (as the
    manifest asks). The function raises SkipVideo `language`, FailVideo `file_missing`, and what `stream_audio` raises.
    Raises UsageError if the device is `cuda` and the worker has no GPU.
    """
    # Now: the first video without captions may come hours later.
    device = whisper.choose_device(options.get("device", "auto"), context.device)

    # Loaded for the first video without captions: many crawls never need the model.
    @functools.cache
    def engine() -> whisper.Engine:
        return whisper.open_engine(options["engine"], options["location"], device, context.threads)

    def transcribe(row: Row) -> Row:
        found, why_not = from_captions(row["videos"], options["languages"])
        if found is None:
            if "media" not in row:
                raise FailVideo("file_missing", why_not)
            if not Path(row["media"]).is_file():
                raise FailVideo("file_missing", str(row["media"]))
            found = from_speech(row["media"], options, engine, context)
            if why_not:
                found["detail"] = "; ".join(filter(None, [why_not, found.get("detail", "")]))
        return found

    return transcribe


def from_captions(video: Mapping[str, Any], languages: Sequence[str]) -> tuple[Row | None, str]:
    """Return the transcript that the video's caption gives. Else None, and the reason if there is a caption."""
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


def from_speech(media: str, options: Mapping[str, Any], engine: Callable[[], whisper.Engine], context: Context) -> Row:
    """Return the transcript from Whisper. Sound without speech gives the kind `none` and no sentences."""
    language: str | None = None
    words: list[Word] = []
    speech_s, num_windows, num_again = 0.0, 0, 0
    # `closing` ends the ffmpeg process when the recognition raises.
    with contextlib.closing(stream_audio(media, idle_s=context.idle_s)) as sound:
        for stretch in voice.stretches(sound):
            context.came_on()
            if not stretch.windows:
                continue
            if language is None:
                language = spoken_language(engine(), stretch, options["languages"])
            for heard, again in whisper.transcribe(engine(), stretch.audio, stretch.windows, language):
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


def spoken_language(engine: whisper.Engine, stretch: voice.Stretch, languages: Sequence[str]) -> str:
    """The language of the first speech. Raises SkipVideo("language") if it is clearly none of `languages`."""
    language, probability = whisper.detect_language(engine, stretch.audio, stretch.windows)
    if base(language) in map(base, languages):
        return language
    if probability >= MIN_LANGUAGE_PROBABILITY:
        raise SkipVideo("language", language)
    return base(languages[0])


def spoken(pieces: Iterable[Word]) -> list[Word]:
    """Join Whisper's pieces into words, in order. A piece without a space before it continues the word before."""
    words: list[Word] = []
    for piece in sorted(pieces, key=lambda word: word.start_s):
        text = piece.text.strip()
        if not text:
            continue
        if words:
            before = words[-1]
            # Chinese and Japanese have no spaces at all, so there a sentence mark or a pause ends the word.
            joined = not piece.text[0].isspace() and not before.text.endswith(NO_SPACE_AFTER)
            if joined and piece.start_s - before.end_s < 0.5:
                words[-1] = Word(before.start_s, max(before.end_s, piece.end_s), before.text + text)
                continue
            # Whisper's word times overlap at times, and `sentences` needs words that do not.
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
    """Build the payload of `transcripts`."""
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
