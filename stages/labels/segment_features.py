"""The `segment_features` table: S3D's embeddings of a video's segments, and of what is said in it.

`pseudo_summaries` compares them as TL;DW does. As there, a segment is 32 pictures at 8 a second, each squashed to 224
pixels with values in 0 … 1. TL;DW reads files of 8 pictures a second, and resizes by torchvision without smoothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from vsumdata.stages.encoders.s3d import FPS, SEGMENT_S, SIZE, S3DEncoder, lacks_words, segments
from vsumdata.stages.frames import ahead
from vsumdata.stages.labels.quality import spoken
from vsumdata.stages.pictures.decode import Wanted, read_frames
from vsumdata.stages.stage import Context, Function, Row

TABLE = "segment_features"


def load(options: Mapping[str, Any], context: Context) -> Function:
    """Load S3D; return the row function of `segment_features`.

    The row's `media` key is the video's local file. The function raises what `read_frames` raises, and
    FloatingPointError where the network gives NaN. Raises UsageError if the weights cannot be loaded.
    """
    weights = options["s3d_weights"]
    encoder = S3DEncoder(weights, context.device, threads=context.threads, location=options["s3d_location"])
    # Key frames alone hold no motion, so `features.sampling` is not asked.
    wanted = Wanted(
        size=SIZE,
        fps=FPS,
        hwaccel=options["hwaccel"],
        resize="squash",
        interpolation="bilinear",
        threads=context.threads,
        idle_s=context.idle_s,
    )
    no_words = lacks_words(weights)

    def describe(row: Row) -> Row:
        # `closing` ends the decoding thread when the network raises.
        with (
            read_frames(row["media"], wanted) as reader,
            contextlib.closing(ahead(segments(picture for _, picture in reader))) as windows,
        ):
            feature = encoder.encode(windows, context.came_on)
        start_s = (SEGMENT_S * np.arange(len(feature))).astype(np.float32)
        transcript = row["transcripts"]
        sentences = spoken(transcript["sentence"]) if transcript is not None else []
        notes = [reader.note] if reader.note else []
        notes += [f"no spoken_feature: {no_words}"] if no_words else []
        made = {
            "segment_start_s": start_s,
            "segment_stop_s": start_s + np.float32(SEGMENT_S),
            "segment_feature": stored(feature),
            "spoken_feature": stored(encoder.mean_of(sentence["text"] for sentence in sentences)),
            "segment_model": f"S3D {weights}",
            "decoder": f"{reader.decoder}, {FPS:g} a second, {SIZE} px squash bilinear",
            "device": encoder.made_on,
        }
        return made | ({"detail": "; ".join(notes)} if notes else {})

    return describe


def stored(feature: np.ndarray | None) -> np.ndarray | None:
    """The same as float16."""
    if feature is None:
        return None
    # Beyond 65,504 it is infinite.
    with np.errstate(over="ignore"):
        found = feature.astype(np.float16)
    # Stored, such a value would spoil the scores of a whole task.
    if not np.isfinite(found).all():
        raise FloatingPointError("S3D gave values that are not finite, or too large for float16")
    return found
