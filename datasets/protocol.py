"""How a benchmark is scored: one named value holds everything in which the field's code bases differ.

The name of the protocol is printed beside every number. A preset repeats the code base that it is named after, its
errors included. Our own presets are `tvsum`, `summe`, `mrhisum`, `bliss`, `wikihow-summaries`, `videoxum`, `own-set`,
`instruct-v2xum`, `shards`, `synthetic`, `scores-vs-mean`. The same scores give τ .257 under one rule and .502 under
another. Sources: the evaluation code of e-apostolidis/PGL-SUM 81d0d6d, e-apostolidis/CA-SUM 43eee5d, thswodnjs3/CSTA
b070f7d, ok1zjf/VASNet c378753, TIBHannover/MSVA dad26a6, li-plus/DSNet 1804176, boheumd/A2Summ 5c7dcea,
MRHiSum/MR.HiSum aeb667f, TencentARC/UMT bde05e3, jylins/videoxum 11bd4fe, medhini/Instructional-Video-Summarization
472b606, jayleicn/moment_detr b7e553a.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Literal

from vsumdata.manifests.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is measured and how. A field that no metric of the protocol uses keeps its default.

    Raises ValueError for fields that contradict each other.
    """

    name: str
    # The metrics that `evaluate` computes, in the order in which they are printed.
    metrics: tuple[str, ...]

    # keyshots: shots by knapsack.   top: the best `budget` of the frames.   threshold: all frames that reach the score
    # of rank int(budget·T).   time-threshold: the same with the scores left in time order. VideoXum's released code
    # does this by mistake: it sorts along an axis of size 1.
    selection: Literal["keyshots", "top", "threshold", "time-threshold"] = "keyshots"
    budget: float = 0.15
    # A model's own choice of frames, where it makes one, is the summary that F1 judges.
    own_summary: bool = False
    # The length that the budget is a share of: all frames of the video, or those up to the end of the last shot.
    budget_of: Literal["frames", "last-shot"] = "frames"
    budget_rounding: Literal["floor", "round"] = "floor"
    # int1000 is int(1000 · float(mean)), because ortools takes integers only. Scores below 0.001 become worthless.
    shot_value: Literal["mean", "int1000"] = "mean"
    # How change points (a, b) are read: frames a to b, or without b. MR.HiSum's code contradicts itself: a shot weighs
    # b-a frames, but its mean includes frame b.
    shots: Literal["closed", "half-open", "mr-hisum"] = "closed"
    # All break ties alike: a later item is taken only if strictly better. datasets/knapsack.py has the differences.
    knapsack: Literal["exact", "pgl-sum", "ortools"] = "exact"
    # If there is one score less than picks: the last pick gets 0, or it is an error.   any: QVHighlights' code takes
    # any number of scores: missing ones count as 0, those beyond the last clip are ignored, and if one of these is the
    # highest, HIT@1 is missed.
    missing_score: Literal["error", "zero", "any"] = "error"
    # frames: as long as the video.   last-shot: to the end of the last shot.   shots: the shots one after another.
    summary_length: Literal["frames", "last-shot", "shots"] = "frames"

    # users: the users' summaries.   one: the data set's one summary, which its video calls gt_summary, or user_summary
    # with one row. A reference that a video lacks is never replaced by another (`train/scoring/evaluate.py`).
    summary_reference: Literal["users", "one"] = "users"
    # How the F1 with each user of a video becomes one number: TVSum takes the mean, SumMe the best user.
    f1_users: Literal["mean", "max"] = "mean"
    # If summary and reference differ in length: pad the shorter, cut or pad the summary to the reference, or refuse.
    lengths: Literal["pad", "cut", "strict"] = "strict"
    # F1 where the reference or the summary chooses no frame. `drop` leaves the video out if the reference is empty.
    empty_f1: Literal["zero", "nan", "one", "drop"] = "zero"
    # MR.HiSum's code adds this to each frame before it counts the frames.
    frame_epsilon: float = 0.0

    # per-user: frame scores against each user's scores, then the mean.   scores-vs-mean: against the users' mean.
    # summary-vs-mean: the binary summary against the mean user summary, at the rate of the original frames.
    # On SumMe with summary-vs-mean chance is not 0: random scores reach τ .09.
    rank: Literal["per-user", "summary-vs-mean", "scores-vs-mean"] | None = None
    # Every so many frames of an annotation are compared. The loaders put `user_score` on this grid.
    rank_step: int = 1
    # Constant scores have no correlation: scipy answers NaN. They rank nothing, so zero counts them as chance.
    constant_rank: Literal["zero", "nan"] = "zero"
    # VideoXum's code ranks float32 sigmoids, which tie where they saturate.
    rank_score: Literal["raw", "sigmoid32"] = "raw"

    # A highlight is a clip of this many frames; the clip's score is their mean.
    clip_frames: int = 5
    # MR.HiSum's float32 softmax overflows at scores of about 90.
    clip_score: Literal["mean", "softmax32"] = "mean"
    # UMT's code for TVSum looks at the five best clips only.
    top_clips: int | None = None
    # The clips of `top_clips` last so long, in seconds; a video without `picks` has its clips for frames already.
    clip_s: float | None = None

    note: str = ""  # printed with the table

    def __post_init__(self) -> None:
        if {"tau", "rho"} & set(self.metrics) and self.rank is None:
            raise ValueError(f"protocol {self.name}: tau and rho need a rank")
        if not 0 < self.budget <= 1:
            raise ValueError(f"protocol {self.name}: budget {self.budget} is not a share, above 0 and at most 1")


# The presets below copy official code. A value that looks wrong (a NaN, a budget up to the last shot) is theirs, and
# tests/golden holds it against their answers.
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
    summary_reference="one",
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
    summary_reference="one",
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
# By the lowest rating of a relevant clip, then of proposed moments.
_QVHIGHLIGHTS = (
    "hl_map_fair", "hl_hit1_fair", "hl_map_good", "hl_hit1_good", "hl_map_verygood", "hl_hit1_verygood",
    "mr_r1_50", "mr_r1_70", "mr_map", "mr_map_50", "mr_map_75",
)  # fmt: skip
# V2Xum-LLM's metrics of text.
_TEXT = ("bleu4", "meteor", "rouge_l", "cider")

SCORES_VS_MEAN = "scores-vs-mean"

PROTOCOLS: dict[str, Protocol] = {
    preset.name: preset
    for preset in (
        Protocol(name="tvsum", metrics=_TVSUM, lengths="cut", rank="per-user", rank_step=15),
        Protocol(name="summe", metrics=_TVSUM, lengths="cut", f1_users="max", rank="summary-vs-mean"),
        Protocol(name="mrhisum", metrics=("f1", "map50", "map15"), shots="half-open", summary_reference="one"),
        # Our own roots, with closed shots.
        Protocol(name="shards", metrics=("f1", "map50", "map15"), summary_reference="one"),
        Protocol(
            name="bliss",
            metrics=("rouge1", "rouge2", "rougeL", "cosine"),
            note="as many frames and sentences are chosen as the reference has",
        ),
        Protocol(name="synthetic", metrics=_TVSUM, rank="per-user"),
        # What many papers print: much higher than per-user. It has a name of its own, so that nobody takes it for that.
        Protocol(
            name=SCORES_VS_MEAN,
            metrics=("tau", "rho"),
            rank="scores-vs-mean",
            note="ranks are against the mean of the users, which gives much larger numbers than per user",
        ),
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
        Protocol(
            name="umt-tvsum",
            metrics=("ap_top5",),
            top_clips=5,
            clip_s=2.0,
            note="2-second clips as UMT cuts them, but the mean is over videos of all domains, of models for all "
            "domains; UMT trains a model for each",
        ),
        Protocol(
            name="qvhighlights",
            metrics=_QVHIGHLIGHTS,
            missing_score="any",
            note="means over queries; missing clips count as score 0, scores beyond the last clip are ignored",
        ),
        _VIDEOXUM,
        replace(_VIDEOXUM, name="videoxum-released", selection="time-threshold"),
        replace(_VIDEOXUM, name="own-set", metrics=(*_TVSUM, *_TEXT), own_summary=True),
        Protocol(
            name="instruct-v2xum",
            metrics=("f1", "f_clip", "cross_f_clip", *_TEXT),
            selection="threshold",
            own_summary=True,
            summary_reference="one",
        ),
    )
}


def protocol(name: str) -> Protocol:
    """The preset of that name. Raises UsageError with the nearest names, or with all if none is near."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = difflib.get_close_matches(name, PROTOCOLS, n=3, cutoff=0.4) or list(PROTOCOLS)
    raise UsageError(f"no protocol is called {name!r}; try {', '.join(near)}")
