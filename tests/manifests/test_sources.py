"""Lists of ids as they are published: each defect and repetition is reported; WikiHow Summaries is whole."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.terminal import console

from vsumdata.manifests.errors import FailVideo, ManifestError
from vsumdata.manifests.manifest import load
from vsumdata.manifests.sources import SAMPLE_BYTES, Record, content_hash, fields_hash, read_list, read_lists
from vsumdata.manifests.store import Store
from vsumdata.pipeline import session
from vsumdata.pipeline.engine.run import Run
from vsumdata.pipeline.reports import status
from vsumdata.pipeline.state import dataset
from vsumdata.pipeline.state.listing import list_records
from vsumdata.stages import articles, videos
from vsumdata.stages.stage import Context

A, B = "aaaaaaaaaaa", "bbbbbbbbbbb"
LIST = "wikihow_summaries.jsonl.gz"


def read(folder: Path, *lines: dict[str, Any]) -> tuple[list[Record], list[str]]:
    """The list's records, and the remarks without the folder."""
    with gzip.open(folder / "list.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    (folder / "mine.yaml").write_text("sources: [{ids: list.jsonl.gz}]")
    records, remarks = read_lists(load(str(folder / "mine.yaml")))
    return records, [remark.replace(f"{folder.resolve()}/", "") for remark in remarks]


def test_both_spellings_of_an_id_and_other_keys_are_taken(tmp_path: Path) -> None:
    records, remarks = read(
        tmp_path,
        {"youtube_id": "yHKZh5uW-gg", "slug": "x", "steps": [{"text": "One.", "img": "i.jpg", "vid": None}, "Two."]},
        {"video_id": A, "article_url": "https://www.wikihow.com/X"},
    )
    assert [record.video_id for record in records] == ["yHKZh5uW-gg", A]
    assert [(step["text"], step.get("image_url")) for step in records[0].steps or ()] == [
        ("One.", "i.jpg"),
        ("Two.", None),
    ]
    assert (records[1].steps, remarks) == (None, [])


@pytest.mark.parametrize("damage", ["cut off", "cut in its head", "overwritten", "another checksum", "no gzip"])
def test_a_damaged_gzip_list_is_an_error_of_the_manifest(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress("".join(json.dumps({"video_id": f"{n:011d}"}) + "\n" for n in range(3000)).encode())
    bad = {
        "cut off": whole[: len(whole) // 2],
        "cut in its head": whole[:15],
        "overwritten": whole[:40] + b"\0\xff" * 40 + whole[120:],
        "another checksum": whole[:-8] + bytes(4) + whole[-4:],
        "no gzip": b'{"video_id": "aaaaaaaaaaa"}\n',
    }[damage]
    (tmp_path / "list.jsonl.gz").write_bytes(bad)
    (tmp_path / "mine.yaml").write_text("sources: [{ids: list.jsonl.gz}]")
    with pytest.raises(ManifestError, match=r"list\.jsonl\.gz: "):
        read_lists(load(str(tmp_path / "mine.yaml")))


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([], "it gets no article: it has no steps"),
        ([{"text": " "}, ""], "it gets no article: none of its steps has a text"),
        (["One.", "", {"text": None}, "Two."], "these of its 4 steps have no text and are left out: 2, 3"),
    ],
)
def test_a_defective_record_is_kept_and_reported(tmp_path: Path, steps: list[Any], says: str) -> None:
    records, remarks = read(tmp_path, {"video_id": B, "steps": ["One."]}, {"video_id": A, "steps": steps})
    assert remarks == [f"list.jsonl.gz:2: {A}: {says}"]
    assert [record.video_id for record in records] == [B, A]
    assert [len(record.remarks or ()) for record in records] == [0, 1]


def test_the_first_record_of_an_id_counts_and_every_other_is_reported(tmp_path: Path) -> None:
    """Even where the first is defective: which article a video gets must not depend on what else is listed."""
    again = {"video_id": A, "article_url": "https://www.wikihow.com/Y", "steps": ["Three.", ""]}
    (record,), remarks = read(tmp_path, {"video_id": A, "steps": [""]}, again, {"youtube_id": A})
    before = f"{A} was listed before (list.jsonl.gz:1): the first record counts"
    assert remarks == [
        f"list.jsonl.gz:1: {A}: it gets no article: none of its steps has a text",
        f"list.jsonl.gz:2: {A}: these of its 2 steps have no text and are left out: 2",
        f"list.jsonl.gz:2: {before}, its 2 steps of https://www.wikihow.com/Y are left out",
        f"list.jsonl.gz:3: {before}",
    ]
    assert [step["text"] for step in record.steps or ()] == [""]
    assert len(record.remarks or ()) == 4, "inspect shows them"


def test_all_mistakes_are_counted(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as error:
        read(tmp_path, *({"video_id": f"wrong {number}"} for number in range(25)))
    lines = str(error.value).splitlines()
    assert (len(lines), lines[-1]) == (21, "… and 5 more")
    assert "list.jsonl.gz:1: video_id:" in lines[0].replace("youtube_id", "video_id")


def dry_run(root: Path, *settings: str) -> str:
    shown = io.StringIO()
    request = session.Request(
        manifest="wikihow_summaries", stage="crawl", root=str(root), dry_run=True, settings=settings
    )
    assert session.run(request, console(shown)) == 0
    return shown.getvalue()


def test_a_missing_list_names_the_line_and_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManifestError) as error:
        dry_run(tmp_path / "root")
    said = str(error.value)
    assert re.search(r"wikihow_summaries\.yaml:\d+: sources\.0\.ids: there is no list ", said)
    assert str(tmp_path.resolve() / LIST) in said
    assert "`--set sources.0.ids=PATH`" in said
    assert "\n" not in said


def test_a_built_in_manifest_finds_its_list_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "two.jsonl").write_text(f'{{"video_id": "{A}"}}\n{{"video_id": "{B}"}}\n')
    assert re.search(r"^videos +2 ", dry_run(tmp_path / "root", "sources.0.ids=lists/two.jsonl"), re.MULTILINE)


def test_what_a_list_says_of_a_video_can_be_found_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.jsonl").write_text(json.dumps({"video_id": A, "steps": ["One.", ""]}))
    store = Store(tmp_path / "root")
    run = Run(load("wikihow_summaries", ["sources.0.ids=list.jsonl"]), store, ["videos"], Console(quiet=True))
    run.prepare(dry_run=True)
    run.write_dataset({"tables": {}})
    monkeypatch.chdir("/")  # a root remembers where its list is
    (said,) = status.inspect(store, A)["listed"]["remarks"]
    assert said.endswith(f"list.jsonl:1: {A}: these of its 2 steps have no text and are left out: 2")
    assert dataset.open_root(store)[-1] == [said], "status says it again"


@pytest.fixture
def published(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the published list, made the current one."""
    (tmp_path / LIST).symlink_to(recordings / LIST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.recorded
def test_wikihow_summaries_is_whole(published: Path) -> None:
    loaded = load("wikihow_summaries")
    remarks: list[str] = []
    records = list_records(Store(published / "root"), loaded, None, remarks.append)
    assert len({record.video_id for record in records}) == len(records) == 2106
    again = [remark for remark in remarks if "was listed before" in remark]
    defective = [remark for remark in remarks if remark not in again]
    assert (len(again), len(defective)) == (5, 10)
    assert [remark for remark in defective if "it has no steps" in remark] == [
        next(remark for remark in defective if "RPcWq3ofz4o" in remark)
    ]
    assert len({remark.split(":")[1] for remark in remarks}) == 15, "each names its own line"
    left_out = sum(int(number) for remark in again for number in re.findall(r"its (\d+) steps", remark))
    assert sum(len(record.steps or ()) for record in records) + left_out == 33_437
    videos = re.search(r"^videos +([\d,]+)", dry_run(published / "root"), re.MULTILINE)
    assert videos is not None
    assert videos[1] == "2,106"


@pytest.mark.recorded
def test_its_step_texts_are_the_articles(published: Path) -> None:
    records, remarks = read_lists(load("wikihow_summaries"))
    # A host that leads nowhere: a page that was fetched would be an error.
    article_of = articles.load(
        {}, Context(root=str(published), scratch=str(published), transport={"www.wikihow.com": "127.0.0.1:9"})
    )
    num_steps, num_shown, without = 0, 0, []
    for record in records:
        try:
            row = article_of({"video_id": record.video_id, "source": record.as_dict(), "videos": {}})
        except FailVideo as error:
            without.append((record.video_id, error.reason))
            continue
        assert (row["site"], row["url"], row["html"]) == ("wikihow", record.article_url, None)
        texts = [" ".join(step["text"].split()) for step in record.steps or ()]
        assert [step["text"] for step in row["step"]] == [text for text in texts if text]
        shown = [step[name] for step in row["step"] for name in ("image_url", "clip_url") if step[name]]
        assert all(re.match("https://www.wikihow.com/(images|video)/", address) for address in shown)
        num_shown += len(shown)
        num_steps += len(row["step"])
        assert bool(row.get("detail")) == any("no text" in remark for remark in record.remarks or ())
    assert without == [("RPcWq3ofz4o", "no_steps")]
    assert num_steps == sum(len(record.steps or ()) for record in records) - 24
    assert num_shown > 0.99 * num_steps
    assert len(remarks) == 15


# Values that no table could hold


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"video": "a.mp4", "view_count": 10000000000000000000}', "view_count: Input should be less than or equal to"),
        ('{"video": "a.mp4", "view_count": %s}' % ("9" * 5000), "not readable as JSON: "),
        ('{"video": "a.mp4", "title": "\\ud800"}', "title: has a lone surrogate"),
        ('{"video": "a.mp4", "description": "x\\udfff"}', "description: has a lone surrogate"),
        ('{"video": "a.mp4", "license": "x\\udfff"}', "license: has a lone surrogate"),
        ('{"video": "\\ud800.mp4"}', "video: "),
        ('{"video": "a.mp4", "captions": "\\ud800"}', "captions: has a lone surrogate"),
        ('{"video": "a\\u0000.mp4"}', "video: has a zero byte"),
        ('{"video": "a.mp4", "\\ud800": 1}', "a key: "),
        ('{"video": "a.mp4", "heatmap": [{"start_s": 0, "end_s": Infinity, "value": 0}]}', "heatmap.0.end_s: "),
        ('{"video": "a.mp4", "heatmap": [{"start_s": NaN, "end_s": 1, "value": 0}]}', "heatmap.0.start_s: "),
        ('{"video": "a.mp4", "heatmap": [{"start_s": 0, "end_s": 1, "value": NaN}]}', "heatmap.0.value: "),
        ('{"video": "a.mp4", "heatmap": [{"start_s": 0, "end_s": 1e999, "value": 0}]}', "heatmap.0.end_s: "),
        ("[" * 100_000, "not readable as JSON: "),
    ],
)
def test_a_value_of_ones_own_list_that_no_table_holds_names_file_line_and_key(
    tmp_path: Path, line: str, says: str
) -> None:
    (tmp_path / "mine.jsonl").write_text(f'{{"video": "fine.mp4"}}\n\n{line}\n')
    (tmp_path / "mine.yaml").write_text("sources: [{files: mine.jsonl}]")
    with pytest.raises(ManifestError) as error:
        read_lists(load(str(tmp_path / "mine.yaml")))
    assert f"{tmp_path.resolve()}/mine.jsonl:3: {says}" in str(error.value)
    str(error.value).encode()  # a terminal can show it


def test_surrogates_in_a_published_list_are_replaced_and_reported(tmp_path: Path) -> None:
    """As its other defects are: the list is not the user's to mend."""
    lines: list[dict[str, Any]] = [
        {"video_id": A, "title": "Knots \ud83d", "slug": "\ud800", "steps": ["Tie.", {"text": "\udfff", "img": None}]},
        {"video_id": B, "article_url": "https://www.wikihow.com/\ud800"},
    ]
    records, remarks = read(tmp_path, *lines)
    assert remarks == [
        f"list.jsonl.gz:1: {A}: title, steps.1.text: lone surrogates, which are no characters, became `?`",
        f"list.jsonl.gz:2: {B}: article_url: lone surrogates, which are no characters, became `?`",
    ]
    assert (records[0].title, [step["text"] for step in records[0].steps or ()]) == ("Knots ?", ["Tie.", "?"])
    assert len(records[0].remarks or ()) == 1


def test_a_list_that_is_cut_in_the_middle(tmp_path: Path) -> None:
    read(tmp_path, *[dict[str, Any](video_id=f"{number:011d}", title="x" * number) for number in range(99)])
    whole = (tmp_path / "list.jsonl.gz").read_bytes()
    for damaged in (whole[:-20], whole[:100] + b"\xff" * 50 + whole[150:]):
        (tmp_path / "list.jsonl.gz").write_bytes(damaged)
        with pytest.raises(
            ManifestError, match=r"list\.jsonl\.gz: (cannot be read|the gzip file is cut off or damaged)"
        ):
            read_lists(load(str(tmp_path / "mine.yaml")))


# Own files are known by their content


def own(folder: Path, name: str = "talk.mp4") -> Record:
    return Record(video_id="talk", source="files:list", video=str(folder / name))


def mark(folder: Path, name: str = "talk.mp4") -> str:
    return fields_hash(own(folder, name), ("video", "title"))


def test_a_moved_or_touched_file_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "talk.mp4").write_bytes(bytes(range(256)) * 4096)
    before = mark(tmp_path / "a")
    os.utime(tmp_path / "a" / "talk.mp4", (1, 1))
    assert mark(tmp_path / "a") == before
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "talk.mp4").rename(tmp_path / "b" / "renamed.mp4")
    assert mark(tmp_path / "b", "renamed.mp4") == before


@pytest.mark.parametrize("size_bytes", [1, 1000, 3 * SAMPLE_BYTES, 3 * SAMPLE_BYTES + 1, 40 * SAMPLE_BYTES])
def test_a_change_of_head_middle_or_tail_is_seen(tmp_path: Path, size_bytes: int) -> None:
    content = bytearray(size_bytes)
    places = sorted({0, size_bytes // 2, size_bytes - 1})
    marks = {None: ""}
    for place in [None, *places]:
        changed = bytearray(content)
        if place is not None:
            changed[place] ^= 255
        (tmp_path / "talk.mp4").write_bytes(changed)
        marks[place] = mark(tmp_path)
    assert len(set(marks.values())) == 1 + len(places)
    (tmp_path / "talk.mp4").write_bytes(content + b"\0")
    assert mark(tmp_path) not in marks.values()


def test_captions_are_read_whole(tmp_path: Path) -> None:
    lines = [f"line {number}\n" for number in range(50_000)]
    record = Record(video_id="talk", source="files:list", captions=str(tmp_path / "talk.vtt"))
    (tmp_path / "talk.vtt").write_text("".join(lines))
    before = fields_hash(record, ("captions",))
    lines[12_345] = lines[12_345].replace("line", "word")
    (tmp_path / "talk.vtt").write_text("".join(lines))
    assert fields_hash(record, ("captions",)) != before


def test_a_large_video_costs_three_samples_and_once_a_run(tmp_path: Path) -> None:
    path = tmp_path / "talk.mp4"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a terabyte, read whole it would take hours
    before, misses = mark(tmp_path), content_hash.cache_info().misses
    assert mark(tmp_path) == before
    assert content_hash.cache_info().misses == misses


def test_files_that_cannot_be_read_have_a_mark_too(tmp_path: Path) -> None:
    missing = mark(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    marks = {missing, mark(tmp_path, "folder"), mark(tmp_path, "pipe"), mark(tmp_path, "x" * 300)}
    assert len(marks) == 3, "no file, no such name, not a file"
    (tmp_path / "talk.mp4").touch()
    assert mark(tmp_path) not in marks


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            f'{{"view_count": {"9" * 5000}, "video": "a"}}',
            "list.jsonl:1: not readable as JSON: Exceeds the limit",
        ),
        ("[" * 5000, "list.jsonl:1: not readable as JSON: maximum recursion depth exceeded"),
        ("[1]", "list.jsonl:1: a line is a JSON object"),
        (f'{{"video": "a", "view_count": {2**63}}}', "list.jsonl:1: view_count: Input should be less than"),
        ('{"video": "clips/.."}', "gives the video no name; give it a video_id"),
        ('{"video": "\\ud800.mp4"}', "list.jsonl:1: video: "),
    ],
    ids=["digits", "brackets", "no object", "int64", "folder", "half a character"],
)
def test_hostile_lines_are_named_as_all_others_are(tmp_path: Path, line: str, says: str) -> None:
    """The rest of the list is read, so that all mistakes are told at once."""
    (tmp_path / "list.jsonl").write_text(f'{line}\n{{"video": "b", "tilte": 1}}\n')
    with pytest.raises(ManifestError) as caught:
        list(read_list(tmp_path / "list.jsonl", "files:list.jsonl", own_files=True))
    first, second = str(caught.value).splitlines()
    assert says in first
    assert second.endswith("list.jsonl:2: tilte: unknown key")


def test_a_byte_order_mark_is_no_part_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text(f'{{"video_id": "{A}"}}\n', encoding="utf-8-sig")
    ((number, record),) = read_list(tmp_path / "list.jsonl", "ids:list.jsonl", own_files=False)
    assert (number, record.video_id) == (1, A)


def test_a_name_that_no_file_can_have_is_a_missing_file(tmp_path: Path) -> None:
    name = "a" * 300
    (tmp_path / "list.jsonl").write_text(json.dumps({"video": "list.jsonl", "captions": name}))
    ((_, record),) = read_list(tmp_path / "list.jsonl", "files:list.jsonl", own_files=True)
    assert fields_hash(record, ("captions",)) != fields_hash(replace(record, captions=None), ("captions",))
    with pytest.raises(FailVideo, match="file_missing"):
        videos.describe_file(record.as_dict(), ["en"])
