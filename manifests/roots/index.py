"""The index of a table: the latest row of each video in the parts that it names, so that these need no scan.

It lies beside the parts, as `index-*.parquet`, and is only a cache: one that is missing, stale or damaged costs time
and changes no result. Its name ends with a hash of its content; its schema's metadata names the parts with their sizes.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

PREFIX, SUFFIX = "index-", ".parquet"
# A run writes one after a scan of more parts than this, and at its end beside more than the second number.
AFTER_A_SCAN, AT_THE_END = 200, 50
KEY = b"vsumdata.index"

Parts = Sequence[tuple[str, int]]  # name, bytes


@dataclass(frozen=True)
class Index:
    """`latest` holds one row for each video in `parts`: head columns, some of the payload, and `part`."""

    parts: Parts
    latest: pa.Table


def is_index(name: str) -> bool:
    """Whether a file of a table's folder is an index."""
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


def encode(index: Index) -> tuple[str, bytes]:
    """(name, content) of an index's file."""
    # Thousands of names are mostly alike, and Arrow stores a schema's metadata twice, uncompressed.
    parts = b64encode(zlib.compress(json.dumps([list(part) for part in index.parts]).encode(), 6))
    buffer = io.BytesIO()
    pq.write_table(index.latest.replace_schema_metadata({KEY: parts}), buffer, compression="zstd")
    content = buffer.getvalue()
    return f"{PREFIX}{time.time_ns():020d}-{hash_of(content)}{SUFFIX}", content


def decode(name: str, content: bytes) -> Index | None:
    """The index in a file; None where it is damaged or of another version."""
    # The hash covers all of it: Parquet's checksums leave out the footer.
    if hash_of(content) != name.removesuffix(SUFFIX).rpartition("-")[2]:
        return None
    try:
        latest = pq.read_table(pa.BufferReader(content))
        parts = json.loads(zlib.decompress(b64decode(latest.schema.metadata[KEY])))
        return Index([(str(part), int(size)) for part, size in parts], latest.replace_schema_metadata(None))
    except (pa.ArrowException, ValueError, KeyError, TypeError, zlib.error):
        return None


def serves(index: Index, parts: Parts, columns: Iterable[str]) -> bool:
    """Whether an index can stand for some of `parts`: all that it names are there, and it has the columns."""
    return set(index.parts) <= set(parts) and {*columns, "part"} <= set(index.latest.column_names)


def hash_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
