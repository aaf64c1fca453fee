"""An actor on each node of a cluster: it proves that the node is fit, hands files to other nodes, and cleans up.

Workers on one machine share a folder for downloads. On a cluster the machine that visits a site is rarely the one with
the GPU, so a worker there asks the keeper of the visitor's node for the files: a second download would be a second
visit.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vsumdata.manifests import upkeep
from vsumdata.manifests.errors import StorageError, UsageError
from vsumdata.manifests.store import Store
from vsumdata.manifests.versions import versions
from vsumdata.pipeline.state.pace import own_address
from vsumdata.stages.encoders.hub import PACKAGE, local_path
from vsumdata.stages.media import REFUSED
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program, ffmpeg_version
from vsumdata.stages.stage import make_folder, safe_name
from vsumdata.stages.youtube.runtime import check_runtime

NAMESPACE = "vsumdata"
# A file of this name in the run's temporary folder tells its workers to end.
STOP = "stop"
# A piece of a file on its way between nodes. Ray keeps it in memory on both.
PIECE_BYTES = 8 << 20
# What must be alike on all nodes: rows of one table would differ.
ALIKE = ("vsumdata", "torch", "yt-dlp")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a node must show before it gets work.

    `mark` is a file that the driver made in a local root, `files` are some of the user's own that the driver sees,
    `models` the locations that workers open. `needs_runtime`: the run visits YouTube.
    """

    root: str = field(repr=False)  # may hold keys
    mark: str
    files: tuple[str, ...]
    models: tuple[str, ...]
    needs_ffmpeg: bool
    versions: Mapping[str, str]
    needs_runtime: bool = False


@dataclass(frozen=True, kw_only=True)
class Fitness:
    """What a node has shown: what is wrong with it, the address that sites see (`pace.own_address`), and its clock.

    `now` is in seconds since the epoch.
    """

    problems: tuple[str, ...]
    egress: str
    now: float


def versions_here() -> dict[str, str]:
    """The versions of the packages that must be alike on all nodes."""
    found = versions()
    return {name: found[name] for name in ALIKE}


class Keeper:
    """Looks after one run on one node. `name` is that of the run's temporary folder."""

    def __init__(self, root: str, name: str) -> None:
        parent = upkeep.scratch_parent(Store(root))
        # What runs of this root left here that died with their node.
        upkeep.sweep(parent)
        self.scratch = parent / name
        # The driver made it: this is its machine, or nodes share their temporary folder.
        self.is_ours = not self.scratch.exists()
        # Held: until this actor ends, no other run's keeper takes the folder for left.
        self.alive = upkeep.enter_scratch(self.scratch)

    def fitness(self, asked: Asked) -> Fitness:
        """Compare this node with the driver's."""
        return Fitness(problems=tuple(problems(asked)), egress=own_address(), now=time.time())

    def has(self, path: str) -> bool:
        """Whether this node sees a file."""
        return os.path.exists(path)

    def files(self, video_id: str, what: str) -> list[tuple[str, int]]:
        """The finished files of a video and its visit's error about `what`: path in the run's folder, size in bytes."""
        found = [path for path in (self.scratch / "media" / safe_name(video_id)).glob("*") if path.is_file()]
        # The error about the rest is for another stage, which may be done on another node.
        found += (self.scratch / REFUSED).glob(f"{safe_name(video_id)}.{what}")
        return [(str(path.relative_to(self.scratch)), path.stat().st_size) for path in sorted(found)]

    def piece(self, path: str, start: int) -> bytes:
        """`PIECE_BYTES` of a file in the run's folder, less at its end."""
        with (self.scratch / path).open("rb") as file:
            file.seek(start)
            return file.read(PIECE_BYTES)

    def remove(self, video_id: str) -> None:
        """Delete a video's files, which nobody needs any more."""
        shutil.rmtree(self.scratch / "media" / safe_name(video_id), ignore_errors=True)

    def forget(self, path: str) -> None:
        """Delete one file of the run's folder."""
        (self.scratch / path).unlink(missing_ok=True)

    def stop(self) -> None:
        """Tell the workers on this node that the run ends."""
        (self.scratch / STOP).touch()

    def leave(self) -> None:
        """Delete the run's folder on this node once its workers have ended, and what is left of others."""
        self.alive.close()
        if self.is_ours:
            upkeep.remove_scratch(self.scratch)
        upkeep.sweep(self.scratch.parent)
        # Not empty while another run works here.
        with contextlib.suppress(OSError):
            self.scratch.parent.rmdir()


def problems(asked: Asked) -> Iterator[str]:
    """Say what is wrong with this node, one thing after the other, each with its remedy."""
    here = versions_here()
    for name, there in asked.versions.items():
        if here[name] != there:
            yield f"has {name} {here[name]}, the driver {there}: install the same"
    if asked.mark and not is_seen(asked.mark):
        yield (
            f"does not see the root {Store(asked.root).root}, or cannot write to it: its rows would be lost; "
            "give a folder that all nodes share, or a URL"
        )
    elif not asked.mark:
        try:
            Store(asked.root).read_json("dataset.json")
        except (UsageError, StorageError) as error:
            yield f"cannot read the root: {error}"
    if missing := [path for path in asked.files if not os.path.exists(path)]:
        yield f"does not see {missing[0]}: mount the folder of the videos there too"
    if asked.needs_ffmpeg:
        try:
            ffmpeg_version(ffmpeg_program())
        except UsageError as error:
            yield str(error)
    if asked.needs_runtime:
        try:
            check_runtime()
        except UsageError as error:
            yield f"cannot visit YouTube: {error}"
    for location in asked.models:
        try:
            # The hub's revisions and tags may be gigabytes: the worker that needs one fetches it.
            if location.startswith((PACKAGE, "/")) and not local_path(location).exists():
                yield f"does not have the model {location}: put it there, or name one of the hub or of a package"
        except UsageError as error:
            yield str(error)


def is_seen(mark: str) -> bool:
    """Whether this node sees the file, and can write beside it."""
    try:
        Path(mark).with_name(f"{Path(mark).name}.{uuid.uuid4().hex}").touch()
    except OSError:
        return False
    return Path(mark).exists()


def name_of(run: str, node: str) -> str:
    """Name the keeper of a run's folder on a node."""
    return f"keeper of {run} on {node}"


class Lost(Exception):
    """What another node had is gone with it. No video is at fault."""


@functools.cache
def keeper(run: str, node: str) -> Any:
    """Find the keeper of a run on another node. Raises Lost where there is none."""
    import ray

    try:
        return ray.get_actor(name_of(run, node), namespace=NAMESPACE)
    except ValueError as error:
        raise Lost(f"node {node} is gone") from error


def ask(run: str, node: str, method: str, *arguments: Any) -> Any:
    """Call a method of a node's keeper and wait for its answer. Raises Lost."""
    import ray

    try:
        return ray.get(getattr(keeper(run, node), method).remote(*arguments))
    # Of a node that is gone Ray says that the actor has died, cannot be reached, or cannot be scheduled.
    except ray.exceptions.RayError as error:
        raise Lost(f"node {node} does not answer: {error}") from error


def bring_over(node: str, video_id: str, what: str, scratch: Path, came_on: Callable[[], None]) -> None:
    """Copy what the visit of a video left on another node, for who needs `what`, into this node's folder of the run.

    Calls `came_on` after each piece. Raises Lost.
    """
    run = scratch.name
    for path, size in ask(run, node, "files", video_id, what):
        target = scratch / path
        make_folder(target.parent)
        part = target.with_name(f".{target.name}.part")
        with part.open("wb") as file:
            for start in range(0, size, PIECE_BYTES):
                file.write(ask(run, node, "piece", path, start))
                came_on()
        part.rename(target)
        if path.startswith(REFUSED):
            # It is raised once, then the video is visited again.
            ask(run, node, "forget", path)
