"""Small videos and settings for tests of the trainer, and the trainer's command in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tests.datasets.shards_kit import FINGERPRINT

from vsumdata.datasets import synthetic
from vsumdata.datasets.video import Video
from vsumdata.manifests import rows, tables
from vsumdata.manifests.store import Store
from vsumdata.train.data.origin import Origin
from vsumdata.train.data.training import Data
from vsumdata.train.loop import checkpoints
from vsumdata.train.loop.job import fit_fold
from vsumdata.train.loop.runs import Trained
from vsumdata.train.settings import Settings, settings_of

PROGRAM = [sys.executable, "-c", "from vsumdata.pipeline.commands.main import main; main()"]
HIERSUM = ("model.hidden=16", "model.layers=1", "model.heads=2")
HEAD: dict[str, Any] = {"outcome": "done", "reason": None, "detail": None, "version": 1, "tries": 0, "seconds": 0.1}
PAYLOAD = tables.payload("features", {"frame_dim": synthetic.FRAME_DIM, "text_dim": synthetic.TEXT_DIM})
COLUMNS = PAYLOAD.names


def videos(num: int = 8, frames: int = 30, seed: int = 0) -> list[Video]:
    return synthetic.load(f"videos={num},frames={frames},users=2,seed={seed}")


def small(method: str = "mlp", *sets: str) -> Settings:
    usual = ["model.hidden=[8]"] if method == "mlp" else list(HIERSUM)
    return settings_of(method, "default", [*usual, "epochs=2", "batch_size=3", *sets])


def fitted(
    out: Path,
    settings: Settings,
    train: Sequence[Video],
    val: Sequence[Video] = (),
    init: str | None = None,
    origin: Origin | None = None,
) -> Trained:
    return fit_fold(settings, data_of(train, val, origin), out, init=init)


def data_of(train: Sequence[Video], val: Sequence[Video] = (), origin: Origin | None = None) -> Data:
    """The videos of a run, scored as synthetic ones are."""
    return Data(train=train, val=val, protocol=synthetic.PROTOCOL, origin=origin or Origin())


def start(*words: str) -> subprocess.Popen[str]:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*PROGRAM, *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_lines(process: subprocess.Popen[str], log: Path, lines: int) -> None:
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= lines):
        time.sleep(0.001)


def losses(out: Path) -> list[tuple[int, float]]:
    found = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(record["step"], record["loss"]) for record in found if "loss" in record]


def same_weights(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same bits."""
    ours, theirs = load_file(one), load_file(other)
    return ours.keys() == theirs.keys() and all(tensor.equal(theirs[name]) for name, tensor in ours.items())


def write_root(path: Path, found: Sequence[Video], parts: Sequence[str], per_part: int = 5) -> Path:
    """A root with the synthetic `found` as its features; `parts` are their splits in turn."""
    import datetime

    store = Store(path)
    schema = tables.schema(PAYLOAD, ("videos", "frames"))
    head = HEAD | {"retry_after": None, "upstream": {}, "digest": {}}
    head |= {"committed_at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)}
    content = [
        head
        | {"video_id": video.video_id}
        | {name: getattr(video, name) for name in COLUMNS}
        | {"split": parts[at % len(parts)]}
        for at, video in enumerate(found)
    ]
    for first in range(0, len(content), per_part):
        store.write("features", FINGERPRINT, rows.to_table(schema, content[first : first + per_part]))
    store.write_json("dataset.json", {"manifest": {}, "tables": {"features": {"fingerprint": FINGERPRINT}}})
    return path


def write_labels(path: Path, table: str, payload: Mapping[str, Mapping[str, Any]]) -> None:
    """Add a table of labels to a root of `write_root`: the payload of each video, of which the rest is null."""
    import datetime

    store, columns = Store(path), tables.payload(table, {"picture_dim": 1})
    head = HEAD | {"retry_after": None, "upstream": {}, "digest": {}}
    head |= {"committed_at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)} | dict.fromkeys(columns.names)
    content = [head | {"video_id": video_id} | dict(its) for video_id, its in payload.items()]
    store.write(table, FINGERPRINT, rows.to_table(tables.schema(columns, ("features",)), content))
    known = store.read_json("dataset.json") or {}
    store.write_json("dataset.json", known | {"tables": known["tables"] | {table: {"fingerprint": FINGERPRINT}}})


class StopError(Exception):
    pass


@contextlib.contextmanager
def stopped_at_save(at: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What trains in here must end right after its `at`-th save of last.safetensors, as if it was killed there."""
    save, saved = checkpoints.save, 0

    def save_and_stop(path: Path, *more: object) -> None:
        nonlocal saved
        save(path, *more)  # type: ignore[arg-type]
        saved += path.name == "last.safetensors"
        if saved == at + 1:
            raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", save_and_stop)
        with pytest.raises(StopError):
            yield
