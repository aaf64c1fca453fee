"""A folder of small files under a root, local or in an object store: cached pages, logs."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from vsumdata.manifests.errors import StorageError
from vsumdata.manifests.roots.address import parse
from vsumdata.manifests.roots.objects import Objects, open_objects


@dataclass(frozen=True)
class Folder:
    """`path` is a local folder, or `BUCKET/KEY` where `objects` is given."""

    path: str
    objects: Objects | None = field(default=None, repr=False)

    def within(self, name: str) -> Folder:
        """The folder `name` inside this one."""
        return Folder(f"{self.path}/{name}", self.objects)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none or it cannot be read."""
        try:
            if self.objects is not None:
                return self.objects.get(f"{self.path}/{name}")
            return Path(self.path, name).read_bytes()
        except (OSError, StorageError):
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file: a reader sees the old one or the new one. Nothing waits for the disk. Raises OSError."""
        if self.objects is not None:
            try:
                self.objects.put(f"{self.path}/{name}", content)
            except StorageError as error:
                raise OSError(str(error)) from error
            return
        path = Path(self.path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.replace(file.name, path)
            except OSError:
                os.unlink(file.name)
                raise

    def remove(self) -> None:
        """Delete the folder with all that is in it, if it can be deleted."""
        if self.objects is None:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        with contextlib.suppress(StorageError):
            self.objects.delete([found.path for found in self.objects.below(self.path)])


def folder_at(location: str) -> Folder:
    """The folder at a path or a URL. Raises UsageError for a wrong URL."""
    address = parse(location)
    if address is None:
        return Folder(os.path.expanduser(location.removeprefix("file://")))
    return Folder(f"{address.bucket}/{address.prefix}".rstrip("/"), open_objects(address))
