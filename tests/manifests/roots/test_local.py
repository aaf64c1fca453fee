"""A folder that appears whole or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.roots.local import new_folder

# Fills the folder that it is given, says so, and waits to be killed.
WRITER = """
import sys
from pathlib import Path
from vsumdata.manifests.roots.local import new_folder
with new_folder(Path(sys.argv[1]), lambda entry: True) as folder:
    (folder / "half").write_text("of it")
    print("there", flush=True)
    sys.stdin.read()
"""


def ours(entry: Path) -> bool:
    return entry.name == "a"


def write(path: Path, text: str) -> None:
    with new_folder(path, ours) as folder:
        (folder / "a").write_text(text)
        assert not path.exists() or (path / "a").read_text() != text


def test_a_new_one_and_one_in_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "é [x]"
    for text in ("one", "two"):
        write(path, text)
        assert [each.name for each in path.parent.iterdir()] == [path.name]
        assert (path / "a").read_text() == text


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "x", "one")
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "x", ours):
        raise ZeroDivisionError
    assert (tmp_path / "x" / "a").read_text() == "one"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis").write_text("mine")
    with pytest.raises(UsageError, match="not empty \\(it has `thesis`\\)"):
        write(tmp_path / "x", "one")
    assert [each.name for each in (tmp_path / "x").iterdir()] == ["thesis"]


def test_a_killed_writer_leaves_nothing_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "x"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "there\n"
    write(path, "beside a writer that lives")
    assert len(list(tmp_path.iterdir())) == 2, "what it writes stays"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert (path / "a").exists()
    write(path, "after it was killed")
    assert [each.name for each in tmp_path.iterdir()] == ["x"]
