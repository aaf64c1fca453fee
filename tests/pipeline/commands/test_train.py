"""`vsumdata train`: a root, a benchmark, workers; what is printed and how it is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.torch import load_file
from tests.datasets.benchmarks.benchmark_files import write_eccv16
from tests.train.training_kit import losses, same_weights, videos, write_root

from vsumdata.pipeline.commands import main as cli
from vsumdata.train.data.training import Wanted, open_data
from vsumdata.train.loop import checkpoints, runs
from vsumdata.train.loop.job import fit_fold
from vsumdata.train.settings import settings_of

MLP = ("--set", "model.hidden=[8]", "--set", "epochs=2", "--set", "batch_size=4")
HIERSUM = ("model.hidden=16", "model.layers=1", "model.heads=2", "epochs=2", "batch_size=4")
SETS = [word for name in HIERSUM for word in ("--set", name)]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    def command(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["vsumdata", "train", *words])
        return cli.guarded(cli.app)

    return command


def root(path: Path, parts: Sequence[str], num: int = 12) -> Path:
    return write_root(path / "root", videos(num, frames=20), parts)


def test_a_root_trains_on_its_train_videos_and_selects_on_its_val_videos(call, tmp_path, capsys) -> None:
    shards, out = root(tmp_path, ["train", "train", "val", "test"]), tmp_path / "run"
    assert call("hiersum", "--data", str(shards), "--out", str(out), *SETS, "--track", "tensorboard") == 0
    said = capsys.readouterr().out
    assert "6 videos, 3 to validate by shards" in said
    assert "epoch 2 of 2: loss" in said
    assert "tau" in said
    info = runs.read_info(out)
    ids = [video.video_id for video in videos(12)]
    assert set(info.train) == {v for at, v in enumerate(ids) if at % 4 < 2}
    assert (set(info.val), set(info.origin.test)) == (set(ids[2::4]), set(ids[3::4]))
    assert info.origin.data_set == "shards"
    assert list((out / "tensorboard").glob("events*"))
    assert call("hiersum", "--data", str(shards), "--out", str(out), *SETS) == 0
    assert "is complete: 2 epochs" in capsys.readouterr().out
    assert call("hiersum", "--data", str(shards), "--out", str(out), *SETS, "--set", "seed=4") == 2
    assert "settings.seed is 0 there, 4 now" in capsys.readouterr().err


def test_how_the_features_were_made_is_kept(call, tmp_path) -> None:
    shards, out = root(tmp_path, ["train", "train", "val"]), tmp_path / "run"
    stored = json.loads((shards / "dataset.json").read_text())
    settings = {"sources": [{"channel": "@x"}], "features": {"fps": 2, "clip": {"weights": "seed:7"}}}
    stored["manifest"] = {"settings": settings, "folder": "/corpus"}
    (shards / "dataset.json").write_text(json.dumps(stored))
    assert call("mlp", "--data", str(shards), "--out", str(out), *MLP) == 0
    made = runs.load(out).info.origin.features
    assert made is not None
    assert (made["features"]["fps"], made["features"]["clip"]) == (2, {"model": "ViT-B-32", "weights": "seed:7"})
    assert (made["asr"]["engine"], made["folder"]) == ("faster-whisper", "/corpus")
    other = write_root(tmp_path / "other", videos(12, frames=20, seed=1), ["train", "train", "val"])
    words = ["--data", str(other), "--out", str(tmp_path / "second"), *MLP, "--init", str(out)]
    assert call("mlp", *words) == 0
    assert "were made in another way than these" in runs.load(tmp_path / "second").info.notes[-1]


def test_a_root_without_val_videos_is_cut_by_task(tmp_path: Path) -> None:
    data = open_data(Wanted(data=str(root(tmp_path, ["train", "train", "train", "train", "test"], 20))), seed=0)
    train, val = ({video.task for video in part} for part in (data.train, data.val))
    assert len(data.val) >= 2
    assert not train & val
    assert any("cut out of the training videos, by task" in note for note in data.notes)
    assert not {v.video_id for v in [*data.train, *data.val]} & set(data.origin.test)


def test_a_root_with_one_task_trains_to_the_last_epoch_and_says_so(call, tmp_path, capsys) -> None:
    shards, out = root(tmp_path, ["train"], 2), tmp_path / "run"  # two videos a task
    assert call("mlp", "--data", str(shards), "--out", str(out), *MLP) == 0
    assert "no validation: too few training videos; the last epoch counts" in capsys.readouterr().out
    assert runs.load(out).position.epoch == 2


def test_a_root_streams_and_gives_the_same_model_as_from_memory(call, tmp_path) -> None:
    shards = root(tmp_path, ["train", "train", "train", "val"], 40)
    assert call("mlp", "--data", str(shards), "--out", str(tmp_path / "a"), *MLP, "--set", "window=4") == 0
    assert len(losses(tmp_path / "a")) == 2 * 8
    data = open_data(Wanted(data=str(shards)), seed=0)
    settings = settings_of("mlp", "default", ["model.hidden=[8]", "epochs=2", "batch_size=4", "window=4"])
    in_memory = replace(data, train=list(data.train), val=list(data.val))
    fit_fold(settings, in_memory, tmp_path / "b")
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert same_weights(tmp_path / "a" / "last.safetensors", tmp_path / "b" / "last.safetensors")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mlp", "--data", "nowhere"], "no vsumdata root"),
        (["mlp", "--data", "synthetic:videos=12", "--fold", "9"], "--fold 9: synthetic/5 parts, seed 0 has folds 1 to"),
        (["nlp", "--data", "synthetic"], "no method `nlp`; did you mean `mlp`?"),
        (["mlp", "--data", "synthetic", "--preset", "tvsumm"], "no preset of mlp `tvsumm`; did you mean `tvsum`?"),
        (["mlp", "--data", "synthetic", "--set", "model.hiden=3"], "did you mean `hidden`?"),
        (["mlp", "--data", "synthetic", "--protocol", "tvsun"], "no protocol is called 'tvsun'"),
        (["mlp", "--data", "synthetic", "--init", "nowhere"], "is no training run"),
        (["mlp", "--data", "tvsum:missing.h5"], "missing.h5"),
        (["mlp", "--data", "tvsum"], "needs its file or folder: --data tvsum:PATH"),
        (["csta", "--data", "synthetic", "--set", "model.weights=missing.pth"], "missing.pth"),
        (["mlp", "--data", "synthetic:users=0"], "has a target of the kind labels=given"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(call, tmp_path, capsys, words, said) -> None:
    assert call(*words, "--out", str(tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_root_takes_no_split(call, tmp_path, capsys) -> None:
    assert call("mlp", "--data", str(root(tmp_path, ["train"])), "--fold", "2", "--out", str(tmp_path / "run")) == 2
    assert "is a root, which has its own" in capsys.readouterr().err


def test_a_published_split_of_a_benchmark(call, tmp_path, capsys) -> None:
    h5 = write_eccv16(tmp_path / "eccv16_dataset_tvsum_google_pool5.h5", 50)
    with h5py.File(h5, "a") as file:  # importance that a knapsack can choose by
        for group in file.values():
            del group["gtscore"]
            group["gtscore"] = np.linspace(0, 1, len(group["picks"]), dtype=np.float32)
    out = tmp_path / "run"
    assert call("mlp", "--data", f"tvsum:{h5}", "--split", "pgl-sum", "--fold", "2", "--out", str(out), *MLP) == 0
    info = runs.read_info(out)
    assert info.origin.split == "tvsum/pgl-sum, fold 2 of 5"
    assert (len(info.train), len(info.val), len(info.origin.test)) == (32, 8, 10)
    assert not {*info.train, *info.val} & {*info.origin.test}
    assert info.settings.labels == "auto"
    note, sizes = capsys.readouterr().out.splitlines()[:2]
    assert "against the mean score" in note, "the file has no scores of users"
    assert sizes.startswith("32 videos, 8 to validate by tvsum")


@pytest.mark.ray
@pytest.mark.slow
def test_two_workers_go_on_with_the_run_of_one(ray_session, call, tmp_path, capsys, monkeypatch, request) -> None:
    """A run of two workers from the beginning is that of `test_two_workers_pre_train`, and here with --full."""
    words = ["hiersum", "--data", "synthetic:videos=20,frames=20,users=2", *SETS, "--set", "save_every_s=1e-9"]
    stop_after(2, monkeypatch)
    assert call(*words, "--out", str(tmp_path / "begun")) == 130
    monkeypatch.undo()
    capsys.readouterr()
    whole = ["whole"] if request.config.getoption("--full") else []
    for name in ("begun", *whole):
        monkeypatch.setattr(sys, "argv", ["vsumdata", "train", *words, "--workers", "2", "--out", str(tmp_path / name)])
        assert cli.guarded(cli.app) == 0, capsys.readouterr().err
        said = capsys.readouterr().out
        assert ("goes on after step 2" in said) == (name == "begun")
        assert "epoch 2 of 2: loss" in said
        assert [step for step, _ in losses(tmp_path / name)] == list(range(6))
        best = load_file(tmp_path / name / "best.safetensors")
        assert all(tensor.isfinite().all() for tensor in best.values())
        assert not any(each.startswith("module.") for each in best)
        assert runs.load(tmp_path / name).position.metric == "tau"


def stop_after(saves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = checkpoints.save, 0

    def save_and_stop(path: Path, *more: object) -> None:
        nonlocal saved
        save(path, *more)  # type: ignore[arg-type]
        saved += 1
        if saved == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save", save_and_stop)
