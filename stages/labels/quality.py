"""The `quality` table: how much is said, how much stands still, and whether words and pictures agree.

Nothing here says whether a video is good. `select` may leave videos out by these columns, and by default does not.
Letters: T frames, M sentences, D components of a CLIP feature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vsumdata.manifests.errors import SkipVideo
from vsumdata.stages.curation.shown import mean_shown, unit
from vsumdata.stages.encoders.clip import text_tower
from vsumdata.stages.speech.quality import count_words, shared_s, words_of
from vsumdata.stages.stage import Context, Function, Row

COLUMNS = ("speech_share", "words_per_minute", "static_share", "text_frame_agreement", "spoken_feature")
Sentences = Sequence[Mapping[str, Any]]


def load(options: Mapping[str, Any], context: Context) -> Function:
    """Return the row function of `quality`; load CLIP's text tower where the frames' CLIP has one.

    What cannot be measured is null, and `detail` says why. The function raises SkipVideo `no_frames` for a video of
    which neither frames nor a transcript are known. Raises UsageError if the weights cannot be loaded.
    """
    encode, no_tower = text_tower(options)

    def measure(row: Row) -> Row:
        transcript, frames = row["transcripts"], row["frames"]
        if transcript is None and frames is None:
            raise SkipVideo("no_frames", "and no transcript")
        found: Row = dict.fromkeys(COLUMNS)
        feature = None if frames is None else np.asarray(frames["frame_feature"], np.float32)
        duration_s = row["videos"]["duration_s"] or (0.0 if feature is None else len(feature) / options["fps"])
        sentences: Sentences = [] if transcript is None else spoken(transcript["sentence"])
        if transcript is not None:
            found["speech_share"] = speech_share(sentences, transcript["speech_s"], duration_s)
            found["words_per_minute"] = words_per_minute(sentences, duration_s)
        if feature is not None:
            found["static_share"] = static_share(feature, options["still"])
        if sentences and encode is not None:
            text = encode([sentence["text"] for sentence in sentences])
            # All that `pseudo_summaries` asks of the sentences: a mean of dot products is one with the mean.
            found["spoken_feature"] = text.mean(axis=0).astype(np.float16)
            if feature is not None:
                found["text_frame_agreement"] = text_frame_agreement(text, feature, sentences, options["fps"])
        notes = [f"no {name}" for name, table in (("transcript", transcript), ("frames", frames)) if table is None]
        notes += [f"no text_frame_agreement: {no_tower}"] if no_tower else []
        return found | ({"detail": "; ".join(notes)} if notes else {})

    return measure


def spoken(sentences: Sentences) -> Sentences:
    return [sentence for sentence in sentences if sentence["text"].strip()]


def speech_share(sentences: Sentences, speech_s: float | None, duration_s: float) -> float | None:
    """The share of the video in which somebody speaks: by the sound where somebody listened, else by the sentences."""
    if duration_s <= 0:
        return None
    if speech_s is None:
        # Captions may overlap, and a second is counted once.
        spans = sorted((sentence["start_s"], sentence["end_s"]) for sentence in sentences)
        speech_s = shared_s(spans, [(0.0, duration_s)])
    return min(1.0, speech_s / duration_s)


def words_per_minute(sentences: Sentences, duration_s: float) -> float | None:
    """Words a minute of the video, its silence included."""
    words = words_of(sentence["text"] for sentence in sentences)
    return 60 * count_words(words) / duration_s if duration_s > 0 else None


def static_share(feature: np.ndarray, still: float) -> float | None:
    """The share of the frames [T,D] after the first one whose cosine with the one before is `still` or more."""
    if len(feature) < 2:
        return None
    feature = unit(feature)
    return float(np.mean((feature[1:] * feature[:-1]).sum(1) >= still))


def text_frame_agreement(text: np.ndarray, feature: np.ndarray, sentences: Sentences, fps: float) -> float | None:
    """The mean cosine of each sentence's text [M,D] with the mean of the frames [T,D] that are shown meanwhile."""
    if not len(feature) or not len(text):
        return None
    shown = mean_shown(feature, [(sentence["start_s"], sentence["end_s"]) for sentence in sentences], fps)
    return float(np.mean((unit(text) * shown).sum(1)))
