"""A root that an older version wrote: every command says so in one line, or works."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from tests.pipeline.sample_kit import here

from vsumdata.datasets.shards import open_shards
from vsumdata.manifests import tables
from vsumdata.manifests.errors import StorageError
from vsumdata.manifests.manifest import load
from vsumdata.manifests.store import Store
from vsumdata.pipeline.state.dataset import stored_manifest

# The columns of 0.1.0 before 2026-11-29.
TEXT, MARKS = pa.string(), pa.map_(pa.string(), pa.string())
HEAD = [(name, TEXT) for name in ("video_id", "outcome", "reason", "detail")]
HEAD += [("attempt", pa.int32()), *tables.HEAD[-3:], ("upstream", MARKS)]
OLD = pa.schema([*HEAD, ("title", TEXT), ("split", TEXT), ("digest", MARKS)])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store = Store(tmp_path / "root")
    for at in range(3):
        row = {"video_id": f"v{at}", "outcome": "done", "reason": "", "detail": "", "attempt": 1, "split": "train"}
        row |= {"committed_at": datetime.now(UTC), "upstream": [("videos", "x")], "digest": [("title", "x")]}
        for table in ("videos", "features"):
            store.write(table, "0123456789ab", pa.Table.from_pylist([row], OLD))
    known = {table: {"fingerprint": "0123456789ab"} for table in ("videos", "features")}
    store.write_json("dataset.json", {"manifest": stored_manifest(load("sample")), "tables": known})
    return tmp_path / "root"


def test_what_reads_it_says_in_one_line_what_to_do(root: Path) -> None:
    answer = here("verify", "--root", str(root))
    lines = answer.stderr.splitlines()
    assert (answer.returncode, len(lines)) == (1, 2), "one line a folder, not one a part"
    for line, table in zip(lines, ("features", "videos"), strict=True):
        assert line.startswith(f"{root}/{table}/0123456789ab: written by another version of vsumdata")
        assert "(it has no tries, version)" in line
        assert "`vsumdata run` makes the table anew beside it" in line
    answer = here("compact", "--root", str(root))
    assert (answer.returncode, len(answer.stderr.splitlines())) == (1, 1)
    assert "written by another version of vsumdata" in answer.stderr
    with pytest.raises(StorageError, match="features/0123456789ab: written by another version"):
        open_shards(root)


def test_status_counts_all_as_pending_and_prune_keeps_it_until_a_run_has_replaced_it(root: Path) -> None:
    answer = here("status", "--root", str(root))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert here("prune", "--root", str(root)).stdout == "nothing to remove\n"
    store = Store(root)
    store.write_json("dataset.json", store.dataset() | {"tables": {"videos": {"fingerprint": "new"}}})
    assert here("prune", "--root", str(root)).stdout.startswith("removed videos/0123456789ab")
    assert store.parts("features", "0123456789ab"), "the last run does not name it"
