"""`publish --repo` against a stand-in for the hub on this machine: what lands there, kills, refusals, whose token."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.datasets.publish.repository.hub_kit import TOKEN, Hub
from tests.datasets.publish.repository.root_kit import VIDEOS, make_root
from tests.pipeline.sample_kit import PROGRAM

REPO = "somebody/eggs"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


def start(hub: Hub, folder: Path, *more: str, logged_in: bool = True) -> subprocess.Popen[str]:
    """Publish `folder`/root, with a home of huggingface_hub's own."""
    home = folder / "hf"
    home.mkdir(exist_ok=True)
    if logged_in:
        (home / "token").write_text(TOKEN)
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(home)}
    if hub.cas is None:
        env["HF_HUB_DISABLE_XET"] = "1"  # the files go as LFS objects
    words = ["publish", "--root", str(folder / "root"), "-o", str(folder / "out"), "--repo", REPO, *more]
    return subprocess.Popen([*PROGRAM, *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(hub: Hub, folder: Path, *more: str, logged_in: bool = True) -> tuple[int, str, str]:
    process = start(hub, folder, *more, logged_in=logged_in)
    out, err = process.communicate(timeout=120)
    assert TOKEN not in out + err
    return process.returncode, out, err


def files_of(folder: Path) -> dict[str, bytes]:
    there = (path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in there}


def test_the_repository_holds_what_the_folder_holds(hub: Hub, tmp_path: Path) -> None:
    make_root(tmp_path)
    code, out, err = run(hub, tmp_path)
    assert code == 0, err
    assert hub.files == files_of(tmp_path / "out")
    assert {f"data/{split}-00000-of-00001.parquet" for split in ("train", "validation", "test")} < set(hub.files)
    assert hub.repositories[REPO]["type"] == "dataset"
    assert hub.repositories[REPO]["visibility"] == "private", "a new repository is private"
    assert f"{hub.address}/datasets/{REPO}/commit/" in out
    assert f"{hub.address}/datasets/{REPO}/discussions" in hub.files["README.md"].decode(), "where removal requests go"
    assert TOKEN.encode() not in b"".join(hub.files.values())


def test_a_second_version_sends_what_changed_and_leaves_no_old_rows(hub: Hub, tmp_path: Path) -> None:
    make_root(tmp_path)
    assert run(hub, tmp_path)[0] == 0
    old = dict(hub.puts)
    hub.files["data/train-00007-of-00008.parquet"] = b"of an earlier version"
    hub.files["notes.txt"] = b"by hand"
    assert run(hub, tmp_path)[0] == 0, "the folder is replaced, the repository was there"
    assert dict(hub.puts) == old, "no object is sent twice"
    assert hub.files == files_of(tmp_path / "out") | {"notes.txt": b"by hand"}


def test_with_xet_what_is_stored_is_not_stored_twice(hub: Hub, tmp_path: Path) -> None:
    pytest.importorskip("hf_xet", reason="huggingface_hub has no Xet on this machine")
    hub.cas = tmp_path / "cas"
    hub.cas.mkdir()
    make_root(tmp_path)

    def stored() -> int:
        assert hub.cas is not None
        return sum(path.stat().st_size for path in (hub.cas / "xet" / "xorbs" / "xorbs").iterdir())

    code, _, err = run(hub, tmp_path)
    assert code == 0, err
    ours = files_of(tmp_path / "out")
    data = [name for name in ours if name.endswith(".parquet")]
    assert {name: hub.files[name].decode() for name in data} == {
        name: hashlib.sha256(ours[name]).hexdigest() for name in data
    }
    before = stored()
    assert before > 10_000
    assert run(hub, tmp_path)[0] == 0
    assert stored() == before


def test_a_killed_upload_goes_on(hub: Hub, tmp_path: Path) -> None:
    make_root(tmp_path)
    hub.stall_after = 1
    process = start(hub, tmp_path)
    assert hub.silent.wait(60), process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert hub.files == {}, "no commit of half the files"
    assert len(hub.objects) == 1
    first = next(iter(hub.objects))
    hub.stall_after = None
    code, _, err = run(hub, tmp_path)
    assert code == 0, err
    assert hub.files == files_of(tmp_path / "out")
    assert hub.puts[first] == 1, "what the hub had was not sent again"
    assert len(hub.objects) == 3


def test_a_refused_commit_is_one_line_with_the_remedy(hub: Hub, tmp_path: Path) -> None:
    make_root(tmp_path, VIDEOS[:1])
    hub.refuses = (403, "You do not own this namespace")
    code, _, err = run(hub, tmp_path)
    assert code == 1
    assert "Traceback" not in err
    line = err.strip().splitlines()[-1]
    assert line.startswith(f"error: the upload to {REPO} stopped: ")
    assert "You do not own this namespace" in line
    assert "run the same command again" in line
    assert (tmp_path / "out" / "README.md").exists(), "the folder is complete"


def test_a_hub_that_is_not_there_is_one_line(hub: Hub, tmp_path: Path) -> None:
    make_root(tmp_path, VIDEOS[:1])
    hub.address = "http://127.0.0.1:9"
    code, _, err = run(hub, tmp_path)
    assert (code, "Traceback" in err) == (1, False)
    assert "stopped" in err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("repo", "logged_in", "said"),
    [
        (REPO, False, "hf auth login"),
        ("eggs", True, "USER/NAME"),
        ("a/b/c", True, "USER/NAME"),
        ("a/é", True, "--repo"),
    ],
)
def test_what_cannot_be_uploaded_is_refused_before_any_work(
    hub: Hub, tmp_path: Path, repo: str, logged_in: bool, said: str
) -> None:
    make_root(tmp_path, VIDEOS[:1])
    code, _, err = run(hub, tmp_path, "--repo", repo, logged_in=logged_in)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert not hub.asked
