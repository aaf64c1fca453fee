"""Scores of videos by a trained model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from scipy.special import expit

from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.video import Summary, Video, collate
from vsumdata.manifests.errors import UsageError
from vsumdata.train.data.batches import read
from vsumdata.train.loop import runs
from vsumdata.train.loop.runs import Info, Trained
from vsumdata.train.loop.stopping import flushed_denormals
from vsumdata.train.losses.boxes import frame_scores
from vsumdata.train.models.queried.spans import grid
from vsumdata.train.models.text import TextKind
from vsumdata.train.objectives.unlabelled import Unlabelled
from vsumdata.train.scoring.baselines import Trial
from vsumdata.train.scoring.evaluate import Words
from vsumdata.train.settings import class_of

# Videos held in memory, and sorted by length, at once.
WINDOW = 256
# Pairs of frames in a batch's attention. Its memory grows with the square of the length: 16 videos of two hours at
# 1 fps would take 3.3 GB for each head. A longer video makes a batch of its own.
PAIRS_AT_ONCE = 32 * 1024**2
TextTask = Literal["t", "b"]
# Embeds texts: [n,D].
Encode = Callable[[Sequence[str]], np.ndarray]
TEXT_FEATURES = ("sentence_feature", "step_feature", "description_feature", "global_feature")


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """Importance of one video's frames, float64 [T], and sentences, float64 [M], all in [0, 1].

    `sentence_score` is None if the model scores no sentences, or the video has none. A language model also has its own
    choice of frames, bool [T], and what it says of the video, each sentence with the times of its frames. `moments`
    [N,3] are start and end in s and score in [0,1] of proposed moments, the best first.
    """

    video: Video
    frame_score: np.ndarray
    sentence_score: np.ndarray | None
    frame_summary: np.ndarray | None = None
    summary: Summary | None = None
    moments: np.ndarray | None = None

    @property
    def video_id(self) -> str:
        return self.video.video_id


def predict(
    trained: Trained, videos: Sequence[Video], *, batch_size: int = 16, words: TextTask | None = None
) -> Iterator[Prediction]:
    """Score every video, in the order of `videos`, on the model's device and in float32.

    With `words` a language model also writes a text about each: `t` a text alone, `b` one that refers to frames.
    Videos are read in windows, so they may be more than memory holds. Raises UsageError for features that the model
    cannot take (see `fitting`).
    """
    for first in range(0, len(videos), WINDOW):
        window = [
            fitting(video, trained.info) for video in read(videos, range(first, min(first + WINDOW, len(videos))))
        ]
        found: dict[int, Prediction] = {}
        lengths = [len(video.frame_time_s) for video in window]
        for chosen in batches(lengths, batch_size, getattr(trained.model, "positions", None)):
            answers = predict_batch(trained, [window[at] for at in chosen], words)
            found |= dict(zip(chosen, answers, strict=True))
        yield from (found[at] for at in range(len(window)))


def batches(lengths: Sequence[int], batch_size: int, positions: int | None = None) -> list[list[int]]:
    """Group videos of about the same length, by index: at most `batch_size` a group, fewer if they are long.

    A model that is shown as much of every video attends to so many `positions`, whatever the length.
    """
    found: list[list[int]] = []
    for at in sorted(range(len(lengths)), key=lambda at: lengths[at]):
        pairs = (positions or lengths[at]) ** 2
        if not found or len(found[-1]) == batch_size or (len(found[-1]) + 1) * pairs > PAIRS_AT_ONCE:
            found.append([])
        found[-1].append(at)
    return found


# PGL-SUM's unscaled softmax saturates. On a CPU its denormal weights make it several times slower.
@flushed_denormals()
@torch.no_grad()
def predict_batch(trained: Trained, videos: Sequence[Video], words: TextTask | None = None) -> list[Prediction]:
    """Score one padded batch."""
    model: Any = trained.model
    batch = collate(videos).to(trained.device)
    scores = model(batch)
    said = model.write(batch, words) if words and hasattr(model, "write") else None
    # ViSP and CSUM train the frame logits alone. The box heads of DSNet and A2Summ keep their random weights there,
    # and their boxes would decide the scores.
    if issubclass(class_of(trained.settings.method, "objective"), Unlabelled):
        scores = replace(scores, frame_boxes=None)
    frames = frame_scores(scores, batch.frame_mask, getattr(model, "nms_overlap", None)).double().cpu().numpy()
    # With "both" the tokens of the global text follow the sentences; with "global" they stand in their place.
    shows_sentences = getattr(trained.settings.model, "text", "subtitles") in ("subtitles", "both")
    sentences = None
    if scores.sentence_logit is not None and shows_sentences:
        sentences = scores.sentence_logit.double().sigmoid().cpu().numpy()
    chosen = None if scores.frame_summary is None else scores.frame_summary.cpu().numpy()
    proposed = None if scores.moments is None else scores.moments.double().cpu().numpy()
    found = []
    for i, video in enumerate(videos):
        num = 0 if video.sentence_feature is None else len(video.sentence)
        found.append(
            Prediction(
                video=video,
                frame_score=frames[i, : len(video.frame_time_s)],
                sentence_score=None if sentences is None or not num else sentences[i, :num],
                frame_summary=None if chosen is None else chosen[i, : len(video.frame_time_s)],
                summary=said[i] if said else None,
                moments=None if proposed is None else ranked(proposed[i], video.frame_time_s),
            )
        )
    return found


def ranked(moments: np.ndarray, frame_time_s: np.ndarray) -> np.ndarray:
    """Proposed moments [N,3] within the video, the best first, with σ(logit) as score."""
    clip_s, start_s, lasts_s = grid(frame_time_s)
    # As in Moment-DETR's code: whole clips, from which the labels are made.
    ends = np.clip(np.round((moments[:, :2] - start_s) / clip_s) * clip_s, 0, lasts_s) + start_s
    score = expit(moments[:, 2])
    return np.column_stack([ends, score])[np.argsort(-score, kind="stable")]


def trial_of(answer: Prediction, rules: Protocol, encode: Encode | None = None, video: Video | None = None) -> Trial:
    """The prediction as `rules` judge it. `video`, by default the prediction's own, has the annotations.

    `encode` embeds texts in the space of the frames' features; without it, Cross-F_CLIP is left out.
    """
    video, words = video or answer.video, None
    if answer.summary is not None:
        texts = [str(each["text"]) for each in answer.summary if str(each["text"]).strip()]
        # Some videos have a reference in one text, without frames.
        known = [str(each["text"]) for each in video.summary or ()] or [each for each in [video.summary_text] if each]
        ours, theirs = (encode and (encode(part) if part else np.zeros((0, 1))) for part in (texts, known))
        words = Words(text=" ".join(texts), feature=ours, reference_feature=theirs)
    return Trial(
        video=video,
        frame_score=answer.frame_score,
        sentence_score=answer.sentence_score,
        summary=answer.frame_summary if rules.own_summary else None,
        words=words,
        moments=answer.moments,
    )


def fitting(video: Video, info: Info) -> Video:
    """`video` as the model of `info` takes it, without the text, sound or query that it was trained without.

    Raises UsageError if there are no frames, a feature has another size, or a value is not finite.
    """
    if not len(video.frame_time_s):
        raise UsageError(f"{video.video_id} has no frames")
    if video.frame_feature.shape[1] != info.frame_dim:
        raise UsageError(
            f"{video.video_id} has frame features of size {video.frame_feature.shape[1]}, the model takes "
            f"{info.frame_dim}; use features of the same kind (--features ROOT), or train with --init to adapt it"
        )
    wanted = dict.fromkeys(TEXT_FEATURES, info.text_dim)
    wanted |= {"audio_feature": info.audio_dim, "query_feature": info.query_dim}
    unread = [name for name, size in wanted.items() if size is None and getattr(video, name) is not None]
    if unread:
        nothing: dict[str, Any] = dict.fromkeys(unread)
        video = replace(video, **nothing)
    for name, size in (("frame_feature", info.frame_dim), *wanted.items()):
        value = getattr(video, name)
        if value is None:
            continue
        if value.shape[-1] != size:
            raise UsageError(f"{video.video_id} has {name} of size {value.shape[-1]}, the model takes {size}")
        # One NaN spreads through attention to all scores of the video, and in training to the weights.
        if not np.isfinite(value).all():
            raise UsageError(f"{video.video_id}: {name} has values that are not finite (NaN or infinite)")
    return video


def shown_text(trained: Trained, text: str | None) -> Trained:
    """`trained`, shown another text: `subtitles`, `global`, `both` or `none`.

    Raises UsageError for another word, or if the model always takes the same text.
    """
    if text is None:
        return trained
    options = trained.settings.model
    if text not in get_args(TextKind):
        raise UsageError(f"--text {text}: it is one of {', '.join(get_args(TextKind))}")
    if text == text_of(trained):
        return trained
    if "text" not in type(options).model_fields or trained.info.text_dim is None:
        raise UsageError(f"--text {text}: {trained.settings.method} of this run is always shown {text_of(trained)}")
    settings = trained.settings.model_copy(update={"model": options.model_copy(update={"text": text})})
    info = trained.info.model_copy(update={"settings": settings})
    # A model reads its options when it is built, so another choice needs another module with the same weights.
    model = runs.build(info).to(trained.device).eval()
    model.load_state_dict(trained.model.state_dict())
    return replace(trained, model=model, info=info)


def text_of(trained: Trained) -> str:
    """Which text the model is shown: `subtitles`, `global`, `both` or `none`."""
    if trained.info.text_dim is None:
        return "none"
    return str(getattr(trained.settings.model, "text", "subtitles"))
