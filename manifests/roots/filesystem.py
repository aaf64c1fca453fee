"""An object store as a file system of pyarrow, for its Parquet readers. All requests go through `Objects`."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from vsumdata.manifests.roots.objects import Found, Objects


class ObjectFile(io.RawIOBase):
    """An object, read range by range."""

    def __init__(self, objects: Objects, path: str, size: int) -> None:
        super().__init__()
        self.objects, self.path, self.size, self.at = objects, path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self.size - self.at)
        size = left if size is None or size < 0 else min(size, left)
        content = self.objects.get_range(self.path, self.at, size) if size else b""
        self.at += len(content)
        return content


class PutOnClose(io.BytesIO):
    """A file that becomes an object, in one PUT, when it is closed."""

    def __init__(self, objects: Objects, path: str) -> None:
        super().__init__()
        self.objects, self.path = objects, path

    def close(self) -> None:
        if not self.closed:
            self.objects.put(self.path, self.getvalue())
        super().close()


class ObjectHandler(pafs.FileSystemHandler):
    """The operations that pyarrow asks for. Folders are not objects: they need no making."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    def get_type_name(self) -> str:
        return "objects"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectHandler) and other.objects is self.objects

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def normalize_path(self, path: str) -> str:
        return path.rstrip("/")

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        return [self.info(path) for path in paths]

    def info(self, path: str) -> pafs.FileInfo:
        try:
            return file_info(self.objects.head(path))
        except FileNotFoundError:
            folders, found = self.objects.children(path)
            kind = pafs.FileType.Directory if folders or found else pafs.FileType.NotFound
            return pafs.FileInfo(path, kind)

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        if selector.recursive:
            return [file_info(each) for each in self.objects.below(selector.base_dir)]
        folders, found = self.objects.children(selector.base_dir)
        if not folders and not found and not selector.allow_not_found:
            raise FileNotFoundError(2, "no such folder", selector.base_dir)
        inside = [pafs.FileInfo(path, pafs.FileType.Directory) for path in folders]
        return inside + [file_info(each) for each in found]

    def open_input_file(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(ObjectFile(self.objects, path, self.objects.head(path).size), mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return pa.BufferReader(self.objects.get(path))

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        return pa.PythonFile(PutOnClose(self.objects, path), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        raise NotImplementedError("an object cannot be appended to")

    def create_dir(self, path: str, recursive: bool) -> None:
        pass

    def delete_dir(self, path: str) -> None:
        self.objects.delete([each.path for each in self.objects.below(path)])

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        self.delete_dir(path)

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError("a whole bucket is never emptied")

    def delete_file(self, path: str) -> None:
        self.objects.delete([path])

    def move(self, src: str, dest: str) -> None:
        self.copy_file(src, dest)
        self.objects.delete([src])

    def copy_file(self, src: str, dest: str) -> None:
        self.objects.put(dest, self.objects.get(src))


def file_info(found: Found) -> pafs.FileInfo:
    return pafs.FileInfo(found.path, pafs.FileType.File, size=found.size, mtime=found.modified)


def file_system(objects: Objects) -> pafs.FileSystem:
    """The pyarrow file system over an object store."""
    return pafs.PyFileSystem(ObjectHandler(objects))
