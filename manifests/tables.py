"""The Arrow schema of every table, the outcomes and the reasons.

A row of any table is one video: the columns of `HEAD`, then the table's payload (null unless the outcome is
`done`), then `digest` (payload column -> hash of its value), which lets a run find what changed without
reading any payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

DONE, SKIPPED, RETRY, FAILED = OUTCOMES = ("done", "skipped", "retry", "failed")
SETTLED = frozenset({DONE, SKIPPED, FAILED})

# The closed vocabulary of `reason`; anything else is a programming error.
REASONS = frozenset(
    # videos that cannot be read (`vsumdata.stages.videos.classify`)
    "private members_only age_restricted removed region upcoming live no_formats unknown transient throttled "
    "heatmap_not_fetched file_missing "
    # decisions (`vsumdata.stages.select.decide`), counted but never stored
    "low_views no_heatmap short too_long too_short views_unknown "
    # articles
    "no_article article_gone no_steps not_allowed robots too_large "
    # transcripts and frames
    "language no_video no_frames unreadable too_big "
    # any stage
    "error worker_died timeout max_attempts".split()
)

TEXT = pa.string()
SPAN = pa.struct([("start_s", pa.float64()), ("end_s", pa.float64()), ("value", pa.float64())])
SENTENCE = pa.struct([("start_s", pa.float64()), ("end_s", pa.float64()), ("text", TEXT)])
STEP = pa.struct([("section", TEXT), ("headline", TEXT), ("text", TEXT)])
LINKED_STEP = pa.struct([*STEP, pa.field("image_url", TEXT), pa.field("clip_url", TEXT)])
UTC_TIME = pa.timestamp("us", tz="UTC")


def vector(dim: int) -> pa.DataType:
    """One float16 feature vector of `dim` components."""
    return pa.list_(pa.float16(), dim)


HEAD = (
    ("video_id", TEXT),
    ("outcome", TEXT),
    ("reason", TEXT),
    ("detail", TEXT),
    ("attempt", pa.int32()),
    ("committed_at", UTC_TIME),
    ("seconds", pa.float64()),
    ("retry_after", UTC_TIME),
    ("upstream", pa.map_(TEXT, TEXT)),
)
DIGEST = ("digest", pa.map_(TEXT, TEXT))

VIDEOS = (
    ("source", TEXT),
    ("source_id", TEXT),
    ("url", TEXT),
    ("title", TEXT),
    ("description", TEXT),
    ("channel", TEXT),
    ("channel_id", TEXT),
    ("published", pa.date32()),
    ("duration_s", pa.float64()),
    ("view_count", pa.int64()),
    ("license", TEXT),
    ("language", TEXT),
    ("live_status", TEXT),
    ("media_type", TEXT),
    ("availability", TEXT),
    ("fetched", pa.bool_()),
    ("heatmap", pa.list_(SPAN)),
    ("chapters", pa.list_(pa.struct([("start_s", pa.float64()), ("end_s", pa.float64()), ("title", TEXT)]))),
    ("caption", pa.struct([("language", TEXT), ("kind", TEXT), ("format", TEXT), ("text", TEXT)])),
    ("article_url", TEXT),
    ("retrieved_at", UTC_TIME),
    ("tool_versions", TEXT),
)
ARTICLES = (
    ("url", TEXT),
    ("site", TEXT),
    ("title", TEXT),
    ("intro", TEXT),
    ("license", TEXT),
    ("step", pa.list_(LINKED_STEP)),
    ("html", pa.binary()),  # the page as it was, zstd
    ("retrieved_at", UTC_TIME),
    ("parser_version", pa.int32()),
)
TRANSCRIPTS = (
    ("kind", TEXT),  # manual | automatic | asr | none
    ("language", TEXT),
    ("engine", TEXT),
    ("model", TEXT),
    ("speech_s", pa.float64()),
    ("sentence", pa.list_(SENTENCE)),
)
SHOTS = (("shot_start", pa.list_(pa.int32())), ("shot_stop", pa.list_(pa.int32())))


def frames(frame_dim: int) -> tuple[tuple[str, pa.DataType], ...]:
    """The payload of `frames`; `frame_feature` is unit-norm."""
    return (
        ("frame_time_s", pa.list_(pa.float32())),
        ("frame_feature", pa.list_(vector(frame_dim))),
        *SHOTS,
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("clip_model", TEXT),
        ("clip_weights", TEXT),
        ("sampling", TEXT),
        ("decoder", TEXT),
        ("device", TEXT),
    )


def features(frame_dim: int, text_dim: int) -> tuple[tuple[str, pa.DataType], ...]:
    """The payload of `features`: one training row."""
    return (
        ("title", TEXT),
        ("source", TEXT),
        ("url", TEXT),
        ("article_url", TEXT),
        ("license", TEXT),
        ("duration_s", pa.float64()),
        ("task", TEXT),
        ("split", TEXT),
        ("frame_time_s", pa.list_(pa.float32())),
        ("frame_feature", pa.list_(vector(frame_dim))),
        ("replay_score", pa.list_(pa.float32())),
        ("replay_bins", pa.list_(SPAN)),
        *SHOTS,
        ("sentence", pa.list_(SENTENCE)),
        ("sentence_feature", pa.list_(vector(text_dim))),
        ("step", pa.list_(STEP)),
        ("step_feature", pa.list_(vector(text_dim))),
        ("description", TEXT),
        ("description_feature", vector(text_dim)),
        ("global_text", TEXT),
        ("global_feature", vector(text_dim)),
    )


def payload(table: str, options: Mapping[str, Any]) -> pa.Schema:
    """The payload columns of a table; `options` give the sizes of its vectors (`frame_dim`, `text_dim`)."""
    if table == "frames":
        return pa.schema(frames(options["frame_dim"]))
    if table == "features":
        return pa.schema(features(options["frame_dim"], options["text_dim"]))
    return pa.schema({"videos": VIDEOS, "articles": ARTICLES, "transcripts": TRANSCRIPTS}[table])


def schema(table: str, options: Mapping[str, Any]) -> pa.Schema:
    """All columns of a table, in order."""
    return pa.schema([*HEAD, *payload(table, options), DIGEST])
