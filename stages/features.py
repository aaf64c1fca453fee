"""The training row: text embeddings, replay scores, split, and everything else joined.

Letters: T frames, M sentences, S components of a text embedding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from vsumdata.datasets.splits import normalise, split_of
from vsumdata.pipeline.errors import SchemaError, SkipVideo
from vsumdata.pipeline.stage import Context, Row
from vsumdata.stages.text import TextEncoder
from vsumdata.stages.web import is_short

Encode = Callable[[Sequence[str]], np.ndarray]
EHOW_NUMBER = re.compile(r"^how[-_]\d+[-_]")


def load(options: Mapping[str, Any], context: Context) -> Callable[[Row], Row]:
    """Load the text model of `options["text_location"]`.

    Further options: `fps` of the frames, `text_dim` and `frame_dim`, the sizes that the table declares
    (SchemaError where the data differs), and `split`, the share of each split.
    """
    encoder = TextEncoder(options["text_location"], context.device, context.threads)
    if encoder.dim != options["text_dim"]:
        raise SchemaError(f"{options['text_model']} gives {encoder.dim} numbers a text; expected {options['text_dim']}")

    def join(row: Row) -> Row:
        video, article, transcript, frames = (row[table] for table in ("videos", "articles", "transcripts", "frames"))
        if frames is None:
            raise SkipVideo("no_frames")
        task = task_of(video, article)
        payload = {
            **{name: video[name] for name in ("title", "source", "url", "license", "duration_s")},
            "article_url": article_url_of(video, article),
            "task": task,
            "split": split_of(task, options["split"]),
            **frame_columns(frames, video["heatmap"], options["frame_dim"], options.get("fps", 1.0)),
            **text_columns(video, article, transcript, encoder.encode),
        }
        notes = [f"no {name}" for name, table in (("article", article), ("transcript", transcript)) if not table]
        return payload | ({"detail": ", ".join(notes)} if notes else {})

    return join


def frame_columns(
    frames: Mapping[str, Any], heatmap: Sequence[Mapping[str, float]] | None, frame_dim: int, fps: float
) -> Row:
    """The columns with one entry per frame or shot."""
    feature = np.asarray(frames["frame_feature"], np.float16)
    if feature.ndim != 2 or feature.shape[1] != frame_dim:
        raise SchemaError(f"frame_feature is {list(feature.shape)}; expected [T, {frame_dim}]")
    return {
        "frame_time_s": np.asarray(frames["frame_time_s"], np.float32),
        "frame_feature": feature,
        "replay_score": replay_score(len(feature), heatmap, fps),
        "replay_bins": heatmap or None,
        "shot_start": np.asarray(frames["shot_start"], np.int32),
        "shot_stop": np.asarray(frames["shot_stop"], np.int32),
    }


def text_columns(
    video: Mapping[str, Any],
    article: Mapping[str, Any] | None,
    transcript: Mapping[str, Any] | None,
    encode: Encode,
) -> Row:
    """The texts and their embeddings; a sentence or step without any text is left out."""
    sentences = [s for s in (transcript or {}).get("sentence") or () if s["text"].strip()]
    names = ("section", "headline", "text")
    steps = [{name: step[name] for name in names} for step in (article or {}).get("step") or ()]
    steps = [step for step in steps if step_text(step)]
    description = (video["description"] or "").strip()
    global_text = "\n".join(map(step_text, steps)) or description or (video["title"] or "").strip()
    texts = [s["text"].strip() for s in sentences] + [step_text(step) for step in steps]
    extra = [text for text in (description, global_text) if text]
    feature = encode(texts + extra)  # one call, so that the batches are full
    vector = dict(zip(extra, feature[len(texts) :], strict=True))
    return {
        "sentence": sentences,
        "sentence_feature": feature[: len(sentences)],
        "step": steps,
        "step_feature": feature[len(sentences) : len(texts)],
        "description": description,
        "description_feature": vector.get(description),
        "global_text": global_text,
        "global_feature": vector.get(global_text),
    }


def step_text(step: Mapping[str, str | None]) -> str:
    """The whole step; `text` holds the headline too, unless the page gave nothing else."""
    return (step["text"] or "").strip() or (step["headline"] or "").strip()


def replay_score(num_frames: int, heatmap: Sequence[Mapping[str, float]] | None, fps: float = 1.0) -> np.ndarray | None:
    """The value of the heatmap's bin that holds the second k / fps, for k = 0 … T-1: float32 [T].

    A second before the first bin or past the last one takes the nearest bin's value; one in a gap takes the
    bin before it. None without a heatmap.
    """
    if not heatmap:
        return None
    bins = sorted(heatmap, key=lambda mark: mark["start_s"])
    start_s = np.array([mark["start_s"] for mark in bins])
    value = np.array([mark["value"] for mark in bins], np.float32)
    holder = np.searchsorted(start_s, np.arange(num_frames) / fps, side="right") - 1
    return value[np.clip(holder, 0, None)]


def article_url_of(video: Mapping[str, Any], article: Mapping[str, Any] | None) -> str | None:
    """The article's own address, else what the description links to; a short link tells nothing."""
    url = (article or {}).get("url") or video["article_url"]
    return None if url and is_short(url) else url


def task_of(video: Mapping[str, Any], article: Mapping[str, Any] | None) -> str:
    """What the video shows how to do: the article's title, else its address, else the video's title.

    Two videos of one article thus have one task even where only one of the fetches succeeded: the split
    is taken from the normalised task. A video without any of them is a task of its own, its address.
    """
    if title := ((article or {}).get("title") or "").strip():
        return title
    if url := article_url_of(video, article):
        slug = PurePosixPath(unquote(urlsplit(url).path)).name
        slug = EHOW_NUMBER.sub("", re.sub(r"\.html?$", "", slug))
        if task := normalise(re.sub(r"[-_]", " ", slug)):
            return task
    return normalise(video["title"] or "") or video["url"] or ""
