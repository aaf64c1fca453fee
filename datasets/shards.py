"""The videos of our own root, read one by one in the order of their ids.

As a data set to measure on (`load`), the reference is YouTube's "most replayed" curve, as in Mr. HiSum, but with closed
shots and one frame for each second of the container. Licence: each video has its own (`license`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.datasets.reference import lacks, with_reference
from vsumdata.datasets.video import Video
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


SUMMARIES = "summaries"


class Summaries(NamedTuple):
    """Where the `done` rows of the table `summaries` lie: video_id -> part."""

    fingerprint: str
    parts: Mapping[str, str]


NO_SUMMARIES = Summaries("", {})


class Shards(Sequence[Video]):
    """A sequence that reads a video when it is asked for. It holds only the index: id and part file of each video.

    It can be pickled, for a DataLoader with workers. Iterating is faster than indexing one after another, because it
    reads several videos of a part at a time.
    """

    # It keeps the root's address and no open Store: pyarrow's file systems and its memory stay out of the pickle.
    def __init__(
        self,
        root: str,
        table: str,
        fingerprint: str,
        entries: Sequence[tuple[str, str]],
        summaries: Summaries = NO_SUMMARIES,
    ) -> None:
        self.root, self.table, self.fingerprint = root, table, fingerprint
        self.entries = tuple(entries)  # (video_id, part), sorted
        self.summaries = summaries

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
        return Shards(self.root, self.table, self.fingerprint, entries, self.summaries)

    def read(self, entries: Sequence[tuple[str, str]]) -> list[Video]:
        """The videos of some `entries`, in their order."""
        store = Store(self.root)
        found = store.read(self.table, self.fingerprint, dict(entries), COLUMNS)
        where = self.summaries.parts
        parts = {video_id: where[video_id] for video_id, _ in entries if video_id in where}
        summary = store.read(SUMMARIES, self.summaries.fingerprint, parts, ["summary"])
        return [
            Video(
                video_id=video_id,
                **{name: found[video_id][name] for name in COLUMNS},
                summary=summary[video_id]["summary"] if video_id in summary else None,
            )
            for video_id, _ in entries
        ]


def open_shards(root: str | Path, table: str = "features", split: str | None = None) -> Shards:
    """The `done` videos of the last run on `root`, or those of one `split` only.

    `root` is a local folder or a URL; `table` has the columns of `features`. Raises UsageError if it is not
    a vsumdata root or has no such table.
    """
    store = Store(root)
    fingerprints = store.tables()
    if table not in fingerprints:
        raise UsageError(f"{store.root} has no table {table!r}; it has {', '.join(sorted(fingerprints)) or 'none'}")
    latest = store.latest(table, fingerprints[table], columns=["split"])
    rows = zip(*(latest[name].to_pylist() for name in ("video_id", "part", "outcome", "split")), strict=True)
    index = [
        (video_id, part)
        for video_id, part, outcome, its_split in rows
        if outcome == tables.DONE and split in (None, its_split)
    ]
    return Shards(store.location, table, fingerprints[table], sorted(index), find_summaries(store, fingerprints))


def find_summaries(store: Store, fingerprints: Mapping[str, str]) -> Summaries:
    """The summaries of a root, where its last run made any."""
    if SUMMARIES not in fingerprints:
        return NO_SUMMARIES
    latest = store.latest(SUMMARIES, fingerprints[SUMMARIES])
    rows = zip(*(latest[name].to_pylist() for name in ("video_id", "part", "outcome")), strict=True)
    parts = {video_id: part for video_id, part, outcome in rows if outcome == tables.DONE}
    return Summaries(fingerprints[SUMMARIES], parts)


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
