"""The Arrow schema of every table, the outcomes and the reasons.

A row of any table is one video: the columns of `HEAD`, then `upstream` (a hash of what was read from each table), the
table's payload (null unless the outcome is `done`) and `digest` (a hash of each payload column), which lets a run find
what changed without reading any payload.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

DONE, SKIPPED, RETRY, FAILED = OUTCOMES = ("done", "skipped", "retry", "failed")
SETTLED = frozenset({DONE, SKIPPED, FAILED})

# The closed vocabulary of `reason`; anything else is a programming error.
REASONS = frozenset(
    # videos that cannot be read (`vsumdata.stages.youtube.messages`)
    "private members_only age_restricted removed region upcoming live no_formats unavailable unknown transient "
    "throttled heatmap_not_fetched file_missing "
    # decisions (`vsumdata.manifests.select.decide`), counted for `videos` but never stored there
    "low_views no_heatmap short too_long too_short views_unknown "
    # articles
    "no_article article_gone no_steps not_allowed robots too_large "
    # transcripts and frames
    "language no_video no_sound no_frames unreadable encrypted too_big "
    # frame_captions and summaries
    "no_captions no_summary refused "
    # the group `labels`, and features that `select` leaves out by them
    "no_pictures no_segments no_transcript duplicate little_speech few_words static off_topic "
    # any stage
    "error worker_died timeout max_attempts".split()
)

# Of `articles`: goes up whenever the same page may give another article.
PARSER_VERSION = 4

TEXT = pa.string()
SPAN = pa.struct([("start_s", pa.float64()), ("end_s", pa.float64()), ("value", pa.float64())])
SENTENCE = pa.struct([("start_s", pa.float64()), ("end_s", pa.float64()), ("text", TEXT)])
STEP = pa.struct([("section", TEXT), ("headline", TEXT), ("text", TEXT)])
LINKED_STEP = pa.struct([*STEP, pa.field("image_url", TEXT), pa.field("clip_url", TEXT)])
CAPTION_QUALITY = pa.struct(
    [
        ("clean", pa.bool_()),
        ("reason", TEXT),
        *((name, pa.float64()) for name in ("coverage", "sound_marks", "words_per_minute", "repeated")),
    ]
)
UTC_TIME = pa.timestamp("us", tz="UTC")


def vector(dim: int) -> pa.DataType:
    """One float16 feature vector of `dim` components."""
    return pa.list_(pa.float16(), dim)


HEAD = (
    ("video_id", TEXT),
    ("outcome", TEXT),
    ("reason", TEXT),
    ("detail", TEXT),
    ("version", pa.int32()),
    ("tries", pa.int32()),
    ("committed_at", UTC_TIME),
    ("seconds", pa.float64()),
    ("retry_after", UTC_TIME),
)

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
    ("info", pa.binary()),  # the site's answer, zstd
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
    ("caption_quality", CAPTION_QUALITY),
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


FRAME_CAPTIONS = (
    ("caption", pa.list_(pa.struct([("time_s", pa.float32()), ("text", TEXT), ("copied", pa.bool_())]))),
    ("caption_model", TEXT),
)
SUMMARIES = (
    ("summary", pa.list_(pa.struct([("text", TEXT), ("time_s", pa.list_(pa.float32()))]))),
    ("method", TEXT),
    ("model", TEXT),
    ("num_candidates", pa.int32()),
    ("num_kept", pa.int32()),
    ("num_frames", pa.int32()),
    ("num_tokens", pa.int32()),
    ("duration_s", pa.float64()),
)
THUMBNAILS = (("thumbnail", pa.list_(pa.struct([("time_s", pa.float32()), ("webp", pa.binary())]))),)


def audio(audio_dim: int) -> tuple[tuple[str, pa.DataType], ...]:
    """The payload of `audio`."""
    return (("audio_feature", pa.list_(vector(audio_dim))), ("audio_model", TEXT), ("device", TEXT))


DUPLICATES = (
    ("group", TEXT),
    ("is_best", pa.bool_()),
    ("like", TEXT),
    ("kind", TEXT),  # id | title | frames | transcript
    ("confidence", pa.float64()),
)


def quality(frame_dim: int) -> tuple[tuple[str, pa.DataType], ...]:
    """The payload of `quality`."""
    return (
        ("speech_share", pa.float64()),
        ("words_per_minute", pa.float64()),
        ("static_share", pa.float64()),
        ("text_frame_agreement", pa.float64()),
        ("spoken_feature", vector(frame_dim)),
    )


STEP_TIMES = (
    ("step_start_s", pa.list_(pa.float32())),
    ("step_stop_s", pa.list_(pa.float32())),
    ("step_confidence", pa.list_(pa.float32())),
)


def step_frames(picture_dim: int) -> tuple[tuple[str, pa.DataType], ...]:
    """The payload of `step_frames`."""
    picture = [("step", pa.int32()), ("kind", TEXT), ("url", TEXT), ("time_s", pa.float32()), ("cosine", pa.float32())]
    return (
        ("gt_summary", pa.list_(pa.int8())),
        ("gt_step", pa.list_(pa.int32())),
        ("gt_confidence", pa.list_(pa.float32())),
        ("picture", pa.list_(pa.struct(picture))),
        ("picture_feature", pa.list_(vector(picture_dim))),
        ("picture_file", pa.list_(pa.binary())),
        ("picture_license", TEXT),
        ("picture_model", TEXT),
    )


SEGMENT_FEATURES = (
    ("segment_start_s", pa.list_(pa.float32())),
    ("segment_stop_s", pa.list_(pa.float32())),
    ("segment_feature", pa.list_(vector(512))),
    ("spoken_feature", vector(512)),
    ("segment_model", TEXT),
    ("decoder", TEXT),
    ("device", TEXT),
)
PSEUDO_SUMMARIES = (
    ("pseudo_task", TEXT),
    ("num_alike", pa.int32()),
    ("segment_start", pa.list_(pa.int32())),
    ("segment_stop", pa.list_(pa.int32())),
    ("segment_step", pa.list_(pa.int32())),
    ("segment_score", pa.list_(pa.float32())),
    ("pseudo_score", pa.list_(pa.float32())),
    ("pseudo_summary", pa.list_(pa.int8())),
    ("pseudo_model", TEXT),
)
EXTRA = {
    "frame_captions": FRAME_CAPTIONS,
    "summaries": SUMMARIES,
    "thumbnails": THUMBNAILS,
    "duplicates": DUPLICATES,
    "step_times": STEP_TIMES,
    "segment_features": SEGMENT_FEATURES,
    "pseudo_summaries": PSEUDO_SUMMARIES,
}


def payload(table: str, options: Mapping[str, Any]) -> pa.Schema:
    """The payload columns of a table; `options` give the sizes of its vectors (`frame_dim`, …)."""
    if table == "frames":
        return pa.schema(frames(options["frame_dim"]))
    if table == "features":
        return pa.schema(features(options["frame_dim"], options["text_dim"]))
    if table == "audio":
        return pa.schema(audio(options["audio_dim"]))
    if table == "quality":
        return pa.schema(quality(options["frame_dim"]))
    if table == "step_frames":
        return pa.schema(step_frames(options["picture_dim"]))
    plain = {"videos": VIDEOS, "articles": ARTICLES, "transcripts": TRANSCRIPTS}
    return pa.schema((plain | EXTRA)[table])


def schema(payload: pa.Schema, reads: Iterable[str]) -> pa.Schema:
    """All columns of a table, in order. `reads`: the tables that its stage reads, with `source`."""
    # Parquet has no struct without fields, so a stage that reads nothing gets one that stays null.
    upstream = ("upstream", hashes(tuple(reads) or ("source",)))
    return pa.schema([*HEAD, upstream, *payload, ("digest", hashes(payload.names))])


def hashes(names: Iterable[str]) -> pa.DataType:
    """One hash for each name."""
    # Not a map: Hugging Face's `datasets` opens no table that has one, and of a struct Parquet reads single fields.
    return pa.struct([(name, TEXT) for name in names])


class Meaning(NamedTuple):
    """What a column holds, for docs/tables.md; `unit` is also its shape, where it has one."""

    text: str
    unit: str = ""


# Not part of the schema, so that a new wording makes no new fingerprint.
HEAD_MEANINGS = {
    "video_id": Meaning("YouTube's id; for own files the given id, else the file's stem"),
    "outcome": Meaning("`done`, `skipped`, `retry` or `failed`"),
    "reason": Meaning("why the outcome is not `done`; one of the reasons below, else empty"),
    "detail": Meaning("a note for a person, e.g. an error's text or where a truncated file breaks off"),
    "version": Meaning("how often this video's row was made; the row with the highest version counts"),
    "tries": Meaning("tries in a row that ended in `retry`, also where the last one made the row `failed`; else 0"),
    "committed_at": Meaning("when the row was written", "UTC"),
    "seconds": Meaning("how long the stage worked on this video", "s"),
    "retry_after": Meaning("when a `retry` row may be tried again", "UTC"),
    "upstream": Meaning("for each table: hash of the values that were read from it; `source`: the manifest's record"),
    "digest": Meaning("for each column of the table's own: hash of its value, null for null"),
}
MEANINGS: Mapping[str, Mapping[str, Meaning]] = {
    "videos": {
        "source": Meaning("the manifest's source: `channel:…`, `ids:…` or `files:…`"),
        "source_id": Meaning("the video's id at its site"),
        "url": Meaning("the page of the video; `file://…` for own files"),
        "title": Meaning("the title that the list gives, else the site's"),
        "description": Meaning("the uploader's description"),
        "channel": Meaning("the channel's name"),
        "channel_id": Meaning("the channel's id"),
        "published": Meaning("day of upload"),
        "duration_s": Meaning("length of the video", "s"),
        "view_count": Meaning("views when the metadata was read"),
        "license": Meaning("the video's licence as its site words it"),
        "language": Meaning("spoken language, e.g. `en`"),
        "live_status": Meaning("yt-dlp's word, e.g. `not_live`"),
        "media_type": Meaning("`video`, `short` or `livestream`"),
        "availability": Meaning("yt-dlp's word, e.g. `public`"),
        "fetched": Meaning("true: metadata was read in full; false: only the listing was read (too few views)"),
        "heatmap": Meaning("YouTube's most-replayed bins; null where there is none", "s; 0–1"),
        "chapters": Meaning("the uploader's chapters", "s"),
        "caption": Meaning("the chosen caption track as the site sent it; `kind` is `manual` or `automatic`"),
        "article_url": Meaning("the article that the list names or the description links to"),
        "info": Meaning("yt-dlp's reduced answer: JSON, compressed with zstd; newer code reads it without a visit"),
        "retrieved_at": Meaning("when the metadata was read", "UTC"),
        "tool_versions": Meaning("JSON: versions of vsumdata and yt-dlp"),
    },
    "articles": {
        "url": Meaning("the article's address"),
        "site": Meaning("`wikihow`, `ehow` or `other`"),
        "title": Meaning("the article's title"),
        "intro": Meaning("the text before the first step"),
        "license": Meaning("the licence that the article states for its text; that of a picture may be another"),
        "step": Meaning("steps in order; `text` is the whole step, its headline included"),
        "html": Meaning("the page as fetched, compressed with zstd; null for steps that a list gives"),
        "retrieved_at": Meaning("when the page was fetched; for a saved page, when the file was changed", "UTC"),
        "parser_version": Meaning("version of the parser that read the steps"),
    },
    "transcripts": {
        "kind": Meaning("`manual` or `automatic` captions, `asr` (Whisper) or `none` (nobody speaks)"),
        "language": Meaning("language of the sentences"),
        "engine": Meaning("`captions`, `faster-whisper` or `openai-whisper`"),
        "model": Meaning("the Whisper model as the manifest names it; null for captions"),
        "speech_s": Meaning("seconds of speech that were found in the sound; null where nobody listened", "s"),
        "sentence": Meaning("sentences in order", "s"),
        "caption_quality": Meaning(
            "whether the caption track is cleanly generated, else why not, and what was measured; null without one",
            "0–1; words/min",
        ),
    },
    "frames": {
        "frame_time_s": Meaning(
            "since when the picture on screen at step k / fps is shown, from a player's 0:00", "s, [T]"
        ),
        "frame_feature": Meaning("CLIP image features of unit length", "[T, D]"),
        "shot_start": Meaning("first frame of each shot", "frames, [C]"),
        "shot_stop": Meaning("frame after the last one of each shot", "frames, [C]"),
        "width": Meaning("width as shown, rotation applied", "px"),
        "height": Meaning("height as shown, rotation applied", "px"),
        "clip_model": Meaning("open_clip architecture, or another recipe of features"),
        "clip_weights": Meaning("its weights as the manifest names them"),
        "sampling": Meaning("`exact` or `keyframes`"),
        "decoder": Meaning("version of ffmpeg, and how pictures were resized and normalised"),
        "device": Meaning("device, precision and library versions that made the features"),
    },
    "features": {
        "title": Meaning("title of the video"),
        "source": Meaning("the manifest's source"),
        "url": Meaning("the page of the video"),
        "article_url": Meaning("the article's address; null where only a short link is known"),
        "license": Meaning("the video's licence"),
        "duration_s": Meaning("length of the video", "s"),
        "task": Meaning("what the video shows: the article's title, else the normalised title of the video"),
        "split": Meaning("`train`, `val` or `test`, by a hash of the task: one task is in one split"),
        "frame_time_s": Meaning("as in `frames`", "s, [T]"),
        "frame_feature": Meaning("as in `frames`", "[T, D]"),
        "replay_score": Meaning("heatmap value at each frame; null without a heatmap", "0–1, [T]"),
        "replay_bins": Meaning("the heatmap as in `videos`", "s; 0–1"),
        "shot_start": Meaning("as in `frames`", "frames, [C]"),
        "shot_stop": Meaning("as in `frames`", "frames, [C]"),
        "sentence": Meaning("as in `transcripts`, without empty ones", "s"),
        "sentence_feature": Meaning("S-BERT embedding of each sentence", "[M, S]"),
        "step": Meaning("the article's steps, without empty ones"),
        "step_feature": Meaning("S-BERT embedding of each step", "[P, S]"),
        "description": Meaning("the video's description"),
        "description_feature": Meaning("its S-BERT embedding; null without a description", "[S]"),
        "global_text": Meaning("text on the whole video: its steps, else its description, else its title"),
        "global_feature": Meaning("its S-BERT embedding", "[S]"),
    },
    "frame_captions": {
        "caption": Meaning(
            "each frame in words; `copied`: taken over from the frame before, which looks the same. `time_s` = k / fps",
            "s, [T]",
        ),
        "caption_model": Meaning("the captioner as the manifest names it"),
    },
    "summaries": {
        "summary": Meaning("sentences in order, each with moments at which its frames are on screen", "s"),
        "method": Meaning("`llm`, `steps` or `sentences`"),
        "model": Meaning("the writer as the manifest names it; null for the other methods"),
        "num_candidates": Meaning("captions, steps or sentences that the summary was chosen from"),
        "num_kept": Meaning("frames of the summary"),
        "num_frames": Meaning("frames of the video"),
        "num_tokens": Meaning("words and punctuation marks of the summary"),
        "duration_s": Meaning("length of the video", "s"),
    },
    "audio": {
        "audio_feature": Meaning("feature of the sound of each second, as the encoder gives it", "[s, A]"),
        "audio_model": Meaning("the encoder as the manifest names it"),
        "device": Meaning("device and library versions that made the features"),
    },
    "thumbnails": {
        "thumbnail": Meaning("small pictures (WebP) of key frames, at equal distances", "s"),
    },
    "duplicates": {
        "group": Meaning("the id of the group's best video; null for a video that is like no other"),
        "is_best": Meaning(
            "whether it is the one to keep: with frames, no cut of another one, with a heatmap, the most watched"
        ),
        "like": Meaning("the video of the group that it was found to be like"),
        "kind": Meaning("what showed it: `id`, `frames`, `transcript` or `title`, the first of these that holds"),
        "confidence": Meaning(
            "`id`: 1; `frames`: correlation of the frames; `transcript`: share of the shorter one's words; `title`: "
            "the shorter length by the longer one",
            "0–1",
        ),
    },
    "quality": {
        "speech_share": Meaning("share of the video in which somebody speaks", "0–1"),
        "words_per_minute": Meaning("words a minute of the video, its silence included"),
        "static_share": Meaning("share of frames that look like the one before, as in a slide show", "0–1"),
        "text_frame_agreement": Meaning(
            "mean CLIP cosine of each sentence with the frames shown meanwhile; null without a text tower", "−1–1"
        ),
        "spoken_feature": Meaning(
            "mean of the sentences' CLIP embeddings; null likewise, or where nothing is said", "[D]"
        ),
    },
    "step_times": {
        "step_start_s": Meaning("when each step of `features` begins; NaN for one that is not found", "s, [P]"),
        "step_stop_s": Meaning("when it ends", "s, [P]"),
        "step_confidence": Meaning(
            "how clear the alignment is: share of all orderly alignments, weighted by fit, that agree with it; NaN "
            "for a step that is not found",
            "0–1, [P]",
        ),
    },
    "step_frames": {
        "gt_summary": Meaning("1 where a frame shows the picture of a step", "[T]"),
        "gt_step": Meaning("the step of `features` that a frame shows; -1 for none", "[T]"),
        "gt_confidence": Meaning(
            "how well a frame fits its picture: 0 as half of the frames, 1 the same picture; 0 where it shows none",
            "0–1, [T]",
        ),
        "picture": Meaning(
            "the article's pictures (image, clip) in the order of steps, when each begins in the video (null where "
            "it is not shown), and its cosine with that frame, else with the nearest one",
            "s",
        ),
        "picture_feature": Meaning("their features, of a clip the mean", "[pictures, R]"),
        "picture_file": Meaning("the pictures' files, where `labels.step_frames.keep_pictures` asks for them"),
        "picture_license": Meaning(
            "the licence that the article states for its text; that of a picture may be another"
        ),
        "picture_model": Meaning("what made the features of pictures and frames"),
    },
    "segment_features": {
        "segment_start_s": Meaning("when each segment begins", "s, [G]"),
        "segment_stop_s": Meaning("when it ends; the last one may end behind the video", "s, [G]"),
        "segment_feature": Meaning("S3D's embedding of each segment, not of unit norm", "[G, 512]"),
        "spoken_feature": Meaning(
            "mean of the embeddings of the sentences with a word that S3D knows; null without one, and with random "
            "weights",
            "[512]",
        ),
        "segment_model": Meaning("the network and its weights as the manifest names them"),
        "decoder": Meaning("what decoded the pictures, and how they were made"),
        "device": Meaning("device and library version that made the features"),
    },
    "pseudo_summaries": {
        "pseudo_task": Meaning("the task whose videos were compared; empty: the video has neither task nor title"),
        "num_alike": Meaning("how many videos of the task were compared, itself included"),
        "segment_start": Meaning("first frame of each segment; one of S3D's may have none", "frames, [G]"),
        "segment_stop": Meaning("frame after the last one of each segment", "frames, [G]"),
        "segment_step": Meaning("the step that a segment was merged into, counted from 0", "[G]"),
        "segment_score": Meaning(
            "mean of task relevance and saliency of its step; with `choice: max` the steps' scores have length 1",
            "[G]",
        ),
        "pseudo_score": Meaning("the same for each frame", "[T]"),
        "pseudo_summary": Meaning("1 where a frame is in the pseudo-summary", "[T]"),
        "pseudo_model": Meaning("the CLIP or S3D of segments and sentences, and whether the score has saliency"),
    },
}
