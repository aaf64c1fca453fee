"""Write the files `data/SPLIT-00000-of-0000N.parquet` of one split.

Row groups stay small enough for the hub's viewer, which reads whole ones. The page index lets it skip pages. Pages are
cut where the content says (content-defined chunking), so a new version of the data uploads only what has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vsumdata.datasets.publish.repository.about import SplitFiles
from vsumdata.manifests import rows as arrow

# Of a row group in memory. The hub's viewer takes up to 100 MB (its docs, "optimise your Parquet files").
GROUP_BYTES = 64 << 20
# Of a file in memory, as Hugging Face's `datasets` cuts them.
FILE_BYTES = 500 << 20


class Writer:
    """Writes the rows of one split. Only one row group is in memory."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema) -> None:
        self.folder, self.split, self.schema = folder, split, schema
        self.paths: list[Path] = []
        self.file: pq.ParquetWriter | None = None
        self.waiting: list[pa.Table] = []
        self.waiting_bytes = self.file_bytes = 0
        self.num_rows = self.num_bytes = 0

    def add(self, row: Mapping[str, Any]) -> None:
        table = arrow.to_table(self.schema, [row])
        if self.waiting and self.waiting_bytes + table.nbytes > GROUP_BYTES:
            self.flush()
        self.waiting.append(table)
        self.waiting_bytes += table.nbytes
        self.num_rows += 1
        self.num_bytes += table.nbytes

    def flush(self) -> None:
        """Write what waits as one row group."""
        if self.file is None or self.file_bytes + self.waiting_bytes > FILE_BYTES:
            self.end_file()
            self.paths.append(self.folder / f"{self.split}-{len(self.paths):05d}.parquet")
            self.file = pq.ParquetWriter(
                self.paths[-1],
                self.schema,
                compression="zstd",
                # A dictionary of numbers has them in the order in which they come: one new row would change all pages.
                use_dictionary=[field.name for field in self.schema if pa.types.is_string(field.type)],
                write_page_index=True,
                write_page_checksum=True,
                use_content_defined_chunking=True,
            )
        group = pa.concat_tables(self.waiting)
        self.file.write_table(group, row_group_size=max(1, len(group)))
        self.file_bytes += self.waiting_bytes
        self.waiting, self.waiting_bytes = [], 0

    def end_file(self) -> None:
        if self.file is not None:
            self.file.close()
        self.file, self.file_bytes = None, 0

    def end(self) -> SplitFiles:
        """Close the files and give them their names, which say how many there are."""
        if self.waiting:
            self.flush()
        self.end_file()
        names = []
        for number, path in enumerate(self.paths):
            names.append(f"{self.split}-{number:05d}-of-{len(self.paths):05d}.parquet")
            path.rename(self.folder / names[-1])
        size_bytes = sum((self.folder / name).stat().st_size for name in names)
        files = [f"{self.folder.name}/{name}" for name in names]
        return SplitFiles(self.split, files, self.num_rows, self.num_bytes, size_bytes)


def write_split(folder: Path, split: str, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> SplitFiles:
    """Write the rows of a split into `folder`."""
    writer = Writer(folder, split, schema)
    try:
        for row in rows:
            writer.add(row)
        return writer.end()
    finally:
        writer.end_file()
