"""`--track`: a run's records on TensorBoard, Trackio or Weights & Biases, beside its own log."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vsumdata.manifests.errors import UsageError

TRACKERS = {"tensorboard": "tensorboardX", "trackio": "trackio", "wandb": "wandb"}
PROJECT = "vsumdata"


class Tracker(Protocol):
    """Takes the numbers of a step, as often as they come."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """What a run tells a tracker of itself."""

    name: str
    settings: Mapping[str, Any]

    def open(self, out: Path, first_step: int) -> Tracker:
        """Open the tracker of the run in `out`, to go on with `first_step`. Raises UsageError where it refuses."""
        if self.name == "tensorboard":
            return TensorBoard(out, first_step)
        return Service(self.name, out, self.settings)


def tracked(name: str | None, settings: Mapping[str, Any]) -> Tracked | None:
    """Check a `--track` before any work is done. Raises UsageError for an unknown tracker, or a missing package."""
    if name is None:
        return None
    if name not in TRACKERS:
        raise UsageError(f"--track {name}: it is one of {', '.join(TRACKERS)}")
    if importlib.util.find_spec(TRACKERS[name]) is None:
        raise UsageError(f"--track {name} needs a package: pip install 'vsumdata[track]'")
    return Tracked(name=name, settings=settings)


class TensorBoard:
    """Files in RUN/tensorboard."""

    def __init__(self, out: Path, first_step: int) -> None:
        from tensorboardX import SummaryWriter

        # After a resume, `purge_step` hides the points of the steps that are repeated. The older file keeps them.
        self.writer = SummaryWriter(str(out / "tensorboard"), purge_step=first_step)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class Service:
    """Trackio or Weights & Biases: two modules with one interface.

    Where they write and who may read it is theirs to say (`wandb login`, WANDB_MODE, TRACKIO_DIR …). A resumed run goes
    on under its name, which is made of its folder; steps that are repeated after a kill are shown twice or ignored.
    """

    def __init__(self, name: str, out: Path, settings: Mapping[str, Any]) -> None:
        self.module = importlib.import_module(name)
        folder = out.resolve()
        # Runs of two folders may have one name, and both services know a run by it.
        run_id = f"{folder.name}-{hashlib.blake2b(str(folder).encode(), digest_size=3).hexdigest()}"
        asked: dict[str, Any] = {"project": PROJECT, "name": run_id, "config": dict(settings), "resume": "allow"}
        if name == "wandb":
            # It would also record the terminal, progress bar and all.
            asked |= {"id": run_id, "dir": str(out), "settings": self.module.Settings(console="off")}
        # They greet on stdout, which is for results.
        with contextlib.redirect_stdout(sys.stderr):
            try:
                self.run = self.module.init(**asked)
            # Without a login, Weights & Biases raises its own class; Trackio raises ValueError for wrong settings.
            except (ValueError, RuntimeError, OSError, getattr(self.module, "Error", ValueError)) as error:
                raise UsageError(f"--track {name}: {' '.join(str(error).split())}") from error

    def log(self, values: Mapping[str, float], step: int) -> None:
        # Neither draws a point that is no number.
        self.run.log({name: value for name, value in values.items() if math.isfinite(value)}, step=step)

    def close(self) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self.run.finish()
