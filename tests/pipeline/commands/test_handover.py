"""`vsumdata publish` and `export` on the command line: the sample, an object store, and what is wrong with an input."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.datasets.publish.repository.root_kit import make_root
from tests.datasets.publish.repository.test_folder import CROISSANT, HUGGING_FACE, elsewhere
from tests.manifests.object_kit import SECRET, root_url
from tests.pipeline.sample_kit import PROGRAM, here

from vsumdata.datasets.shards import open_shards
from vsumdata.manifests import leases
from vsumdata.manifests.store import Store


def only_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.slow
def test_the_sample_is_published(finished: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlcroissant", reason="needs the extra [publish]")
    answer = here("publish", "--root", str(finished), "-o", str(tmp_path / "out"))
    assert answer.returncode == 0, answer.stderr
    assert "texts: licensed" in answer.stdout
    assert "go along: steps of articles of 4 videos (CC BY 4.0)" in answer.stdout
    assert "random weights" in answer.stderr
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| features | 8 | 1 | 0 | 0 | 0 |" in text
    assert "- videos: 2 skipped: low\\_views" in text
    assert "the frame features mean nothing" in text
    ids = {video.video_id for video in open_shards(finished)}
    said, records = elsewhere(CROISSANT, tmp_path / "out" / "croissant.json", folder=tmp_path)
    assert (said["errors"], said["warnings"]) == ([], [])
    assert {record["video_id"] for record in records} == ids
    # The sample's run makes summaries from the articles' steps.
    assert any(record["summary"] for record in records)
    splits, _ = elsewhere(HUGGING_FACE, tmp_path / "out", tmp_path / "arrow", folder=tmp_path)
    assert {video_id for split in splits.values() for video_id in split} == ids
    assert set(splits) == {"train", "validation", "test"}
    for video in open_shards(finished, split="val"):
        assert video.video_id in splits["validation"]


@pytest.mark.slow
def test_the_sample_is_exported(finished: Path, tmp_path: Path) -> None:
    for words in (["mosu-h5", "mosu"], ["ids", "ids.jsonl"], ["eccv16-h5", "ours.h5"]):
        answer = here("export", "--root", str(finished), "--format", words[0], "-o", str(tmp_path / words[1]))
        assert answer.returncode == 0, answer.stderr
        assert "8 videos in" in answer.stdout
    assert (tmp_path / "mosu" / "mosu_gt.h5").exists()


def test_a_root_on_an_object_store(tmp_path: Path, s3_port: int, bucket: str) -> None:
    store = make_root(tmp_path)
    url = root_url(s3_port, bucket, keys=True)
    remote = Store(url)
    assert store.local is not None
    for path in store.local.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            remote.put(f"{remote.base}/{path.relative_to(store.local).as_posix()}", path.read_bytes())
    answer = here("publish", "--root", url, "-o", str(tmp_path / "out"))
    assert answer.returncode == 0, answer.stderr
    there = here("publish", "--root", str(store.local), "-o", str(tmp_path / "local"))
    assert there.returncode == 0
    for path in (tmp_path / "local" / "data").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / "data" / path.name).read_bytes()
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert SECRET.encode() not in everything
    held = leases.Leases(remote)
    with leases.shared(remote, held):
        assert "a run is working here" in only_line(here("publish", "--root", url, "-o", str(tmp_path / "o")).stderr)
    assert here("publish", "--root", url, "-o", str(tmp_path / "o")).returncode == 0


@pytest.mark.parametrize("words", [["publish"], ["export", "--format", "ids"], ["export", "--format", "mosu-h5"]])
def test_no_root_is_one_line(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        answer = here(*words, "--root", str(tmp_path / name), "-o", str(tmp_path / "out.txt"))
        assert answer.returncode == 2
        assert "no vsumdata root" in only_line(answer.stderr)
    assert not (tmp_path / "out.txt").exists()


def test_an_empty_root_is_one_line(tmp_path: Path) -> None:
    make_root(tmp_path, [])
    answer = here("publish", "--root", str(tmp_path / "root"), "-o", str(tmp_path / "out"))
    assert answer.returncode == 2
    assert "no video is finished; `vsumdata run" in only_line(answer.stderr)


def test_a_root_in_the_middle_of_a_run_is_one_line(tmp_path: Path) -> None:
    store = make_root(tmp_path)
    with leases.shared(store, leases.Leases(store)):
        answer = here("publish", "--root", str(tmp_path / "root"), "-o", str(tmp_path / "out"))
    assert answer.returncode == 2
    assert "a run is working here; publish when it has ended" in only_line(answer.stderr)
    assert not (tmp_path / "out").exists()
    after = here("publish", "--root", str(tmp_path / "root"), "-o", str(tmp_path / "out"))
    assert after.returncode == 0
    assert "videos wait for their rows (4 for videos)" in after.stderr, "what a killed run left is told of"


def test_a_broken_part_is_one_line(tmp_path: Path) -> None:
    store = make_root(tmp_path)
    path = Path(store.parts("features", store.tables()["features"])[0].path)
    path.write_bytes(path.read_bytes()[:100])
    answer = here("publish", "--root", str(tmp_path / "root"), "-o", str(tmp_path / "out"))
    assert answer.returncode == 1
    assert "vsumdata verify" in only_line(answer.stderr.splitlines()[-1])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["root", "output"])
def test_no_permission_is_one_line(tmp_path: Path, where: str) -> None:
    """As root, who may read and write everywhere, without root's right to do so."""
    make_root(tmp_path)
    (tmp_path / "place").mkdir()
    closed = tmp_path / ("root" if where == "root" else "place")
    before: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("giving up root's rights needs the program setpriv")
        os.chown(closed, 65534, 65534)
        before = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    closed.chmod(0o000 if where == "root" else 0o555)
    words = ["publish", "--root", str(tmp_path / "root"), "-o", str(tmp_path / "place" / "out")]
    answer = subprocess.run([*before, *PROGRAM, *words], capture_output=True, text=True)
    closed.chmod(0o755)
    assert answer.returncode in (1, 2)
    assert "Permission denied" in only_line(answer.stderr.strip().splitlines()[-1])
    assert "Traceback" not in answer.stderr
    assert str(closed) in answer.stderr
    assert list((tmp_path / "place").iterdir()) == []


def test_a_root_that_may_only_be_read_is_published(tmp_path: Path) -> None:
    make_root(tmp_path)
    root = tmp_path / "root"
    before: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("giving up root's rights needs the program setpriv")
        os.chown(root, 65534, 65534)
        before = ["setpriv", "--bounding-set=-dac_override"]
    root.chmod(0o555)
    words = ["publish", "--root", str(root), "-o", str(tmp_path / "out")]
    answer = subprocess.run([*before, *PROGRAM, *words], capture_output=True, text=True)
    root.chmod(0o755)
    assert answer.returncode == 0, answer.stderr


def test_wrong_words_are_one_line(tmp_path: Path) -> None:
    make_root(tmp_path)
    root = str(tmp_path / "root")
    answer = here("publish", "--root", root, "-o", str(tmp_path / "out"), "--text", "some")
    assert "none, links, licensed, full" in only_line(answer.stderr)
    answer = here("export", "--root", root, "-o", str(tmp_path / "out"), "--format", "hdf")
    for name in ("eccv16-h5", "mosu-h5", "instruct-v2xum", "ids", "availability"):
        assert name in only_line(answer.stderr)
    (tmp_path / "file").write_text("mine")
    answer = here("publish", "--root", root, "-o", str(tmp_path / "file"))
    assert "Not a directory" in only_line(answer.stderr.splitlines()[-1])
    assert (tmp_path / "file").read_text() == "mine"
    answer = here("publish", "--root", root, "-o", root)
    assert "is not empty" in only_line(answer.stderr.splitlines()[-1])
    assert (tmp_path / "root" / "dataset.json").exists()


def test_a_contact_and_a_text_mode(tmp_path: Path) -> None:
    make_root(tmp_path)
    words = ["publish", "--root", str(tmp_path / "root"), "-o", str(tmp_path / "out"), "--text", "links"]
    answer = here(*words, "--contact", "data@example.org")
    assert answer.returncode == 0, answer.stderr
    assert "texts: links" in answer.stdout
    assert "data@example.org" in (tmp_path / "out" / "README.md").read_text()
    found = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert "data@example.org" in found["rai:dataReleaseMaintenancePlan"]
    with contextlib.closing(pq.ParquetFile(tmp_path / "out" / "data" / "train-00000-of-00001.parquet")) as file:
        assert "title" not in file.schema_arrow.names
