"""The lock on a download's folder, which whoever had it before may have removed."""

from __future__ import annotations

import fcntl
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from vsumdata.stages.media import locked


def test_a_folder_that_others_remove_is_made_again(tmp_path: Path) -> None:
    partial_folder = tmp_path / "media" / "v-x" / "picture.partial"

    def take_and_remove(times: int) -> int:
        for _ in range(times):
            with locked(partial_folder):
                shutil.rmtree(partial_folder, ignore_errors=True)
                with suppress(OSError):
                    partial_folder.parent.rmdir()
        return times

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(take_and_remove, [500] * 6)) == 3000


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "picture.partial").touch()
    with pytest.raises(FileExistsError), locked(tmp_path / "picture.partial"):
        pass


def test_a_lock_whose_folder_was_removed_is_taken_anew(tmp_path: Path) -> None:
    partial_folder = tmp_path / "picture.partial"

    def second() -> bool:
        with locked(partial_folder), (partial_folder / "lock").open("a") as third, pytest.raises(BlockingIOError):
            fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True

    with ThreadPoolExecutor(1) as pool:
        with locked(partial_folder):
            later = pool.submit(second)
            time.sleep(0.3)  # it waits for the file that goes now
            shutil.rmtree(partial_folder)
            partial_folder.mkdir()
            (partial_folder / "lock").touch()
        assert later.result(60), "a third worker must find it locked"
