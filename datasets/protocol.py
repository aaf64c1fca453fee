"""How a benchmark is scored: everything in which the field's code bases differ, as one value with a name.

The name of the protocol stands beside every number. A preset follows the named code base, its errors included; ours
are `tvsum`, `summe`, `mrhisum`, `bliss`, `wikihow-summaries`, `videoxum`, `synthetic`. Sources: the evaluation code of
e-apostolidis/PGL-SUM 81d0d6d, e-apostolidis/CA-SUM 43eee5d, thswodnjs3/CSTA b070f7d, ok1zjf/VASNet c378753,
TIBHannover/MSVA dad26a6, li-plus/DSNet 1804176, boheumd/A2Summ 5c7dcea, MRHiSum/MR.HiSum aeb667f, TencentARC/UMT
bde05e3, jylins/videoxum 11bd4fe, medhini/Instructional-Video-Summarization 472b606.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Literal

from vsumdata.pipeline.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is measured and how; a field that no metric of the protocol needs keeps its default."""

    name: str
    # The names of the numbers that `evaluate` gives, in the order in which they are printed.
    metrics: tuple[str, ...]

    # keyshots: shots by knapsack.   top: the best `budget` of the frames.   threshold: all frames that reach the score
    # of rank int(budget·T).   time-threshold: the same with the scores left in time order (VideoXum as released).
    selection: Literal["keyshots", "top", "threshold", "time-threshold"] = "keyshots"
    budget: float = 0.15
    # Of which length the budget is a share: of the video's frames, or up to the end of the last shot.
    budget_of: Literal["frames", "last-shot"] = "frames"
    budget_rounding: Literal["floor", "round"] = "floor"
    # int1000 is int(1000 · float(mean)): scores below 0.001 are worth nothing.
    shot_value: Literal["mean", "int1000"] = "mean"
    # How change points (a, b) are read: frames a to b, or without b; MR.HiSum's code counts b-a frames of [a, b] and
    # takes the mean with b.
    shots: Literal["closed", "half-open", "mr-hisum"] = "closed"
    # Ties are alike in all: a later item is taken only if strictly better (train/knapsack.py has the differences).
    knapsack: Literal["exact", "pgl-sum", "ortools"] = "exact"
    # Where one score less than picks came: zero for the last pick, or an error.
    missing_score: Literal["error", "zero"] = "error"
    # frames: as long as the video.   last-shot: to the end of the last shot.   shots: the shots one after another.
    summary_length: Literal["frames", "last-shot", "shots"] = "frames"

    # Over the users of one video: TVSum's mean, SumMe's best.
    f1_users: Literal["mean", "max"] = "mean"
    # Where summary and reference differ in length: pad the shorter, fit the summary to the reference, or refuse.
    lengths: Literal["pad", "cut", "strict"] = "strict"
    # F1 where the reference or the summary chooses no frame. `drop` leaves the video out for an empty reference.
    empty_f1: Literal["zero", "nan", "one", "drop"] = "zero"
    frame_epsilon: float = 0.0  # MR.HiSum adds this to each frame before it counts them

    # per-user: frame scores against each user's scores, then the mean.   scores-vs-mean: against the users' mean.
    # summary-vs-mean: the binary summary against the mean user summary, at the rate of the original frames.
    rank: Literal["per-user", "summary-vs-mean", "scores-vs-mean"] | None = None
    # Every so many frames of an annotation are compared: the loaders put `user_score` on this grid.
    rank_step: int = 1
    # zero: no order tells nothing, so constant frame scores, and all that has no correlation, count as 0.
    constant_rank: Literal["zero", "nan"] = "zero"
    rank_score: Literal["raw", "sigmoid32"] = "raw"  # VideoXum ranks float32 sigmoids, which tie where they saturate

    clip_frames: int = 5  # highlights are clips of so many frames, a clip's score is their mean
    clip_score: Literal["mean", "softmax32"] = "mean"  # MR.HiSum's float32 softmax overflows at scores of about 90
    top_clips: int | None = None  # UMT on TVSum looks at the best five

    note: str = ""  # for a reader of the table

    def __post_init__(self) -> None:
        if {"tau", "rho"} & set(self.metrics) and self.rank is None:
            raise ValueError(f"protocol {self.name}: tau and rho need a rank")
        if not 0 < self.budget <= 1:
            raise ValueError(f"protocol {self.name}: budget {self.budget} is not a share")


_TVSUM = ("f1", "tau", "rho")
_PGL = Protocol(
    name="pgl-sum",
    metrics=("f1",),
    budget_of="last-shot",
    knapsack="pgl-sum",
    missing_score="zero",
    summary_length="last-shot",
    lengths="pad",
    empty_f1="nan",
    constant_rank="nan",
)
_CA = replace(_PGL, name="ca-sum", metrics=_TVSUM, rank="per-user", rank_step=15)
_VASNET = Protocol(
    name="vasnet",
    metrics=("f1",),
    shot_value="int1000",
    knapsack="ortools",
    missing_score="zero",
    summary_length="shots",
    lengths="cut",
    constant_rank="nan",
)
_DSNET = replace(_VASNET, name="dsnet", missing_score="error", summary_length="frames")
_MRHISUM = Protocol(
    name="mr-hisum",
    metrics=("f1", "map50", "map15", "tau", "rho"),
    shots="mr-hisum",
    knapsack="pgl-sum",
    missing_score="zero",
    summary_length="shots",
    frame_epsilon=1e-8,
    rank="summary-vs-mean",
    constant_rank="nan",
    clip_score="softmax32",
)
_WIKIHOW = Protocol(
    name="wikihow-summaries",
    metrics=_TVSUM,
    selection="top",
    budget=0.55,
    lengths="cut",
    empty_f1="drop",
    rank="scores-vs-mean",
    note="official code counts a video without a chosen frame as F1 = 1; it is dropped and counted here",
)
_VIDEOXUM = Protocol(
    name="videoxum",
    metrics=_TVSUM,
    selection="threshold",
    rank="scores-vs-mean",
    rank_score="sigmoid32",
)

PROTOCOLS: dict[str, Protocol] = {
    preset.name: preset
    for preset in (
        Protocol(name="tvsum", metrics=_TVSUM, lengths="cut", rank="per-user", rank_step=15),
        Protocol(name="summe", metrics=_TVSUM, lengths="cut", f1_users="max", rank="summary-vs-mean"),
        Protocol(name="mrhisum", metrics=("f1", "map50", "map15"), shots="half-open"),
        Protocol(name="shards", metrics=("f1", "map50", "map15")),  # our own roots, with closed shots
        Protocol(
            name="bliss",
            metrics=("rouge1", "rouge2", "rougeL", "cosine"),
            note="as many frames and sentences are chosen as the reference has",
        ),
        Protocol(name="synthetic", metrics=_TVSUM, rank="per-user"),
        _PGL,
        replace(_PGL, name="pgl-sum-summe", f1_users="max"),
        _CA,
        replace(_CA, name="ca-sum-summe", metrics=("f1",), f1_users="max", rank=None),
        replace(_CA, name="csta"),
        replace(_CA, name="csta-summe", f1_users="max", rank="summary-vs-mean", rank_step=1),
        _VASNET,
        replace(_VASNET, name="vasnet-summe", f1_users="max"),
        replace(_VASNET, name="msva", metrics=_TVSUM, rank="summary-vs-mean"),
        replace(_VASNET, name="msva-summe", metrics=_TVSUM, rank="summary-vs-mean", f1_users="max"),
        _DSNET,
        replace(_DSNET, name="dsnet-summe", f1_users="max"),
        replace(_DSNET, name="a2summ", budget_rounding="round"),
        replace(_DSNET, name="a2summ-summe", budget_rounding="round", f1_users="max"),
        _MRHISUM,
        _WIKIHOW,
        replace(_WIKIHOW, name="wikihow-summaries-released", empty_f1="one", note=""),
        Protocol(name="umt-youtube-highlights", metrics=("ap_trapezoidal",)),
        Protocol(name="umt-tvsum", metrics=("ap_top5",), top_clips=5),
        _VIDEOXUM,
        replace(_VIDEOXUM, name="videoxum-released", selection="time-threshold"),
    )
}


def protocol(name: str) -> Protocol:
    """The preset of that name; UsageError with the nearest names, or with all of them."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = difflib.get_close_matches(name, PROTOCOLS, n=3, cutoff=0.4) or list(PROTOCOLS)
    raise UsageError(f"no protocol is called {name!r}; try {', '.join(near)}")
