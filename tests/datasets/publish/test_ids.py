"""An exported list of ids is a list that a manifest takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.datasets.publish.repository.root_kit import VIDEOS, WIKIHOW, make_root
from tests.datasets.publish.test_eccv16_h5 import video

from vsumdata.datasets.publish.ids import export
from vsumdata.datasets.shards import open_shards
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.sources import read_list


@pytest.mark.parametrize("name", ["ids.jsonl", "ids.csv", "ids.txt"])
def test_a_manifest_reads_it_back(tmp_path: Path, name: str) -> None:
    make_root(tmp_path)
    done = export(open_shards(tmp_path / "root"), tmp_path / name)
    assert (done.number, done.left_out) == (4, ["my-own-clip"])
    records = [record for _, record in read_list(tmp_path / name, "ids:x", own_files=False)]
    assert [record.video_id for record in records] == [each["id"] for each in VIDEOS[:4]]
    assert not any(record.remarks for record in records)
    assert records[0].article_url == (None if name == "ids.txt" else WIKIHOW)
    assert records[2].article_url is None


def test_wrong_names_and_roots_of_own_files(tmp_path: Path) -> None:
    own = [replace(video("x1"), url="file:///films/x1.mp4")]
    with pytest.raises(UsageError, match="rebuild no files of your own"):
        export(own, tmp_path / "ids.jsonl")
    with pytest.raises(UsageError, match="no video of the root is finished"):
        export([], tmp_path / "ids.jsonl")
    with pytest.raises(UsageError, match=r"\.jsonl or \.csv or \.txt"):
        export(own, tmp_path / "ids.parquet")
    with pytest.raises(UsageError, match="is not a folder"):
        export(own, tmp_path / "nowhere" / "ids.txt")
    assert list(tmp_path.iterdir()) == []
