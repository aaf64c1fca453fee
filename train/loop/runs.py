"""A training run's folder. Tensors are safetensors and the rest is JSON: reading a run never unpickles anything.

RUN/run.json          settings, videos and features of the run; written once
RUN/log.jsonl         a line for each step and for each validation
RUN/last.safetensors  weights, optimizer and position: an interrupted run resumes from here
RUN/best.safetensors  the weights that validation selected; without validation those of the last epoch
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from vsumdata.manifests.errors import UsageError
from vsumdata.train.data.origin import Origin
from vsumdata.train.loop import checkpoints
from vsumdata.train.loop.checkpoints import Position
from vsumdata.train.methods import METHODS
from vsumdata.train.settings import Section, Settings, class_of

INFO, LOG, LAST, BEST = "run.json", "log.jsonl", "last.safetensors", "best.safetensors"
# Prefix of the note of a run that saw test videos. Runs that start from it (--init) carry a note of the same kind.
TRANSDUCTIVE = "transductive: "
# Prefix of the note of a run that a search selected.
BEST_OF = "the best of "
# These may change between an interruption and the next start: they do not change what is trained.
INCIDENTAL: dict[str, Any] = {
    "notes": True,
    "device": True,
    "versions": True,
    "settings": {"save_every_s"},
    # It follows from the data set's name. Runs of before do not have it.
    "origin": {"recipes"},
    # `open_run` compares it, where the older version that made the run has kept it.
    "init_weights": True,
}


class Seen(Section):
    """Videos that a run was trained or selected on."""

    data_set: str = Field(description="name of the data set; ids such as video_1 are unique within one data set only")
    video_ids: tuple[str, ...] = Field((), description="ids of the videos")
    labelled: bool = Field(True, description="whether their labels were seen as well")


class Info(Section):
    """run.json."""

    format: Literal[1] = Field(1, description="version of this file's layout")
    settings: Settings = Field(description="the settings of the run")
    protocol: str = Field(description="the protocol that scores validation")
    origin: Origin = Field(description="where the videos and their features come from")
    train: tuple[str, ...] = Field(description="ids of the training videos")
    val: tuple[str, ...] = Field(description="ids of the validation videos, which select the epoch")
    frame_dim: int = Field(ge=1, description="dimension of a frame feature")
    text_dim: int | None = Field(description="dimension of a text feature; null: trained on pictures alone")
    audio_dim: int | None = Field(None, description="dimension of a feature of sound; null: trained without sound")
    query_dim: int | None = Field(None, description="dimension of a query's words; null: trained without queries")
    # The default is what runs without this field had.
    order: Literal["shuffled", "by-length"] = Field("by-length", description="which videos share a batch")
    models: dict[str, str] = Field(
        {}, description="identity of each model that the run builds on and does not hold, such as a language model"
    )
    init: str | None = Field(None, description="the run whose weights this run started with")
    init_weights: str | None = Field(
        None, description="hash of the weights of `init` as they were; null: none, or a run of an older version"
    )
    # The default is what runs without this field had.
    texts: dict[str, Any] | None = Field(
        None, description="how the root's summaries in words, which a language model learns, were made"
    )
    before: tuple[Seen, ...] = Field((), description="videos that the weights of `init` had seen, through all its runs")
    notes: tuple[str, ...] = Field((), description="what to print with every number of this run")
    device: str = Field("cpu", description="the device that the run started on")
    versions: dict[str, str] = Field({}, description="versions of the packages that the run started with")

    def identity(self) -> dict[str, Any]:
        """What must be equal for a run to resume, as JSON values."""
        return self.model_dump(mode="json", exclude=INCIDENTAL)

    @property
    def seen(self) -> tuple[Seen, ...]:
        """All videos that these weights have seen: in this run and in those that it started from."""
        trained, chose = self.origin.by_data_set(self.train), self.origin.by_data_set(self.val)
        return (
            *self.before,
            *(Seen(data_set=k, video_ids=v, labelled=self.settings.needs_targets) for k, v in trained.items()),
            *(Seen(data_set=k, video_ids=v) for k, v in chose.items() if v),
        )

    @property
    def digest(self) -> str:
        """A hash that ties a checkpoint to its run, 16 hex digits."""
        # Without defaults, so that a setting that a later version adds does not orphan the checkpoints of today.
        told = self.model_dump(mode="json", exclude=INCIDENTAL, exclude_defaults=True)
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A model in eval mode, its run, and the position at which its weights were saved."""

    model: nn.Module
    info: Info
    path: Path
    position: Position

    @property
    def settings(self) -> Settings:
        return self.info.settings

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def models_of(settings: Settings, known: Mapping[str, str]) -> dict[str, str]:
    """The identity of each model that the method's own builds on. Raises UsageError for one that cannot be had.

    `known` are the models that the run, or the one that it begins with, has had: where a hub's branch has moved since,
    they are the ones that are meant.
    """
    find = getattr(class_of(settings.method, "model"), "models", None)
    found: dict[str, str] = find(settings.model, known) if find else {}
    return found


def known_models(out: Path, init: str | None) -> dict[str, str]:
    """The models that the run in `out` builds on, else those of the run that it begins with."""
    where = out if (out / INFO).exists() else None if init is None else Path(init)
    return {} if where is None else read_info(where).models


def build(info: Info) -> nn.Module:
    """The model of a run, with random weights from torch's global generator."""
    kind, sizes = class_of(info.settings.method, "model"), (info.frame_dim, info.text_dim)
    more: dict[str, Any] = {"models": info.models} if hasattr(kind, "models") else {}
    method = METHODS[info.settings.method]
    more |= {"audio_dim": info.audio_dim} if method.reads_audio else {}
    more |= {"query_dim": info.query_dim} if method.reads_query else {}
    found: nn.Module = kind(info.settings.model, *sizes, **more)
    return found


def load(path: str | Path, device: str | torch.device = "cpu") -> Trained:
    """Load the run at `path` with its best weights, or with its last ones if no epoch was selected yet.

    Raises UsageError if there is no run, or if it is damaged or of another program.
    """
    path = Path(path)
    info = read_info(path)
    if different := difference(info.models, models_of(info.settings, info.models), "models"):
        raise UsageError(f"{path} builds on another model than is here: {different}; put that one back in its place")
    # The checkpoint holds all weights. Building CSTA must not download ImageNet's first, or need a file that has gone.
    model = build(without_downloads(info))
    name, tensors, position = weights(path, info)
    checkpoints.fill(
        model, {key.removeprefix("model."): t for key, t in tensors.items() if key.startswith("model.")}, path / name
    )
    return Trained(model=model.to(device).eval(), info=info, path=path, position=position)


def weights(path: Path, info: Info) -> tuple[str, dict[str, Tensor], Position]:
    """The checkpoint to use: its file name, its tensors and its position. Raises UsageError if there is none."""
    name = next((name for name in (BEST, LAST) if (path / name).exists()), None)
    if name is None:
        raise UsageError(f"{path} has no weights yet; run the same `vsumdata train` command again to go on")
    tensors, position = checkpoints.read(path / name, info.digest)
    # The run did select an epoch, so its numbers belong to weights that somebody deleted. The last ones are others.
    if name == LAST and position.best_epoch is not None:
        raise UsageError(f"{path / BEST} is missing; delete {path / LAST} too and run the same command again")
    return name, tensors, position


def fingerprint(path: Path) -> str:
    """A hash of the weights that a run gives to others, 16 hex digits. Raises UsageError if it has none."""
    name = next((name for name in (BEST, LAST) if (path / name).exists()), None)
    if name is None:
        raise UsageError(f"{path} has no weights yet; run the same `vsumdata train` command again to go on")
    return hash_of(path / name)


def hash_of(file: Path) -> str:
    """A hash of a file's content, 16 hex digits."""
    state = file.stat()
    return _hash_of(file, state.st_size, state.st_mtime_ns)


@functools.lru_cache
def _hash_of(file: Path, size_bytes: int, mtime_ns: int) -> str:
    # Size and time are there for the cache: each seed and fold of a bench begins with the same run.
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]


def without_downloads(info: Info) -> Info:
    """`info` for a model whose weights are loaded afterwards: pretrained weights are not fetched for it."""
    options = info.settings.model
    if "weights" not in type(options).model_fields:
        return info
    settings = info.settings.model_copy(update={"model": options.model_copy(update={"weights": "none"})})
    return info.model_copy(update={"settings": settings})


def read_info(path: Path) -> Info:
    """Read run.json. Raises UsageError if the folder is no run, or the file cannot be read."""
    try:
        return Info.model_validate_json((path / INFO).read_bytes())
    except FileNotFoundError:
        raise UsageError(f"{path} is no training run (no {INFO}); `vsumdata train … --out {path}` makes one") from None
    except NotADirectoryError:
        raise UsageError(f"{path} is a file; a training run is a folder") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        # pydantic's own text has a paragraph for each mistake: name the first.
        raise UsageError(f"{path / INFO}: this version cannot read this run ({place}: {first['msg']})") from None


def open_run(path: Path, info: Info) -> bool:
    """Write run.json, or check that the existing one agrees. Returns whether there is a checkpoint to resume from.

    Raises UsageError that names the first difference, or if the folder holds something else.
    """
    if (path / INFO).exists():
        there = read_info(path)
        if different := difference(there.identity(), info.identity()):
            raise UsageError(f"{path} was made with other settings ({different}); give another --out, or delete it")
        if there.init_weights and there.init_weights != info.init_weights:
            raise UsageError(
                f"{path} began with other weights than {info.init} has now, which was trained anew or further; give "
                "another --out, or delete it"
            )
        return (path / LAST).exists()
    # A typing error in --out must not fill somebody's folder. Our own lock and temporary files begin with a dot.
    strange = sorted(file.name for file in path.iterdir() if not file.name.startswith("."))
    if strange:
        raise UsageError(f"{path} is no training run and not empty (it has {strange[0]}); give another --out")
    checkpoints.put(path / INFO, (info.model_dump_json(indent=1) + "\n").encode())
    return False


def difference(old: Any, new: Any, place: str = "") -> str | None:
    """The first place where two JSON values differ, in words; None if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in (*new, *(key for key in old if key not in new)):
            if found := difference(old.get(key), new.get(key), f"{place}.{key}" if place else key):
                return found
        return None
    if old == new:
        return None
    # Thousands of ids, or a nested list of them, are no message for a person.
    if place.rpartition(".")[2] in ("train", "val", "test"):
        return f"{place}: {len(old)} videos there, {len(new)} now" + (", not the same" if len(old) == len(new) else "")
    if place == "before":
        return "the run of --init, or one before it, had other videos"
    return f"{place} is {json.dumps(old)} there, {json.dumps(new)} now"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the folder of a run, and create it if needed. Raises UsageError if another process trains it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / ".lock").open("a")
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"--out {path} is a file; give a folder") from None
    except OSError as error:
        raise UsageError(f"--out {path}: {error.strerror}") from error
    # The kernel releases a flock when the process ends, also after SIGKILL: no stale lock can block the next start.
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{path} is being trained by another process") from None
        yield
