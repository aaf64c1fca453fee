"""Score one video under one protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vsumdata.datasets.keyshots import best_frames, summary_from_scores
from vsumdata.datasets.protocol import PROTOCOLS, SCORES_VS_MEAN, Protocol
from vsumdata.datasets.video import Video
from vsumdata.train.scoring import (
    meteor,
    metrics,
    metrics_highlights,
    metrics_keyframes,
    metrics_knapsack,
    metrics_moments,
    metrics_text,
)
from vsumdata.train.scoring.corpora import CORPORA
from vsumdata.train.scoring.metrics_caption import ptb_tokens


class UnusableScoresError(ValueError):
    """A prediction cannot be scored. Reports count it by its `reason`: `not_finite` or `wrong_length`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True, kw_only=True, eq=False)
class Words:
    """A predicted text summary. Cross-F_CLIP also reads the sentences' embeddings by CLIP's text tower.

    `feature` [n,D] is of the text, `reference_feature` [R,D] of the reference.
    """

    text: str
    feature: np.ndarray | None = None
    reference_feature: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """The protocol's metrics by name, and notes on what was odd about this video.

    `values` lacks a metric that the protocol leaves out for this video. Tables count the `notes`: `constant_scores`,
    `constant_reference` (a user scored all frames alike, so the correlation counts as 0), `empty_summary`,
    `empty_reference` (of at least one user), `no_positives` (no clip is relevant, so AP is 0), `empty_text`,
    `too_many_chosen` (F1 0, by `most_chosen`) and `dropped` (no F1). `counts` holds what the metrics of `CORPORA`
    counted, whose values are of many videos.
    """

    values: dict[str, float]
    notes: tuple[str, ...] = ()
    counts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One prediction, its video and its protocol; the metrics add notes."""

    frame_score: np.ndarray
    video: Video
    protocol: Protocol
    summary: np.ndarray
    sentence_score: np.ndarray | None
    words: Words | None = None
    moments: np.ndarray | None = None
    counts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def prediction(self) -> tuple[np.ndarray, Video, Protocol]:
        return self.frame_score, self.video, self.protocol

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def read(self, *names: str) -> np.ndarray:
        """The first of the fields `names` that the video has; `lacks` has made sure of one."""
        return next(np.asarray(value) for name in names if (value := getattr(self.video, name)) is not None)


Needs = tuple[tuple[str, ...], ...]
SHOTS = ("change_points", "n_frames")
TOP_CLIPS = {"ap_top5": 5, "ap_top15": 15}
# Errors, not merits.
LESS_IS_BETTER = frozenset({"cus_e", "wse", "cis"})
FRAME_EMBEDDINGS = frozenset({"f_clip", "cross_f_clip"})
CONCEPTS = ("concept_f1", "concept_precision", "concept_recall")
KEY_FRAMES = metrics_keyframes.Cus._fields
OF_SUMMARIES = frozenset({"f1", "f_clip", "cross_f_clip", *CONCEPTS, *KEY_FRAMES})
SALIENCY = tuple(name for name in PROTOCOLS["qvhighlights"].metrics if name.startswith("hl_"))
RECALL = {"recall_50": 0.5, "recall_70": 0.7}
MOMENTS = tuple(name for name in PROTOCOLS["qvhighlights"].metrics if name.startswith("mr_"))
OF_MOMENTS = (*MOMENTS, *RECALL)


def needs(protocol: Protocol) -> dict[str, Needs]:
    """Each metric, and the fields of a video that it reads under `protocol`.

    The names in one entry are the same reference in the words of two data sets: one of them is enough. Nothing else
    stands in for a reference: the same scores give τ .35 against each user and .79 against the users' mean.
    """
    one, oracle = ("user_summary", "gt_summary"), ("gt_summary",)
    summary = {"users": ("user_summary",), "one": one, "oracle": oracle}[protocol.summary_reference]
    shots: Needs = tuple((name,) for name in SHOTS) if protocol.selection == "keyshots" else ()
    by_rank: dict[str | None, Needs] = {
        None: (),
        "per-user": (("user_score",),),
        # The data set's own mean of the users counts as their mean.
        "scores-vs-mean": (("user_score", "gt_score"),),
        "summary-vs-mean": (summary, *shots),
    }
    ranks, sentences = by_rank[protocol.rank], (("sentence_label",), ("summary_text",))
    clips: Needs = (("user_score" if protocol.summary_reference == "users" else "gt_summary",),)
    return {
        "f1": (summary, *shots),
        "tau": ranks,
        "rho": ranks,
        "map50": (("gt_score",),),
        "map15": (("gt_score",),),
        **dict.fromkeys(metrics_knapsack.NAMES, (("gt_score",), ("gt_summary",), *shots)),
        "ap_trapezoidal": (("gt_summary",),),
        **dict.fromkeys(TOP_CLIPS, clips),
        **dict.fromkeys(SALIENCY, (("user_score",),)),
        **dict.fromkeys(OF_MOMENTS, (("moment",),)),
        "rouge1": sentences,
        "rouge2": sentences,
        "rougeL": sentences,
        "cosine": (("gt_summary",), ("summary_feature",)),
        **dict.fromkeys(CORPORA, (("summary_text",),)),
        "f_clip": (("gt_summary",),),
        "cross_f_clip": (("gt_summary",), ("summary_text",)),
        **dict.fromkeys(CONCEPTS, (("gt_summary",), ("concept",))),
        **dict.fromkeys(KEY_FRAMES, (("user_summary",),)),
    }


def lacks(metric: str, video: Video, protocol: Protocol, *, has_summary: bool = False) -> str | None:
    """Why `metric` cannot be computed on this video under `protocol`; None if it has what the metric needs.

    With `has_summary` the summary is given, so no shots are needed to make one.
    """
    if metric == "meteor" and (reason := meteor.missing()):
        return reason
    if metric in FRAME_EMBEDDINGS and not video.frame_feature.shape[1]:
        return f"{video.video_id}: F_CLIP compares features of frames, and annotations alone have none"
    wanted = needs(protocol)[metric]
    missing = [" or ".join(names) for names in wanted if all(getattr(video, name) is None for name in names)]
    references = [name for name in missing if name not in SHOTS]
    why = []
    if len(missing) > len(references) and not has_summary:
        why.append("keyshots need change_points and n_frames")
        if metric in ("tau", "rho") and video.user_score is not None:
            why.append(f"protocol {SCORES_VS_MEAN} ranks the scores themselves")
    if references:
        why.append(f"protocol {protocol.name} needs {', '.join(references)}")
    elif metric in TOP_CLIPS and protocol.clip_s and video.picks is not None and not video.duration_s:
        why.append(f"clips of {protocol.clip_s:g} s need the video's length (duration_s), which its annotations lack")
    # A bare benchmark file has the users' mean alone. The number against that is printed under its own name.
    if references == ["user_score"] and metric in ("tau", "rho") and video.gt_score is not None:
        why.append(f"protocol {SCORES_VS_MEAN} compares with gt_score, the users' mean")
    # Key frames alone (VSUMM) have no importance.
    if references == ["user_score or gt_score"] and video.user_summary is not None:
        why.append("it has users' summaries alone (key frames: protocol vsumm)")
    return f"{video.video_id}: {'; '.join(why)}" if why else None


def evaluate(
    frame_score: np.ndarray,
    video: Video,
    protocol: Protocol,
    *,
    summary: np.ndarray | None = None,
    sentence_score: np.ndarray | None = None,
    words: Words | None = None,
    moments: np.ndarray | None = None,
) -> Result:
    """Score `frame_score` [T] against the annotations of `video`.

    `summary`, binary and as long as the protocol's own, replaces the summary that the protocol would make from
    `frame_score` (for human rows, and for models that emit frames instead of scores). BLiSS's ROUGE needs
    `sentence_score` [M], the metrics of text need `words`, moment retrieval `moments` [P,3]: start and end in s and
    score, the best first. Raises UnusableScoresError if a score is not finite, their number is wrong, or a text or the
    moments are missing, and ValueError if the video lacks annotations that the protocol needs.
    """
    # Predicted moments may come without scores of clips.
    if not set(protocol.metrics) <= set(OF_MOMENTS):
        _check(frame_score, protocol, len(video.frame_time_s))
    if sentence_score is not None:
        _check(sentence_score, None, len(video.sentence))
    for name in protocol.metrics:
        if why := lacks(name, video, protocol, has_summary=summary is not None):
            raise ValueError(why)
    # An exact knapsack can take seconds for thousands of shots, so it runs only if a metric reads the summary.
    ranks_summary = protocol.rank == "summary-vs-mean" and {"tau", "rho"} & set(protocol.metrics)
    needs_summary = ranks_summary or bool(OF_SUMMARIES & set(protocol.metrics))
    flat = len(frame_score) < 2 or bool((frame_score == frame_score[0]).all())
    if summary is None:
        summary = summary_from_scores(frame_score, video, protocol) if needs_summary else np.zeros(0, bool)
    # The values then come from the given summary, so constant scores are not worth a note.
    elif protocol.rank == "summary-vs-mean" or set(KEY_FRAMES) & set(protocol.metrics):
        flat = False
    case = _Case(
        frame_score=frame_score,
        video=video,
        protocol=protocol,
        summary=summary,
        sentence_score=sentence_score,
        words=words,
        moments=moments,
    )
    if flat and len(frame_score):
        case.note("constant_scores")
    values: dict[str, float] = {}
    for name in protocol.metrics:
        # One function computes several metrics (τ and ρ, the three ROUGE): do not call it for each of them.
        if name not in values:
            values |= METRICS[name](case)
    return Result(
        values={name: values[name] for name in protocol.metrics if name in values},
        notes=tuple(case.notes),
        counts=case.counts,
    )


def _check(scores: np.ndarray, protocol: Protocol | None, needed: int) -> None:
    # The code of PGL-SUM, VASNet and MR.HiSum accepts one score less than there are picks, and gives the last pick 0.
    missing = protocol.missing_score if protocol else "error"
    fits = len(scores) > 0 if missing == "any" else needed - (missing == "zero") <= len(scores) <= needed
    if scores.ndim != 1 or not fits:
        raise UnusableScoresError("wrong_length", f"{list(scores.shape)} scores where {needed} are needed")
    if not np.isfinite(scores).all():
        raise UnusableScoresError(
            "not_finite", f"score {np.isfinite(scores).argmin()} is {scores[~np.isfinite(scores)][0]}"
        )


# F1 of an empty summary, and F1 against an empty reference. Official codes disagree: TL;DW's returns 1 for an empty
# reference, which is why `drop` exists.
EMPTY_F1 = {"zero": (0.0, 0.0), "nan": (np.nan, np.nan), "one": (0.0, 1.0), "drop": (0.0, 0.0)}


def _references(case: _Case) -> np.ndarray:
    """The reference summaries [U,n], of which a data set with one summary has one row."""
    return np.atleast_2d(case.read(*needs(case.protocol)["f1"][0]))


def _f1(case: _Case) -> dict[str, float]:
    protocol, references = case.protocol, _references(case)
    empty = ~(references > 0).any(1)
    if empty.any():
        case.note("empty_reference")
    if not case.summary.any():
        case.note("empty_summary")
    if protocol.empty_f1 == "drop":
        references = references[~empty]
        if not len(references):
            case.note("dropped")
            return {}
    if protocol.most_chosen is not None and np.mean(case.summary) > protocol.most_chosen:
        case.note("too_many_chosen")
        return {"f1": 0.0}
    summary = at_full_rate(case.summary, case.video, references.shape[1])
    return {"f1": f1_of(summary, references, protocol)}


def at_full_rate(summary: np.ndarray, video: Video, length: int) -> np.ndarray:
    """`summary` of all `length` frames: picked frames or segments are each held until the next one."""
    # Summaries that are long enough already, and data sets whose users judged the picked frames, stay as they are.
    if video.picks is None or len(summary) != len(video.picks) or len(summary) == length or video.n_frames != length:
        return summary
    return np.repeat(summary, np.diff(video.picks, append=length))


def f1_of(summary: np.ndarray, user_summary: np.ndarray, protocol: Protocol) -> float:
    """F1 in [0, 1] of a binary summary against the users' [U,n], by the protocol's rules."""
    empty_summary, empty_reference = EMPTY_F1[protocol.empty_f1]
    per_user = metrics.f1_per_user(
        summary,
        user_summary,
        lengths=protocol.lengths,
        empty_summary=empty_summary,
        empty_reference=empty_reference,
        frame_epsilon=protocol.frame_epsilon,
    )
    return metrics.over_users(per_user, protocol.f1_users)


def _ranks(case: _Case) -> dict[str, float]:
    protocol = case.protocol
    if protocol.rank == "summary-vs-mean":
        scores, reference = case.summary, _references(case)
    else:
        scores, reference = case.frame_score, np.atleast_2d(case.read(*needs(protocol)["tau"][0]))
    tau, rho = rank_correlations(scores, reference, protocol)
    # A constant ranking has no correlation. scipy answers NaN, and so do CA-SUM and CSTA on TVSum; VideoXum counts 0.
    if protocol.constant_rank == "zero":
        if np.isnan(tau).any() and "constant_scores" not in case.notes:
            case.note("constant_reference")
        # Constant scores still make a summary, whose correlation is chance (-.32 to +.23 was seen): count 0 instead.
        known = "constant_scores" not in case.notes
        tau, rho = np.nan_to_num(tau) * known, np.nan_to_num(rho) * known
    return {"tau": float(tau.mean()), "rho": float(rho.mean())}


def rank_correlations(scores: np.ndarray, reference: np.ndarray, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """τ and ρ with each user or with the users' mean, as the protocol says; nan where undefined.

    `scores` [T] may be a binary summary. They are compared with `reference` [U,T] as it is: `rank_step` plays no part.
    """
    if protocol.rank != "per-user":
        reference = reference.astype(np.float64).mean(0)[None]
    if protocol.rank == "summary-vs-mean":
        scores, reference = metrics.equally_long(scores, reference, protocol.lengths)
    if protocol.rank_score == "sigmoid32":
        scores = sigmoid32(scores)
    return metrics.kendall_tau(scores, reference), metrics.spearman_rho(scores, reference)


def sigmoid32(scores: np.ndarray) -> np.ndarray:
    """VideoXum's float32 sigmoid."""
    # Kept in float32 on purpose: above about 17 all scores become 1 and tie, which changes τ and ρ as published.
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-np.asarray(scores, np.float32)))


def _map(case: _Case) -> dict[str, float]:
    rules = case.protocol
    clips = metrics_highlights.clip_means(case.frame_score, rules.clip_frames, rules.last_clip)
    truth = metrics_highlights.clip_means(case.read("gt_score"), rules.clip_frames, rules.last_clip)
    if rules.clip_score == "softmax32":
        clips = metrics_highlights.softmax32(clips)
    values = {}
    for name, share in (("map50", 0.5), ("map15", 0.15)):
        relevant = metrics_highlights.best_clips(truth, share, rules.clip_share, rules.clip_ties)
        if name in case.protocol.metrics and not relevant.any():
            case.note("no_positives")
        values[name] = metrics_highlights.average_precision(relevant, clips)
    return values


def _ap_trapezoidal(case: _Case) -> dict[str, float]:
    relevant = case.read("gt_summary")
    if not (relevant > 0).any():
        case.note("no_positives")
    return {"ap_trapezoidal": metrics_highlights.ranked_trapezoidal_ap(relevant, case.frame_score)}


def _ap_top(case: _Case) -> dict[str, float]:
    score, (reference,) = case.frame_score, needs(case.protocol)["ap_top5"]
    users = np.atleast_2d(case.read(*reference))
    if case.protocol.clip_s and case.video.picks is not None:
        score, users = metrics_highlights.clips_in_time(score, users, case.video, case.protocol.clip_s)
    relevant = metrics_highlights.above_median(users) if case.protocol.summary_reference == "users" else users
    wanted = [name for name in TOP_CLIPS if name in case.protocol.metrics]
    values = np.array(
        [[metrics_highlights.top_ranked_ap(row, score, TOP_CLIPS[n]) for row in relevant] for n in wanted]
    )
    if not values.any():
        case.note("no_positives")
    return dict(zip(wanted, values.mean(1).tolist(), strict=True))


def _saliency(case: _Case) -> dict[str, float]:
    return metrics_highlights.saliency_by_level(case.frame_score, case.read("user_score").T)


def _moments(case: _Case) -> dict[str, float]:
    if case.moments is None:
        raise UnusableScoresError("no_moments", "moment retrieval needs moments")
    if not len(case.moments):
        case.note("no_moments")
    return metrics_moments.moment_metrics(case.moments, case.read("moment"))


def _recall(case: _Case) -> dict[str, float]:
    if case.moments is None:
        raise UnusableScoresError("no_moments", "moment retrieval needs moments")
    if not len(case.moments):
        case.note("no_moments")
        return dict.fromkeys(RECALL, 0.0)
    first, relevant = case.moments[0, :2], case.read("moment")[0]
    return {name: metrics_moments.moment_recall(first, relevant, least) for name, least in RECALL.items()}


def _rouge(case: _Case) -> dict[str, float]:
    label, text = case.read("sentence_label"), case.video.summary_text
    if case.sentence_score is None:
        raise UnusableScoresError("wrong_length", "ROUGE needs sentence_score, one for each sentence")
    # BLiSS's oracle: a method may choose as many sentences (and frames) as the reference has.
    chosen = best_frames(case.sentence_score, int((label > 0).sum()))
    if not chosen.any():
        case.note("empty_summary")
    sentences = [str(case.video.sentence[at]["text"]) for at in np.flatnonzero(chosen).tolist()]
    return metrics_text.rouge(" ".join(sentences), str(text))._asdict()


def _cosine(case: _Case) -> dict[str, float]:
    label, summary_feature = case.read("gt_summary"), case.read("summary_feature")
    chosen = np.flatnonzero(best_frames(case.frame_score, int((label > 0).sum())))
    if not len(chosen):
        case.note("empty_reference")
    return {"cosine": metrics_text.keyframe_cosine(case.video.frame_feature, summary_feature, chosen)}


def _captions(case: _Case) -> dict[str, float]:
    """Count the text for the metrics of the set; the value of a video alone is only that of its own counts."""
    if case.words is None:
        raise UnusableScoresError("no_text", "the metrics of text need a text")
    text, reference = ptb_tokens(case.words.text), ptb_tokens(str(case.video.summary_text))
    if not text:
        case.note("empty_text")
    values = {}
    for name in CORPORA:
        if name in case.protocol.metrics:
            case.counts[name] = CORPORA[name].count(text, [reference])
            statistics = CORPORA[name].finish({case.video.video_id: [case.counts[name]]})
            values[name] = float(CORPORA[name].value(statistics[case.video.video_id]))
    return values


def _f_clip(case: _Case) -> dict[str, float]:
    reference = case.video.frame_feature[case.read("gt_summary") > 0]
    predicted = case.video.frame_feature[_chosen_frames(case)]
    values = {"f_clip": metrics_text.f_clip(reference, predicted).f1}
    if "cross_f_clip" in case.protocol.metrics:
        words = case.words
        if words is None or words.feature is None or words.reference_feature is None:
            raise UnusableScoresError("no_text", "cross_f_clip needs embeddings of the text and of its reference")
        values["cross_f_clip"] = metrics_text.cross_f_clip(reference, predicted, words.reference_feature, words.feature)
    return values


def _chosen_frames(case: _Case) -> np.ndarray:
    """The summary on the T frames, bool [T]. One of all original frames is read at the picks."""
    summary, num_frames = np.asarray(case.summary) > 0, len(case.video.frame_time_s)
    if len(summary) != num_frames and case.video.picks is not None:
        # A summary to the end of the last shot may be shorter than the video.
        picks = case.video.picks
        summary = (picks < len(summary)) & summary[np.minimum(picks, len(summary) - 1)]
    if len(summary) != num_frames:
        raise UnusableScoresError("wrong_length", f"a summary of {len(summary)} frames where {num_frames} are needed")
    if not summary.any():
        case.note("empty_summary")
    return summary


def _concepts(case: _Case) -> dict[str, float]:
    concept, reference = case.read("concept"), case.read("gt_summary") > 0
    if not reference.any():
        case.note("empty_reference")
    found = metrics.concept_match(concept[_chosen_frames(case)], concept[reference])
    return {f"concept_{name}": value for name, value in found._asdict().items()}


def _key_frames(case: _Case) -> dict[str, float]:
    users, chosen = case.read("user_summary") > 0, metrics_keyframes.frames_of(case.summary, case.video.picks)
    if not len(chosen):
        case.note("empty_summary")
    if not users.any(1).all():
        case.note("empty_reference")
    return metrics_keyframes.cus(chosen, list(map(np.flatnonzero, users)), case.protocol.match_frames)._asdict()


METRICS: dict[str, Callable[[_Case], dict[str, float]]] = {
    "f1": _f1,
    "tau": _ranks,
    "rho": _ranks,
    "map50": _map,
    "map15": _map,
    **dict.fromkeys(metrics_knapsack.NAMES, lambda case: metrics_knapsack.of_video(*case.prediction)),
    "ap_trapezoidal": _ap_trapezoidal,
    **dict.fromkeys(TOP_CLIPS, _ap_top),
    **dict.fromkeys(SALIENCY, _saliency),
    **dict.fromkeys(MOMENTS, _moments),
    **dict.fromkeys(RECALL, _recall),
    "rouge1": _rouge,
    "rouge2": _rouge,
    "rougeL": _rouge,
    "cosine": _cosine,
    **dict.fromkeys(CORPORA, _captions),
    "f_clip": _f_clip,
    "cross_f_clip": _f_clip,
    **dict.fromkeys(CONCEPTS, _concepts),
    **dict.fromkeys(KEY_FRAMES, _key_frames),
}
