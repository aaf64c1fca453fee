"""Log files of a root: appended to on a local disk, written whole now and then on an object store."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from vsumdata.manifests.roots.folder import Folder

FIRST_AFTER_S = 5.0  # a worker is killed without notice: lines that are younger than this may be lost
LATER_AFTER_S = 30.0
# An object is written whole each time, so a long log goes on in the next one.
LONGEST_BYTES = 4 << 20


def log_handler(folder: Folder, name: str) -> logging.Handler:
    """A handler for `name`.log in a folder of logs; a silent process makes no file."""
    if folder.objects is not None:
        return ObjectLog(folder, name)
    Path(folder.path).mkdir(parents=True, exist_ok=True)
    return logging.FileHandler(Path(folder.path, f"{name}.log"), delay=True, errors="backslashreplace")


class ObjectLog(logging.Handler):
    """Collects lines and writes them as an object: soon after the first line, then now and then, and at the end."""

    def __init__(self, folder: Folder, name: str) -> None:
        super().__init__()
        self.folder, self.stem = folder, name
        self.text = bytearray()
        self.number = 1
        self.is_changed = False
        self.ended = threading.Event()
        self.thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line. The handler's lock is held."""
        self.text += (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        self.is_changed = True
        # The thread writes: a store that is away must not hold up whoever logs.
        if self.thread is None:
            self.thread = threading.Thread(target=self.keep, daemon=True)
            self.thread.start()

    def keep(self) -> None:
        """Write what has come, until the log is closed."""
        after_s = FIRST_AFTER_S
        while not self.ended.wait(after_s):
            self.put()
            after_s = LATER_AFTER_S if len(self.text) > LONGEST_BYTES / 16 else FIRST_AFTER_S

    def put(self) -> None:
        """Write the object if there are new lines."""
        self.acquire()
        content, is_changed, self.is_changed = bytes(self.text), self.is_changed, False
        self.release()
        if not is_changed:
            return
        try:
            self.folder.write(f"{self.stem}{f'-{self.number}' if self.number > 1 else ''}.log", content)
        except OSError:
            # A log must never end the work that it tells of: these lines are written with the next ones.
            self.is_changed = True
            return
        if len(content) > LONGEST_BYTES:
            self.acquire()
            del self.text[: len(content)]
            self.number += 1
            self.release()

    def close(self) -> None:
        """Write the rest."""
        self.ended.set()
        if self.thread is not None:
            self.thread.join()
            self.put()
        super().close()
