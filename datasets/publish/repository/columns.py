"""The columns of a published row, and which texts go along.

A row is the finished training row (`features`) without bookkeeping, with facts of other tables beside it: licences,
languages, and when the texts were read. `--text` says what becomes of the texts:

- `none`: no text and no address. `links`: addresses, and the times of sentences.
- `licensed`: titles, and row by row the texts whose licence lets them be passed on. Of the others `links` stays.
- `full`: all texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vsumdata.datasets.publish.repository.about import Tally
from vsumdata.datasets.publish.repository.licences import Licence, licence_of
from vsumdata.datasets.shards import READ_AT_ONCE, parts_of
from vsumdata.manifests import tables
from vsumdata.manifests.errors import StorageError, UsageError
from vsumdata.manifests.store import Store

NONE, LINKS, LICENSED, FULL = MODES = ("none", "links", "licensed", "full")
Row = dict[str, Any]
# Published name -> table and column. Names of people and channels are left out.
BESIDE = {
    "view_count": ("videos", "view_count"),
    "language": ("videos", "language"),
    "retrieved_at": ("videos", "retrieved_at"),
    "sentence_kind": ("transcripts", "kind"),
    "sentence_language": ("transcripts", "language"),
    "article_site": ("articles", "site"),
    "article_license": ("articles", "license"),
    "article_retrieved_at": ("articles", "retrieved_at"),
    "summary": ("summaries", "summary"),
    "summary_method": ("summaries", "method"),
}
ADDRESSES = ("url", "article_url")
TITLES = ("title", "task")
TEXTS = ("description", "global_text", "step")
TIMED = ("sentence", "summary")  # texts with times
ELSEWHERE = re.compile(r"as in `(\w+)`")
MEANINGS = {
    "video_id": "YouTube's id; for own files the id that the list gives",
    "source": "which of the sources it is from",
    "replay_bins": "YouTube's most-replayed bins (s; 0 to 1)",
    "view_count": "views when the metadata was read",
    "language": "language of the video as its site says",
    "retrieved_at": "when the metadata was read (UTC)",
    "sentence_kind": "where the sentences come from: manual or automatic captions, asr (Whisper), none (nobody speaks)",
    "sentence_language": "language of the sentences",
    "article_site": "site of the article",
    "article_license": "licence of the article's text, as its site states it",
    "article_retrieved_at": "when the article was read (UTC)",
    "summary": "sentences with the moments that show them",
    "summary_method": "what wrote the summary: llm, steps or sentences",
}


def meaning(column: str) -> str:
    """What a published column holds."""
    text = MEANINGS.get(column) or tables.MEANINGS["features"][column].text
    # The table elsewhere is not published.
    if found := ELSEWHERE.match(text):
        return tables.MEANINGS[found[1]][column].text + text[found.end() :]
    return text


class Rows:
    """The finished rows of a root under one text mode, some at a time. Raises UsageError where there is none."""

    def __init__(self, store: Store, text: str) -> None:
        self.store, self.text, self.tally = store, text, Tally()
        self.fingerprints = store.tables()
        if "features" not in self.fingerprints:
            raise UsageError(f"{store.root}: has no table `features`; `vsumdata run --root {store.root}` makes it")
        self.entries: dict[str, list[tuple[str, str]]] = {}  # split -> (video_id, part), sorted
        self.belongs = parts_of(store, "features", self.fingerprints["features"])
        for video_id, part in self.latest("features"):
            self.entries.setdefault(self.belongs[video_id].split or "", []).append((video_id, part))
        if not self.entries:
            raise UsageError(f"{store.root}: no video is finished; `vsumdata run --root {store.root}` goes on with it")
        for entries in self.entries.values():
            entries.sort()
        wanted = dict.fromkeys(table for table, _ in BESIDE.values())
        self.parts = {
            # Of each table only where its rows lie.
            table: dict(self.latest(table))
            for table in wanted
            if table in self.fingerprints
        }
        self.schema = self.published_schema()

    def latest(self, table: str, columns: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        """(video_id, part, columns) of the `done` rows of a table."""
        found = self.store.latest(table, self.fingerprints[table], columns)
        rows = zip(*(found[name].to_pylist() for name in ("outcome", "video_id", "part", *columns)), strict=True)
        return [row[1:] for row in rows if row[0] == tables.DONE]

    def published_schema(self) -> pa.Schema:
        """The schema of the published rows, with the sizes of the vectors that the root has."""
        _, part = next(iter(self.entries.values()))[0]
        path = f"{self.store.folder('features', self.fingerprints['features'])}/{part}"
        stored = pq.read_schema(self.store.source(path))
        plain = {"videos": tables.VIDEOS, "articles": tables.ARTICLES, "transcripts": tables.TRANSCRIPTS}
        types = {name: dict(columns) for name, columns in (plain | {"summaries": tables.SUMMARIES}).items()}
        columns = [("video_id", tables.TEXT)]
        columns += [(name, stored.field(name).type) for name, _ in tables.features(1, 1)]
        columns += [
            (name, types[table][column])
            for name, (table, column) in BESIDE.items()
            if table != "summaries" or self.parts.get(table)
        ]
        left = [(name, kind) for name, kind in columns if name not in self.left_out()]
        if self.text in (NONE, LINKS):
            left = [(name, without_text(kind) if name in TIMED else kind) for name, kind in left]
        return pa.schema(left)

    def left_out(self) -> set[str]:
        """The columns that the text mode leaves out whole."""
        found: set[str] = set()
        if self.text in (NONE, LINKS):
            found.update(TITLES + TEXTS)
        if self.text == NONE:
            found.update(ADDRESSES + TIMED)
        return found

    def of(self, split: str) -> Iterator[Row]:
        """The published rows of one split, in the order of their ids. Counts them in `tally`."""
        names = [name for name, _ in tables.features(1, 1)]
        entries = self.entries[split]
        for first in range(0, len(entries), READ_AT_ONCE):
            some = dict(entries[first : first + READ_AT_ONCE])
            rows = self.read("features", some, names)
            beside = {table: self.read_beside(table, list(some)) for table in self.parts}
            for video_id in some:
                facts = {
                    name: beside.get(table, {}).get(video_id, {}).get(column)
                    for name, (table, column) in BESIDE.items()
                }
                row = {name: rows[video_id][name] for name in names} | self.belongs[video_id]._asdict()
                yield self.published({**row, **facts, "video_id": video_id})

    def read_beside(self, table: str, video_ids: Sequence[str]) -> dict[str, Row]:
        """The columns of another table that go along, for those of the videos that have a row there."""
        parts = {video_id: self.parts[table][video_id] for video_id in video_ids if video_id in self.parts[table]}
        wanted = [column for its_table, column in BESIDE.values() if its_table == table]
        return self.read(table, parts, wanted)

    def read(self, table: str, parts: Mapping[str, str], columns: Sequence[str]) -> dict[str, Row]:
        """Columns of some videos' rows. Raises StorageError for a broken part."""
        try:
            return self.store.read(table, self.fingerprints[table], parts, columns)
        except pa.ArrowInvalid as error:
            raise StorageError(
                f"a part of table `{table}` cannot be read ({str(error).splitlines()[0]}); "
                f"`vsumdata verify --root {self.store.root}` names it"
            ) from error

    def published(self, row: Row) -> Row:
        """The row as it is published: without paths of a machine, and with the texts that go along."""
        kind, _, place = (row["source"] or "").partition(":")
        # A list's path says how its owner's disk is laid out.
        if kind in ("ids", "files"):
            row["source"] = f"{kind}:{place.rpartition('/')[2]}"
        for name in (*ADDRESSES, "task"):
            if (row[name] or "").startswith("file:"):
                row[name] = None
        self.count(row)
        goes = self.goes_along(row)
        if self.text == LICENSED:
            for name, stays in goes.items():
                if row[name] and not stays:
                    row[name] = silenced(row[name]) if name in TIMED else None
        elif self.text == LINKS:
            for name in TIMED:
                row[name] = timed_only(row[name])
        return {name: row[name] for name in self.schema.names}

    def goes_along(self, row: Row) -> dict[str, bool]:
        """Which of the texts may be passed on by their licences; counts both kinds."""
        video, article = licence_of(row["license"]), licence_of(row["article_license"])
        has = {name: bool(row[name]) for name in (*TEXTS, *TIMED)}
        # As `features` makes it: of the steps, else of the description, else of the title.
        whole = article if has["step"] else video
        of_title = not has["step"] and not has["description"]
        # What a model wrote of the pictures is no copy of a text.
        by_model = row["summary_method"] == "llm"
        summary = article if row["summary_method"] == "steps" else video
        found = {
            "description": video.may_be_shared,
            "sentence": video.may_be_shared,
            "step": article.may_be_shared,
            "global_text": of_title or whole.may_be_shared,
            "summary": by_model or summary.may_be_shared,
        }
        for name, licence in (("step", article), ("sentence", video), ("description", video)):
            if has[name]:
                stays = self.text == FULL or (self.text == LICENSED and found[name])
                (self.tally.kept if stays else self.tally.dropped)[name, shown(licence)] += 1
        return found

    def count(self, row: Row) -> None:
        tally = self.tally
        tally.videos += 1
        tally.seconds += row["duration_s"] or 0.0
        tally.frames += len(row["frame_time_s"])
        tally.with_replay += row["replay_score"] is not None
        tally.languages[row["sentence_language"] or row["language"] or ""] += 1
        tally.speech[row["sentence_kind"] or "not made"] += 1
        tally.video_licences[shown(licence_of(row["license"]))] += 1
        if row["step"] or row["article_license"]:
            tally.article_licences[shown(licence_of(row["article_license"]))] += 1
        if row["summary_method"]:
            tally.summaries[row["summary_method"]] += 1


def shown(licence: Licence) -> str:
    return licence.name


def without_text(kind: pa.DataType) -> pa.DataType:
    """A list of structs without their field `text`."""
    return pa.list_(pa.struct([field for field in kind.value_type if field.name != "text"]))


def timed_only(timed: Sequence[Mapping[str, Any]] | None) -> list[Row] | None:
    """Sentences as `without_text` types them."""
    return None if timed is None else [{key: each[key] for key in each if key != "text"} for each in timed]


def silenced(timed: Sequence[Mapping[str, Any]] | None) -> list[Row] | None:
    """Sentences with their times alone."""
    return None if timed is None else [{**each, "text": None} for each in timed]


def in_lines(tally: Tally) -> list[str]:
    """Which texts went along and which were left out, for a terminal."""
    names = {"step": "steps of articles", "sentence": "sentences", "description": "descriptions"}
    lines = []
    for verb, found in (("go along", tally.kept), ("left out", tally.dropped)):
        lines += [f"  {verb}: {names[kind]} of {num} videos ({name})" for (kind, name), num in sorted(found.items())]
    return lines
