"""`vsumdata cluster env`: the runtime_env that gives a cluster's nodes this code and the packages of this machine.

A local wheel is unpacked beside itself, and `py_modules` names the folders. A wheel as such, in `py_modules`, Ray hands
to `pip install --target`, which brings a second copy of torch and all else at their newest versions, first on the path.
"""

from __future__ import annotations

import os
import platform
import shutil
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, PathDistribution, distribution, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vsumdata.manifests.errors import UsageError

NAME = "vsumdata"
# pip makes an environment of the job's own on each node. torch alone is gigabytes, and Ray would give up after 600 s.
SETUP_WITHIN_S = 3600
# What workers read; where it is set here, they need it too. Nothing secret: a runtime_env is stored and shown by Ray.
VARIABLES = (
    "VSUMDATA_TMPDIR",
    "VSUMDATA_FFMPEG",
    "IMAGEIO_FFMPEG_EXE",
    "XDG_CACHE_HOME",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
)
# A cluster runs one Ray. Another copy in a job's environment could not talk to it.
CLUSTER_HAS = frozenset({"ray"})


def runtime_env(wheel: str | None, *, code_only: bool) -> dict[str, Any]:
    """Return the runtime_env for a wheel: a local file, a URL, or by default the one in `dist/`.

    With `code_only` the nodes' image has the packages already. Raises UsageError where there is no such wheel.
    """
    wheel = wheel or newest_wheel()
    found: dict[str, Any] = {}
    packages: list[str] = []
    if "://" in wheel:
        if code_only:
            raise UsageError(f"--code-only needs a wheel on this machine; {wheel} is installed by pip on the nodes")
        # By pip, which takes what is pinned beside it for the wheel's own requirements.
        packages = [f"{NAME} @ {wheel}", *pinned(distribution(NAME))]
    else:
        code, metadata = unpack(Path(wheel))
        found["py_modules"] = [str(code), str(metadata)]
        if not code_only:
            packages = pinned(PathDistribution(metadata))
    if packages:
        found["pip"] = {"packages": packages, "pip_check": False}
    if variables := {name: value for name in VARIABLES if (value := os.environ.get(name))}:
        found["env_vars"] = variables
    return found | {"config": {"setup_timeout_seconds": SETUP_WITHIN_S}}


def needed_on_nodes() -> str:
    """What a runtime_env cannot bring, for a person."""
    return f"every node needs Python {'.'.join(platform.python_version_tuple()[:2])} and ray {version('ray')}"


def newest_wheel() -> str:
    """The wheel that `make build` has made. Raises UsageError where there is none."""
    found = sorted(Path("dist").glob(f"{NAME}-*.whl"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(
            "no wheel in dist/: run `make build` in a checkout of vsumdata, then `vsumdata cluster env` there or with "
            "--wheel PATH"
        )
    return str(found[-1])


def unpack(wheel: Path) -> tuple[Path, Path]:
    """Unpack a wheel beside itself; return the folders of its code and of its metadata. Raises UsageError."""
    folder = wheel.resolve().with_suffix("")
    # The folder is made anew: it must not be one of the user's own.
    if wheel.suffix != ".whl":
        raise UsageError(f"--wheel {wheel}: not a wheel (….whl)")
    try:
        with zipfile.ZipFile(wheel) as archive:
            if not any(name.startswith(f"{NAME}/pipeline/") for name in archive.namelist()):
                raise UsageError(f"--wheel {wheel}: not a wheel of {NAME}")
            # What an older wheel of this name held must not stay.
            shutil.rmtree(folder, ignore_errors=True)
            archive.extractall(folder)
    except FileNotFoundError:
        raise UsageError(f"--wheel {wheel}: no such file; `make build` makes dist/{NAME}-….whl") from None
    except zipfile.BadZipFile:
        raise UsageError(f"--wheel {wheel}: not a wheel") from None
    # `importlib.metadata` reads the version from it.
    return folder / NAME, next(folder.glob(f"{NAME}-*.dist-info"))


def pinned(wanted: Distribution) -> list[str]:
    """All that a package requires, and what that requires, at the versions that are installed here."""
    return sorted(f"{name}=={at}" for name, at in closure(wanted).items())


def closure(wanted: Distribution) -> dict[str, str]:
    found: dict[str, str] = {}
    waiting = [(wanted, frozenset[str]())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        package, extras = waiting.pop()
        for requirement in requirements(package, extras):
            name, of = canonicalize_name(requirement.name), frozenset(requirement.extras)
            if (name, of) in seen:
                continue
            seen.add((name, of))
            try:
                installed = distribution(requirement.name)
            except PackageNotFoundError:
                # The wheel asks for what this machine lacks: pip chooses.
                continue
            waiting.append((installed, of))
            if name not in CLUSTER_HAS:
                # Registries do not have the builds of a local version, such as 2.13.0+cpu.
                found[name] = installed.version.partition("+")[0]
    return found


def requirements(package: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    """What a package requires on this machine, with these extras."""
    for text in package.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement
