"""What errors of the scores mean to the knapsack: SummDiff's WSE, CIS and WIR.

Kim et al., "SummDiff: Generative Modeling of Video Summarization with Diffusion", ICCV 2025 (arXiv 2510.08458). The
definitions are those of its code, Kwanseok-K/SummDiff@1d4b8ae model/utils/evaluation_metrics.py
(`evaluate_knapsack_opt`), which judges one prediction of each video of Mr. HiSum; the paper's text was not at hand. Of
several predictions of a video `measure` takes the mean.

Shots are items: w_i their frames, g_i their true and s_i their predicted score, e_i = s_i - g_i, W the capacity. O are
the shots of the reference summary, and V = Σ_O g_i. Shots longer than W are left out of all but V. An error does harm
where it leads away from O: e_i < 0 in O, or e_i > 0 outside. V_i is the best value with shot i forced out (i in O) or
in (i outside O).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsumdata.datasets.keyshots import budget_frames, full_rate, shot_scores, shots_of
from vsumdata.datasets.knapsack import knapsack
from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.video import Video

NAMES = ("wse", "cis", "wir")


class KnapsackErrors(NamedTuple):
    """NaN if no shot fits into the capacity.

    wse: Σ w_i·|e_i| over harmful errors, 0 without any. cis: Σ |e_i| over harmful errors + (largest V_i of a shot with
    one, or 0) - V. wir: the share of the frames that lie in shots whose error is within its tolerance.
    """

    wse: float
    cis: float
    wir: float


def of_video(frame_score: np.ndarray, video: Video, protocol: Protocol) -> dict[str, float]:
    """The three metrics of `frame_score` [T] against `gt_score` and `gt_summary`, by name.

    Raises ValueError if the video lacks shots or one of these.
    """
    if video.gt_score is None or video.gt_summary is None:
        raise ValueError(f"{video.video_id}: the knapsack's errors need gt_score and gt_summary")
    shots = shots_of(video)
    chosen = full_rate(video.gt_summary, shots, protocol) > 0
    bounds = shots.change_points + np.array([0, protocol.shots == "closed"])
    return errors(
        shot_scores(frame_score, shots, protocol),
        shot_scores(video.gt_score, shots, protocol),
        np.array([chosen[first:stop].any() for first, stop in bounds.tolist()]),
        shots.frames(protocol),
        budget_frames(shots, protocol),
    )._asdict()


def errors(
    score: np.ndarray, truth: np.ndarray, chosen: np.ndarray, frames: np.ndarray, capacity: int
) -> KnapsackErrors:
    """WSE, CIS and WIR of the shots' scores [C] against `truth` [C], of which `chosen`, bool [C], are the reference.

    `frames` int [C]. Shots without frames are left out; the official code divides by zero there.
    """
    # A product with 0 and 1, as in the official code: another order of the sum could break a tie at a bound.
    reference = float(chosen.astype(np.float64) @ truth)
    kept = (frames <= capacity) & (frames > 0)
    if not kept.any():
        return KnapsackErrors(np.nan, np.nan, np.nan)
    score, truth, chosen, frames = score[kept], truth[kept], chosen[kept], frames[kept]
    error = score - truth
    harmful = np.where(chosen, error < 0, error > 0)
    forced, price = _forced(truth, chosen, frames, capacity)
    # How far e_i may go: down for shots of O, where the first bound is not above 0; up for the others.
    slack = np.where(chosen, forced - reference, reference - forced)
    lowest = np.maximum(slack, frames * max(0.0, price.max()) - truth)
    highest = np.minimum(slack, truth - frames * min(0.0, price.min()))
    within = np.where(chosen, (error > lowest) | (error > 0), (error < highest) | (error < 0))
    return KnapsackErrors(
        wse=float((frames * np.abs(error))[harmful].sum()),
        cis=float(np.abs(error)[harmful].sum() - reference + max(0.0, forced[harmful].max(initial=0.0))),
        wir=float(frames[within].sum() / frames.sum()),
    )


def _forced(truth: np.ndarray, chosen: np.ndarray, frames: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """V_i of each shot [C], and the score per frame of the first of the other shots that no longer fits [C].

    The others are taken greedily, the best score per frame first; it is -1 where all fit.
    """
    forced, price = np.zeros(len(truth)), np.full(len(truth), -1.0)
    for at, inside in enumerate(chosen.tolist()):
        others = np.arange(len(truth)) != at
        values, weights = truth[others], frames[others]
        room = capacity if inside else capacity - int(frames[at])
        taken = np.zeros(len(values))
        taken[knapsack(values, weights, room, "pgl-sum")] = 1
        forced[at] = taken @ values + (0.0 if inside else truth[at])
        density = values / weights
        order = np.argsort(-density, kind="stable")
        beyond = np.flatnonzero(np.cumsum(weights[order]) > room)
        if len(beyond):
            price[at] = density[order[beyond[0]]]
    return forced, price
