"""A run that is submitted to a running cluster: it uses that cluster, its code travels, and Prometheus sees it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.cluster.head_kit import Head, head
from tests.pipeline.sample_kit import PROGRAM, SMALL_CLIP

from vsumdata.manifests.store import Store

ROOT = Path(__file__).parents[2]
TRAVELLED = "0.1.0+travelled"
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@dataclass(frozen=True)
class Submitted:
    head: Head
    root: Path
    code: int
    said: str
    seen: dict[str, float]  # every sample that Prometheus could read, the last value


def programs(folder: Path) -> Path:
    """A folder with the program `vsumdata` of this checkout."""
    folder.mkdir()
    program = folder / "vsumdata"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m vsumdata.pipeline.commands.main "$@"\n')
    program.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Submitted]:
    """The sample, by recipes/cluster/ray-job.sh, on a cluster of one node that has the packages already."""
    folder = tmp_path_factory.mktemp("cluster")
    # By way of the sdist: a wheel built in place leaves build/lib, and the next one ships what was deleted since.
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    wheel = next(folder.glob("*.whl"))
    marked(wheel)
    root = folder / "root"
    with head() as cluster:
        paths = f"{programs(folder / 'bin')}:{cluster.environment['PATH']}"
        environment = cluster.environment | {
            "PATH": paths, "WHEEL": str(wheel), "CODE_ONLY": "1", "RAY_API_SERVER_ADDRESS": cluster.dashboard,
            "VSUMDATA_TMPDIR": str(folder), "PYTHONPATH": str(ROOT / "build/links"), "RAY_ADDRESS": "elsewhere:1",
        }  # fmt: skip
        command = [
            str(ROOT / "recipes/cluster/ray-job.sh"), "--manifest", "sample", "--stage", "videos,frames",
            "--limit", "6", "--root", str(root), *SMALL_CLIP,
        ]  # fmt: skip
        log = folder / "said"
        seen: dict[str, float] = {}
        with log.open("w") as said:
            process = subprocess.Popen(command, env=environment, cwd=folder, stdout=said, stderr=said)
            while process.poll() is None:
                seen |= cluster.samples()
                time.sleep(0.3)
        # What the workers counted last, they report within moments.
        time.sleep(1.5)
        seen |= cluster.samples()
        yield Submitted(cluster, root, process.returncode, log.read_text(), seen)


def marked(wheel: Path) -> None:
    """Give a wheel another version, by which what runs it is known."""
    unpacked = wheel.with_name("unpacked")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, unpacked], check=True)
    metadata = next(unpacked.glob("*.dist-info/METADATA"))
    metadata.write_text(re.sub("(?m)^Version: .*$", f"Version: {TRAVELLED}", metadata.read_text()))
    wheel.unlink()
    names = [str(path) for path in unpacked.iterdir()]
    subprocess.run([sys.executable, "-m", "zipfile", "-c", wheel, *names], check=True)


def value(seen: dict[str, float], name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    wanted = [f'{label}="{text}"' for label, text in labels.items()]
    found = [
        number for key, number in seen.items() if key.startswith(f"{name}{{") and all(each in key for each in wanted)
    ]
    assert found, f"no {name} with {labels} among {sorted({key.partition('{')[0] for key in seen if 'vsum' in key})}"
    return sum(found)


def test_it_does_its_work_on_the_cluster_with_the_code_that_travelled(submitted: Submitted) -> None:
    assert submitted.code == 0, submitted.said
    assert "rows made in" in submitted.said
    store = Store(submitted.root)
    tables = store.tables()
    parts = [Path(store.folder(name, tables[name]), info.base_name) for name in ("videos", "frames")
             for info in store.parts(name, tables[name])]  # fmt: skip
    assert parts
    for part in parts:
        made_by = json.loads(pq.read_schema(part).metadata[b"vsumdata"])
        assert made_by["packages"]["vsumdata"] == TRAVELLED


def test_prometheus_sees_the_run(submitted: Submitted) -> None:
    seen, store = submitted.seen, Store(submitted.root)
    for table in ("videos", "frames"):
        made = Counter(store.latest(table, store.tables()[table])["outcome"].to_pylist())
        assert value(seen, "ray_vsumdata_outcomes_total", table=table, outcome="done") == made["done"] > 0
        assert value(seen, "ray_vsumdata_work_seconds_total", table=table) > 0
        assert value(seen, "ray_vsumdata_pending", table=table) >= 0
    assert value(seen, "ray_vsumdata_visits_total", host="sample.invalid") >= 6
    assert value(seen, "ray_vsumdata_frames_total") > 10
    assert value(seen, "ray_vsumdata_media_bytes_total") > 10_000


def test_an_address_of_the_job_api_is_refused_before_any_work(submitted: Submitted, tmp_path: Path) -> None:
    answer = subprocess.run(
        [*PROGRAM, "run", "--manifest", "sample", "--root", str(tmp_path / "root")],
        env=os.environ | {"RAY_ADDRESS": submitted.head.dashboard},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert "job API" in answer.stderr
    assert not (tmp_path / "root").exists()
