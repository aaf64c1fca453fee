"""The videos of a root that the store wrote: read one by one, in the order of their ids.

As a data set to measure on (`load`): the reference is YouTube's "most replayed", like Mr. HiSum's, but at 1 fps of the
container and with closed shots. Licence: each video's own (`license`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.datasets.reference import lacks, with_reference
from vsumdata.datasets.video import Video
from vsumdata.manifests import tables
from vsumdata.manifests.store import Store
from vsumdata.pipeline.errors import UsageError

NAME = "shards"
PROTOCOL = PROTOCOLS[NAME]
READ_AT_ONCE = 16  # videos that iterating holds
COLUMNS = [name for name, _ in tables.features(1, 1)]  # Video has a field for each


class Shards(Sequence[Video]):
    """Videos that are read when they are asked for; only the index (id and part file) is held.

    It can be pickled, so it serves a DataLoader with workers. Iterating reads several videos of a part at a
    time and is faster than indexing in a row.
    """

    def __init__(self, root: str, table: str, fingerprint: str, entries: Sequence[tuple[str, str]]) -> None:
        self.root, self.table, self.fingerprint = root, table, fingerprint
        self.entries = tuple(entries)  # (video_id, part), sorted

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
            return Shards(self.root, self.table, self.fingerprint, self.entries[at])
        return self.read([self.entries[at]])[0]

    def __iter__(self) -> Iterator[Video]:
        for first in range(0, len(self), READ_AT_ONCE):
            yield from self.read(self.entries[first : first + READ_AT_ONCE])

    def read(self, entries: Sequence[tuple[str, str]]) -> list[Video]:
        """The videos of some of `entries`, in their order."""
        found = Store(self.root).read(self.table, self.fingerprint, dict(entries), COLUMNS)
        return [
            Video(video_id=video_id, **{name: found[video_id][name] for name in COLUMNS}) for video_id, _ in entries
        ]


def open_shards(root: str | Path, table: str = "features", split: str | None = None) -> Shards:
    """Open the videos that the last run on `root` left `done`, or those of one `split` only.

    `root` is a local folder or a pyarrow.fs URL; `table` has the columns of `features`.
    Raises UsageError where it is no root or has no such table.
    """
    store = Store(root)
    fingerprints = store.tables()
    if table not in fingerprints:
        raise UsageError(f"{root} has no table {table!r}; it has {', '.join(sorted(fingerprints)) or 'none'}")
    latest = store.latest(table, fingerprints[table], columns=["split"])
    rows = zip(*(latest[name].to_pylist() for name in ("video_id", "part", "outcome", "split")), strict=True)
    index = [
        (video_id, part)
        for video_id, part, outcome, its_split in rows
        if outcome == tables.DONE and split in (None, its_split)
    ]
    return Shards(store.root, table, fingerprints[table], sorted(index))


def load(path: str | Path) -> list[Video]:
    """The test videos of the root at `path` that have a replay score and shots, with the reference made of these.

    Where a root has no test split, all of its videos. Raises UsageError where none of them has a reference.
    """
    shards = open_shards(path, split="test")
    videos = shards if len(shards) else open_shards(path)
    found = [with_reference(video) for video in videos if lacks(video) is None]
    if not found:
        raise UsageError(f"none of the {len(videos)} videos of {path} has a replay score and shots to measure against")
    return found
