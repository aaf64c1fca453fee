"""Packs 13 and 15: QVHighlights' and UMT's measures on real labels."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tests.golden.answers import Answer, Pack, close, same

from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.datasets.video import Video
from vsumdata.train.scoring.evaluate import evaluate
from vsumdata.train.scoring.metrics_highlights import SALIENCY_LEVELS, interpolated_ap, saliency
from vsumdata.train.scoring.metrics_moments import IOU_THRESHOLDS, LENGTHS, best_moment_iou, moment_ap, of_length

MOMENTS = "moment_ap_at_iou_.5_to_.95"
CLIP_S = 2
# The files of published predictions by the pack's name of the model; others are not public.
PREDICTIONS = {
    "moment_detr_sample": "pred_moment_detr_sample.jsonl.gz",
    "qd_detr_video": "pred_qd_detr_video_checkpoint.jsonl.gz",
}
Row = Mapping[str, Any]


def qvhighlights(pack: Pack) -> Iterator[Answer]:
    near = pack.tolerance()
    for query in pack["queries"]:
        rated = rating(query)
        for model, theirs in query["models"].items():
            case, scores = f"{query['qid']} {model}", np.array(theirs["pred_saliency_scores"])
            fitted = np.zeros(len(rated))
            fitted[: len(scores)] = scores[: len(rated)]
            for name, level in SALIENCY_LEVELS.items():
                each = [interpolated_ap(column, fitted) for column in (rated >= level).T]
                yield close(f"{case} {name} AP", each, theirs[name]["ap_of_annotators"], near)
                yield close(f"{case} {name} HIT@1", saliency(scores, rated, level)[1], theirs[name]["hit1"], near)
            ours = moment_ap(np.array(theirs["pred_relevant_windows"]), np.array(query["relevant_windows"]))
            yield close(f"{case} moments", ours, theirs[MOMENTS], near)
    folder = pack.benchmarks / "QVHighlights"
    for model, expected in pack.get("full_val", {}).items():
        path = folder / PREDICTIONS.get(model, "")
        if path.is_file():
            yield from _full(model, read(folder / "highlight_val_release.jsonl.gz"), read(path), expected)


def rating(query: Row) -> np.ndarray:
    """The annotators' ratings of all clips, 0 to 4, [clips,3]."""
    rated = np.zeros((int(query["duration"] / CLIP_S), len(query["saliency_scores"][0])))
    rated[query["relevant_clip_ids"]] = query["saliency_scores"]
    return rated


def read(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def percent(values: Iterable[float] | np.ndarray) -> float:
    """A mean as the official code prints it."""
    return float(f"{100 * np.mean(list(values)):.2f}")


def _full(model: str, truth: Sequence[Row], submitted: Sequence[Row], expected: Row) -> Iterator[Answer]:
    by_query = {row["qid"]: row for row in submitted}
    yield same(f"{model} queries", sorted(by_query), sorted(row["qid"] for row in truth))
    for name, level in SALIENCY_LEVELS.items():
        each = [saliency(np.array(by_query[row["qid"]]["pred_saliency_scores"]), rating(row), level) for row in truth]
        for key, values in zip(("HL-mAP", "HL-Hit1"), zip(*each, strict=True), strict=True):
            yield same(f"{model} {name} {key}", percent(values), expected[f"HL-min-{name}"][key])
    for length in (*LENGTHS, "full"):
        pairs = [
            (by_query[row["qid"]]["pred_relevant_windows"], windows)
            for row in truth
            if (windows := row["relevant_windows"] if length == "full" else of_length(row["relevant_windows"], length))
        ]
        aps = np.array([moment_ap(np.array(ours), np.array(windows)) for ours, windows in pairs]).mean(0)
        ious = np.array([best_moment_iou(np.array(ours), np.array(windows)) for ours, windows in pairs])
        for threshold, ap in zip(IOU_THRESHOLDS, aps.tolist(), strict=True):
            theirs = (expected[length][key][str(threshold)] for key in ("MR-mAP", "MR-R1"))
            found = [percent([ap]), percent(ious >= threshold)]
            yield same(f"{model} {length} moments at {threshold}", found, list(theirs))
        yield same(f"{model} {length} moments", percent(aps), expected[length]["MR-mAP"]["average"])


def umt(pack: Pack) -> Iterator[Answer]:
    near = pack.tolerance()
    by_domain: dict[str, list[float]] = {}
    for video_id, row in pack.get("youtube", {}).items():
        relevant = (np.array(row["match"]) > 0).astype(float)
        ours = _measured("umt-youtube-highlights", np.array(row["score"]), gt_summary=relevant)
        by_domain.setdefault(row["domain"], []).append(ours)
        yield close(f"youtube {video_id}", ours, row["ap_rounded5"], near)
    # A pack that holds a part of the videos cannot give the mean of all.
    for domain, expected in pack.get("youtube_domain_mAP_all_val_same_scores", {}).items():
        if len(by_domain.get(domain, ())) == expected["videos"]:
            yield close(f"youtube {domain}", float(np.mean(by_domain[domain])), expected["mAP"], near)
    labels = {row["vid"]: row["label"] for row in _released(pack.benchmarks / "TVSum" / "umt")}
    for video_id, row in pack.get("tvsum", {}).items():
        users = np.array(row["label"] or labels[video_id], float).T
        ours = _measured("umt-tvsum", np.array(row["score"]), user_score=users)
        yield close(f"tvsum {video_id}", ours, row["mAP_top5_rounded5"], near)


def _released(folder: Path) -> Iterator[Row]:
    for path in sorted(folder.glob("*.jsonl")):
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def _measured(name: str, scores: np.ndarray, **annotated: Any) -> float:
    video = Video(
        video_id="clips", frame_time_s=np.arange(len(scores), dtype=np.float32),
        frame_feature=np.zeros((len(scores), 0), np.float32), **annotated,
    )  # fmt: skip
    (value,) = evaluate(scores, video, PROTOCOLS[name]).values.values()
    return value
