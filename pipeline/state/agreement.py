"""How well a root's labels agree: the replay curve, pseudo-summaries, and the pictures of the article's steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import kendalltau

from vsumdata.manifests import tables
from vsumdata.manifests.store import Store
from vsumdata.pipeline.state.plan import Stages, fingerprint

REPLAY, PSEUDO, STEPS = KINDS = ("replay", "pseudo", "steps")
# Table and columns of each: its scores, and its own choice of frames where it has one.
COLUMNS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    REPLAY: ("features", ("replay_score",)),
    PSEUDO: ("pseudo_summaries", ("pseudo_score", "pseudo_summary")),
    STEPS: ("step_frames", ("gt_confidence", "gt_summary")),
}
READ_AT_ONCE = 256  # videos


class Label(NamedTuple):
    """One kind of label of one video: a score for each of T frames, and the chosen ones (bool [T]) where it says."""

    score: np.ndarray
    chosen: np.ndarray | None


@dataclass
class Pair:
    """How two kinds of labels agree, a value for each video that has both.

    `f1` is that of the chosen frames; of a kind that chooses none the best are taken, as many as the other chose.
    `chance` is the F1 of two such choices at random.
    """

    kinds: tuple[str, str]
    tau: list[float] = field(default_factory=list)
    f1: list[float] = field(default_factory=list)
    chance: list[float] = field(default_factory=list)

    def add(self, one: Label, other: Label) -> None:
        # Constant scores have no ranks.
        tau = kendalltau(one.score, other.score).statistic
        if np.isfinite(tau):
            self.tau.append(float(tau))
        first, second = one.chosen, other.chosen
        first = best(one.score, second) if first is None else first
        second = best(other.score, first) if second is None else second
        # Of an article none of whose pictures was found in the video, the choice of no frame says nothing.
        if first is not None and second is not None and first.any() and second.any():
            total = int(first.sum() + second.sum())
            self.f1.append(2 * float((first & second).sum()) / total)
            self.chance.append(2 * float(first.sum()) * float(second.sum()) / len(first) / total)

    def told(self) -> dict[str, Any]:
        """The means over videos; None without any."""
        found: dict[str, Any] = {"kinds": list(self.kinds), "videos": len(self.f1)}
        for name in ("tau", "f1", "chance"):
            values = getattr(self, name)
            found[name] = float(np.mean(values)) if values else None
        return found


@dataclass
class Agreement:
    """Of all videos with features: how many have each kind of label, the mean share of frames it chooses, the pairs."""

    videos: int = 0
    labelled: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    chosen: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    pairs: list[Pair] = field(default_factory=lambda: [Pair(kinds) for kinds in combinations(KINDS, 2)])

    def add(self, labels: Mapping[str, Label]) -> None:
        """Count one video."""
        self.videos += 1
        for kind, label in labels.items():
            self.labelled[kind] += 1
            if label.chosen is not None:
                self.chosen[kind].append(float(label.chosen.mean()))
        for pair in self.pairs:
            if set(pair.kinds) <= labels.keys():
                pair.add(*(labels[kind] for kind in pair.kinds))

    def told(self) -> dict[str, Any]:
        """What `status --labels --json` prints."""
        share = {kind: float(np.mean(values)) if values else None for kind, values in self.chosen.items()}
        return {
            "videos": self.videos,
            "labelled": self.labelled,
            "chosen": share,
            "agreement": [pair.told() for pair in self.pairs],
        }


def agreement(store: Store, stages: Stages) -> Agreement:
    """Compare the labels of all videos that have features, some at a time."""
    found = Agreement()
    for labels in labels_of(store, stages):
        found.add(labels)
    return found


def labels_of(store: Store, stages: Stages) -> Iterator[dict[str, Label]]:
    """The labels of each video that has features."""
    where = {kind: parts(store, stages, table) for kind, (table, _) in COLUMNS.items()}
    # Neighbours of one part, which is then opened once.
    ids = sorted(where[REPLAY], key=lambda video_id: (where[REPLAY][video_id], video_id))
    for first in range(0, len(ids), READ_AT_ONCE):
        some = ids[first : first + READ_AT_ONCE]
        rows = {
            kind: store.read(
                table, fingerprint(stages, table), {v: where[kind][v] for v in some if v in where[kind]}, columns
            )
            for kind, (table, columns) in COLUMNS.items()
        }
        for video_id in some:
            made = {kind: rows[kind][video_id] for kind in KINDS if video_id in rows[kind]}
            labels = {kind: label(row, COLUMNS[kind][1]) for kind, row in made.items()}
            sizes = {len(each.score) for each in labels.values() if each is not None}
            # A label that was made of other frames says nothing of these.
            yield {k: each for k, each in labels.items() if each is not None and len(sizes) == 1}


def parts(store: Store, stages: Stages, table: str) -> dict[str, str]:
    """video_id -> part, of the `done` rows of a table."""
    latest = store.latest(table, fingerprint(stages, table))
    rows = zip(*(latest[name].to_pylist() for name in ("video_id", "part", "outcome")), strict=True)
    return {video_id: part for video_id, part, outcome in rows if outcome == tables.DONE}


def label(row: Mapping[str, Any], columns: Sequence[str]) -> Label | None:
    score = row[columns[0]]
    if score is None:
        return None
    chosen = np.asarray(row[columns[1]], bool) if len(columns) > 1 else None
    return Label(np.nan_to_num(np.asarray(score, np.float64)), chosen)


def best(score: np.ndarray, other: np.ndarray | None) -> np.ndarray | None:
    """The frames of the highest scores, as many as another kind chose: bool [T]."""
    if other is None:
        return None
    found = np.zeros(len(score), bool)
    found[np.argsort(-score, kind="stable")[: int(other.sum())]] = True
    return found
