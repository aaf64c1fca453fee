"""`view`: the server, its token, ranges of media, and its end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from tests.pipeline.reports.page.page_kit import HOSTILE, KEPT, made_up
from tests.pipeline.reports.test_status import Listed

from vsumdata.manifests.errors import UsageError
from vsumdata.pipeline.reports.page.serve import view
from vsumdata.stages.media import PICTURE
from vsumdata.stages.stage import safe_name

PROGRAM = [sys.executable, "-c", "from vsumdata.pipeline.commands.main import main; main()"]


@pytest.fixture
def root(tmp_path: Path) -> Listed:
    return made_up(tmp_path)


@pytest.fixture
def served(root: Listed) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [*PROGRAM, "view", "--root", root.store.root]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        yield process, process.stderr.readline().split()[-1]
        process.kill()


def test_pages_at_the_address_with_the_token_alone(served, root: Listed) -> None:
    _, address = served
    front = requests.get(address)
    assert front.status_code == 200
    assert f"video?id={KEPT}" in front.text
    assert front.headers["Cache-Control"] == "no-store"
    video = requests.get(f"{address}video", params={"id": HOSTILE})
    assert "&lt;script&gt;" in video.text
    assert requests.get(f"{address}video", params={"id": "nobody"}).status_code == 404
    server = address.rsplit("/", 2)[0]
    assert [requests.get(f"{server}{path}").status_code for path in ("/", "/other-token/", "/../etc/passwd")] == [
        404
    ] * 3
    # The name of a web site that has the address 127.0.0.1.
    assert requests.get(address, headers={"Host": "attacker.example"}).status_code == 403


def test_media_by_ranges(served, root: Listed) -> None:
    _, address = served
    assert requests.get(f"{address}media", params={"id": KEPT}).status_code == 404
    folder = Path(root.store.root) / "media" / safe_name(KEPT)
    folder.mkdir(parents=True)
    content = bytes(range(256)) * 40
    (folder / f"{PICTURE}.mp4").write_bytes(content)
    found = requests.get(f"{address}media", params={"id": KEPT}, headers={"Range": "bytes=1000-1999"})
    assert (found.status_code, found.content) == (206, content[1000:2000])
    assert found.headers["Content-Type"] == "video/mp4"
    assert "<video" in requests.get(f"{address}video", params={"id": KEPT}).text


def test_the_state_changes_with_the_root(served, root: Listed) -> None:
    _, address = served
    before = requests.get(f"{address}state").text
    assert requests.get(f"{address}state").text == before
    (task,) = root.plan("videos", root.of(KEPT), again=("done",)).tasks
    root.commit(task, "videos", "skipped", reason="removed")
    assert requests.get(f"{address}state").text != before
    assert "removed" in requests.get(address).text


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_an_error(served, signum: int) -> None:
    process, address = served
    requests.get(address)
    process.send_signal(signum)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


def test_a_broken_root_is_a_line_and_the_server_goes_on(served, root: Listed) -> None:
    _, address = served
    (Path(root.store.root) / "dataset.json").write_text("{")
    broken = requests.get(address)
    assert broken.status_code == 503
    assert "dataset.json cannot be read" in broken.text


def test_no_root_and_a_port_that_is_taken(root: Listed, served, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no vsumdata root"):
        view(str(tmp_path / "nothing"))
    port = int(served[1].split(":")[2].split("/")[0])
    with pytest.raises(UsageError, match=f"--port {port}: .*Address already in use"):
        view(root.store.root, port)
