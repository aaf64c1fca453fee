"""Videos with planted importance: what a method learns can be measured against a known ceiling.

Frame t lies in shot c, sentence m and step p. Each of these has a number of its own, u, v, w, all standard normal:

    z_t = √SHARES[0]·u_c + √SHARES[1]·v_m + √SHARES[2]·w_p        importance_t = Φ(z_t)

Each part is shown by one modality only, as y = part + noise·ε: u by the features of the shot's frames, v by the
sentence's, w by the step's. A feature is one fixed rotation of (y, key of the step, nuisance), and the key, which a
step and its frames have in common, tells which frames are the step's: all three parts have to be found and joined.

The best guess from all that is shown is `bayes`, E[importance_t | features] = Φ(g_t / √(1 + s)) with
g_t = (√SHARES[0]·y_c + √SHARES[1]·y_m + √SHARES[2]·y_p) / (1 + noise²) and s = noise² / (1 + noise²); it orders a pair
of frames rightly as often as anything can. Since g and z are jointly normal with r = 1/√(1 + noise²), over all frames
τ = 2/π·asin(r) and ρ = 6/π·asin(r/2). `oracle` knows the importance itself; chance is 0.

Nothing of this tells without labels what is important: with −u for u the features would be as likely. `theme` adds
what methods without labels (ViSP, CSUM) start from, that important frames show what no other video does: the nuisance
of a frame becomes a·θ + √(1 − a²)·ε, where θ is a vector of the video and a = theme·Φ(y_c / √(1 + noise²)) rises with
the shown part of the shot. Since θ depends on u through y alone, the ceiling stays. A video has `perspectives` such
vectors, one for each of its subjects; every shot shows one of them (`Planted.perspective`).

The annotations are as a benchmark has them. Each user sees z through noise of his own, one draw a shot; TVSum's scores
from 1 to 5 and SumMe's summaries are made of that; `gt_…` and the replay bins of all users' mean. `mean-user` may
thus beat `oracle`: it knows the users' noise too. No file is needed; this is nobody's work, so no licence applies.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import ndtr

from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.pipeline.errors import UsageError
from vsumdata.stages.features import replay_score
from vsumdata.train.keyshots import summary_from_scores

NAME = "synthetic"
PROTOCOL = protocol(NAME)
SHARES = (0.5, 0.3, 0.2)  # of the variance of z: shots, sentences, steps
FRAME_DIM, TEXT_DIM, KEY_DIM = 32, 24, 8
STRIDE = 15  # original frames from one pick to the next, as in eccv16_dataset_tvsum_google_pool5.h5
REPLAY_BINS = 100
SHOT_FRAMES, SENTENCE_FRAMES, STEP_FRAMES = (3, 9), (3, 7), (12, 30)
LEAST = {
    "videos": 1, "frames": 2, "users": 0, "noise": 0, "user_noise": 0, "theme": 0, "perspectives": 1, "seed": 0,
}  # fmt: skip
ROTATIONS = 20_241_121  # seeds the rotations, which are the same for all data: a model serves every seed of it


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What to plant; `noise` hides the parts in the features, `user_noise` makes users disagree (z has variance 1)."""

    videos: int = 50
    frames: int = 120  # on average
    users: int = 10
    noise: float = 0.5
    user_noise: float = 1.0
    theme: float = 0.0
    perspectives: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if not least <= value < float("inf"):
                raise UsageError(f"synthetic: {name}={value} must be a finite number, at least {least}")
        if self.theme > 1:
            raise UsageError(f"synthetic: theme={self.theme} must be at most 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class Planted:
    """A video, its importance, and the best guess at that which its features allow, both in (0,1)."""

    video: Video
    importance: np.ndarray  # [T]
    bayes: np.ndarray  # [T]
    perspective: np.ndarray  # int [T], which of the video's subjects is shown
    clearness: np.ndarray  # [T], how clearly: a


def parse(text: str) -> Spec:
    """The Spec of `videos=50,noise=0.3,seed=1`; what is not named keeps its default. Raises UsageError."""
    known: dict[str, Any] = {field.name: type(field.default) for field in fields(Spec)}
    found: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (word.strip() for word in part.partition("="))
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise UsageError(f"synthetic: no setting `{name}`; {hint}known are: {', '.join(known)}, as in videos=50")
        try:
            found[name] = known[name](value)
        except ValueError:
            raise UsageError(f"synthetic: {name}={value} is not {known[name].__name__}") from None
    return Spec(**found)


def load(path: str = "") -> list[Video]:
    """The videos; `path` is no file but a spec, see `parse`."""
    return [planted.video for planted in plant(parse(str(path)))]


def ceilings(path: str = "") -> dict[str, dict[str, np.ndarray]]:
    """The frame scores [T] of `oracle` and `bayes`, by video id, for the videos that `load(path)` gives."""
    planted = plant(parse(str(path)))
    return {
        "oracle": {each.video.video_id: each.importance for each in planted},
        "bayes": {each.video.video_id: each.bayes for each in planted},
    }


def expected_rank(spec: Spec) -> dict[str, dict[str, float]]:
    """τ and ρ against the planted importance over all frames, in closed form, of chance, bayes and oracle."""
    r = 1 / np.sqrt(1 + spec.noise**2)
    bayes = {"tau": float(2 / np.pi * np.arcsin(r)), "rho": float(6 / np.pi * np.arcsin(r / 2))}
    return {"chance": {"tau": 0.0, "rho": 0.0}, "bayes": bayes, "oracle": {"tau": 1.0, "rho": 1.0}}


def plant(spec: Spec) -> list[Planted]:
    """The videos of `spec`; video i does not depend on how many there are."""
    return [plant_one(spec, i) for i in range(spec.videos)]


def plant_one(spec: Spec, i: int) -> Planted:
    rng = np.random.default_rng([spec.seed, i])
    num_frames = int(rng.integers(max(spec.frames // 2, 2), spec.frames + spec.frames // 2 + 1))
    edges = [cut(rng, num_frames, *size) for size in (SHOT_FRAMES, SENTENCE_FRAMES, STEP_FRAMES)]
    hidden = [rng.standard_normal(len(edge) - 1) for edge in edges]
    shown = [part + spec.noise * rng.standard_normal(len(part)) for part in hidden]
    key = rng.standard_normal((len(shown[2]), KEY_DIM))
    shots, sentences, steps = edges
    theme, perspective = themes(spec, i, shown[0])
    video = Video(
        video_id=f"synthetic-{spec.seed}-{i:04}",
        title=f"How to do task {i // 2}",
        source="synthetic",
        duration_s=float(num_frames),
        task=f"task {i // 2}",  # two videos a task: a split must keep them together
        frame_time_s=np.arange(num_frames, dtype=np.float32),
        frame_feature=rotated(
            rng, FRAME_DIM, spread(shown[0], shots), spread(key, steps), [spread(part, shots) for part in theme]
        ),
        shot_start=shots[:-1].astype(np.int32),
        shot_stop=shots[1:].astype(np.int32),
        change_points=np.stack([shots[:-1] * STRIDE, shots[1:] * STRIDE - 1], axis=1),
        picks=np.arange(num_frames) * STRIDE,
        n_frames=num_frames * STRIDE,
        **texts(rng, sentences, shown[1], shown[2], key),
    )
    unknown = spec.noise**2 / (1 + spec.noise**2)  # variance that is left when the features are known
    z, guess = joined(hidden, edges), joined(shown, edges) / (1 + spec.noise**2)
    opinion = opinions(rng, spec, z, shots)
    return Planted(
        video=annotated(video, opinion),
        importance=ndtr(z),
        bayes=ndtr(guess / np.sqrt(1 + unknown)),
        perspective=spread(perspective, shots),
        clearness=spread(theme[0], shots),
    )


def themes(spec: Spec, i: int, shown: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """The share [C] and the vector [C,F] of the theme in each shot, and which of the perspectives [C] it shows."""
    rng = np.random.default_rng([spec.seed, i, 1])  # of its own: without a theme all else is as it was
    perspective = rng.integers(spec.perspectives, size=len(shown))
    vectors = rng.standard_normal((spec.perspectives, FRAME_DIM - 1 - KEY_DIM))
    return (spec.theme * ndtr(shown / np.sqrt(1 + spec.noise**2)), vectors[perspective]), perspective


def cut(rng: np.random.Generator, num_frames: int, least: int, most: int) -> np.ndarray:
    """Edges from 0 to `num_frames` of pieces of random length; the last one may be shorter."""
    lengths = rng.integers(least, most + 1, size=num_frames // least + 1)
    inner = np.cumsum(lengths)
    return np.concatenate([[0], inner[inner < num_frames], [num_frames]])


def spread(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """One value for each frame of a piece, from one for the piece."""
    return np.repeat(values, np.diff(edges), axis=0)


def joined(parts: Sequence[np.ndarray], edges: Sequence[np.ndarray]) -> np.ndarray:
    """The weighted sum of shots', sentences' and steps' values: [T]."""
    return np.sqrt(SHARES) @ np.stack([spread(part, edge) for part, edge in zip(parts, edges, strict=True)])


def rotated(
    rng: np.random.Generator, dim: int, signal: np.ndarray, key: np.ndarray, theme: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Features float32 [n,dim]: (signal, key, nuisance), turned by the rotation of this `dim`."""
    nuisance = rng.standard_normal((len(signal), dim - 1 - KEY_DIM))
    if theme:
        share, vector = theme[0][:, None], theme[1]
        nuisance = share * vector + np.sqrt(1 - share**2) * nuisance
    turn, _ = np.linalg.qr(np.random.default_rng([ROTATIONS, dim]).standard_normal((dim, dim)))
    return (np.column_stack([signal, key, nuisance]) @ turn).astype(np.float32)


def texts(
    rng: np.random.Generator, edges: np.ndarray, sentence: np.ndarray, step: np.ndarray, key: np.ndarray
) -> dict[str, Any]:
    """Video's fields of sentences and steps; frame k is second k, so `edges` are the sentences' seconds as well."""
    step_feature = rotated(rng, TEXT_DIM, step, key)
    step_text = [f"Do part {p + 1}." for p in range(len(step))]
    return {
        "sentence": [
            {"start_s": float(start), "end_s": float(end), "text": f"This is sentence {m + 1}."}
            for m, (start, end) in enumerate(pairwise(edges.tolist()))
        ],
        "sentence_feature": rotated(rng, TEXT_DIM, sentence, rng.standard_normal((len(sentence), KEY_DIM))),
        "step": [{"section": "", "headline": f"Part {p + 1}", "text": text} for p, text in enumerate(step_text)],
        "step_feature": step_feature,
        "global_text": " ".join(step_text),
        "global_feature": step_feature.mean(axis=0),
    }


def opinions(rng: np.random.Generator, spec: Spec, z: np.ndarray, shots: np.ndarray) -> np.ndarray:
    """What each user finds of each frame, in (0,1) and evenly spread: [U,T]."""
    own = rng.standard_normal((spec.users, len(shots) - 1))
    return ndtr((z + spec.user_noise * np.repeat(own, np.diff(shots), axis=1)) / np.sqrt(1 + spec.user_noise**2))


def annotated(video: Video, opinion: np.ndarray) -> Video:
    """`video` with what its users left behind; without users it stays bare."""
    if not len(opinion):
        return video
    mean = opinion.mean(axis=0)
    bins = heatmap(mean)
    return replace(
        video,
        gt_score=mean.astype(np.float32),
        gt_summary=summary_from_scores(mean, video, PROTOCOL)[video.picks].astype(np.int8),
        user_score=1 + np.minimum(np.floor(5 * opinion), 4),
        user_summary=np.stack([summary_from_scores(one, video, PROTOCOL) for one in opinion]).astype(np.int8),
        replay_bins=bins,
        replay_score=replay_score(len(video.frame_time_s), bins),
    )


def heatmap(score: np.ndarray) -> list[dict[str, float]]:
    """Bins of equal length over all T seconds, each the mean of its time, drawn from 0 to 1."""
    edges = np.linspace(0, len(score), REPLAY_BINS + 1)
    mean = np.diff(np.interp(edges, np.arange(len(score) + 1), np.concatenate([[0], np.cumsum(score)]))) / np.diff(
        edges
    )
    value = (mean - mean.min()) / max(float(np.ptp(mean)), 1e-12)  # a single shot and sentence: all 0
    return [
        {"start_s": start, "end_s": end, "value": height}
        for (start, end), height in zip(pairwise(edges.tolist()), value.tolist(), strict=True)
    ]
