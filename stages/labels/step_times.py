"""The `step_times` table: when each step of the article begins and ends in the video.

Steps are aligned in their order with what is said, and with what is shown while it is said (`curation.alignment`). A
video in which nobody speaks is aligned by its frames. Letters: P steps, M units (sentences, else frames).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vsumdata.manifests.errors import SkipVideo
from vsumdata.stages.curation.alignment import align, belonging
from vsumdata.stages.curation.shown import mean_shown, unit
from vsumdata.stages.encoders.clip import text_tower
from vsumdata.stages.stage import Context, Function, Row

# What a cosine is divided by before it counts as the logarithm of a weight. It is twice the temperature that the models
# were trained at (sentence-transformers' models: cosines times 20; CLIP: times 100), since one sentence of a video
# resembles a step of its task more than a random text does. So both cosines are of one kind, and can be added.
TEXT_SCALE, PICTURE_SCALE = 0.1, 0.02


def load(options: Mapping[str, Any], context: Context) -> Function:
    """Return the row function of `step_times`; load CLIP's text tower where the frames' CLIP has one.

    The function raises SkipVideo: no_frames, no_article, and no_transcript where nobody speaks and there is no text
    tower. Raises UsageError if the weights cannot be loaded.
    """
    encode, no_tower = text_tower(options)

    def place(row: Row) -> Row:
        video = row["features"]
        if video is None:
            raise SkipVideo("no_frames")
        if not len(video["step"]):
            raise SkipVideo("no_article")
        pictured = None
        if encode is not None:
            # A headline says what is to be seen, and CLIP reads 77 tokens.
            pictured = encode([(step["headline"] or "").strip() or step["text"] for step in video["step"]])
        spans = spans_of(video, options["fps"])
        if not len(video["sentence"]) and pictured is None:
            raise SkipVideo("no_transcript", no_tower)
        found = step_times(evidence(video, spans, pictured, options["fps"]), spans)
        return found | ({"detail": f"by what is said alone: {no_tower}"} if no_tower else {})

    return place


def spans_of(video: Row, fps: float) -> Sequence[tuple[float, float]]:
    """Start and end in s of each sentence; where nobody speaks, of each frame."""
    if len(video["sentence"]):
        return [(sentence["start_s"], sentence["end_s"]) for sentence in video["sentence"]]
    return [(k / fps, (k + 1) / fps) for k in range(len(video["frame_feature"]))]


def evidence(video: Row, spans: Sequence[tuple[float, float]], pictured: np.ndarray | None, fps: float) -> np.ndarray:
    """How much each unit speaks for each step: [P,M], with mean 0 over all pairs.

    It adds S-BERT's cosines of steps and sentences, and CLIP's of `pictured` [P,D] and the frames of each span.
    """
    found = np.zeros((len(video["step"]), len(spans)))
    if len(video["sentence"]):
        steps, sentences = (np.asarray(video[f"{name}_feature"], np.float64) for name in ("step", "sentence"))
        found += steps @ sentences.T / TEXT_SCALE
    if pictured is not None and len(video["frame_feature"]):
        found += unit(pictured) @ mean_shown(video["frame_feature"], spans, fps).T / PICTURE_SCALE
    return found - found.mean()


def step_times(gain: np.ndarray, spans: Sequence[tuple[float, float]]) -> Row:
    """The columns of the table; NaN for a step without a run of units.

    `step_confidence`: of all alignments in the steps' order, weighted by exp(sum of their `gain` [P,M]), the share of
    those that give the run's units to the step, as a mean over these units. It says how clear the alignment is, not
    whether the video shows the step.
    """
    runs, sure = align(gain), belonging(gain)
    start_s, stop_s, confidence = np.full((3, len(gain)), np.nan, np.float32)
    for step, run in enumerate(runs):
        if run is not None:
            first, stop = run
            # Of overlapping captions the last one need not end last.
            start_s[step], stop_s[step] = spans[first][0], max(end_s for _, end_s in spans[first:stop])
            confidence[step] = sure[step, first:stop].mean()
    return {"step_start_s": start_s, "step_stop_s": stop_s, "step_confidence": confidence}
