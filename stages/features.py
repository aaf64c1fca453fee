"""The `features` table, one row for training: text embeddings, replay scores, the split, and all other tables joined.

Letters: T frames, M sentences, S components of a text embedding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from vsumdata.datasets.reference import replay_score
from vsumdata.datasets.splits import normalise, split_of
from vsumdata.manifests.errors import SchemaError, SkipVideo
from vsumdata.stages.encoders.text import TextEncoder
from vsumdata.stages.stage import Context, Row
from vsumdata.stages.web.sites import is_short

Encode = Callable[[Sequence[str]], np.ndarray]
# eHow's addresses are like /how_2042752_build-terrarium.html. The number is not part of the task.
EHOW_NUMBER = re.compile(r"^how[-_]\d+[-_]")


def load(options: Mapping[str, Any], context: Context) -> Callable[[Row], Row]:
    """Load the text model at `options["text_location"]`; return the row function of `features`.

    Other options: `fps` of the frames; `text_dim` and `frame_dim`, the sizes that the table declares; `split`, the
    share of each split. Raises SchemaError if a size differs.
    """
    encoder = TextEncoder(options["text_location"], context.device, context.threads)
    # Found now: as a fixed-size list of another length, the column would fail at the first commit, after hours.
    if encoder.dim != options["text_dim"]:
        raise SchemaError(
            f"{options['text_model']} gives {encoder.dim} numbers per text; expected {options['text_dim']}"
        )

    def join(row: Row) -> Row:
        video, article, transcript, frames = (row[table] for table in ("videos", "articles", "transcripts", "frames"))
        # Without frames there is nothing to train on. A missing article or transcript is only noted.
        if frames is None:
            raise SkipVideo("no_frames")
        refuse(row, options.get("select") or {})
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


# The reason for which a video fails a rule of `select`, and the column of `quality` that the rule is about.
FAILS = {
    "min_speech_share": ("little_speech", "speech_share"),
    "min_words_per_minute": ("few_words", "words_per_minute"),
    "max_static_share": ("static", "static_share"),
    "min_text_frame_agreement": ("off_topic", "text_frame_agreement"),
}


def refuse(row: Row, rules: Mapping[str, Any]) -> None:
    """Raise SkipVideo for a video that `select` leaves out by its row of `quality` or `duplicates`.

    A value that is not known breaks no rule.
    """
    judged = row.get("quality") or {}
    for rule, (reason, column) in FAILS.items():
        limit, value = rules.get(rule), judged.get(column)
        if limit is not None and value is not None and (value > limit if rule.startswith("max") else value < limit):
            raise SkipVideo(reason, f"{column} is {value:.3g}, select.{rule} {limit:g}")
    alike = row.get("duplicates")
    if rules.get("duplicates") == "drop" and alike is not None and not alike["is_best"]:
        raise SkipVideo("duplicate", f"of {alike['group']}, by {alike['kind']}")


def frame_columns(
    frames: Mapping[str, Any], heatmap: Sequence[Mapping[str, float]] | None, frame_dim: int, fps: float
) -> Row:
    """The columns with one entry per frame or shot. Raises SchemaError for features of another size."""
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
    """The texts and their embeddings. Sentences and steps without text are left out."""
    # The text model refuses blank texts, and sentences must match their embeddings one to one.
    sentences = [s for s in (transcript or {}).get("sentence") or () if s["text"].strip()]
    names = ("section", "headline", "text")
    steps = [{name: step[name] for name in names} for step in (article or {}).get("step") or ()]
    steps = [step for step in steps if step_text(step)]
    description = (video["description"] or "").strip()
    global_text = "\n".join(map(step_text, steps)) or description or (video["title"] or "").strip()
    texts = [s["text"].strip() for s in sentences] + [step_text(step) for step in steps]
    extra = [text for text in (description, global_text) if text]
    # One call, so that the batches are full.
    feature = encode(texts + extra)
    # By text: description and global text are often the same one.
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
    """The whole step as one text."""
    # `text` includes the headline. It is empty only if the page gave nothing but a headline.
    return (step["text"] or "").strip() or (step["headline"] or "").strip()


def article_url_of(video: Mapping[str, Any], article: Mapping[str, Any] | None) -> str | None:
    """The article's own URL, else the one that the description links to, else None."""
    url = (article or {}).get("url") or video["article_url"]
    # A short link does not name the article, and two of them may lead to one.
    return None if url and is_short(url) else url


def task_of(video: Mapping[str, Any], article: Mapping[str, Any] | None) -> str:
    """What the video teaches: the article's title, else the words of its URL, else the video's title, else its URL.

    The split is taken from the normalised task, so that the same task is never in two splits.
    """
    if title := ((article or {}).get("title") or "").strip():
        return title
    # Two videos of one article must get one task even if the article was fetched for only one of them.
    if url := article_url_of(video, article):
        slug = PurePosixPath(unquote(urlsplit(url).path)).name
        slug = EHOW_NUMBER.sub("", re.sub(r"\.html?$", "", slug))
        if task := normalise(re.sub(r"[-_]", " ", slug)):
            return task
    return normalise(video["title"] or "") or video["url"] or ""
