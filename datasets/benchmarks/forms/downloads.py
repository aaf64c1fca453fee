"""Open downloaded files. A file that is not the data (web page, archive, half a download) is one line that says so."""

from __future__ import annotations

import json
import pickle
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsumdata.manifests.errors import UsageError

if TYPE_CHECKING:
    import h5py

# The header that MATLAB 7.3 writes in front of HDF5 has 512 bytes; a web page shows itself in fewer.
HEAD_BYTES = 512
HDF5, NPY = b"\x89HDF\r\n\x1a\n", b"\x93NUMPY"
ARCHIVES = {b"Rar!": "RAR", b"PK\x03\x04": "ZIP", b"\x1f\x8b": "gzip", b"7z\xbc\xaf": "7z"}


def find(path: Path, names: Sequence[str], where: str) -> Path:
    """The file of the first of these names in the folder `path` or below it; `path` itself if it is no folder.

    Raises UsageError if there is none.
    """
    if not path.is_dir():
        return path
    for name in names:
        for found in sorted(path.rglob(name)):
            return found
    raise UsageError(f"{path} holds no {names[0]}; get it from {where}")


def check(path: Path, where: str) -> bytes:
    """The first bytes of the file at `path`. `where` tells the user where to get the right file.

    Raises UsageError if the file is missing or empty, or is a folder, a web page, a git-lfs pointer or an archive.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a file; name the file in it")
    if not path.exists():
        raise UsageError(f"{path} is not there; get it from {where}")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    # A page may begin with empty lines and write its tags in capitals.
    start = head.lstrip().lower()
    if not start:
        raise UsageError(f"{path} is empty: the download did not arrive; get it from {where}")
    # In the place of a large file, Google Drive gives a program a virus-scan page, or a login page.
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        raise UsageError(f"{path} is a web page, not the data (a login or virus-scan page); get the file from {where}")
    # A clone without git-lfs holds a text of three lines in the place of each large file.
    if start.startswith(b"version https://git-lfs"):
        raise UsageError(f"{path} is a git-lfs pointer, not the data; run `git lfs pull` in its repository")
    for magic, name in ARCHIVES.items():
        if head.startswith(magic):
            raise UsageError(f"{path} is a {name} archive; unpack it and name the file inside")
    return head


@contextmanager
def open_hdf5(path: Path, where: str) -> Iterator[h5py.File]:
    """The HDF5 file at `path`, open for reading.

    Raises UsageError if it is not HDF5, is cut off or empty, or turns out to be damaged inside the `with` block.
    """
    import h5py

    # A MATLAB 7.3 file is HDF5 behind a header of its own.
    if not check(path, where).startswith((HDF5, b"MATLAB 7.3")):
        raise UsageError(f"{path} is not an HDF5 file; get it from {where}")
    try:
        with h5py.File(path, "r") as file:
            if not len(file):
                raise UsageError(f"{path} has no videos inside; get it from {where}")
            yield file
    # h5py has no error of its own for damage: it raises OSError, at opening or when a chunk is read, and only the
    # words tell which.
    except OSError as error:
        what = "is cut off: the download stopped early" if "truncated" in str(error) else f"cannot be read ({error})"
        raise UsageError(f"{path} {what}; get it again from {where}") from error


def read_json(path: Path, where: str) -> Any:
    """The JSON value in the file at `path`. Raises UsageError if it is not JSON or is cut off."""
    check(path, where)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not JSON, or is cut off ({error}); get it again from {where}") from error


class ArraysOnly(pickle.Unpickler):
    """Unpickles dictionaries of NumPy arrays. Raises UnpicklingError for anything else."""

    # A pickle can call any function that it names, so a downloaded file could run any code. These names are all that
    # arrays need. numpy 2 renamed numpy.core to numpy._core; published files have either.
    ALLOWED = frozenset(
        [("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict"), ("_codecs", "encode")]
        + [(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")]
        + [(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")]
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array")
        # numpy 2 keeps numpy.core only as a deprecated stub, which a later version may remove.
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)


def read_npy(path: Path, where: str) -> np.ndarray:
    """The array that `np.save` wrote into the file at `path`. Raises UsageError if it is not one, or holds objects."""
    if not check(path, where).startswith(NPY):
        raise UsageError(f"{path} is not a .npy file; get it from {where}")
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise UsageError(f"{path} is damaged or holds no array ({error}); get it again from {where}") from error


def read_npy_dict(path: Path, where: str) -> dict[str, np.ndarray]:
    """The dictionary of arrays that `np.save` pickled into the file at `path`.

    Raises UsageError if the file is cut off or holds anything else; no code in it runs.
    """
    # `np.load(allow_pickle=True)` would run the pickle with all it asks for, so the header is read here by hand.
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
    # `np.save` wraps a dictionary into an array of shape () with one object.
    found = value.item() if isinstance(value, np.ndarray) and value.shape == () else value
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no dictionary of arrays; get the right file from {where}")
    return found


def read_mat5(path: Path, names: Sequence[str], where: str) -> dict[str, np.ndarray]:
    """The variables `names` of the MATLAB 5 file at `path`. Raises UsageError if it is not one, or lacks them."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    check(path, where)
    try:
        values = loadmat(path, variable_names=tuple(names))
    # scipy raises any of these for a damaged or foreign file; NotImplementedError is its word for MATLAB 7.3.
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError, zlib.error) as error:
        raise UsageError(f"{path} is not a MATLAB 5 file, or is cut off ({error}); get it from {where}") from error
    if missing := set(names) - set(values):
        raise UsageError(f"{path} has no {', '.join(sorted(missing))}; get it from {where}")
    return {name: np.asarray(values[name]) for name in names}


def read_pickled_dict(path: Path, where: str) -> dict[str, np.ndarray]:
    """The dictionary of arrays pickled in the file at `path`.

    Raises UsageError if the file is cut off or holds anything else; no code in it runs.
    """
    check(path, where)
    with path.open("rb") as file:
        try:
            found = ArraysOnly(file).load()
        # A damaged pickle fails in any of these ways.
        except (pickle.UnpicklingError, ValueError, EOFError, LookupError, TypeError, AttributeError) as error:
            raise UsageError(f"{path} is damaged or holds no arrays ({error}); get it again from {where}") from error
    if not isinstance(found, dict) or not all(isinstance(value, np.ndarray) for value in found.values()):
        raise UsageError(f"{path} holds no dictionary of arrays; get the right file from {where}")
    return found


SPLITS = ("train", "val", "test")
SPLIT_NAME = re.compile(r"(?<![a-z])(train|val|test)(?:ing|id|idation)?(?![a-z])")


def split_files(path: Path, pattern: str, where: str) -> dict[Path, str | None]:
    """The JSON files of a data set, train first, and the split that each one's name tells.

    `path` is a folder, whose files match `pattern`, or one file. Raises UsageError if the folder has no file for the
    test split, or two for one split.
    """
    if not path.is_dir():
        return {path: _split_of(path)}
    found: dict[str, Path] = {}
    for file in sorted(path.glob(pattern)):
        if split := _split_of(file):
            if split in found:
                raise UsageError(f"{path} has {found[split].name} and {file.name}: name one file, or leave one there")
            found[split] = file
    if "test" not in found:
        raise UsageError(f"{path} holds no {pattern.replace('*', 'test')}; get it from {where}")
    return {found[split]: split for split in SPLITS if split in found}


def _split_of(path: Path) -> str | None:
    named = set(SPLIT_NAME.findall(path.stem.lower()))
    return named.pop() if len(named) == 1 else None


def read_records(path: Path, keys: Sequence[str], what: str, where: str) -> list[dict[str, Any]]:
    """The records of a JSON list, each with the `keys`, of which the first is the video's id.

    Raises UsageError for anything else: `what` is the name of the data set.
    """
    found = read_json(path, where)
    if not isinstance(found, list) or not found:
        raise UsageError(f"{path} is not a list of {what}'s records: another data set's file? Get it from {where}")
    for number, record in enumerate(found, 1):
        lacking = [key for key in keys if key not in record] if isinstance(record, dict) else list(keys)
        if lacking:
            raise UsageError(f"{path}: record {number} has no {', '.join(lacking)}: this is not {what}'s annotation")
        if not isinstance(record[keys[0]], str) or not record[keys[0]]:
            raise UsageError(f"{path}: record {number}: {keys[0]} is {record[keys[0]]!r}; expected a video's id")
    return found


def numbers(path: Path, name: str, key: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """`value` of a JSON file as float64 of `shape`, where None is any size. Raises UsageError if it is not that."""
    wanted = f"[{', '.join('any' if size is None else str(size) for size in shape)}]" if shape else "one number"
    try:
        found = np.array(value, np.float64)
    # Lists of different lengths, texts, objects.
    except (ValueError, TypeError):
        raise UsageError(f"{path}: {name}: {key} does not hold numbers; expected {wanted}") from None
    fits = found.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, found.shape, strict=True))
    if not fits:
        raise UsageError(f"{path}: {name}: {key} is {list(found.shape)}; expected {wanted}")
    if not np.isfinite(found).all():
        raise UsageError(f"{path}: {name}: {key} holds values that are not finite numbers")
    return found
