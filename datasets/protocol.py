"""How a benchmark is scored: one named value holds everything in which the field's code bases differ.

The name of the protocol is printed beside every number. A preset repeats the code base that it is named after, its
errors included. Our own presets are `tvsum`, `summe`, `mrhisum`, `bliss`, `wikihow-summaries`, `videoxum`, `own-set`,
`instruct-v2xum`, `shards`, `synthetic`, `scores-vs-mean`, `vsumm`, `hirest`. The same scores give τ .257 under one rule
and .502 under another. Sources: the evaluation code of e-apostolidis/PGL-SUM 81d0d6d, e-apostolidis/CA-SUM 43eee5d,
thswodnjs3/CSTA b070f7d, ok1zjf/VASNet c378753, TIBHannover/MSVA dad26a6, li-plus/DSNet 1804176, boheumd/A2Summ 5c7dcea,
MRHiSum/MR.HiSum aeb667f, TencentARC/UMT bde05e3, xuantengh/MINI-Net 6651852 (`cosum`), jylins/videoxum 11bd4fe,
medhini/Instructional-Video-Summarization 472b606, ckczzj/CHAN 9899243, showlab/UniVTG 32659ac, smkim37/TripleSumm
b7a8e7e, IDT-ITI/SD-MVSum 5bc59a2, Kwanseok-K/SummDiff 1d4b8ae, jayleicn/moment_detr b7e553a, j-min/HiREST e8d6e2f.
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
    # does this by mistake: it sorts along an axis of size 1.   as-users: the best frames, as many as the video's users
    # choose on average.
    selection: Literal["keyshots", "top", "threshold", "time-threshold", "as-users"] = "keyshots"
    budget: float = 0.15
    # A summary that takes a larger share of the frames has F1 0: with `threshold`, equal scores are chosen together.
    most_chosen: float | None = None
    # A model's own choice of frames, where it makes one, is the summary that F1 judges.
    own_summary: bool = False
    # The length that the budget is a share of: all frames of the video, or those up to the end of the last shot.
    budget_of: Literal["frames", "last-shot"] = "frames"
    budget_rounding: Literal["floor", "round"] = "floor"
    # int1000 is int(1000 · float(mean)), because ortools takes integers only. Scores below 0.001 become worthless.
    shot_value: Literal["mean", "int1000"] = "mean"
    # How change points (a, b) are read: frames a to b, or without b. MR.HiSum's code contradicts itself: a shot weighs
    # b-a frames, but its mean includes frame b. SD-MVSum's does the same, and its last shot weighs one frame more.
    shots: Literal["closed", "half-open", "mr-hisum", "sd-mvsum"] = "closed"
    # All break ties alike: a later item is taken only if strictly better. datasets/knapsack.py has the differences.
    knapsack: Literal["exact", "pgl-sum", "ortools"] = "exact"
    # If there is one score less than picks: the last pick gets 0, or it is an error.   any: QVHighlights' code takes
    # any number of scores: missing ones count as 0, those beyond the last clip are ignored, and if one of these is the
    # highest, HIT@1 is missed.
    missing_score: Literal["error", "zero", "any"] = "error"
    # frames: as long as the video.   last-shot: to the end of the last shot.   shots: the shots one after another.
    summary_length: Literal["frames", "last-shot", "shots"] = "frames"

    # users: the users' summaries.   one: the data set's one summary, which its video calls gt_summary, or user_summary
    # with one row.   oracle: gt_summary, which the data set made of its users' summaries to agree with each of them;
    # human rows compare each user with it.
    # A reference that a video lacks is never replaced by another (`train/scoring/evaluate.py`).
    summary_reference: Literal["users", "one", "oracle"] = "users"
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
    # How many clips are relevant: floor or ceil of the share. Of clips that tie there, the earlier or the later ones.
    clip_share: Literal["floor", "ceil"] = "floor"
    clip_ties: Literal["earlier", "later"] = "earlier"
    # A last clip of fewer frames: their mean, or their sum divided by `clip_frames` as if zeros followed.
    last_clip: Literal["shorter", "zero-padded"] = "shorter"
    # MR.HiSum's float32 softmax overflows at scores of about 90.
    clip_score: Literal["mean", "softmax32"] = "mean"
    # The clips of `ap_top5` last so long, in seconds; a video without `picks` has its clips for frames already.
    clip_s: float | None = None

    # Two key frames are the same if they are at most so many original frames apart.
    match_frames: int = 0

    note: str = ""  # printed with the table

    def __post_init__(self) -> None:
        if {"tau", "rho"} & set(self.metrics) and self.rank is None:
            raise ValueError(f"protocol {self.name}: tau and rho need a rank")
        if not 0 < self.budget <= 1:
            raise ValueError(f"protocol {self.name}: budget {self.budget} is not a share, above 0 and at most 1")
        if self.match_frames < 0:
            raise ValueError(f"protocol {self.name}: match_frames {self.match_frames} is below 0")


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
_SD_MVSUM = Protocol(
    name="sd-mvsum",
    metrics=_TVSUM,
    shots="sd-mvsum",
    knapsack="pgl-sum",
    missing_score="zero",
    summary_length="shots",
    summary_reference="one",
    lengths="pad",
    frame_epsilon=1e-8,
    rank="scores-vs-mean",
    constant_rank="nan",
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
        # TripleSumm's, on MoSu.
        Protocol(
            name="mosu",
            metrics=("tau", "rho", "map50", "map15"),
            rank="scores-vs-mean",
            constant_rank="nan",
            clip_share="ceil",
            clip_ties="later",
            last_clip="zero-padded",
            note="a mean over videos; the official number is a mean of the means of batches (64; Mr. HiSum: 32), where "
            "the videos of a smaller last batch weigh more, and it is NaN if one video's scores are constant",
        ),
        # On Mr. HiSum. Of WSE and CIS lower is better.
        replace(
            _MRHISUM,
            name="summdiff",
            metrics=("f1", "map50", "map15", "tau", "rho", "wse", "cis", "wir"),
            rank="scores-vs-mean",
        ),
        _SD_MVSUM,
        replace(
            _SD_MVSUM,
            name="sd-mvsum-videoxum",
            metrics=("f1",),
            selection="threshold",
            most_chosen=0.25,
            rank=None,
            note="each script is a video of its own; a summary of more than 25 % of the frames counts 0",
        ),
        _WIKIHOW,
        replace(_WIKIHOW, name="wikihow-summaries-released", empty_f1="one", note=""),
        Protocol(name="umt-youtube-highlights", metrics=("ap_trapezoidal",)),
        Protocol(
            name="umt-tvsum",
            metrics=("ap_top5",),
            clip_s=2.0,
            note="2-second clips as UMT cuts them; UMT trains a model for each domain and prints the mean over its "
            "domains: --split umt",
        ),
        # The shots that two of the three judges chose, the five and 15 best of the ranking.
        Protocol(name="cosum", metrics=("ap_top5", "ap_top15"), summary_reference="one"),
        # CHAN and UniVTG choose int(0.02·T) shots (`top_percent`).
        Protocol(
            name="qfvs",
            metrics=("concept_f1", "concept_precision", "concept_recall"),
            selection="top",
            budget=0.02,
            summary_reference="oracle",
            note="each method chooses 2 % of the shots, as CHAN and UniVTG do; users choose as many as they like, and "
            "the oracle was made of their summaries",
        ),
        # The tolerance is what OST (BHI-Research/OST 5e7a339, evaluator/README.md) recommends, to both sides
        # (`--enable-double-zone`). OST and VSUMM compare the pictures as well, which needs the videos.
        Protocol(
            name="vsumm",
            metrics=("cus_a", "cus_e", "keyframe_f1"),
            selection="as-users",
            match_frames=120,
            note="key frames match by time alone, at most 120 frames apart; VSUMM's own figures match by histograms of "
            "the pictures, and are others. Less CUS_E is better",
        ),
        Protocol(
            name="qvhighlights",
            metrics=_QVHIGHLIGHTS,
            missing_score="any",
            note="means over queries; missing clips count as score 0, scores beyond the last clip are ignored",
        ),
        # The first is HiREST's own: the one moment that a method proposes. Its code does not score frames.
        Protocol(
            name="hirest",
            metrics=("recall_50", "recall_70", "tau", "rho"),
            rank="scores-vs-mean",
            note="recall of the first proposed moment; ranks are of frames' scores against the moment, which its code "
            "does not compute",
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
