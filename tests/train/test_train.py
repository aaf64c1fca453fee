"""`train` with several workers: relative paths mean there what they mean to the caller."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from rich.console import Console
from tests.train.training_kit import losses, videos, write_root

from vsumdata.pipeline.workers.cluster import training_session
from vsumdata.train.data.training import Wanted
from vsumdata.train.loop import runs
from vsumdata.train.train import TrainRequest, train

SETS = ("model.hidden=[8]", "epochs=1", "batch_size=4")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "data", [Wanted(data="root"), Wanted(data="synthetic:videos=12,frames=20,users=2", features="root")]
)
def test_relative_paths_keep_their_meaning_on_workers(ray_session, tmp_path, monkeypatch, data, request) -> None:
    if data.features and not request.config.getoption("--full"):
        pytest.skip("the same way as a relative --data; with --full")
    monkeypatch.chdir(tmp_path)
    write_root(Path("root"), videos(12, frames=20), ["train", "train", "val"])
    asked = TrainRequest(method="mlp", data=data, out="first", sets=SETS)
    console = Console(quiet=True)
    train(asked, console)
    second = TrainRequest(method="mlp", data=data, out="second", sets=SETS, init="first", workers=2)
    trained = train(second, console, partial(training_session, None))
    assert trained.position.epoch == 1
    assert len(losses(Path("second"))) == len(losses(Path("first")))
    # The run keeps the paths as they were given, so one process can resume what several began.
    info = runs.read_info(Path("second"))
    assert info.init == "first"
    assert {info.origin.path, info.origin.features_root} & {"root"}
