"""Packs 11, 12, 14 and 16: summaries and scores of SumMe, TVSum and QFVS on real annotations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from tests.golden.answers import Answer, Pack, close, same
from tests.golden.tvsum_rows import user_scores

from vsumdata.datasets.benchmarks.summe import read_mat
from vsumdata.datasets.keyshots import summary_from_scores
from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.datasets.video import Video
from vsumdata.train.scoring.evaluate import evaluate, f1_of
from vsumdata.train.scoring.metrics import concept_match, f1_per_user

STEP = 15  # the picks of both data sets are every 15th frame
# The key of the pack -> the protocol, the metric and the factor that give it.
SUMME = {
    "f1_max_percent": ("pgl-sum-summe", "f1", 100),
    "f1_stored_percent": ("pgl-sum-summe", "f1", 100),
    "f1_avg_percent": ("pgl-sum", "f1", 100),
    "csta_tau": ("csta-summe", "tau", 1),
    "csta_rho": ("csta-summe", "rho", 1),
}


def summe(pack: Pack) -> Iterator[Answer]:
    totals: dict[tuple[str, str], list[float]] = {}
    for video_id, expected in pack["videos"].items():
        n_frames = expected["n_frames"]
        users = np.unpackbits(pack.arrays[f"{video_id}/user_summary_bits"], axis=1)[:, :n_frames]
        picks = np.arange(0, n_frames, STEP)
        video = _video(
            video_id, picks, user_summary=users, change_points=pack.arrays[f"{video_id}/change_points"].astype(int),
            n_frames=n_frames,
        )  # fmt: skip
        yield same(f"{video_id} users", len(users), expected["users"])
        for model, theirs in expected["models"].items():
            scores, case = pack.arrays[f"{video_id}/score/{model}"], f"{video_id} {model}"
            for key, (rules, metric, factor) in SUMME.items():
                ours = factor * evaluate(scores, video, PROTOCOLS[rules]).values[metric]
                totals.setdefault((model, key), []).append(ours)
                yield close(f"{case} {key}", ours, theirs[key], pack.tolerance("F1" if factor > 1 else "tau"))
            summary = summary_from_scores(scores, video, PROTOCOLS["pgl-sum"])
            starts = np.asarray(video.change_points)[:, 0]
            yield same(f"{case} shots", np.flatnonzero(summary[starts]).tolist(), theirs["selected_shots"])
        yield from _people(pack, video_id, users)
    for model, means in pack.get("mean", {}).items():
        for key, mean in means.items():
            yield close(f"mean {model} {key}", float(np.mean(totals[model, key])), mean, 1e-6 if "f1" in key else 1e-9)


def _people(pack: Pack, video_id: str, users: np.ndarray) -> Iterator[Answer]:
    """Each user against all others: the mean or the best of the others, then the worst, mean and best user."""
    expected = pack.get("human_rethinking_evs", {}).get(video_id)
    if not expected:
        return
    each = [np.delete(f1_per_user(users[at], users), at) for at in range(len(users))]
    for key, of_user in (("mean_f1", [row.mean() for row in each]), ("max_f1", [row.max() for row in each])):
        for word, ours in (("worst", min(of_user)), ("avg", np.mean(of_user)), ("best", max(of_user))):
            yield close(f"{video_id} people {key} {word}", float(ours), expected[key][word], 1e-9)


def _video(video_id: str, picks: np.ndarray, **annotated: object) -> Video:
    fields: dict = {
        "video_id": video_id,
        "frame_time_s": picks.astype(np.float32),
        "frame_feature": np.zeros((len(picks), 0), np.float32),
        "picks": picks,
    }
    return Video(**fields | annotated)


def tvsum(pack: Pack) -> Iterator[Answer]:
    rows = user_scores(pack.annotations)
    for video_id, expected in pack["videos"].items():
        users = rows[expected["youtube_id"]]
        yield same(f"{video_id} frames", users.shape[1], expected["n_frames"])
        picks = np.arange(0, users.shape[1], STEP)
        video = _video(video_id, picks, user_score=users[:, picks], n_frames=users.shape[1])
        gt_score = (users.mean(0)[picks] - 1) / 4
        yield close(f"{video_id} gtscore", gt_score, pack.arrays[f"{video_id}/gtscore"], 1e-6)
        for model, theirs in expected["models"].items():
            scores = pack.arrays[f"{video_id}/score/{model}"]
            for name in ("csta", "ca-sum", "tvsum"):
                # The file has no shots of TVSum, so no F1.
                ranks = evaluate(scores, video, replace(PROTOCOLS[name], metrics=("tau", "rho"))).values
                for metric in ("tau", "rho"):
                    case = f"{video_id} {model} {name} {metric}"
                    yield close(case, ranks[metric], theirs[metric], pack.tolerance())


def examples(pack: Pack) -> Iterator[Answer]:
    """Summaries that two evaluation codes bring as examples, against the users of SumMe."""
    near = pack.tolerance()
    for video_id, expected in pack.get("por", {}).items():
        users = _users(pack, expected["name"])
        summary = _chosen(expected)
        for key, rules in (("official_max_percent", "pgl-sum-summe"), ("official_avg_percent", "pgl-sum")):
            ours = 100 * f1_of(summary, users, PROTOCOLS[rules])
            yield close(f"por {video_id} {key}", ours, expected[key], near)
    for name, expected in pack.get("rethinking_evs", {}).items():
        f1 = f1_per_user(_chosen(expected), _users(pack, name), lengths="pad")
        for key, ours in (("min", f1.min()), ("mean", f1.mean()), ("max", f1.max())):
            yield close(f"rethinking-evs {name} {key}", float(ours), expected[key], near)


def _chosen(expected: dict) -> np.ndarray:
    summary = np.zeros(expected["n"], bool)
    for first, stop in expected["chosen_half_open"]:
        summary[first:stop] = True
    return summary


def _users(pack: Pack, name: str) -> np.ndarray:
    return np.asarray(read_mat(pack.benchmarks / "SumMe" / "GT" / f"{name}.mat")["user_score"].T > 0)


def qfvs(pack: Pack) -> Iterator[Answer]:
    tags = _tags(pack.benchmarks / "QFVS" / "Tags.mat")
    for case in pack["cases"]:
        # Shots count from 1 in the data set's text files.
        ours, theirs = (
            tags[case["video"] - 1][np.array(case[key]) - 1] for key in ("summary_shots", "reference_shots")
        )
        for key, value in concept_match(ours, theirs)._asdict().items():
            yield close(f"{case['name']} {key}", value, case[key], pack.tolerance())


def _tags(path: Path) -> list[np.ndarray]:
    """The concepts of each shot of the four videos, [shots,48]."""
    videos = loadmat(path)["Tags"].ravel()
    return [np.array([np.ravel(shot) for shot in video["Bin_Vecs"].ravel()]) for video in videos]
