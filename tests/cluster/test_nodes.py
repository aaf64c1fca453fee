"""A run on several Ray nodes: each proves that it is fit, files go where they are needed, no row is lost."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.cluster.nodes_kit import Nodes, can_hide, ray_nodes
from tests.manifests.object_kit import FlakyProxy, keys_of, root_url, uploads_of
from tests.pipeline.crawl_kit import MadeUpSite
from tests.pipeline.media_kit import lavfi, needs_models, write_manifest
from tests.pipeline.sample_kit import PROGRAM, assert_same, contents, leftovers, sample_run, wait_for_rows

from vsumdata.manifests.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster]
needs_namespaces = pytest.mark.skipif(not can_hide(), reason="this user may not make mount namespaces (unshare -m)")
ENDS_WITHIN_S = 600.0
KILLS = 10
CLIP = "testsrc=duration=3:size=320x240:rate=10"


@dataclass
class Land:
    """A cluster and a folder: the third node sees nothing of the root `unseen`, no video but one, and `blind` empty."""

    nodes: Nodes
    folder: Path
    unseen: Path
    videos: Path
    blind: Path


@pytest.fixture(scope="module")
def land(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Land]:
    """Three nodes with folders of their own: one has a logical GPU. The tests at the end kill them."""
    folder = tmp_path_factory.mktemp("land")
    found = Land(Nodes(folder), folder, folder / "unseen", folder / "videos", folder / "blind")
    for each in (found.unseen, found.videos, found.blind):
        each.mkdir()
    clip = lavfi(folder / "clip.mp4", CLIP)
    shutil.copy(clip, found.videos / "a.mp4")
    for number in range(8):
        shutil.copy(clip, found.blind / f"v{number}.mp4")
    with ray_nodes() as found.nodes:
        found.nodes.start("head")
        found.nodes.start("gpu", gpus=1)
        hidden = [found.unseen, found.videos, *found.blind.iterdir()]
        found.nodes.start("third", cpus=2, hides=hidden if can_hide() else ())
        yield found


@pytest.fixture
def nodes(land: Land) -> Nodes:
    return land.nodes


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
    try:
        out, err = process.communicate(timeout=ENDS_WITHIN_S)
    finally:
        # It would take the cluster's CPUs from the tests that follow.
        process.kill()
    return process.returncode, out, err


def same_tables(root: str | Path, other: Path) -> None:
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
        begun = time.monotonic()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.run(
            [*PROGRAM, *sample_run(tmp_path / "root"), "--address", address], capture_output=True, text=True
        )
    assert process.returncode == 1, process.stderr
    [line] = process.stderr.splitlines()
    assert f"--address {address}: " in line
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
def test_a_node_that_misses_something_is_named_before_any_work(land: Land) -> None:
    manifest = write_manifest(land.folder, [{"video": "videos/a.mp4"}])
    code, out, err = ended(begin(land.nodes, "run", "--manifest", str(manifest), "--root", str(land.unseen)))
    assert code == 1, out
    [line] = err.splitlines()
    missed = (
        rf"does not see the root {re.escape(str(land.unseen))}.+; it does not see {re.escape(str(land.videos))}/a.mp4"
    )
    assert re.search(rf"node third \(.+?\) {missed}", line), line
    assert "node head" not in line
    assert "node gpu" not in line
    assert not list(land.unseen.glob("*/*/part-*"))
    assert not list(land.unseen.glob(".seen*"))


@needs_namespaces
@needs_models
def test_a_node_that_fails_everything_condemns_nothing(land: Land, tmp_path: Path) -> None:
    """What it cannot read others can; it gets no more work."""
    names = sorted(path.name for path in land.blind.iterdir())
    (land.folder / "bad.mp4").write_bytes(b"no video")
    lines = [{"video": f"blind/{name}"} for name in names] + [{"video": "bad.mp4"}]
    manifest, root = write_manifest(land.folder, lines), tmp_path / "root"
    arguments = ("--manifest", str(manifest), "--root", str(root), "--stage", "crawl,frames")
    code, out, err = ended(begin(land.nodes, "run", *arguments, "--set", "resources.frames.gpus=0"))
    assert (code, err) == (0, ""), out
    frames = {video_id: (row["outcome"], row["reason"]) for video_id, row in contents(root)["frames"].items()}
    assert frames == {name.removesuffix(".mp4"): ("done", "") for name in names} | {"bad": ("failed", "unreadable")}


@pytest.mark.parametrize("at", [0, *(pytest.param(at, marks=pytest.mark.long) for at in range(1, KILLS))])
def test_nodes_that_die_take_no_row_with_them_on_a_store_that_fails_too(
    land: Land, finished: Path, sample_site: str, s3_port: int, bucket: str, kills: tuple[int, random.Random], at: int
) -> None:
    victim = land.nodes.start(f"another-{at}", cpus=2) if at else land.nodes.nodes["third"]
    with FlakyProxy(s3_port, share=0.1, stall_s=5.0 if at else 0.5, seed=at) as proxy:
        # The nodes have no keys in their environment.
        url = root_url(proxy.port, bucket, keys=True)
        process = begin(land.nodes, *sample_run(url), site=sample_site)
        wait_for_rows(Store(root_url(s3_port, bucket)), "videos", process)
        time.sleep(random.Random(f"{kills[1].random()} {at}").uniform(0.0, 15.0))
        victim.kill()
        code, out, err = ended(process)
        assert code == 0, out + err
        same_tables(url, finished)
    assert uploads_of(s3_port, bucket) == 0
    assert [key for key in keys_of(s3_port, bucket) if re.search(r"\.tmp|/tmp/|/media/", key)] == []


@pytest.mark.long
def test_the_death_of_the_only_gpu_is_said_and_waited_for(land: Land, tmp_path: Path, sample_site: str) -> None:
    root = tmp_path / "root"
    wanted = ("--set", "resources.frames.gpus=1", "--set", "limits.wait_for_gpus_s=4")
    process = begin(land.nodes, *sample_run(root), *wanted, site=sample_site)
    wait_for_rows(Store(root), "frames", process)
    land.nodes.nodes["gpu"].kill()
    code, out, err = ended(process)
    assert code == 1, out + err
    assert "node gpu" in out, err
    assert "waiting up to 0:04 for the cluster to start machines with GPUs" in out, err
    [line] = err.splitlines()
    assert "1 GPU(s) each, but this cluster has 0" in line
    assert "finished work is kept" in line


@pytest.mark.long
def test_a_node_that_joins_takes_the_place_of_one_that_died(
    land: Land, tmp_path: Path, finished: Path, sample_site: str
) -> None:
    root = tmp_path / "root"
    second = land.nodes.start("gpu-2", gpus=1)
    process = begin(land.nodes, *sample_run(root), "--set", "resources.frames.gpus=1", site=sample_site)
    wait_for_rows(Store(root), "frames", process)
    second.kill()
    land.nodes.start("gpu-3", gpus=1)
    code, out, err = ended(process)
    assert (code, err) == (0, ""), out
    assert re.search(r"node gpu-3 \(.+?\) has joined", out)
    same_tables(root, finished)


@pytest.mark.long
def test_the_death_of_the_head_is_one_line_and_the_same_command_goes_on(
    land: Land, tmp_path: Path, finished: Path, sample_site: str
) -> None:
    root = tmp_path / "root"
    # By default Ray waits for a head for a minute.
    waits = {"RAY_gcs_rpc_server_reconnect_timeout_s": "10"}
    process = begin(land.nodes, *sample_run(root), site=sample_site, **waits)
    wait_for_rows(Store(root), "transcripts", process)
    land.nodes.nodes["head"].kill()
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
