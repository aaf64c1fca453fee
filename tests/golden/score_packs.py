"""Packs 04, 06 and 07: rank correlations on TVSum, its annotators' agreement, and chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from tests.golden.answers import Answer, Pack, close, same
from tests.golden.tvsum_rows import user_scores

from vsumdata.datasets.knapsack import knapsack
from vsumdata.datasets.protocol import PROTOCOLS, Protocol
from vsumdata.datasets.video import Video
from vsumdata.train.scoring import agreement, chance
from vsumdata.train.scoring.evaluate import evaluate
from vsumdata.train.scoring.metrics_highlights import trapezoidal_ap

_RANKS = ("tau", "rho")
# These packs give MR.HiSum closed shots and their inclusive lengths, where its own layout is half-open.
_MRHISUM = replace(PROTOCOLS["mr-hisum"], metrics=("f1", *_RANKS), shots="closed")
RULES: dict[str, Protocol] = {
    "CA-SUM per_user": replace(PROTOCOLS["ca-sum"], metrics=_RANKS),
    "CSTA TVSum per_user": replace(PROTOCOLS["csta"], metrics=_RANKS),
    "CSTA SumMe-way summary_vs_mean": replace(PROTOCOLS["csta-summe"], metrics=_RANKS),
    "MSVA summary_vs_mean": replace(PROTOCOLS["msva"], metrics=_RANKS),
    "MSVA F1 avg": replace(PROTOCOLS["msva"], metrics=("f1",)),
    "MR.HiSum summary_vs_mean": replace(_MRHISUM, metrics=_RANKS),
    "MR.HiSum F1 avg percent": replace(_MRHISUM, metrics=("f1",)),
    "VideoXum scores_vs_mean (sigmoid, float32)": replace(PROTOCOLS["videoxum"], metrics=_RANKS),
    "scores_vs_mean plain float64 (own call of scipy)": Protocol(
        name="plain", metrics=_RANKS, rank="scores-vs-mean", constant_rank="nan"
    ),
}


def uniform_shots(num_frames: int, length: int) -> np.ndarray:
    """Return closed shots of `length` frames, the last one shorter."""
    first = np.arange(0, num_frames, length)
    return np.stack([first, np.append(first[1:], num_frames) - 1], 1)


def user_summaries(scores: np.ndarray, shots: np.ndarray) -> np.ndarray:
    """Make each user's keyshots of 15 % from the user's mean score in each shot (rethinking-evs, tools/summarizer)."""
    lengths = shots[:, 1] - shots[:, 0] + 1
    summaries = np.zeros(scores.shape, np.uint8)
    for user, row in enumerate(scores):
        means = np.array([row[first : last + 1].mean() for first, last in shots])
        for shot in knapsack(means, lengths, int(len(row) * 0.15)):
            summaries[user, shots[shot, 0] : shots[shot, 1] + 1] = 1
    return summaries


def as_video(video_id: str, scores: np.ndarray, stride: int, shot_frames: int) -> Video:
    total = scores.shape[1]
    picks = np.arange(0, total, stride)
    shots = uniform_shots(total, shot_frames)
    return Video(
        video_id=video_id,
        frame_time_s=picks.astype(np.float32),
        frame_feature=np.zeros((len(picks), 0), np.float32),
        user_score=scores[:, ::stride],
        user_summary=user_summaries(scores, shots),
        change_points=shots,
        picks=picks,
        n_frames=total,
    )


def _measured(frame_score: np.ndarray, video: Video, key: str) -> list[float]:
    values = list(evaluate(frame_score, video, RULES[key]).values.values())
    return [100 * value for value in values] if "percent" in key else values


def _compared(name: str, ours: Any, expected: Mapping[str, Any], pack: Pack) -> Iterator[Answer]:
    for key, theirs in expected.items():
        # F1 of MSVA and MR.HiSum sums in float32 or adds 1e-8 per frame: pack 03 states 1e-6.
        tolerance = 1e-6 if " F1 " in key else pack.tolerance(key.split()[0])
        yield close(f"{name} {key}", ours(key), theirs, tolerance, relative=" F1 " in key)


def ranks(pack: Pack) -> Iterator[Answer]:
    params = pack["params"]
    first, last = params["users"]
    videos, predictions = {}, {}
    for at, (video_id, scores) in enumerate(user_scores(pack.annotations).items()):
        base = scores[first:last].mean(0)[:: params["stride"]]
        noise = np.random.default_rng(params["seed"] + at).standard_normal(len(base))
        predictions[video_id] = base + params["sigma"] * noise
        videos[video_id] = as_video(video_id, scores, params["stride"], params["shot_frames"])
    for video_id, expected in pack.get("per_video", {}).items():
        yield close(f"{video_id} predictor", predictions[video_id][:3], expected["predictor_first3"], 1e-12)
        yield from _compared(
            video_id, lambda key, v=video_id: _measured(predictions[v], videos[v], key), expected["results"], pack
        )
    yield from _compared(
        f"mean of {len(videos)}",
        lambda key: np.mean([_measured(predictions[v], videos[v], key) for v in videos], 0).tolist(),
        pack.get("mean_over_50_videos", {}),
        pack,
    )
    for name, cases in pack.content.items():
        if not name.startswith("constant_scores"):
            continue
        value = float(name.removeprefix("constant_scores_").replace("_", "."))
        for video_id, expected in cases.items():
            constant = np.full(len(predictions[video_id]), value)
            yield from _compared(
                f"{video_id} constant {value}",
                lambda key, c=constant, v=video_id: _measured(c, videos[v], key),
                expected,
                pack,
            )


def _human(scores: np.ndarray, step: int) -> dict[str, Any]:
    rate, seen = ("full_rate", scores) if step == 1 else (f"step_{step}", scores[:, ::step])
    measured: dict[str, Any] = {
        f"pairwise/{rate}": agreement.between_users(seen),
        f"user_vs_mean_of_other_19/{rate}": agreement.against_the_others(seen),
        f"mean_of_20_vs_each_user/{rate}": agreement.mean_against_users(seen),
    }
    if step == 1:
        measured["pairwise_tau_a/full_rate"] = _tau_a(scores)
        shots = uniform_shots(scores.shape[1], 60)
        measured["keyshot_f1_min_mean_max"] = agreement.summary_f1(user_summaries(scores, shots))
    return measured


def _tau_a(scores: np.ndarray) -> float:
    """Return the mean τ-a over all pairs of users: τ-b without its correction for ties."""
    tau, _ = agreement.pairwise(scores)
    total = scores.shape[1] * (scores.shape[1] - 1) / 2
    counts = [np.unique(row, return_counts=True)[1] for row in scores]
    untied = np.array([1 - (count * (count - 1) / 2).sum() / total for count in counts])
    return float((tau * np.sqrt(np.outer(untied, untied)))[np.triu_indices(len(scores), 1)].mean())


def humans(pack: Pack) -> Iterator[Answer]:
    rows = user_scores(pack.annotations)
    measured = {video_id: _human(scores, 1) | _human(scores, 15) for video_id, scores in rows.items()}
    constant = [video_id for video_id, scores in rows.items() if (np.ptp(scores, axis=1) == 0).any()]
    yield same("videos with a constant user", constant, pack.get("constant_users", constant))
    for video_id, expected in pack.get("per_video", {}).items():
        yield same(f"{video_id} frames", rows[video_id].shape[1], expected["n_frames"])
        for key in measured[video_id].keys() & expected.keys():
            yield close(f"{video_id} {key}", measured[video_id][key], expected[key], pack.tolerance())
    for key, theirs in pack.get("mean_over_50_videos", {}).items():
        if key in next(iter(measured.values())):
            mean = np.mean([values[key] for values in measured.values()], 0)
            yield close(f"mean of {len(rows)} {key}", mean.tolist(), theirs, pack.tolerance())


def chances(pack: Pack) -> Iterator[Answer]:
    near = pack.tolerance()
    for row in pack.get("ap", ()):
        name = f"n={row['n']} k={row['k']}"
        for kind, expected in (("standard", chance.average_precision), ("trapezoidal", chance.trapezoidal_ap)):
            for key in (f"expected_{kind}_ap", f"enumerated_{kind}_ap"):
                if key in row:
                    yield close(f"{name} {key}", expected(row["n"], row["k"]), row[key], near)
    for row in pack.get("mr_hisum", ()):
        clips = -(-row["n_frames"] // 5)
        yield same(f"{row['n_frames']} frames: clips", [clips, clips // 2, int(clips * 0.15)], _counts(row))
        for share, count in (("50", row["k50"]), ("15", row["k15"])):
            ours = chance.average_precision(row["clips"], count)
            yield close(f"{row['n_frames']} frames: MAP{share}", ours, row[f"chance_map{share}"], near)
    for row in pack.get("random_f1", ()):
        yield close(f"F1 p={row['p']} q={row['q']}", chance.f1(row["p"], row["q"]), row["expected_f1"], near)
    if sets := pack.get("random_f1_enumerated", {}):
        ours = chance.f1(sets["size_a"] / sets["n"], sets["size_b"] / sets["n"])
        for key in ("expected", "enumerated"):
            yield close(f"F1 of sets, {key}", ours, sets[key], near)
    for row in pack.get("rank_correlation_sd", ()):
        yield close(f"sd of tau, n={row['n']}", chance.tau_deviation(row["n"]), row["sd_tau"], near)
        yield close(f"sd of rho, n={row['n']}", chance.rho_deviation(row["n"]), row["sd_rho"], near)
    for row in pack.get("ap_examples", ()):
        yield from _example(row, near)


def _counts(row: Mapping[str, int]) -> list[int]:
    return [row["clips"], row["k50"], row["k15"]]


def _example(row: Mapping[str, Any], near: float) -> Iterator[Answer]:
    from vsumdata.train.scoring.metrics_highlights import average_precision

    relevance = np.array(row["relevance"])
    falling = -np.arange(len(relevance), dtype=float)
    yield close(f"{row['relevance']} standard", average_precision(relevance, falling), row["standard"], near)
    yield close(f"{row['relevance']} trapezoidal", trapezoidal_ap(relevance), row["trapezoidal"], near)
