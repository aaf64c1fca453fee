"""`--track`: the services get the numbers of the log, in this process, without a network."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from vsumdata.manifests.errors import UsageError
from vsumdata.train.loop.tracking import tracked

SETTINGS = {"method": "mlp", "optimizer": {"lr": 1e-3}}


def points(event_file: Path) -> list[tuple[str, int]]:
    """The names and steps in a file of TensorBoard."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c  # noqa: F401 - the format is tensorboardX's own

    data, found, at = event_file.read_bytes(), [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        event = Event.FromString(data[at + 12 : at + 12 + size])
        found += [(value.tag, event.step) for value in event.summary.value]
        at += 16 + size
    return found


def told(name: str, out: Path) -> None:
    out.mkdir(exist_ok=True)
    asked = tracked(name, SETTINGS)
    assert asked is not None
    tracker = asked.open(out, 0)
    for step in range(3):
        tracker.log({"loss": 1.0 / (step + 1), "tau": float("nan")}, step)
    tracker.close()


def test_tensorboard(tmp_path: Path) -> None:
    told("tensorboard", tmp_path / "run")
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert [step for name, step in points(file) if name == "loss"] == [0, 1, 2]


def alone(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: Weights & Biases reads its environment once, and writes its file to the end
    only as the process ends."""
    start = "from pathlib import Path; from vsumdata.train.loop.tracking import tracked;"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    command = [sys.executable, "-c", start + code]
    return subprocess.run(
        command, env=kept | environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


def test_wandb_without_a_network(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    code = (
        f"tracker = tracked('wandb', {SETTINGS!r}).open(Path({str(tmp_path)!r}), 0);"
        "[tracker.log({'loss': 1.0 / (step + 1), 'tau': float('nan')}, step) for step in range(3)];"
        "tracker.close()"
    )
    done = alone(code, WANDB_MODE="offline")
    assert (done.returncode, done.stdout) == (0, "")
    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert b"loss" in content
    assert b"optimizer" in content


def test_trackio_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    trackio = pytest.importorskip("trackio")
    from trackio import sqlite_storage, utils

    for module in (trackio, utils, sqlite_storage):
        if hasattr(module, "TRACKIO_DIR"):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    told("trackio", tmp_path / "run")
    (database,) = (tmp_path / "trackio").glob("vsumdata*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
    assert [(step, json.loads(metrics)["loss"]) for _, step, metrics in rows] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert rows[0][0].startswith("run-")
    assert capfd.readouterr().out == ""


def test_what_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="it is one of tensorboard, trackio, wandb"):
        tracked("mlflow", SETTINGS)
    assert tracked(None, SETTINGS) is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'vsumdata\[track\]'"):
        tracked("wandb", SETTINGS)


def test_wandb_without_a_login(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    nowhere = {"WANDB_CONFIG_DIR": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "HOME": str(tmp_path)}
    done = alone(f"tracked('wandb', {{}}).open(Path({str(tmp_path)!r}), 0)", **nowhere)
    assert done.returncode == 1
    assert "UsageError: --track wandb: " in done.stderr.splitlines()[-1]
    assert "login" in done.stderr
