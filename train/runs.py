"""A training run's folder. No pickle is ever read: tensors are safetensors, the rest is JSON.

RUN/run.json          what was trained on what, and how; written once
RUN/log.jsonl         a line for each step and for each validation
RUN/last.safetensors  weights, optimizer and position: what an interrupted run goes on from
RUN/best.safetensors  the weights that validation chose; without validation those of the last epoch
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from vsumdata.pipeline.errors import UsageError
from vsumdata.train import checkpoints
from vsumdata.train.checkpoints import Position
from vsumdata.train.settings import Section, Settings, class_of

INFO, LOG, LAST, BEST = "run.json", "log.jsonl", "last.safetensors", "best.safetensors"
TRANSDUCTIVE = "transductive: "  # begins the note of a run that saw test videos, and of those that begin with it
BEST_OF = "the best of "  # begins the note of a run that a search chose
# May change between an interruption and the next start.
INCIDENTAL: dict[str, Any] = {"notes": True, "device": True, "versions": True, "settings": {"save_every_s"}}


Pool = Literal["fold", "transductive"]


class Origin(Section):
    """Where the videos of a run are from."""

    data_set: str = Field("", description="tvsum, …, or shards for a root of ours")
    path: str = Field("", description="its file or folder, or the spec of synthetic")
    features_root: str | None = Field(None, description="the root whose features replace the data set's own")
    features: dict[str, Any] | None = Field(None, description="how the root's features are made, see features_of")
    split: str = Field("", description="which split and fold")
    test: tuple[str, ...] = Field((), description="videos held out: neither trained nor selected on")
    pool: Pool = Field("fold", description="transductive: without their labels, test videos were trained on as well")


class Seen(Section):
    """Videos that a run was trained or selected on."""

    data_set: str = Field(description="of DATASETS: ids like video_1 mean something within one data set only")
    video_ids: tuple[str, ...] = ()
    labelled: bool = Field(True, description="whether their labels were seen as well")


class Info(Section):
    """run.json."""

    format: Literal[1] = 1
    settings: Settings
    protocol: str = Field(description="how validation is scored")
    origin: Origin
    train: tuple[str, ...] = Field(description="ids of the videos trained on")
    val: tuple[str, ...] = Field(description="ids of the videos that chose the epoch")
    frame_dim: int = Field(ge=1, description="components of a frame's feature")
    text_dim: int | None = Field(description="components of a text's feature; null: trained on pictures alone")
    init: str | None = Field(None, description="the run whose weights this one began with")
    before: tuple[Seen, ...] = Field((), description="what the weights had seen then: of that run and those before it")
    notes: tuple[str, ...] = Field((), description="what to print with every number of this run")
    device: str = Field("cpu", description="where it began")
    versions: dict[str, str] = Field({}, description="packages with which it began")

    def identity(self) -> dict[str, Any]:
        """What must be equal for a run to go on."""
        return self.model_dump(mode="json", exclude=INCIDENTAL)

    @property
    def seen(self) -> tuple[Seen, ...]:
        """All that the weights have come from."""
        trained = Seen(data_set=self.origin.data_set, video_ids=self.train, labelled=self.settings.needs_targets)
        chose = Seen(data_set=self.origin.data_set, video_ids=self.val)
        return (*self.before, trained, *([chose] if self.val else []))

    @property
    def digest(self) -> str:
        """What ties a checkpoint to its run; settings that a later version adds leave it as it is."""
        told = self.model_dump(mode="json", exclude=INCIDENTAL, exclude_defaults=True)
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A model with its weights, in eval mode, and where they are from."""

    model: nn.Module
    info: Info
    path: Path
    position: Position  # of these weights

    @property
    def settings(self) -> Settings:
        return self.info.settings

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def build(info: Info) -> nn.Module:
    """The model of a run with weights as drawn from torch's global generator."""
    found: nn.Module = class_of(info.settings.method, "model")(info.settings.model, info.frame_dim, info.text_dim)
    return found


def load(path: str | Path, device: str | torch.device = "cpu") -> Trained:
    """The run at `path` with its best weights, or the last ones where it has not come to any.

    Raises UsageError where there is no run, or one that is damaged or not ours.
    """
    path = Path(path)
    info = read_info(path)
    model = build(without_downloads(info))
    name, tensors, position = weights(path, info)
    checkpoints.fill(
        model, {key.removeprefix("model."): t for key, t in tensors.items() if key.startswith("model.")}, path / name
    )
    return Trained(model=model.to(device).eval(), info=info, path=path, position=position)


def weights(path: Path, info: Info) -> tuple[str, dict[str, Tensor], Position]:
    """The checkpoint that counts: its name, its tensors, and how far the run had come."""
    name = next((name for name in (BEST, LAST) if (path / name).exists()), None)
    if name is None:
        raise UsageError(f"{path} has no weights yet; run the same `vsumdata train` command again to go on")
    tensors, position = checkpoints.read(path / name, info.digest)
    if name == LAST and position.best_epoch is not None:  # others than the numbers of this run are of
        raise UsageError(f"{path / BEST} is missing; delete {path / LAST} too and run the same command again")
    return name, tensors, position


def without_downloads(info: Info) -> Info:
    """`info` for a model whose weights follow: what it was initialised with need not be here any more."""
    options = info.settings.model
    if "weights" not in type(options).model_fields:
        return info
    settings = info.settings.model_copy(update={"model": options.model_copy(update={"weights": "none"})})
    return info.model_copy(update={"settings": settings})


def read_info(path: Path) -> Info:
    """run.json of a run; UsageError where it is none or cannot be read."""
    try:
        return Info.model_validate_json((path / INFO).read_bytes())
    except FileNotFoundError:
        raise UsageError(f"{path} is no training run (no {INFO}); `vsumdata train … --out {path}` makes one") from None
    except NotADirectoryError:
        raise UsageError(f"{path} is a file; a training run is a folder") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UsageError(f"{path / INFO} is not of a run that this version reads: {place}: {first['msg']}") from None


def open_run(path: Path, info: Info) -> bool:
    """Write run.json, or check that the one there says the same; whether there is a position to go on from.

    Raises UsageError that names the first difference, or for a folder that holds something else.
    """
    if (path / INFO).exists():
        if different := difference(read_info(path).identity(), info.identity()):
            raise UsageError(f"{path} was made with other settings ({different}); give another --out, or delete it")
        return (path / LAST).exists()
    strange = sorted(file.name for file in path.iterdir() if not file.name.startswith("."))
    if strange:
        raise UsageError(f"{path} is no training run and not empty (it has {strange[0]}); give another --out")
    checkpoints.put(path / INFO, (info.model_dump_json(indent=1) + "\n").encode())
    return False


def difference(old: Any, new: Any, place: str = "") -> str | None:
    """The first place where two JSON values differ, and how, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in (*new, *(key for key in old if key not in new)):
            if found := difference(old.get(key), new.get(key), f"{place}.{key}" if place else key):
                return found
        return None
    if old == new:
        return None
    if place.rpartition(".")[2] in ("train", "val", "test"):
        return f"{place}: {len(old)} videos there, {len(new)} now" + (", not the same" if len(old) == len(new) else "")
    if place == "before":
        return "the run of --init, or one before it, had other videos"
    return f"{place} is {json.dumps(old)} there, {json.dumps(new)} now"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """The folder of a run, made if need be, for this process alone; UsageError where another one has it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / ".lock").open("a")
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"--out {path} is a file; give a folder") from None
    except OSError as error:
        raise UsageError(f"--out {path}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{path} is being trained by another process") from None
        yield
