"""A run on several Ray nodes: each proves that it is fit, files go where they are needed, no row is lost."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.nodes_kit import Nodes, can_hide, free_port, ray_nodes
from tests.pipeline.crawl_kit import MadeUpSite
from tests.pipeline.media_kit import lavfi, needs_models, write_manifest
from tests.pipeline.sample_kit import PROGRAM, assert_same, contents, leftovers, sample_run

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster]
needs_namespaces = pytest.mark.skipif(not can_hide(), reason="this user may not make mount namespaces (unshare -m)")
ENDS_WITHIN_S = 300.0
CLIP = "testsrc=duration=3:size=320x240:rate=10"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Three nodes with folders of their own: one has a logical GPU, the third has what the head has."""
    with ray_nodes() as found:
        found.start("head")
        found.start("gpu", gpus=1)
        found.start("third")
        yield found


def begin(nodes: Nodes, *arguments: str, site: str = "", **variables: str) -> subprocess.Popen[str]:
    transport = {"VSUMDATA_TRANSPORT": f"sample.invalid={site}"} if site else {}
    return subprocess.Popen(
        [*PROGRAM, *arguments, "--address", nodes.address],
        env=os.environ | nodes.variables | transport | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=ENDS_WITHIN_S)
    return process.returncode, out, err


def same_tables(root: Path, other: Path) -> None:
    one, two = contents(root), contents(other)
    # Where Ray has GPUs, models run in another order of the same sums.
    for table in one.values():
        for row in table.values():
            row.pop("device", None)
    for table in two.values():
        for row in table.values():
            row.pop("device", None)
    assert_same(one, two)


def test_three_nodes_make_the_tables_of_one_with_one_visit_a_video(
    nodes: Nodes, tmp_path: Path, finished: Path
) -> None:
    with MadeUpSite(num_videos=0) as site:
        code, out, err = ended(begin(nodes, *sample_run(tmp_path / "root"), site=site.address))
        asked = Counter(target for target in site.asked if target.startswith("/api/videos/"))
    assert (code, err) == (0, ""), out
    same_tables(tmp_path / "root", finished)
    assert asked == dict.fromkeys(asked, 1), "no file was fetched a second time on another node"
    assert leftovers(tmp_path / "root") == []
    for node in nodes.nodes.values():
        assert not list(node.folder.glob("vsumdata-*/*")), f"{node.name} has cleaned its folder"


def test_nobody_at_the_address_is_one_line_within_seconds(tmp_path: Path, nodes: Nodes) -> None:
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen()  # takes connections and never answers
    with silent:
        for port in (free_port(), silent.getsockname()[1]):
            begun = time.monotonic()
            process = subprocess.run(
                [*PROGRAM, *sample_run(tmp_path / "root"), "--address", f"127.0.0.1:{port}"],
                capture_output=True,
                text=True,
            )
            assert process.returncode == 1, process.stderr
            [line] = process.stderr.splitlines()
            assert f"--address 127.0.0.1:{port}: " in line
            assert time.monotonic() - begun < 40, "ten seconds and two starts of Python"


def test_a_cluster_that_wants_its_token_says_so(tmp_path: Path, nodes: Nodes) -> None:
    arguments = [*PROGRAM, *sample_run(tmp_path / "root"), "--address", nodes.address]
    process = subprocess.run(arguments, capture_output=True, text=True, env=os.environ | {"RAY_AUTH_MODE": "disabled"})
    assert process.returncode == 1
    [line] = process.stderr.splitlines()
    assert "RAY_AUTH_TOKEN" in line
    logs = "".join(path.read_text() for path in (tmp_path / "root" / "logs").glob("*.log"))
    assert "AuthenticationError" in logs or "InvalidAuthToken" in logs, "Ray's own words are kept"


@needs_namespaces
@needs_models
def test_nodes_that_miss_something_are_named_before_any_work(tmp_path: Path) -> None:
    videos, root = tmp_path / "videos", tmp_path / "root"
    videos.mkdir()
    root.mkdir()
    lavfi(videos / "a.mp4", CLIP)
    manifest = write_manifest(tmp_path, [{"video": "videos/a.mp4"}])
    with ray_nodes() as nodes:
        nodes.start("head")
        nodes.start("noroot", hides=[root])
        nodes.start("novideos", hides=[videos])
        code, out, err = ended(begin(nodes, "run", "--manifest", str(manifest), "--root", str(root)))
    assert code == 1, out
    [line] = err.splitlines()
    assert re.search(rf"node noroot \(.+?\) does not see the root {re.escape(str(root))}", line), line
    assert re.search(rf"node novideos \(.+?\) does not see {re.escape(str(videos / 'a.mp4'))}", line), line
    assert "node head" not in line
    assert not list(root.glob("*/*/part-*"))
    assert not list(root.glob(".seen*"))


@needs_namespaces
@needs_models
def test_a_node_that_fails_everything_condemns_nothing(tmp_path: Path) -> None:
    """What it cannot read others can; it gets no more work."""
    videos, root = tmp_path / "videos", tmp_path / "root"
    videos.mkdir()
    names = [f"v{number}.mp4" for number in range(8)]
    lavfi(videos / names[0], CLIP)
    for name in names[1:]:
        shutil.copy(videos / names[0], videos / name)
    (videos / "bad.mp4").write_bytes(b"no video")
    manifest = write_manifest(tmp_path, [{"video": f"videos/{name}"} for name in [*names, "bad.mp4"]])
    with ray_nodes() as nodes:
        nodes.start("head", cpus=2)
        nodes.start("blind", cpus=2, hides=[videos / name for name in names])
        code, out, err = ended(
            begin(nodes, "run", "--manifest", str(manifest), "--root", str(root), "--stage", "crawl,frames")
        )
    assert (code, err) == (0, ""), out
    found = contents(root)
    frames = {video_id: (row["outcome"], row["reason"]) for video_id, row in found["frames"].items()}
    assert frames == {name.removesuffix(".mp4"): ("done", "") for name in names} | {"bad": ("failed", "unreadable")}


def test_a_node_that_dies_takes_no_row_with_it(tmp_path: Path, finished: Path, sample_site: str) -> None:
    with ray_nodes() as nodes:
        nodes.start("head")
        nodes.start("second", cpus=2)
        process = begin(nodes, *sample_run(tmp_path / "root"), site=sample_site)
        wait_for_rows(tmp_path / "root", "transcripts", process)
        nodes.nodes["second"].kill()
        code, out, err = ended(process)
    assert code == 0, out + err
    same_tables(tmp_path / "root", finished)


def test_the_death_of_the_head_is_one_line_and_the_same_command_goes_on(
    tmp_path: Path, finished: Path, sample_site: str
) -> None:
    root = tmp_path / "root"
    with ray_nodes() as nodes:
        nodes.start("head", cpus=2)
        process = begin(nodes, *sample_run(root), site=sample_site)
        wait_for_rows(root, "transcripts", process)
        nodes.nodes["head"].kill()
        code, out, err = ended(process)
    assert code == 1, out + err
    assert "finished work is kept" in err.splitlines()[-1]
    assert "Traceback" not in err
    answer = subprocess.run(
        [*PROGRAM, *sample_run(root)],
        env=os.environ | {"VSUMDATA_TRANSPORT": f"sample.invalid={sample_site}"},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    same_tables(root, finished)


def wait_for_rows(root: Path, table: str, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + ENDS_WITHIN_S
    while not list(root.glob(f"{table}/*/part-*")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
