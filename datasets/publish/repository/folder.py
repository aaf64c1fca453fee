"""Publish a root as a folder in the layout of Hugging Face's data set repositories.

`data/SPLIT-00000-of-0000N.parquet`, `README.md` with the card, `croissant.json`. The folder appears whole or not at
all, and an earlier publication in its place is replaced.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from vsumdata.datasets.publish.repository.about import About, SplitFiles, Tally
from vsumdata.datasets.publish.repository.card import card
from vsumdata.datasets.publish.repository.columns import LICENSED, Rows
from vsumdata.datasets.publish.repository.croissant import NAME, croissant
from vsumdata.datasets.publish.repository.parquet import write_split
from vsumdata.datasets.publish.repository.statements import statements
from vsumdata.manifests.roots.local import new_folder
from vsumdata.manifests.store import Store

README, DATA = "README.md", "data"
# Our splits under the names that `datasets` gives them.
SPLITS = {"train": "train", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Published:
    """What was written."""

    splits: tuple[SplitFiles, ...]
    tally: Tally

    @property
    def size_bytes(self) -> int:
        return sum(split.size_bytes for split in self.splits)


def publish(
    store: Store,
    output: str | Path,
    about: About,
    text: str = LICENSED,
    address: str | None = None,
    contact: str | None = None,
) -> Published:
    """Write the root's finished rows to the folder `output`.

    `text` is one of `columns.MODES`; `address` the page of the repository that the folder goes to, `contact` where
    removal requests go. Raises UsageError if nothing is finished or the folder cannot be written.
    """
    rows = Rows(store, text)
    contact = contact or (f"{address}/discussions" if address else "whoever gave you this data")
    with new_folder(Path(output), is_ours) as folder:
        (folder / DATA).mkdir()
        splits = [
            write_split(folder / DATA, SPLITS[split], rows.schema, rows.of(split))
            for split in SPLITS
            if split in rows.entries
        ]
        said = statements(about, rows.tally, text, contact)
        (folder / README).write_text(card(about, rows.tally, splits, rows.schema, text, said), encoding="utf-8")
        content = croissant(about, rows.tally, splits, rows.schema, said, address)
        (folder / NAME).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Published(tuple(splits), rows.tally)


def is_ours(entry: Path) -> bool:
    """Whether an earlier publication wrote this entry of a folder."""
    if entry.name == DATA:
        return entry.is_dir() and all(file.suffix == ".parquet" for file in entry.iterdir())
    return entry.name in (README, NAME)
