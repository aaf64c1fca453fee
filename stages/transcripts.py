"""The `transcripts` table: a video's speech as sentences with times, from its captions, else from Whisper.

Manual captions are taken as they are, automatic ones if they are cleanly generated (`vsumdata.stages.speech.quality`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vsumdata.manifests.errors import FailVideo, SkipVideo
from vsumdata.manifests.manifest import Captions
from vsumdata.stages.pictures.decode import stream_audio
from vsumdata.stages.speech import voice, whisper
from vsumdata.stages.speech.captions import FORMATS, CaptionError, Sentence, parse_captions, read_captions
from vsumdata.stages.speech.quality import Quality, quality
from vsumdata.stages.speech.sentences import Word, sentences
from vsumdata.stages.stage import Context, Row

__all__ = ["Sentence", "load", "parse_captions"]

# With a lower probability Whisper guesses from what is hardly speech. Such sound is decoded in the first of the
# manifest's languages instead of being skipped.
MIN_LANGUAGE_PROBABILITY = 0.5
NO_SPACE_AFTER = ("。", "！", "？")


def load(options: Mapping[str, Any], context: Context) -> Callable[[Row], Row]:
    """Return the row function of `transcripts`.

    `options`: `languages`, `automatic` and `clean` (as in the manifest's `captions`), `engine`, `model` (as the
    manifest names it), `location` (what is opened), `device` (as the manifest asks). The function raises SkipVideo
    `language`, FailVideo `file_missing`, and what `stream_audio` raises. Raises UsageError if the device is `cuda` and
    the worker has no GPU.
    """
    # Now: the first video without captions may come hours later.
    device = whisper.choose_device(options.get("device", "auto"), context.device)

    # Loaded for the first video without captions: many crawls never need the model.
    @functools.cache
    def engine() -> whisper.Engine:
        return whisper.open_engine(options["engine"], options["location"], device, context.threads)

    settings = settings_of(options)

    def transcribe(row: Row) -> Row:
        track = read_track(row["videos"], settings)
        if track.is_taken:
            return track.as_row()
        refused = missing(row, track)
        if refused:
            return track.as_row(f"{track.why_not}; taken all the same: {refused}")
        if track.found and track.quality and track.quality.is_only_short:
            # Much of the video may be silent. Whether the captions cover what is said, the sound tells.
            heard = speech_of(row["media"], context)
            track = read_track(row["videos"], settings, heard)
            if track.is_taken:
                return track.as_row() | {"speech_s": sum(stop - start for start, stop in heard)}
        try:
            found = from_speech(row["media"], options, engine, context)
        except (FailVideo, SkipVideo) as error:
            # Speech in another language tells that the captions are wrong.
            if not track.is_spare or error.reason == "language":
                raise
            return track.as_row(f"{track.why_not}; taken all the same: Whisper failed: {error}")
        # Where no voice is heard, whatever such captions say was made of music and noise.
        if track.is_spare and found["kind"] == "none" and found["speech_s"]:
            return track.as_row(f"{track.why_not}; taken all the same: Whisper found no words")
        judged = {"caption_quality": track.quality._asdict()} if track.quality else {}
        return with_detail(found | judged, track.why_not, found.get("detail", ""))

    return transcribe


def settings_of(options: Mapping[str, Any]) -> Captions:
    """The manifest's `captions` in a stage's options."""
    return Captions.model_validate({name: options[name] for name in Captions.model_fields if name in options})


def missing(row: Row, track: Track) -> str:
    """Why there is nothing to listen to, if the captions must serve for it. Else raises FailVideo `file_missing`."""
    if "media" in row and Path(row["media"]).is_file():
        return ""
    why = str(row.get("no_media") or (f"{row['media']} is missing" if "media" in row else "there is no sound"))
    if track.is_spare:
        return why
    raise FailVideo("file_missing", str(row["media"]) if "media" in row else track.why_not)


def with_detail(row: Row, *notes: str) -> Row:
    """The row with the notes that are not empty."""
    detail = "; ".join(filter(None, notes))
    return row | {"detail": detail} if detail else row


class Track(NamedTuple):
    """What a video's caption track gives. `why_not` says why it is not taken, empty without a track."""

    found: Row | None = None
    is_taken: bool = False
    why_not: str = ""
    note: str = ""
    quality: Quality | None = None
    is_spare: bool = False  # it has sentences, and is taken where Whisper can find none

    def as_row(self, why: str = "") -> Row:
        assert self.found is not None
        return with_detail(self.found, why, self.note)


def read_track(
    video: Mapping[str, Any], settings: Captions, speech: Sequence[tuple[float, float]] | None = None
) -> Track:
    """Read and judge the caption track of a row of `videos`; `speech` are the spans in which a voice was heard."""
    caption = video["caption"]
    if caption is None:
        return Track()
    language = caption["language"] or video["language"] or settings.languages[0]
    if base(language) not in map(base, settings.languages):
        return Track(why_not=f"caption in {language}")
    try:
        read = read_captions(caption["text"] or "", caption["format"])
    except CaptionError as error:
        return Track(why_not=f"caption: {error}; formats that are read: {', '.join(FORMATS)}")
    judged = quality(
        read,
        settings.clean,
        language=language,
        spoken=video["language"],
        duration_s=video.get("duration_s"),
        speech=speech,
    )
    if not read.sentences:
        return Track(why_not="; ".join(filter(None, ["caption without a sentence", read.note])), quality=judged)
    found = payload(caption["kind"], language, read.sentences, engine="captions")
    found["caption_quality"] = judged._asdict()
    automatic = caption["kind"] == "automatic"
    why_not = ""
    if automatic and settings.automatic == "never":
        why_not = "automatic captions are not taken"
    elif automatic and settings.automatic == "clean" and not judged.clean:
        why_not = f"automatic captions not clean: {judged.reason}"
    return Track(found, not why_not, why_not, read.note, judged, bool(why_not) and settings.automatic != "never")


def from_captions(
    video: Mapping[str, Any], languages: Sequence[str], settings: Captions | None = None
) -> tuple[Row | None, str]:
    """Return the transcript that the video's caption gives. Else None, and the reason if there is a caption.

    Whoever asks before there is sound gets what is known without it.
    """
    settings = (settings or Captions()).model_copy(update={"languages": list(languages)})
    track = read_track(video, settings)
    return (track.as_row(), "") if track.is_taken else (None, track.why_not)


def speech_of(media: str, context: Context) -> list[tuple[float, float]]:
    """The spans of a file's sound, in s, in which a voice is heard."""
    spans = []
    with contextlib.closing(stream_audio(media, idle_s=context.idle_s)) as sound:
        for stretch in voice.stretches(sound):
            context.came_on()
            at_s = stretch.start_s
            spans += [(at_s + start, at_s + stop) for window in stretch.windows for start, stop in window.speech]
    return spans


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
        "caption_quality": None,
    }


def base(language: str) -> str:
    """`en` of `en-US`."""
    return language.replace("_", "-").split("-")[0].lower()
