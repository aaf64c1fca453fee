"""The rows of part files: reading one, and the rule which row of a video counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vsumdata.manifests import tables
from vsumdata.manifests.errors import StorageError
from vsumdata.manifests.rows import combined

# `content.a+b` is one hash of the digests of the columns a and b: smaller than both, and made once for each part.
CONTENT = "content"
# A row group in memory. A reader of one video reads one group; with a shard as one group it would read all of it.
GROUP_BYTES = 16 << 20


def content_of(columns: Iterable[str]) -> str:
    """The name under which `Store.latest` gives one hash of some columns of a row."""
    return f"{CONTENT}.{'+'.join(columns)}"


def stored(column: str) -> list[str]:
    """The columns of a part that one of `read_part` is made of."""
    name, _, key = column.partition(".")
    return [f"digest.{each}" for each in key.split("+")] if name == CONTENT else [column]


def read_part(source: Any, path: str, columns: Sequence[str], use_threads: bool) -> pa.Table:
    """Some columns of one part, under the names asked for, and its name as `part`. Raises StorageError."""
    # Every request to an object store costs a round trip; pre-buffering merges those of neighbouring columns.
    wanted = list(dict.fromkeys(each for column in columns for each in stored(column)))
    with pq.ParquetFile(source, pre_buffer=isinstance(source, pa.PythonFile)) as file:
        content = file.read(wanted, use_threads=use_threads)
    # pyarrow reads on without a column that is not there.
    if missing := {column.partition(".")[0] for column in wanted} - set(content.column_names):
        raise StorageError(other_layout(path.rpartition("/")[0], missing))
    # A dictionary column stores the name once, not once for each of its thousands of rows.
    at = pa.array(np.zeros(len(content), np.int32))
    part = pa.DictionaryArray.from_arrays(at, [path.rpartition("/")[2]])
    return pa.table([*(pick(content, column) for column in columns), part], [*columns, "part"])


def pick(content: pa.Table, column: str) -> pa.ChunkedArray:
    """A column; `digest.title` is the field `title` of the struct `digest`, and see `CONTENT`."""
    name, _, key = column.partition(".")
    if name == CONTENT:
        digests = [pick(content, each) for each in stored(column)]
        return pa.chunked_array([combined(digests, len(content))])
    return pc.struct_field(content[name], key) if key else content[name]


def other_layout(folder: str, missing: Iterable[str]) -> str:
    """What to tell of a folder whose parts lack the columns `missing`."""
    return (
        f"{folder}: written by another version of vsumdata (it has no {', '.join(sorted(missing))}); "
        "`vsumdata run` makes the table anew beside it, and `vsumdata prune` then removes it"
    )


def keep_latest(found: pa.Table) -> pa.Table:
    """One row per video: the highest version, then `done` before other outcomes, then the newest commit."""
    # Usually no video was made twice, and the sort, the costly part, can be left out.
    if len(pc.unique(found["video_id"])) == len(found):
        return found
    is_done = pc.cast(pc.equal(found["outcome"], tables.DONE), pa.int8())
    order = pc.sort_indices(
        found.select(["video_id", "version", "committed_at"]).append_column("is_done", is_done),
        [("video_id", "ascending")] + [(key, "descending") for key in ("version", "is_done", "committed_at")],
    )
    ids = found["video_id"].take(order)
    is_first = np.append(True, pc.not_equal(ids[1:], ids[:-1]).to_numpy())
    return found.take(order.filter(pa.array(is_first)))


def rows_per_group(content: pa.Table) -> int:
    """How many rows make a row group."""
    return max(1, int(len(content) * GROUP_BYTES / max(1, content.nbytes)))
