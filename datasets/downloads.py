"""What a download turned out to be: the usual ways in which it is not the data, each told in one line."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsumdata.pipeline.errors import UsageError

if TYPE_CHECKING:
    import h5py

HEAD_BYTES = 512
HDF5, NPY = b"\x89HDF\r\n\x1a\n", b"\x93NUMPY"
ARCHIVES = {b"Rar!": "RAR", b"PK\x03\x04": "ZIP", b"\x1f\x8b": "gzip", b"7z\xbc\xaf": "7z"}


def check(path: Path, where: str) -> bytes:
    """The first bytes of the file at `path`; `where` says where the right one is to be had.

    Raises UsageError where there is no such file, or where it is empty, a web page, a git-lfs pointer or an archive.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a file; name the file in it")
    if not path.exists():
        raise UsageError(f"{path} is not there; get it from {where}")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    start = head.lstrip().lower()
    if not start:
        raise UsageError(f"{path} is empty: the download did not arrive; get it from {where}")
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        raise UsageError(f"{path} is a web page, not the data (a login or virus-scan page); get the file from {where}")
    if start.startswith(b"version https://git-lfs"):
        raise UsageError(f"{path} is a git-lfs pointer, not the data; run `git lfs pull` in its repository")
    for magic, name in ARCHIVES.items():
        if head.startswith(magic):
            raise UsageError(f"{path} is a {name} archive; unpack it and name the file inside")
    return head


@contextmanager
def open_hdf5(path: Path, where: str) -> Iterator[h5py.File]:
    """The HDF5 file at `path`, open for reading; UsageError where it is none, is cut off or has nothing inside.

    Damage that only shows while reading is a UsageError too.
    """
    import h5py

    # A MATLAB 7.3 file is HDF5 after a header of 512 bytes.
    if not check(path, where).startswith((HDF5, b"MATLAB 7.3")):
        raise UsageError(f"{path} is not an HDF5 file; get it from {where}")
    try:
        with h5py.File(path, "r") as file:
            if not len(file):
                raise UsageError(f"{path} has no videos inside; get it from {where}")
            yield file
    except OSError as error:
        what = "is cut off: the download stopped early" if "truncated" in str(error) else f"cannot be read ({error})"
        raise UsageError(f"{path} {what}; get it again from {where}") from error


def read_json(path: Path, where: str) -> Any:
    """The JSON value in the file at `path`; UsageError where it is none."""
    check(path, where)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not JSON, or is cut off ({error}); get it again from {where}") from error


class ArraysOnly(pickle.Unpickler):
    """Unpickles dictionaries of NumPy arrays; anything else could run code and is refused."""

    ALLOWED = frozenset(
        [("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict"), ("_codecs", "encode")]
        + [(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")]
        + [(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")]
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array")
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)


def read_npy_dict(path: Path, where: str) -> dict[str, np.ndarray]:
    """The dictionary of arrays that `np.save` pickled into the file at `path`.

    UsageError where it holds anything else (nothing of it is run then) or is cut off.
    """
    if not check(path, where).startswith(NPY):
        raise UsageError(f"{path} is not a .npy file; get it from {where}")
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            _, _, dtype = read_header[version](file)
            value = ArraysOnly(file).load() if dtype.hasobject else None
        except (pickle.UnpicklingError, ValueError, EOFError, KeyError) as error:
            raise UsageError(f"{path} is damaged or holds no arrays ({error}); get it again from {where}") from error
    found = value.item() if isinstance(value, np.ndarray) and value.shape == () else value
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no dictionary of arrays; get it from {where}")
    return found
