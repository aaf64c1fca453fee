"""Run the program on the sample in a process of its own, and compare what two roots hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.manifests.store import Store

PROGRAM = [sys.executable, "-c", "from vsumdata.pipeline.cli import main; main()"]
# A small architecture: what is tested is the pipeline, not the picture model.
SMALL_CLIP = ["--set", "features.clip.model=ViT-S-32-alt"]
PARTS = ("train=0.5", "val=0.2", "test=0.3")  # so that each has some of the seven videos
SPLIT = [word for part in PARTS for word in ("--set", f"features.split.{part}")]
CHANGES_BY_THE_CLOCK = {
    "committed_at", "seconds", "attempt", "retry_after", "retrieved_at", "digest", "detail", "part",
}  # fmt: skip


def start(*arguments: str, site: str | None = None) -> subprocess.Popen[str]:
    env = os.environ | {"COLUMNS": "200"} | ({"VSUMDATA_TRANSPORT": f"sample.invalid={site}"} if site else {})
    return subprocess.Popen([*PROGRAM, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def vsumdata(*arguments: str, site: str | None = None) -> subprocess.CompletedProcess[str]:
    process = start(*arguments, site=site)
    out, err = process.communicate(timeout=400)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def sample_run(root: Path) -> list[str]:
    return ["run", "--manifest", "sample", "--stage", "crawl,asr,features", "--root", str(root), *SMALL_CLIP, *SPLIT]


def contents(root: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """table -> video_id -> its latest row, without what depends on the clock."""
    store = Store(root)
    found = {}
    for table, fingerprint in store.tables().items():
        latest = store.latest(table, fingerprint)
        parts = dict(zip(latest["video_id"].to_pylist(), latest["part"].to_pylist(), strict=True))
        assert len(parts) == len(latest), "duplicates are visible"
        columns = list(store.dataset()["tables"][table]["schema"])
        rows = store.read(table, fingerprint, parts, columns)
        found[table] = {
            video_id: {name: value for name, value in row.items() if name not in CHANGES_BY_THE_CLOCK}
            for video_id, row in rows.items()
        }
    return found


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Equal ids, outcomes and texts; arrays within 1e-3."""
    if isinstance(one, np.ndarray):
        np.testing.assert_allclose(one.astype(np.float64), other.astype(np.float64), atol=1e-3, err_msg=where)
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            if key != "upstream":  # holds hashes of features, which may differ in the last bit
                assert_same(one[key], other[key], f"{where}/{key}")
    else:
        assert one == other, where


def leftovers(root: Path) -> list[Path]:
    """Files of the root that should not be there when no run is under way."""
    strange = {"tmp", "media"}
    return [p for p in root.rglob("*") if p.name in strange or ".tmp" in p.name or ".part" in p.name]
