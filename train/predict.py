"""What a trained model says of videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from vsumdata.datasets.video import Video, collate
from vsumdata.pipeline.errors import UsageError
from vsumdata.train.batches import read
from vsumdata.train.boxes import frame_scores
from vsumdata.train.runs import Info, Trained
from vsumdata.train.settings import class_of
from vsumdata.train.stopping import flushed_denormals
from vsumdata.train.unlabelled import Unlabelled

WINDOW = 256  # videos that are held, and sorted by length, at once
PAIRS_AT_ONCE = 32 * 1024**2  # of frames that attend to each other in a batch, unless one video alone has more
TEXT_FEATURES = ("sentence_feature", "step_feature", "description_feature", "global_feature")


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    video: Video
    frame_score: np.ndarray  # float64 [T], in [0,1]
    sentence_score: np.ndarray | None  # float64 [M], in [0,1]; None where the model scores none or the video has none

    @property
    def video_id(self) -> str:
        return self.video.video_id


def predict(trained: Trained, videos: Sequence[Video], *, batch_size: int = 16) -> Iterator[Prediction]:
    """The scores of every video, in the order of `videos`, on the device of the model and in float32.

    Videos are read some at a time, so they may be more than memory holds. Raises UsageError for features that the
    model cannot take (`fitting`).
    """
    for first in range(0, len(videos), WINDOW):
        window = [
            fitting(video, trained.info) for video in read(videos, range(first, min(first + WINDOW, len(videos))))
        ]
        found: dict[int, Prediction] = {}
        for chosen in batches([len(video.frame_time_s) for video in window], batch_size):
            answers = predict_batch(trained, [window[at] for at in chosen])
            found |= dict(zip(chosen, answers, strict=True))
        yield from (found[at] for at in range(len(window)))


def batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Places of videos of about the same length; fewer where they are long, for attention takes their square."""
    found: list[list[int]] = []
    for at in sorted(range(len(lengths)), key=lambda at: lengths[at]):
        if not found or len(found[-1]) == batch_size or (len(found[-1]) + 1) * lengths[at] ** 2 > PAIRS_AT_ONCE:
            found.append([])
        found[-1].append(at)
    return found


@flushed_denormals()
@torch.no_grad()
def predict_batch(trained: Trained, videos: Sequence[Video]) -> list[Prediction]:
    """One padded batch."""
    model = trained.model
    batch = collate(videos).to(trained.device)
    scores = model(batch)
    if issubclass(class_of(trained.settings.method, "objective"), Unlabelled):  # which teaches no boxes
        scores = replace(scores, frame_boxes=None)
    frames = frame_scores(scores, batch.frame_mask, getattr(model, "nms_overlap", None)).double().cpu().numpy()
    # Where the global text is shown as well, its tokens come after the sentences.
    shows_sentences = getattr(trained.settings.model, "text", "subtitles") in ("subtitles", "both")
    sentences = None
    if scores.sentence_logit is not None and shows_sentences:
        sentences = scores.sentence_logit.double().sigmoid().cpu().numpy()
    found = []
    for i, video in enumerate(videos):
        num = 0 if video.sentence_feature is None else len(video.sentence)
        found.append(
            Prediction(
                video=video,
                frame_score=frames[i, : len(video.frame_time_s)],
                sentence_score=None if sentences is None or not num else sentences[i, :num],
            )
        )
    return found


def fitting(video: Video, info: Info) -> Video:
    """`video` as the model of `info` takes it: text that it was not trained with is left out.

    Raises UsageError for no frames, for features of another size and for values that are not finite.
    """
    if not len(video.frame_time_s):
        raise UsageError(f"{video.video_id} has no frames")
    if video.frame_feature.shape[1] != info.frame_dim:
        raise UsageError(
            f"{video.video_id} has frame features of size {video.frame_feature.shape[1]}, the model takes "
            f"{info.frame_dim}; use features of the same kind (--features ROOT), or train with --init to adapt it"
        )
    if info.text_dim is None:
        video = replace(video, sentence_feature=None, step_feature=None, description_feature=None, global_feature=None)
    for name in ("frame_feature", *TEXT_FEATURES):
        value = getattr(video, name)
        if value is None:
            continue
        if name != "frame_feature" and value.shape[-1] != info.text_dim:
            raise UsageError(f"{video.video_id} has {name} of size {value.shape[-1]}, the model takes {info.text_dim}")
        if not np.isfinite(value).all():
            raise UsageError(f"{video.video_id}: {name} has values that are not finite (NaN or infinite)")
    return video
