"""The `frame_captions` table: what each frame of a video shows, in words of a vision-language model.

A frame that looks like the last captioned one takes over its caption: a static video then costs few requests.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from vsumdata.manifests.errors import FailVideo, SkipVideo
from vsumdata.stages import media
from vsumdata.stages.curation.chat import open_chat
from vsumdata.stages.curation.prompts import caption_question, plain
from vsumdata.stages.pictures.decode import Wanted, read_frames
from vsumdata.stages.stage import Context, Function, Row

TABLE = "frame_captions"
JPEG_QUALITY = 90


def fetch(options: Mapping[str, Any], context: Context) -> Function:
    """Return a function that adds `media`, the path of a file with the video's picture, where it is needed."""
    bring = media.fetch_picture(options, context)

    def fetch_wanted(row: Row) -> Row:
        refuse(row, options)
        return bring(row)

    return fetch_wanted


def load(options: Mapping[str, Any], context: Context) -> Function:
    """Open the captioner; return the row function of `frame_captions`.

    The function raises SkipVideo (no_frames, too_short, too_long), FailVideo `no_captions`, and what `read_frames` and
    `Chat.ask` raise. Raises UsageError if a local model cannot be loaded.
    """
    chat = open_chat(options, context, TABLE, sees=True)
    wanted = Wanted(
        size=options["picture_px"],
        fps=options["fps"],
        sampling=options["sampling"],
        resize="longest",
        threads=context.threads,
        idle_s=context.idle_s,
    )

    def caption(row: Row) -> Row:
        refuse(row, options)
        source = captioned(np.asarray(row["frames"]["frame_feature"], np.float32), options["same"])
        pictures, num_frames = read_pictures(row["media"], wanted, set(source), context)
        asked = sorted(pictures)
        answers = chat.answers(row["video_id"], [caption_question(pictures[k]) for k in asked])
        text = {k: plain(answer) for k, answer in zip(asked, answers, strict=True)}
        if not any(text.values()):
            raise FailVideo("no_captions", f"none of the {len(asked)} answers holds a word")
        # As many as both have: `frames` and this table read the same file, but perhaps by another ffmpeg.
        source = source[:num_frames]
        found = [{"time_s": k / options["fps"], "text": text[at], "copied": at != k} for k, at in enumerate(source)]
        notes = [f"{len(asked)} frames captioned, {len(source) - len(asked)} copied"]
        if silent := sum(not each for each in text.values()):
            notes.append(f"{silent} answers without a word")
        return {"caption": found, "caption_model": options["model"], "detail": ", ".join(notes)}

    return caption


def refuse(row: Row, options: Mapping[str, Any]) -> None:
    """Raise SkipVideo for a video that gets no summary, before anything is paid for it."""
    if row["frames"] is None:
        raise SkipVideo("no_frames")
    refuse_length(row["videos"]["duration_s"], options)


def refuse_length(duration_s: float | None, options: Mapping[str, Any]) -> None:
    """Raise SkipVideo `too_short` or `too_long`; a video of unknown length passes."""
    least, most = options["min_duration_s"], options["max_duration_s"]
    if duration_s is not None and duration_s < least:
        raise SkipVideo("too_short", f"{duration_s:g} s; summaries.min_duration_s is {least:g}")
    if duration_s is not None and duration_s > most:
        raise SkipVideo("too_long", f"{duration_s:g} s; summaries.max_duration_s is {most:g}")


def captioned(feature: np.ndarray, same: float) -> list[int]:
    """For each frame the one whose caption it has: itself, or the last captioned one that it is like."""
    found: list[int] = []
    for k, own in enumerate(feature):
        last = found[-1] if found else k
        found.append(last if last != k and float(own @ feature[last]) >= same else k)
    return found


def read_pictures(path: str, wanted: Wanted, asked: set[int], context: Context) -> tuple[dict[int, bytes], int]:
    """Return the asked frames as JPEG files, and how many frames the video has."""
    from PIL import Image

    pictures: dict[int, bytes] = {}
    num_frames = 0
    with read_frames(path, wanted) as frames:
        for k, (_, frame) in enumerate(frames):
            num_frames += 1
            if k in asked:
                written = io.BytesIO()
                Image.fromarray(frame).save(written, "JPEG", quality=JPEG_QUALITY)
                pictures[k] = written.getvalue()
                context.came_on()
    return pictures, num_frames
