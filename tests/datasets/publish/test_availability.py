"""The published list of what is gone: written, read back, compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vsumdata.datasets.publish.availability import Availability, changes, export, read
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import load
from vsumdata.manifests.sources import read_lists

FOUND = [
    Availability("aaaaaaaaaaa", "done", "", "2026-11-30T12:00:00+00:00"),
    Availability("-bbbbbbbbb_", "skipped", "removed", "2026-11-30T12:00:12+00:00"),
    Availability("talk, “one”\tpart", "pending", "", ""),
]


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "LIST.CSV"])
def test_what_was_written_is_read_back(tmp_path: Path, name: str) -> None:
    assert export(FOUND, tmp_path / name) == 3
    assert list(read(tmp_path / name).values()) == FOUND
    text = (tmp_path / name).read_bytes()
    assert export(FOUND, tmp_path / name) == 3
    assert (tmp_path / name).read_bytes() == text, "the same list is the same file"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_it_is_plain_for_other_programs(tmp_path: Path) -> None:
    export(FOUND[:2], tmp_path / "list.csv")
    assert (tmp_path / "list.csv").read_text().splitlines() == [
        "video_id,outcome,reason,date",
        "aaaaaaaaaaa,done,,2026-11-30T12:00:00+00:00",
        "-bbbbbbbbb_,skipped,removed,2026-11-30T12:00:12+00:00",
    ]
    export(FOUND[:1], tmp_path / "list.jsonl")
    assert json.loads((tmp_path / "list.jsonl").read_text()) == {
        "video_id": "aaaaaaaaaaa",
        "outcome": "done",
        "reason": "",
        "date": "2026-11-30T12:00:00+00:00",
    }


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_it_is_a_list_of_ids_for_the_next_run(tmp_path: Path, name: str) -> None:
    export(FOUND[:2], tmp_path / name)
    (tmp_path / "again.yaml").write_text(f"sources: [{{ids: {name}}}]")
    records, remarks = read_lists(load(str(tmp_path / "again.yaml")))
    assert ([record.video_id for record in records], remarks) == (["aaaaaaaaaaa", "-bbbbbbbbb_"], [])


def test_two_lists_are_compared() -> None:
    before = {one.video_id: one for one in FOUND}
    after = {
        "aaaaaaaaaaa": Availability("aaaaaaaaaaa", "skipped", "private", "2027-01-01T00:00:00+00:00"),
        "-bbbbbbbbb_": Availability("-bbbbbbbbb_", "skipped", "removed", "2027-01-01T00:00:00+00:00"),
        "ccccccccccc": Availability("ccccccccccc", "done", "", "2027-01-01T00:00:00+00:00"),
    }
    assert changes(before, after) == {
        "aaaaaaaaaaa": ("done", "skipped: private"),
        "talk, “one”\tpart": ("pending", ""),
        "ccccccccccc": ("", "done"),
    }
    assert changes(before, before) == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", b"video_id,outcome\nx,done\n"),
        ("a.jsonl", b'{"video_id": "x"}\n'),
        ("a.jsonl", b"[1]\n"),
        ("a.jsonl", b"video_id,outcome,reason,date\n"),
        ("a.csv", b"\xff\xfe\x00"),
    ],
)
def test_another_file_is_an_error(tmp_path: Path, name: str, text: bytes) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(UsageError, match="is no list of video_id, outcome, reason, date"):
        read(tmp_path / name)
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "none.csv")


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"written as \.csv or \.jsonl"):
        export(FOUND, tmp_path / "list.txt")
    with pytest.raises(UsageError, match="is not a folder"):
        export(FOUND, tmp_path / "none" / "list.csv")
    assert not list(tmp_path.iterdir())
