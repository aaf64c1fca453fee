"""Videos with planted importance, to measure what a method learns against a known ceiling.

Frame t lies in shot c, sentence m and step p. Each shot has a number u, each sentence v, each step w, all standard
normal:

    z_t = √SHARES[0]·u_c + √SHARES[1]·v_m + √SHARES[2]·w_p        importance_t = Φ(z_t)

Only one modality shows each part, as y = part + noise·ε: the features of the shot's frames show u, the sentence's
feature shows v, the step's feature shows w. A feature is a fixed rotation of (y, key of the step, nuisance). A step
and its frames have the same key, so the key tells which frames belong to the step. A method must find all three parts
and join them.

The best guess from the features is `bayes`: E[importance_t | features] = Φ(g_t / √(1 + s)) with
g_t = (√SHARES[0]·y_c + √SHARES[1]·y_m + √SHARES[2]·y_p) / (1 + noise²) and s = noise² / (1 + noise²). No other guess
orders more pairs of frames correctly. g and z are jointly normal with correlation r = 1/√(1 + noise²). So over all
frames τ = 2/π·asin(r) and ρ = 6/π·asin(r/2). `oracle` knows the importance itself; chance is 0.

Without labels, nothing in these features tells what is important: u and −u give equally likely features. Methods
without labels (ViSP, CSUM) assume that important frames show what no other video shows. `theme` plants this: the
nuisance of a frame becomes a·θ + √(1 − a²)·ε. θ is a vector of the video, and a = theme·Φ(y_c / √(1 + noise²)) rises
with the shown part of the shot. θ depends on u through y alone, so the ceiling stays. A video has `perspectives` such
vectors, one for each of its subjects. Each shot shows one of them (`Planted.perspective`).

Sound shows nothing of all this, and by default there is none. `audio` plants a fourth part there. Each sound has a
number n, standard normal, and z_t becomes √(1 − audio)·z_t + √audio·n for the frames under it. The sound's feature
alone shows n, with the same noise. So all of the above holds for the new z, bayes included.

The annotations have a benchmark's form. Each user sees z through noise of their own, one draw a shot; from that come
scores of 1 to 5 (as in TVSum) and summaries (as in SumMe). `gt_…` and the replay bins come from the users' mean. So
`mean-user` may beat `oracle`: it knows the users' noise too. No file is needed, and no licence applies.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import ndtr

from vsumdata.datasets.keyshots import summary_from_scores
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.reference import replay_score
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "synthetic"
PROTOCOL = protocol(NAME)
SHARES = (0.5, 0.3, 0.2)  # of the variance of z: shots, sentences, steps; their sum is 1, so z has variance 1
FRAME_DIM, TEXT_DIM, AUDIO_DIM, KEY_DIM = 32, 24, 20, 8
STRIDE = 15  # original frames from one pick to the next, as in eccv16_dataset_tvsum_google_pool5.h5
REPLAY_BINS = 100
SHOT_FRAMES, SENTENCE_FRAMES, STEP_FRAMES, SOUND_FRAMES = (3, 9), (3, 7), (12, 30), (3, 9)
LEAST = {
    "videos": 1, "frames": 2, "users": 0, "noise": 0, "user_noise": 0, "theme": 0, "perspectives": 1, "audio": 0,
    "seed": 0,
}  # fmt: skip
MOST = {"theme": 1, "audio": 1}
# The seed of the rotations. It is the same for all data, so a model trained on one seed's videos works on another's.
ROTATIONS = 20_241_121


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What to plant. Raises UsageError for a number out of its range."""

    videos: int = 50
    frames: int = 120  # of a video, on average
    users: int = 10
    noise: float = 0.5  # standard deviation of what hides the parts in the features (a part has 1)
    user_noise: float = 1.0  # standard deviation of a user's own view of z (z has 1)
    theme: float = 0.0  # 0 to 1: how clearly important frames show their video's theme
    perspectives: int = 1  # subjects of a video
    audio: float = 0.0  # 0 to 1: the share of z's variance that sound alone shows; 0: no sound
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if not least <= value < float("inf"):
                raise UsageError(f"synthetic: {name}={value} must be a finite number, at least {least}")
        for name, most in MOST.items():
            if getattr(self, name) > most:
                raise UsageError(f"synthetic: {name}={getattr(self, name)} must be at most {most}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Planted:
    """A video, its importance, and the best guess that its features allow."""

    video: Video
    importance: np.ndarray  # [T] in (0,1)
    bayes: np.ndarray  # [T] in (0,1)
    perspective: np.ndarray  # int [T], the subject that the frame shows
    clearness: np.ndarray  # [T], how clearly it shows it: a


def parse(text: str) -> Spec:
    """The Spec of a text such as `videos=50,noise=0.3,seed=1`. Other fields keep their defaults. Raises UsageError."""
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
    """The videos. `path` is not a file but a spec, see `parse`."""
    return [planted.video for planted in plant(parse(str(path)))]


def ceilings(path: str = "") -> dict[str, dict[str, np.ndarray]]:
    """The frame scores [T] of `oracle` and `bayes` by video id, for the videos of `load(path)`."""
    planted = plant(parse(str(path)))
    return {
        "oracle": {each.video.video_id: each.importance for each in planted},
        "bayes": {each.video.video_id: each.bayes for each in planted},
    }


def expected_rank(spec: Spec) -> dict[str, dict[str, float]]:
    """τ and ρ of chance, bayes and oracle against the planted importance over all frames, in closed form."""
    r = 1 / np.sqrt(1 + spec.noise**2)
    bayes = {"tau": float(2 / np.pi * np.arcsin(r)), "rho": float(6 / np.pi * np.arcsin(r / 2))}
    return {"chance": {"tau": 0.0, "rho": 0.0}, "bayes": bayes, "oracle": {"tau": 1.0, "rho": 1.0}}


def plant(spec: Spec) -> list[Planted]:
    """The videos of `spec`. Video i is the same for any number of videos."""
    return [plant_one(spec, i) for i in range(spec.videos)]


def plant_one(spec: Spec, i: int) -> Planted:
    """Video number i of `spec`."""
    # The order of draws from `rng` below decides all data: a draw more or less changes every planted video.
    rng = np.random.default_rng([spec.seed, i])
    num_frames = int(rng.integers(max(spec.frames // 2, 2), spec.frames + spec.frames // 2 + 1))
    edges = [cut(rng, num_frames, *size) for size in (SHOT_FRAMES, SENTENCE_FRAMES, STEP_FRAMES)]
    hidden = [rng.standard_normal(len(edge) - 1) for edge in edges]
    shown = [part + spec.noise * rng.standard_normal(len(part)) for part in hidden]
    key = rng.standard_normal((len(shown[2]), KEY_DIM))
    shots, sentences, steps = edges
    theme, perspective = themes(spec, i, shown[0])
    sound = sounds(spec, i, num_frames)
    video = Video(
        video_id=f"synthetic-{spec.seed}-{i:04}",
        title=f"How to do task {i // 2}",
        source="synthetic",
        duration_s=float(num_frames),
        # Two videos share a task, so that tests can see whether a split keeps them together.
        task=f"task {i // 2}",
        frame_time_s=np.arange(num_frames, dtype=np.float32),
        frame_feature=rotated(
            rng, FRAME_DIM, spread(shown[0], shots), spread(key, steps), [spread(part, shots) for part in theme]
        ),
        audio_feature=sound.feature if spec.audio else None,
        shot_start=shots[:-1].astype(np.int32),
        shot_stop=shots[1:].astype(np.int32),
        change_points=np.stack([shots[:-1] * STRIDE, shots[1:] * STRIDE - 1], axis=1),
        picks=np.arange(num_frames) * STRIDE,
        n_frames=num_frames * STRIDE,
        **texts(rng, sentences, shown[1], shown[2], key),
    )
    # The variance of z that remains when the features are known: s above.
    unknown = spec.noise**2 / (1 + spec.noise**2)
    z = heard(spec, joined(hidden, edges), sound.hidden)
    guess = heard(spec, joined(shown, edges), sound.shown) / (1 + spec.noise**2)
    opinion = opinions(rng, spec, z, shots)
    return Planted(
        video=annotated(video, opinion),
        importance=ndtr(z),
        bayes=ndtr(guess / np.sqrt(1 + unknown)),
        perspective=spread(perspective, shots),
        clearness=spread(theme[0], shots),
    )


def themes(spec: Spec, i: int, shown: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """The theme of each shot: its share [C], its vector [C,F], and the perspective [C] that the shot shows."""
    # A generator of its own: with `rng`, switching the theme on would change all other draws too.
    rng = np.random.default_rng([spec.seed, i, 1])
    perspective = rng.integers(spec.perspectives, size=len(shown))
    vectors = rng.standard_normal((spec.perspectives, FRAME_DIM - 1 - KEY_DIM))
    return (spec.theme * ndtr(shown / np.sqrt(1 + spec.noise**2)), vectors[perspective]), perspective


@dataclass(frozen=True, kw_only=True, eq=False)
class Sound:
    """What is heard in each frame."""

    hidden: np.ndarray  # [T], n
    shown: np.ndarray  # [T], n and its noise
    feature: np.ndarray  # [T,A]


def sounds(spec: Spec, i: int, num_frames: int) -> Sound:
    """The sound of video number i."""
    # A generator of its own, for the reason that `themes` has one.
    rng = np.random.default_rng([spec.seed, i, 2])
    edges = cut(rng, num_frames, *SOUND_FRAMES)
    hidden = rng.standard_normal(len(edges) - 1)
    shown = hidden + spec.noise * rng.standard_normal(len(hidden))
    key = rng.standard_normal((len(hidden), KEY_DIM))
    return Sound(
        hidden=spread(hidden, edges),
        shown=spread(shown, edges),
        feature=rotated(rng, AUDIO_DIM, spread(shown, edges), spread(key, edges)),
    )


def heard(spec: Spec, seen: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """z of what is seen and said, and of the sound: [T]."""
    return np.sqrt(1 - spec.audio) * seen + np.sqrt(spec.audio) * sound


def cut(rng: np.random.Generator, num_frames: int, least: int, most: int) -> np.ndarray:
    """The edges, from 0 to `num_frames`, of pieces of random length `least` to `most`. The last may be shorter."""
    lengths = rng.integers(least, most + 1, size=num_frames // least + 1)
    inner = np.cumsum(lengths)
    return np.concatenate([[0], inner[inner < num_frames], [num_frames]])


def spread(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Repeat each piece's value for each of its frames."""
    return np.repeat(values, np.diff(edges), axis=0)


def joined(parts: Sequence[np.ndarray], edges: Sequence[np.ndarray]) -> np.ndarray:
    """The weighted sum of the values of shots, sentences and steps: [T]."""
    return np.sqrt(SHARES) @ np.stack([spread(part, edge) for part, edge in zip(parts, edges, strict=True)])


def rotated(
    rng: np.random.Generator, dim: int, signal: np.ndarray, key: np.ndarray, theme: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Features float32 [n,dim]: (signal, key, nuisance), rotated by the one rotation of this `dim`."""
    nuisance = rng.standard_normal((len(signal), dim - 1 - KEY_DIM))
    if theme:
        share, vector = theme[0][:, None], theme[1]
        # The root keeps the variance at 1: a theme must not show by the length of a feature.
        nuisance = share * vector + np.sqrt(1 - share**2) * nuisance
    turn, _ = np.linalg.qr(np.random.default_rng([ROTATIONS, dim]).standard_normal((dim, dim)))
    return (np.column_stack([signal, key, nuisance]) @ turn).astype(np.float32)


def texts(
    rng: np.random.Generator, edges: np.ndarray, sentence: np.ndarray, step: np.ndarray, key: np.ndarray
) -> dict[str, Any]:
    """The fields of Video about sentences and steps. Frame k is second k, so `edges` are also times in seconds."""
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
    """Each user's opinion of each frame, [U,T] in (0,1)."""
    own = rng.standard_normal((spec.users, len(shots) - 1))
    # Divided by its standard deviation, z plus noise is standard normal, so Φ spreads opinions evenly.
    return ndtr((z + spec.user_noise * np.repeat(own, np.diff(shots), axis=1)) / np.sqrt(1 + spec.user_noise**2))


def annotated(video: Video, opinion: np.ndarray) -> Video:
    """`video` with the annotations of its users; without users it stays as it is."""
    if not len(opinion):
        return video
    mean = opinion.mean(axis=0)
    bins = heatmap(mean)
    return replace(
        video,
        gt_score=mean.astype(np.float32),
        gt_summary=summary_from_scores(mean, video, PROTOCOL)[video.picks].astype(np.int8),
        # Φ rounds to 1.0 far out, which would be a score of 6.
        user_score=1 + np.minimum(np.floor(5 * opinion), 4),
        user_summary=np.stack([summary_from_scores(one, video, PROTOCOL) for one in opinion]).astype(np.int8),
        replay_bins=bins,
        replay_score=replay_score(len(video.frame_time_s), bins),
    )


def heatmap(score: np.ndarray) -> list[dict[str, float]]:
    """Bins of equal length over all T seconds. A bin is the mean score of its time, scaled to 0 to 1."""
    # By the integral: bins are shorter than a second in a short video, and hold no frame of their own.
    edges = np.linspace(0, len(score), REPLAY_BINS + 1)
    mean = np.diff(np.interp(edges, np.arange(len(score) + 1), np.concatenate([[0], np.cumsum(score)]))) / np.diff(
        edges
    )
    # With a single shot and sentence all bins are equal; the floor avoids 0 / 0, and they become 0.
    value = (mean - mean.min()) / max(float(np.ptp(mean)), 1e-12)
    return [
        {"start_s": start, "end_s": end, "value": height}
        for (start, end), height in zip(pairwise(edges.tolist()), value.tolist(), strict=True)
    ]
