"""The videos of our own root, read one by one in the order of their ids.

As a data set to measure on (`load`), the reference is YouTube's "most replayed" curve, as in Mr. HiSum, but with closed
shots and one frame for each second of the container. Licence: each video has its own (`license`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.datasets.reference import lacks, with_reference
from vsumdata.datasets.splits import normalise
from vsumdata.datasets.video import Summary, Video
from vsumdata.manifests import tables
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.roots.address import hide_keys
from vsumdata.manifests.store import Store

if TYPE_CHECKING:
    import pandas as pd

NAME = "shards"
PROTOCOL = PROTOCOLS[NAME]
# Videos that an iteration holds in memory. Neighbours often lie in one part, which is then opened once for all.
READ_AT_ONCE = 16
# Only the names count here, so the sizes of the vectors do not matter. Video has a field of each name.
COLUMNS = [name for name, _ in tables.features(1, 1)]


SUMMARIES, CAPTIONS, AUDIO, STEP_TIMES = "summaries", "frame_captions", "audio", "step_times"
DUPLICATES = "duplicates"


Row = Mapping[str, Any]


class Places(NamedTuple):
    """Where the `done` rows of another table of the root lie: video_id -> part. `fps` is that of the root's frames."""

    fingerprint: str
    parts: Mapping[str, str]
    fps: float = 1.0

    def rows(self, store: Store, table: str, ids: Iterable[str], *columns: str) -> Mapping[str, Row]:
        """Some columns of those videos that have a row."""
        parts = {video_id: self.parts[video_id] for video_id in ids if video_id in self.parts}
        return store.read(table, self.fingerprint, parts, list(columns))


NOWHERE = Places("", {})


class Labels(NamedTuple):
    """A table that says what is important in the place of the heatmap: its columns of each frame, [T]."""

    table: str
    score: str
    summary: str


# By the setting `labels` of a training run.
LABELS = {
    "pseudo": Labels("pseudo_summaries", "pseudo_score", "pseudo_summary"),
    "steps": Labels("step_frames", "gt_confidence", "gt_summary"),
}


class Part(NamedTuple):
    """Where a video belongs."""

    split: str | None
    task: str | None


def parts_of(store: Store, table: str, fingerprint: str) -> dict[str, Part]:
    """Split and task of each video of a table with the columns of `features`.

    Tasks that share a video, by the table `duplicates`, are one task here and lie in the split of the first of them:
    else a re-upload under another title could be tested on what was trained on.
    """
    latest = store.latest(table, fingerprint, ["split", "task"])
    rows = zip(*(latest[name].to_pylist() for name in ("video_id", "outcome", "split", "task")), strict=True)
    found = {video_id: Part(split, task) for video_id, outcome, split, task in rows if outcome == tables.DONE}
    fingerprints = store.tables()
    if DUPLICATES not in fingerprints:
        return found
    latest = store.latest(DUPLICATES, fingerprints[DUPLICATES], ["group"])
    # Each task leads to an earlier one of its set, the first one to itself.
    leads: dict[str, str] = {}

    def first_of(task: str) -> str:
        while (to := leads.setdefault(task, task)) != task:
            task = to
        return task

    of_group: dict[str, str] = {}
    for video_id, group in zip(latest["video_id"].to_pylist(), latest["group"].to_pylist(), strict=True):
        if group is not None and video_id in found:
            task = first_of(key(video_id, found[video_id]))
            other = first_of(of_group.setdefault(group, task))
            leads[max(task, other)] = min(task, other)
    of_task = {key(video_id, part): part for video_id, part in sorted(found.items(), reverse=True)}
    return {
        video_id: of_task[first_of(of)] if (of := key(video_id, part)) in leads else part
        for video_id, part in found.items()
    }


def key(video_id: str, part: Part) -> str:
    """What videos of one task have in common; a video without a task is alone."""
    return normalise(part.task or "") or f"\0{video_id}"


class Shards(Sequence[Video]):
    """A sequence that reads a video when it is asked for. It holds only the index: id and part file of each video.

    It can be pickled, for a DataLoader with workers. Iterating is faster than indexing one after another, because it
    reads several videos of a part at a time.
    """

    # Those of LABELS that take the place of the replay score, and where they lie.
    kind: str | None = None
    labels: Places = NOWHERE

    # It keeps the root's address and no open Store: pyarrow's file systems and its memory stay out of the pickle.
    def __init__(
        self,
        root: str,
        table: str,
        fingerprint: str,
        entries: Sequence[tuple[str, str]],
        beside: Mapping[str, Places] | None = None,
        belongs: Mapping[str, Part] | None = None,
    ) -> None:
        self.root, self.table, self.fingerprint = root, table, fingerprint
        self.entries = tuple(entries)  # (video_id, part), sorted
        self.beside = beside or {}  # by table, those whose columns the videos get as well
        self.belongs = belongs or {}

    @property
    def video_ids(self) -> list[str]:
        return [video_id for video_id, _ in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, at: int) -> Video: ...
    @overload
    def __getitem__(self, at: slice) -> Shards: ...
    def __getitem__(self, at: int | slice) -> Video | Shards:
        if isinstance(at, slice):
            return self.only(self.entries[at])
        return self.read([self.entries[at]])[0]

    def __iter__(self) -> Iterator[Video]:
        for first in range(0, len(self), READ_AT_ONCE):
            yield from self.read(self.entries[first : first + READ_AT_ONCE])

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """A row for each video, indexed by `video_id`; by default all columns of `features` but the vectors.

        Lists are arrays, or lists of dicts. Raises UsageError for a column that the table lacks.
        """
        import pandas as pd

        wanted = [name for name in COLUMNS if not name.endswith("_feature")] if columns is None else list(columns)
        if wrong := sorted(set(wanted) - set(COLUMNS)):
            raise UsageError(f"no column {wrong[0]!r}; there are {', '.join(COLUMNS)}")
        rows = Store(self.root).read(self.table, self.fingerprint, dict(self.entries), wanted)
        found = [[rows[video_id][name] for name in wanted] for video_id in self.video_ids]
        return pd.DataFrame(found, index=pd.Index(self.video_ids, name="video_id"), columns=wanted)

    def only(self, entries: Sequence[tuple[str, str]]) -> Shards:
        """Those of the videos that `entries` name."""
        found = copy.copy(self)
        found.entries = tuple(entries)
        return found

    def labelled(self, kind: str) -> Shards:
        """The same videos with labels of another table, one of LABELS, as gt_score and gt_summary.

        No video has a replay score then, and those without a row of that table have no labels at all. Raises UsageError
        where the root lacks the table.
        """
        store, table = Store(self.root), LABELS[kind].table
        fingerprints = store.tables()
        if table not in fingerprints:
            raise UsageError(
                f"{hide_keys(self.root)} has no table {table}, which labels={kind} learns from; make it with "
                "`vsumdata run --stage labels`"
            )
        found = copy.copy(self)
        found.kind, found.labels = kind, find(store, fingerprints, table)
        return found

    @property
    def labels_from(self) -> str | None:
        """The table of the labels and its fingerprint; None for replay scores."""
        return f"{LABELS[self.kind].table} {self.labels.fingerprint}" if self.kind else None

    def read(self, entries: Sequence[tuple[str, str]]) -> list[Video]:
        """The videos of some `entries`, in their order."""
        store = Store(self.root)
        found = store.read(self.table, self.fingerprint, dict(entries), COLUMNS)
        ids = [video_id for video_id, _ in entries]
        more: dict[str, dict[str, Any]] = {video_id: {} for video_id in ids}
        for table, places in self.beside.items():
            columns, read = FIELDS[table]
            for video_id, row in places.rows(store, table, ids, *columns).items():
                more[video_id] |= read(row, found[video_id], places.fps)
        label = self.label_rows(store, ids, found)
        return [
            Video(
                video_id=video_id,
                **{name: found[video_id][name] for name in COLUMNS}
                | (self.belongs[video_id]._asdict() if video_id in self.belongs else {})
                | more[video_id]
                | label.get(video_id, {}),
            )
            for video_id in ids
        ]

    def label_rows(
        self, store: Store, ids: Sequence[str], found: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """The fields of Video that labels of another table set. Raises UsageError where these are of other frames."""
        if self.kind is None:
            return {}
        its, nothing = LABELS[self.kind], {"replay_score": None, "gt_score": None, "gt_summary": None}
        made = dict.fromkeys(ids, nothing)
        for video_id, row in self.labels.rows(store, its.table, ids, its.score, its.summary).items():
            if len(row[its.score]) != (num := len(found[video_id]["frame_time_s"])):
                raise UsageError(
                    f"{video_id}: {its.table} has labels of {len(row[its.score])} frames, not {num}; make it anew "
                    "with `vsumdata run --stage labels`"
                )
            made[video_id] = nothing | {"gt_score": row[its.score], "gt_summary": row[its.summary]}
        return made


def open_shards(
    root: str | Path, table: str = "features", split: str | None = None, *, captions: bool = False
) -> Shards:
    """The `done` videos of the last run on `root`, or those of one `split` only.

    `root` is a local folder or a URL; `table` has the columns of `features`. Where the root has the tables `summaries`,
    `audio` or `step_times`, a video has its row of these as well. With `captions` it also has that of `frame_captions`,
    which is long. Raises UsageError if it is not a vsumdata root or has no such table.
    """
    store = Store(root)
    fingerprints = store.tables()
    if table not in fingerprints:
        raise UsageError(f"{store.root} has no table {table!r}; it has {', '.join(sorted(fingerprints)) or 'none'}")
    latest, parts = store.latest(table, fingerprints[table]), parts_of(store, table, fingerprints[table])
    index = [
        (video_id, part)
        for video_id, part in zip(latest["video_id"].to_pylist(), latest["part"].to_pylist(), strict=True)
        if video_id in parts and split in (None, parts[video_id].split)
    ]
    beside = {name: find(store, fingerprints, name) for name in FIELDS if captions or name != CAPTIONS}
    fps = fps_of(store, table, fingerprints[table])
    return Shards(
        store.location,
        table,
        fingerprints[table],
        sorted(index),
        {name: places._replace(fps=fps) for name, places in beside.items()},
        parts if DUPLICATES in fingerprints else None,
    )


def find(store: Store, fingerprints: Mapping[str, str], table: str) -> Places:
    """The rows of a table, where the root's last run made any."""
    if table not in fingerprints:
        return NOWHERE
    latest = store.latest(table, fingerprints[table])
    rows = zip(*(latest[name].to_pylist() for name in ("video_id", "part", "outcome")), strict=True)
    parts = {video_id: part for video_id, part, outcome in rows if outcome == tables.DONE}
    return Places(fingerprints[table], parts)


def fps_of(store: Store, table: str, fingerprint: str) -> float:
    """Frames per second of the table's rows."""
    return float(store.made_by(table, fingerprint).get("options", {}).get("fps", 1.0))


def heard(feature: np.ndarray, num_frames: int, fps: float) -> np.ndarray:
    """The features of sound [s,A] at the frames k / fps: [T,A]. Where the sound has ended they are zero."""
    second = (np.arange(num_frames) / fps).astype(np.int64)
    found = np.asarray(feature)[np.minimum(second, len(feature) - 1)]
    found[second >= len(feature)] = 0
    return found


def told(caption: Sequence[Mapping[str, Any]]) -> Summary | None:
    """The captions of a row of `frame_captions`, each once, with the moments of the frames that it was copied to."""
    found: list[dict[str, Any]] = []
    for each in caption:
        # A copy of a frame without a word is one as well.
        if each["copied"] and found:
            found[-1]["time_s"].append(each["time_s"])
        else:
            found.append({"text": each["text"] or "", "time_s": [each["time_s"]]})
    return tuple(each for each in found if each["text"].strip()) or None


def step_span(row: Row, num_steps: int) -> np.ndarray | None:
    """Start and end of each step in s, [P,2]."""
    span = np.stack([row["step_start_s"], row["step_stop_s"]], 1).astype(np.float32)
    # A run that stopped before this table was made anew leaves times of steps that the video no longer has.
    return span if len(span) == num_steps else None


# What a video gets of other tables than `features`: the columns, and the fields that are made of them, the row of
# `features` and the frames per second.
FIELDS: Mapping[str, tuple[tuple[str, ...], Callable[[Row, Row, float], Mapping[str, Any]]]] = {
    SUMMARIES: (("summary",), lambda row, video, fps: {"summary": row["summary"]}),
    CAPTIONS: (("caption",), lambda row, video, fps: {"caption": told(row["caption"])}),
    AUDIO: (
        ("audio_feature",),
        lambda row, video, fps: {"audio_feature": heard(row["audio_feature"], len(video["frame_time_s"]), fps)},
    ),
    STEP_TIMES: (
        ("step_start_s", "step_stop_s"),
        lambda row, video, fps: {"step_span": step_span(row, len(video["step"]))},
    ),
}


def load(path: str | Path) -> list[Video]:
    """The test videos of the root at `path` that have a replay score and shots, with a reference made of these.

    A root without a test split gives all its videos. Raises UsageError if none of them can have a reference.
    """
    shards = open_shards(path, split="test")
    videos = shards if len(shards) else open_shards(path)
    found = [with_reference(video) for video in videos if lacks(video) is None]
    if not found:
        where = hide_keys(str(path))
        raise UsageError(f"none of the {len(videos)} videos of {where} has a replay score and shots to measure against")
    return found
