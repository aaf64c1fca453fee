"""A published folder: the files, what is in them under each text mode, the card, Croissant, and who can read it."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.datasets.publish.repository.root_kit import EHOW, NOW, STRANGE, VIDEOS, WIKIHOW, make_root

from vsumdata.datasets.publish.repository import columns
from vsumdata.datasets.publish.repository.about import About
from vsumdata.datasets.publish.repository.folder import Published, publish
from vsumdata.datasets.publish.repository.parquet import write_split
from vsumdata.manifests import tables
from vsumdata.manifests.errors import StorageError, UsageError
from vsumdata.manifests.rows import to_table
from vsumdata.manifests.store import Store
from vsumdata.pipeline.reports.publication import about

# Each in a process of its own, and not in this repository: its folder `datasets` would hide Hugging Face's.
HUGGING_FACE = """
import datasets, json, sys
found = datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2])
print(json.dumps({name: [row["video_id"] for row in split] for name, split in found.items()}))
inferred = datasets.Features.from_arrow_schema(found["train"].data.schema)._to_yaml_list()
print(json.dumps(inferred))
"""
CROISSANT = """
import json, sys
import mlcroissant
found = mlcroissant.Dataset(jsonld=sys.argv[1], mapping=dict([word.split("=") for word in sys.argv[2:]]))
issues = found.metadata.ctx.issues
records = [
    {name.removeprefix("videos/"): value.decode() if isinstance(value, bytes) else value for name, value in row.items()}
    for row in found.records("videos")
]
print(json.dumps({"errors": list(issues.errors), "warnings": list(issues.warnings), "kept": found.metadata.to_json()}))
print(json.dumps(records, default=str))
"""
BOOKKEEPING = {name for name, _ in tables.HEAD} - {"video_id"} | {"upstream", "digest"}


def account(store: Store) -> About:
    return about(store)[0]


def published(folder: Path, text: str = columns.LICENSED, videos: list[dict[str, Any]] = VIDEOS) -> Published:
    """Publish a root of these videos as `folder`/out."""
    store = make_root(folder, videos)
    return publish(store, folder / "out", account(store), text)


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    """video_id -> row, of all files."""
    found = [pq.read_table(path) for path in sorted((folder / "out" / "data").glob("*.parquet"))]
    return {row["video_id"]: row for row in pa.concat_tables(found).to_pylist()}


def elsewhere(code: str, *words: str | Path, folder: Path) -> list[Any]:
    """What a program prints as JSON lines; fails on a warning of its log."""
    env = os.environ | {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "CROISSANT_CACHE": str(folder / "cache")}
    env.pop("PYTHONPATH", None)
    answer = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], cwd=folder, env=env, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    assert "WARNING" not in answer.stderr.upper(), answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


def test_the_files_are_laid_out_as_the_hub_reads_them(tmp_path: Path) -> None:
    done = published(tmp_path)
    there = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    names = [f"data/{split}-00000-of-00001.parquet" for split in ("test", "train", "validation")]
    assert there == ["README.md", "croissant.json", *names]
    assert {split.name: split.num_rows for split in done.splits} == {"train": 2, "validation": 1, "test": 2}
    for name in names:
        found = pq.ParquetFile(tmp_path / "out" / name)
        assert not BOOKKEEPING & set(found.schema_arrow.names)
        assert not {"channel", "channel_id", "info", "html"} & set(found.schema_arrow.names)
        column = found.metadata.row_group(0).column(0)
        assert column.has_offset_index
        assert column.has_column_index
    rows = rows_of(tmp_path)
    assert rows["aaaaaaaaaaa"]["article_license"] == "CC BY-NC-SA 3.0"
    assert rows["aaaaaaaaaaa"]["view_count"] == 60_000
    np.testing.assert_array_equal(np.shape(rows["ccccccccccc"]["frame_feature"]), (5, 4))


def test_a_reupload_is_published_in_the_split_of_its_group(tmp_path: Path) -> None:
    store = make_root(tmp_path)
    schema = tables.schema(tables.payload("duplicates", {}), ("videos",))
    alike = [dict.fromkeys(schema.names) | {"video_id": v, "outcome": "done", "version": 1, "tries": 0, "seconds": 0.0,
             "committed_at": NOW, "group": "aaaaaaaaaaa"} for v in ("aaaaaaaaaaa", "ddddddddddd")]  # fmt: skip
    store.write("duplicates", "d0", to_table(schema, alike))
    described = store.dataset()
    described["tables"]["duplicates"] = {"fingerprint": "d0", "outcomes": {}, "reasons": {}}
    store.write_json("dataset.json", described)
    publish(store, tmp_path / "out", account(store), columns.LICENSED)
    split = {
        row["video_id"]: (path.name.partition("-")[0], row["split"], row["task"])
        for path in (tmp_path / "out" / "data").glob("*.parquet")
        for row in pq.read_table(path, columns=["video_id", "split", "task"]).to_pylist()
    }
    assert split["aaaaaaaaaaa"] == split["ddddddddddd"]
    assert split["aaaaaaaaaaa"][0] == split["aaaaaaaaaaa"][1]


def test_no_path_of_the_machine_goes_along(tmp_path: Path) -> None:
    published(tmp_path, columns.FULL)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    for path in (b"somebody", str(tmp_path).encode(), b"/models/"):
        assert path not in everything
    mine = rows_of(tmp_path)["my-own-clip"]
    assert (mine["url"], mine["task"], mine["source"]) == (None, None, "files:ids.jsonl")


def test_licensed_keeps_row_by_row_what_its_licence_allows(tmp_path: Path) -> None:
    done, rows = published(tmp_path), rows_of(tmp_path)
    wikihow, ehow, standard, unchanged, mine = (rows[video["id"]] for video in VIDEOS)
    # The article is CC BY-NC-SA; the video states nothing, so its uploader keeps the rights.
    assert [step["text"] for step in wikihow["step"]] == ["Step 0: boil.", "Step 1: boil."]
    assert wikihow["global_text"].startswith("Step 0")
    assert wikihow["description"] is None
    assert [(each["start_s"], each["text"]) for each in wikihow["sentence"]] == [(0.0, None), (1.0, None)]
    # eHow's text is not free; the video is CC BY.
    assert (ehow["step"], ehow["global_text"], ehow["article_url"]) == (None, None, EHOW)
    assert ehow["description"].endswith("zoe@example.org")
    assert ehow["sentence"][0]["text"] == "Say 0, née Zoë."
    assert (standard["description"], standard["global_text"], standard["title"]) == (None, None, STRANGE)
    assert unchanged["description"] is None, "a licence without derivatives"
    assert mine["global_text"] == mine["description"] != None  # noqa: E711
    assert all(row["frame_feature"] and row["global_feature"] for row in rows.values()), "features are no texts"
    assert done.tally.kept["step", "CC BY-NC-SA 3.0"] == 1
    assert done.tally.dropped["step", "none stated"] == 1
    header = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---\n")[1])
    assert header["license"] == ["cc", "cc-by-nc-sa-3.0", "cc0-1.0", "other"]


@pytest.mark.parametrize(
    ("text", "there", "gone"),
    [
        ("none", {"license"}, {*columns.ADDRESSES, *columns.TITLES, *columns.TEXTS, *columns.TIMED}),
        ("links", {"url", "article_url", "sentence"}, {*columns.TITLES, *columns.TEXTS}),
        ("full", {*columns.ADDRESSES, *columns.TITLES, *columns.TEXTS, "sentence"}, set()),
    ],
)
def test_the_other_text_modes(tmp_path: Path, text: str, there: set[str], gone: set[str]) -> None:
    published(tmp_path, text)
    row = rows_of(tmp_path)["bbbbbbbbbbb"]
    assert there <= set(row)
    assert not gone & set(row)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    if text == "full":
        assert row["step"][0]["text"] == "Step 0: boil."
        assert "no licence to be passed on" in (tmp_path / "out" / "README.md").read_text()
    else:
        for words in (b"boil.", b"Say 0", b"zoe@example.org"):
            assert words not in everything
    if text == "links":
        assert row["sentence"] == [{"start_s": 0.0, "end_s": 1.0}, {"start_s": 1.0, "end_s": 2.0}]
        assert row["article_url"] == EHOW
    if text == "none":
        assert b"ehow.com" not in everything


def test_the_card_tells_what_the_root_knows(tmp_path: Path) -> None:
    published(tmp_path)
    text = (tmp_path / "out" / "README.md").read_text()
    for heading in (
        *("Sources", "Filters", "Funnel", "Licences", "Languages", "Known biases", "How the features were made"),
        *("Personal data", "Removal requests"),
    ):
        assert f"\n## {heading}\n" in text
    assert "| table | done | skipped |" in text
    assert "- ids:ids.jsonl" in text
    assert "- min_views: 50000" in text
    assert "| CC BY-NC-SA 3.0 | 1 |" in text
    assert "| none stated | 2 |" in text
    assert "sbert-é" in text
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["language"] == ["en"]
    assert header["size_categories"] == ["n<1K"]
    assert [each["split"] for each in header["configs"][0]["data_files"]] == ["train", "validation", "test"]
    sizes = [path.stat().st_size for path in (tmp_path / "out" / "data").iterdir()]
    assert header["dataset_info"]["download_size"] == sum(sizes)


def test_foreign_words_do_not_break_the_card(tmp_path: Path) -> None:
    strange = [
        {"id": f"video-{at:05d}", "split": "train", "license": f"<b>mine | {at}</b>\n# {'x' * 200}"} for at in range(40)
    ]
    published(tmp_path, columns.FULL, strange)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "<b>" not in text
    assert "&lt;b&gt;mine \\| 0&lt;/b&gt; \\# xxx" in text
    assert "| others | 10 |" in text
    assert max(map(len, text.splitlines())) < 1_000
    assert len([line for line in text.splitlines() if line.startswith("# ")]) == 1


def test_croissant_has_the_fields_that_neurips_asks_for(tmp_path: Path) -> None:
    published(tmp_path)
    found = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert found["conformsTo"][0] == "http://mlcommons.org/croissant/1.1"
    for name in ("dataLimitations", "dataBiases", "personalSensitiveInformation", "dataUseCases", "dataSocialImpact"):
        assert len(found[f"rai:{name}"]) > 40, name
    assert found["rai:hasSyntheticData"] is False
    assert found["prov:wasDerivedFrom"] == [{"@type": "prov:Entity", "prov:label": "ids:ids.jsonl"}]
    assert [each["prov:label"] for each in found["prov:wasGeneratedBy"]] == [
        "Collection",
        "Preprocessing",
        "Annotation",
    ]


@pytest.mark.parametrize("text", columns.MODES)
def test_mlcroissant_validates_and_gives_every_record(tmp_path: Path, text: str) -> None:
    pytest.importorskip("mlcroissant", reason="needs the extra [publish]")
    published(tmp_path, text)
    said, records = elsewhere(CROISSANT, tmp_path / "out" / "croissant.json", folder=tmp_path)
    assert (said["errors"], said["warnings"]) == ([], [])
    assert said["kept"]["rai:hasSyntheticData"] is False
    assert len(said["kept"]["prov:wasGeneratedBy"]) == 3
    rows = rows_of(tmp_path)
    assert {record["video_id"] for record in records} == set(rows)
    for record in records:
        row = rows[record["video_id"]]
        assert set(record) == set(row)
        assert [len(vectors) for vectors in record["frame_feature"]] == [4] * len(row["frame_feature"])
        assert record["duration_s"] == row["duration_s"]
        if text == "full" and row["sentence"]:
            assert [each["videos/sentence/text"] for each in record["sentence"]] == [
                str(each["text"].encode()) for each in row["sentence"]
            ]


def test_croissant_of_a_repository_names_it(tmp_path: Path) -> None:
    pytest.importorskip("mlcroissant", reason="needs the extra [publish]")
    store, address = make_root(tmp_path), "https://huggingface.co/datasets/somebody/eggs"
    publish(store, tmp_path / "out", account(store), address=address)
    # What a clone of the repository would be.
    clone = f"repository={tmp_path / 'out'}"
    said, records = elsewhere(CROISSANT, tmp_path / "out" / "croissant.json", clone, folder=tmp_path)
    assert (said["errors"], said["warnings"]) == ([], [])
    assert {record["video_id"] for record in records} == {video["id"] for video in VIDEOS}
    found = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert (found["url"], found["creator"]["name"]) == (address, "somebody")
    assert found["distribution"][0]["contentUrl"] == address


def test_hugging_face_loads_the_splits_with_the_types_that_the_card_states(tmp_path: Path) -> None:
    published(tmp_path)
    found, inferred = elsewhere(HUGGING_FACE, tmp_path / "out", tmp_path / "arrow", folder=tmp_path)
    assert found == {
        "train": ["aaaaaaaaaaa", "bbbbbbbbbbb"],
        "validation": ["ccccccccccc"],
        "test": ["ddddddddddd", "my-own-clip"],
    }
    header = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---\n")[1])
    assert header["dataset_info"]["features"] == inferred


def test_the_same_root_gives_the_same_files(tmp_path: Path) -> None:
    store = make_root(tmp_path)
    for name in ("one", "two"):
        publish(store, tmp_path / name, account(store))
    for path in (tmp_path / "one" / "data").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / "data" / path.name).read_bytes()


def test_an_earlier_publication_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    published(tmp_path)
    old = tmp_path / "out" / "data" / "train-00001-of-00002.parquet"
    old.write_bytes(b"of an earlier version")
    store = Store(tmp_path / "root")
    publish(store, tmp_path / "out", account(store))
    assert not old.exists()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        publish(store, tmp_path / "out", account(store))
    assert (tmp_path / "out" / "thesis.tex").read_text() == "mine"


def test_what_fails_in_the_middle_leaves_the_old_folder(tmp_path: Path) -> None:
    published(tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    store = Store(tmp_path / "root")
    told, at = account(store), store.tables()["transcripts"]
    for info in store.parts("transcripts", at):
        path = Path(info.path)
        path.write_bytes(path.read_bytes()[:-40] + b"x" * 40)
    with pytest.raises(StorageError):
        publish(store, tmp_path / "out", told)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.jsonl", "out", "root"], "no leftovers"


def test_a_root_without_finished_videos_is_refused(tmp_path: Path) -> None:
    store = make_root(tmp_path, [])
    with pytest.raises(UsageError, match="no video is finished"):
        publish(store, tmp_path / "out", account(store))
    assert not (tmp_path / "out").exists()


# Large splits

SCHEMA = pa.schema([("video_id", pa.string()), ("frame_feature", pa.list_(tables.vector(512)))])


def long_videos(number: int, frames: int, seen: list[int] | None = None) -> Any:
    feature = np.zeros((frames, 512), np.float16)
    for at in range(number):
        if seen is not None:
            seen.append(pa.total_allocated_bytes())
        yield {"video_id": f"v{at:03d}", "frame_feature": feature}


def test_row_groups_stay_below_what_the_hubs_viewer_takes(tmp_path: Path) -> None:
    # 20 MB for a video: as long as five hours.
    found = write_split(tmp_path, "train", SCHEMA, long_videos(12, 20_000))
    assert found.num_rows == 12
    stored = pq.ParquetFile(tmp_path / found.files[0].rpartition("/")[2])
    groups = [stored.metadata.row_group(at) for at in range(stored.metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [3, 3, 3, 3]
    assert max(group.total_byte_size for group in groups) < 100e6


def test_memory_does_not_grow_with_the_root(tmp_path: Path) -> None:
    before, seen = pa.total_allocated_bytes(), list[int]()
    write_split(tmp_path, "train", SCHEMA, long_videos(40, 20_000, seen))  # 800 MB
    assert max(seen) - before < 250e6


def test_files_are_numbered_and_say_how_many_there_are(tmp_path: Path) -> None:
    found = write_split(tmp_path, "train", SCHEMA, long_videos(30, 20_000))
    names = [f"train-0000{at}-of-00002.parquet" for at in range(2)]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [name.rpartition("/")[2] for name in found.files] == names
    ids = [video_id for name in names for video_id in pq.read_table(tmp_path / name)["video_id"].to_pylist()]
    assert ids == [f"v{at:03d}" for at in range(30)]


def test_an_inserted_row_changes_few_pages(tmp_path: Path) -> None:
    """Content-defined chunking: the pages behind a new row are the same bytes as before."""
    rng = np.random.default_rng(0)
    features = [rng.random((2_000, 512)).astype(np.float16) for _ in range(12)]
    rows = [{"video_id": f"v{at}", "frame_feature": feature} for at, feature in enumerate(features)]
    new = {"video_id": "new", "frame_feature": rng.random((500, 512)).astype(np.float16)}
    for name, content in (("one", rows), ("two", [*rows[:2], new, *rows[2:]])):
        (tmp_path / name).mkdir()
        write_split(tmp_path / name, "train", SCHEMA, content)
    one, two = ((tmp_path / name / "train-00000-of-00001.parquet").read_bytes() for name in ("one", "two"))
    # Pieces of the old file, as deduplication would find them in the new one at any place.
    pieces = [one[at : at + 4096] for at in range(0, len(one) - 4096, 65_536)]
    assert sum(piece in two for piece in pieces) / len(pieces) > 0.7


def test_the_account_is_of_today_and_names_no_machine(tmp_path: Path) -> None:
    store = make_root(tmp_path, VIDEOS[:1])
    found = account(store)
    assert found.published == datetime.datetime.now(datetime.UTC).date()
    assert found.sources == ["ids:ids.jsonl"]
    assert WIKIHOW not in str(found)
    (tmp_path / "ids.jsonl").unlink()
    told, remarks = about(store)
    assert told.funnel
    assert "no list" in remarks[0]
