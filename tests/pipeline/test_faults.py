"""A machine that fails: one clear line, nobody's video condemned, and the same command goes on afterwards."""

from __future__ import annotations

import base64
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.media_kit import lavfi, needs_models, read_tables, write_manifest
from tests.pipeline.sample_kit import PROGRAM

from vsumdata.manifests import upkeep
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.store import Store
from vsumdata.pipeline.workers.worker import Job, Worker
from vsumdata.stages.pictures.probe import probe
from vsumdata.stages.stage import Context, Stage


def program(*arguments: object, before: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [*before, *PROGRAM, *map(str, arguments)]
    return subprocess.run(command, env=os.environ | env, capture_output=True, text=True, timeout=300)


def only_line(answer: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr."""
    assert answer.stderr.count("\n") == 1, answer.stderr
    assert "Traceback" not in answer.stdout
    return answer.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder]).returncode:
        pytest.skip("mounting a small file system needs rights that this machine does not give")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.slow
@pytest.mark.ray
@needs_models
def test_full_disk_stops_and_the_same_command_goes_on(tmp_path: Path, small_disk: Path) -> None:
    clip = lavfi(tmp_path / "clip.mp4", "testsrc=s=64x64:r=5:d=2")
    # No compression makes them fit.
    text = [base64.b64encode(random.Random(n).randbytes(30_000)).decode() for n in range(8)]
    lines = [{"video": clip.name, "video_id": f"v{n}", "description": text[n]} for n in range(8)]
    manifest = write_manifest(tmp_path, lines)
    command = ["run", "--manifest", manifest, "--stage", "videos", "--root", small_disk / "root"]
    stopped = program(*command)
    assert stopped.returncode == 1, stopped.stdout
    line = only_line(stopped)
    assert "No space left on device" in line
    assert "run" in line.partition("No space left on device")[2], "says how to go on"
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    before = Store(small_disk / "root")
    assert upkeep.temporaries(before) == []
    finished = program(*command)
    assert finished.returncode == 0, finished.stderr
    rows = read_tables(small_disk / "root")
    assert [row["outcome"] for row in rows["videos"].values()] == ["done"] * 8
    assert max(row["version"] for row in rows["videos"].values()) == 1, "a full disk is nobody's video's fault"
    verified = program("verify", "--root", small_disk / "root")
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize("mode", [0o555, 0o000], ids=["read-only", "unreadable"])
def test_folder_without_permission(tmp_path: Path, mode: int) -> None:
    """As root, who may write everywhere, without root's right to do so."""
    root = tmp_path / "root"
    root.mkdir()
    manifest = write_manifest(tmp_path, [{"video": "clip.mp4"}])
    before: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("giving up root's rights needs the program setpriv")
        os.chown(root, 65534, 65534)
        before = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    root.chmod(mode)
    answer = program("run", "--manifest", manifest, "--stage", "videos", "--root", root, before=before)
    root.chmod(0o755)
    assert answer.returncode == (1 if mode else 2)
    assert str(root) in only_line(answer)
    assert "Permission denied" in answer.stderr
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("content", [None, "not a program\n", "#!/bin/sh\nexit 1\n"], ids=["gone", "text", "no ffmpeg"])
def test_missing_ffmpeg_is_nobodys_videos_fault(tmp_path: Path, content: str | None) -> None:
    lavfi(tmp_path / "clip.mp4", "testsrc=s=64x64:d=1")
    manifest = write_manifest(tmp_path, [{"video": "clip.mp4"}])
    chosen = tmp_path / "ffmpeg"
    if content is not None:
        chosen.write_text(content)
        chosen.chmod(0o755)
    command = ["run", "--manifest", manifest, "--stage", "videos,frames", "--root", tmp_path / "root"]
    answer = program(*command, VSUMDATA_FFMPEG=str(chosen))
    assert answer.returncode == 2
    assert str(chosen) in only_line(answer)
    assert "VSUMDATA_FFMPEG" in answer.stderr
    assert not list(tmp_path.rglob("part-*")), "no row is committed"


def test_worker_without_ffmpeg_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine of the cluster may lack it."""
    clip = lavfi(tmp_path / "clip.mp4", "testsrc=s=64x64:d=1")
    stage = Stage(name="zoo", reads={}, load=lambda options, context: lambda row: row)
    context = Context(root=str(tmp_path / "root"), scratch=str(tmp_path))
    limits: dict[str, Any] = {"gpus": 0, "max_attempts": 5}
    worker = Worker(Job(stage=stage, context=context, fingerprint="f", inputs={}, **limits))
    monkeypatch.setenv("VSUMDATA_FFMPEG", str(tmp_path / "no-ffmpeg"))
    with pytest.raises(UsageError, match="no-ffmpeg is not a program"):
        worker.attempt(lambda row: {"format": probe(clip).format}, {"video_id": "v"})
    assert not list((tmp_path / "rows").rglob("v-*")), "no marker condemns the row"
