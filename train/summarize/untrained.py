"""Summaries without a trained model: by replays, by CLIP and captions, or evenly spaced.

| method | importance of a frame | needs |
|---|---|---|
| replay | how often viewers replay it | a heatmap |
| step-cm | how similar its step is to what is said (TL;DW) | CLIP with both towers, speech or captions |
| frame-cm | how similar it is to what is said (TL;DW) | the same |
| uniform | 1 at equal distances | nothing |

In this order they are the default: on TL;DW's pseudo-summaries step-cm reached F1 58.3, frame-cm 53.1
(`benchmark/published.json`), and a heatmap is what people really watched.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np

from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.stages.encoders.clip import ClipText
from vsumdata.stages.encoders.hub import is_here
from vsumdata.stages.encoders.models import SEED, UNRESOLVED, Model, model_keys, resolve_asr, resolve_clip
from vsumdata.stages.encoders.recipes import has_text_tower
from vsumdata.train.benchmark import crossmodal
from vsumdata.train.benchmark.crossmodal import Encode
from vsumdata.train.loop.predict import Prediction
from vsumdata.train.scoring import baselines
from vsumdata.train.summarize import summary
from vsumdata.train.summarize.featurize import resolved
from vsumdata.train.summarize.kinds import Kind

REPLAY, STEP_CM, FRAME_CM, UNIFORM = METHODS = ("replay", "step-cm", "frame-cm", "uniform")
COMPARING = (STEP_CM, FRAME_CM)
NO_HEATMAP = (
    "the video has no heatmap; a root of `vsumdata run` has YouTube's, and so has the file NAME.info.json of "
    "`yt-dlp --write-info-json` beside NAME.mp4"
)
NO_WORDS = "nothing is said in it that is known; give --captions FILE"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The methods to try, best first, and why better ones are left out. `encode` is CLIP's text tower, if needed."""

    methods: tuple[str, ...]
    encode: Encode | None = None
    options: crossmodal.CrossModalOptions = field(default_factory=crossmodal.CrossModalOptions)
    left_out: tuple[str, ...] = ()


def checked(method: str | None) -> None:
    """Raise UsageError for a method that does not exist."""
    if method not in (None, *METHODS):
        raise UsageError(f"--method {method}: it is one of {', '.join(METHODS)}")


def choice(
    asked: str | None, kind: Kind, options: crossmodal.CrossModalOptions, *, replayed: bool, worded: bool | None
) -> Choice:
    """What can be tried: the method that was asked for, or all for which this machine has the weights.

    `replayed`: whether a heatmap is known. `worded`: whether sentences are known; None: a speech model must find them.
    Raises UsageError if the method that was asked for cannot be tried.
    """
    if asked == REPLAY and not replayed:
        raise UsageError(f"--method {REPLAY}: {NO_HEATMAP}")
    if asked in (REPLAY, UNIFORM):
        return Choice(methods=(asked,))
    if replayed and asked is None:
        return Choice(methods=(REPLAY,))
    try:
        # Nobody asked for a download of hundreds of megabytes.
        if worded is False:
            raise UsageError(NO_WORDS)
        encode = text_tower(kind, fetches=asked is not None)
        if worded is None:
            _hears(kind, fetches=asked is not None)
    except UsageError as error:
        if asked is not None:
            raise UsageError(f"--method {asked}: {error}") from error
        return Choice(methods=(UNIFORM,), left_out=(f"{REPLAY}: no heatmap", f"{' and '.join(COMPARING)}: {error}"))
    tried = (asked,) if asked else (*COMPARING, UNIFORM)
    return Choice(methods=tried, encode=encode, options=options, left_out=() if asked else (f"{REPLAY}: no heatmap",))


def text_tower(kind: Kind, *, fetches: bool) -> Encode:
    """The text tower of the CLIP that makes the kind's frames. Raises UsageError if it cannot be had.

    Without `fetches`, weights that are not on this machine cannot.
    """
    clip, folder = kind.loaded.manifest.features.clip, kind.loaded.folder
    if not has_text_tower(clip.model) or SEED.fullmatch(clip.weights):
        ClipText(clip.model, clip.weights)  # raises, with its own words
    key = model_keys(kind.loaded.manifest)["clip"]
    found = resolved(key, kind, functools.partial(resolve_clip, clip.model, clip.weights, folder))
    if not fetches and not is_here(found.location):
        name = f"{clip.weights} of CLIP {clip.model}"
        raise UsageError(f"the weights {name} are not on this machine; --method {STEP_CM} fetches them")
    return _tower(clip.model, clip.weights, found.location)


@functools.lru_cache(maxsize=1)
def _tower(model: str, weights: str, location: str) -> Encode:
    # Once for all files of a folder.
    return ClipText(model, weights, location).encode


def _hears(kind: Kind, *, fetches: bool) -> Model:
    """The speech model that finds the sentences. Raises UsageError if it cannot be had."""
    asr, folder = kind.loaded.manifest.asr, kind.loaded.folder
    key = model_keys(kind.loaded.manifest)["asr"]
    try:
        found = resolved(key, kind, functools.partial(resolve_asr, asr.engine, asr.model, folder))
    except UsageError as error:
        raise UsageError(f"{error}; or give --captions FILE") from error
    if found.identity == UNRESOLVED["identity"] or (not fetches and not is_here(found.location)):
        raise UsageError(f"Whisper {asr.model} is not on this machine; give --captions FILE")
    return found


@dataclass(frozen=True, kw_only=True)
class Scored:
    """How a video was scored: the method's name, the scores, and why better methods were left out."""

    method: str
    prediction: Prediction
    left_out: tuple[str, ...]


def score(video: Video, chosen: Choice) -> Scored:
    """Score the video by the first of the methods that it allows. Raises UsageError if it allows none."""
    left_out = list(chosen.left_out)
    for method in chosen.methods:
        found = _by(method, video, chosen)
        if isinstance(found, Prediction):
            return Scored(method=method, prediction=found, left_out=tuple(left_out))
        left_out.append(f"{method}: {found}")
    raise UsageError(f"{video.video_id}: --method {left_out[-1]}")


def _by(method: str, video: Video, chosen: Choice) -> Prediction | str:
    """The video's scores by one method, or why it has none."""
    if method == REPLAY:
        if video.replay_score is None or not len(video.replay_score):
            return NO_HEATMAP
        return Prediction(video=video, frame_score=np.asarray(video.replay_score, np.float64), sentence_score=None)
    if method == UNIFORM:
        trial = next(baselines.uniform(video, summary.rule_of(summary.BUDGET), 0))
        return Prediction(video=video, frame_score=trial.frame_score, sentence_score=None)
    if not video.sentence:
        return NO_WORDS
    text = crossmodal.sentence_features(video, chosen.encode)
    compare = crossmodal.step_cm if method == STEP_CM else crossmodal.frame_cm
    trial = next(compare(video, text, chosen.options))
    said = trial.sentence_score
    return Prediction(
        video=video,
        frame_score=spread(trial.frame_score),
        sentence_score=None if said is None else spread(said),
    )


def spread(score: np.ndarray) -> np.ndarray:
    """Cosines as scores in [0, 1]: the least becomes 0, the largest 1; equal ones 0.5."""
    # CLIP's cosines with texts lie between 0.1 and 0.4: as they are, a curve of them would look flat.
    least, most = float(np.min(score)), float(np.max(score))
    return np.full(len(score), 0.5) if most - least < 1e-9 else (score - least) / (most - least)
