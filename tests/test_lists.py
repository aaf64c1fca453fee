"""Lists of ids as they are published: each defect and repetition is reported; WikiHow Summaries is whole."""

from __future__ import annotations

import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from vsumdata.manifests.manifest import load
from vsumdata.manifests.sources import Record, read_lists
from vsumdata.manifests.store import Store
from vsumdata.pipeline import session, status
from vsumdata.pipeline.errors import FailVideo, ManifestError
from vsumdata.pipeline.listing import list_records
from vsumdata.pipeline.run import Run
from vsumdata.pipeline.stage import Context
from vsumdata.stages import articles

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


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([], "it gets no article: it has no steps"),
        ([{"text": " "}, ""], "it gets no article: none of its steps has a text"),
        (["One.", "", {"text": None}, "Two."], "of its 4 steps these have no text and are left out: 2, 3"),
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
        f"list.jsonl.gz:2: {A}: of its 2 steps these have no text and are left out: 2",
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
    assert session.run(request, Console(file=shown, width=400)) == 0
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
    assert said.endswith(f"list.jsonl:1: {A}: of its 2 steps these have no text and are left out: 2")
    assert status.open_root(store)[-1] == [said], "status says it again"


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
    videos = re.search(r"^videos +(\d+)", dry_run(published / "root"), re.MULTILINE)
    assert videos is not None
    assert videos[1] == "2106"


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
