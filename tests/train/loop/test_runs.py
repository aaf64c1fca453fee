"""A run's folder: what is written comes back, and what is damaged or not ours is refused by name."""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tests.train.training_kit import fitted, losses, same_weights, small, videos

from vsumdata.manifests.errors import StorageError, UsageError
from vsumdata.train.loop import checkpoints, runs
from vsumdata.train.loop.checkpoints import Position
from vsumdata.train.loop.fit import Learner
from vsumdata.train.objectives.supervised import HierSum, HierSumOptions
from vsumdata.train.settings import Settings


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    found = videos(8)
    fitted(out, small("hiersum", "optimizer.name=adamw"), found[:5], found[5:])
    return out


def copy(finished: Path, to: Path) -> Path:
    to.mkdir()
    for path in finished.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_a_run_says_what_it_is(finished: Path) -> None:
    info = json.loads((finished / "run.json").read_text())
    assert info["settings"]["model"]["hidden"] == 16
    assert info["settings"]["optimizer"]["name"] == "adamw"
    assert info["train"] == [video.video_id for video in videos(8)[:5]]
    assert info["val"] == [video.video_id for video in videos(8)[5:]]
    assert (info["frame_dim"], info["text_dim"], info["protocol"]) == (32, 24, "synthetic")
    assert {"torch", "python", "vsumdata"} <= info["versions"].keys()
    assert sorted(path.name for path in finished.iterdir() if path.name[0] != ".") == [
        "best.safetensors", "last.safetensors", "log.jsonl", "run.json",
    ]  # fmt: skip
    with safe_open(finished / "last.safetensors", "pt") as file:
        assert json.loads(file.metadata()["position"])["step"] == 4
        kinds = {name.split(".")[0] for name in file.keys()}  # noqa: SIM118 - no mapping
    assert kinds == {"model", "objective", "optimizer"}


def test_load_gives_the_best_weights_and_no_pickle_is_opened(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle is loaded")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    trained = runs.load(finished)
    best = load_file(finished / "best.safetensors")
    assert not trained.model.training
    assert all(tensor.equal(best[f"model.{name}"]) for name, tensor in trained.model.state_dict().items())
    assert trained.position.best_epoch == trained.position.epoch
    assert trained.settings == small("hiersum", "optimizer.name=adamw")


def test_the_last_weights_where_nothing_was_chosen_yet(finished: Path, tmp_path: Path) -> None:
    run = copy(finished, tmp_path / "run")
    (run / "best.safetensors").unlink()
    with pytest.raises(UsageError, match="best.safetensors is missing; delete .*last.safetensors too"):
        runs.load(run)  # the last weights are not those that run.json's numbers are of
    info, trained = runs.read_info(run), runs.load(finished)
    learner = Learner(trained.model, HierSum(HierSumOptions()))
    checkpoints.save(run / "last.safetensors", info.digest, learner, Position(step=1))
    assert runs.load(run).position.step == 1
    (run / "last.safetensors").unlink()
    with pytest.raises(UsageError, match="has no weights yet"):
        runs.load(run)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("run.json", None, "is no training run"),
        ("run.json", b"", "this version cannot read this run"),
        ("run.json", b'{"format": 2}', "this version cannot read this run"),
        ("best.safetensors", b"", "damaged or no checkpoint"),
        ("best.safetensors", pickle.dumps({"a": 1}), "damaged or no checkpoint"),
        ("best.safetensors", b"\xff" * 64, "damaged or no checkpoint"),
    ],
)
def test_what_is_no_run_is_said(finished: Path, tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    run = copy(finished, tmp_path / "run")
    (run / name).unlink() if content is None else (run / name).write_bytes(content)
    with pytest.raises(UsageError, match=said) as error:
        runs.load(run)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
def test_a_truncated_checkpoint_is_refused(finished: Path, tmp_path: Path, name: str, share: float) -> None:
    def go_on(run: Path) -> None:
        fitted(run, small("hiersum", "optimizer.name=adamw"), videos(8)[:5], videos(8)[5:])

    run, use = copy(finished, tmp_path / "run"), runs.load if name == "best.safetensors" else go_on
    data = (run / name).read_bytes()
    (run / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UsageError, match=f"{name} is damaged"):
        use(run)


def test_another_run_s_checkpoint_is_refused(finished: Path, tmp_path: Path) -> None:
    found = videos(8)
    fitted(tmp_path / "other", small("hiersum", "seed=1"), found[:5], found[5:])
    run = copy(finished, tmp_path / "run")
    (run / "best.safetensors").write_bytes((tmp_path / "other" / "best.safetensors").read_bytes())
    with pytest.raises(UsageError, match="belongs to another run"):
        runs.load(run)


def test_a_later_version_with_more_settings_reads_the_checkpoints(finished: Path) -> None:
    class Later(runs.Info):
        another: int = 3

    info = Later.model_validate_json((finished / "run.json").read_bytes())
    assert info.digest == runs.read_info(finished).digest
    assert info.model_copy(update={"another": 4}).digest != info.digest


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_but_those_of_saving_makes_another_run(finished: Path, name: str) -> None:
    info = runs.read_info(finished)
    other = info.model_copy(update={"settings": info.settings.model_copy(update={name: "another"})})
    is_same = name == "save_every_s"
    assert (other.digest == info.digest, other.identity() == info.identity()) == (is_same, is_same)


def test_a_run_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        runs.load(tmp_path / "file")
    with pytest.raises(UsageError, match="is a file"):
        fitted(tmp_path / "file", small(), videos(3))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"not empty \(it has thesis.tex\)"):
        fitted(tmp_path / "mine", small(), videos(3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optimizer.lr=0.5", r"settings.optimizer.lr is 0.001 there, 0.5 now"),
        ("model.hidden=[4]", r"settings.model.hidden is \[8\] there, \[4\] now"),
        ("objective.target=min-max", r'settings.objective.target is "raw" there, "min-max" now'),
        ("seed=3", r"settings.seed is 0 there, 3 now"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, change: str, said: str) -> None:
    fitted(tmp_path / "run", small(), videos(3))
    with pytest.raises(UsageError, match=said):
        fitted(tmp_path / "run", small("mlp", change), videos(3))


def test_other_videos_are_refused_and_harmless_settings_are_not(tmp_path: Path) -> None:
    fitted(tmp_path / "run", small(), videos(3))
    with pytest.raises(UsageError, match="train: 3 videos there, 4 now"):
        fitted(tmp_path / "run", small(), videos(4))
    with pytest.raises(UsageError, match="train: 3 videos there, 3 now, not the same"):
        fitted(tmp_path / "run", small(), videos(3, seed=1))
    fitted(tmp_path / "run", small("mlp", "save_every_s=1"), videos(3))


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with runs.locked(tmp_path / "run"), pytest.raises(UsageError, match="being trained by another process"):
        fitted(tmp_path / "run", small(), videos(3))


def test_a_full_disk_is_one_line_and_keeps_what_was_saved(tmp_path: Path) -> None:
    module = torch.nn.Linear(400, 400)
    path = tmp_path / "last.safetensors"
    checkpoints.save(path, "run", module, Position(step=1))
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(StorageError, match="what was saved before is kept") as error:
            checkpoints.save(path, "run", module, Position(step=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


SAVING = """
import sys, torch
from pathlib import Path
from vsumdata.train.loop import checkpoints
module = torch.nn.Linear(1500, 1500)
for step in range(10**6):
    torch.nn.init.constant_(module.weight, step)
    checkpoints.save(Path(sys.argv[1]), "run", module, checkpoints.Position(step=step))
    print(step, flush=True)
"""


def test_a_kill_while_saving_leaves_the_checkpoint_before_it(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    process = subprocess.Popen([sys.executable, "-c", SAVING, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(3):
        said = int(process.stdout.readline())
    while not list(tmp_path.glob(".*.tmp")):  # in the middle of the next one
        time.sleep(0.0005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    said = max([said, *map(int, process.stdout.read().split())])
    tensors, position = checkpoints.read(path, "run")
    assert position.step in (said, said + 1)
    assert (tensors["weight"] == position.step).all()


def test_the_same_seed_gives_the_same_run(finished: Path, tmp_path: Path) -> None:
    found = videos(8)
    torch.manual_seed(77)  # nothing depends on what was drawn before
    fitted(tmp_path / "again", small("hiersum", "optimizer.name=adamw"), found[:5], found[5:])
    assert losses(tmp_path / "again") == losses(finished)
    assert same_weights(tmp_path / "again" / "last.safetensors", finished / "last.safetensors")
    fitted(tmp_path / "other", small("hiersum", "optimizer.name=adamw", "seed=1"), found[:5], found[5:])
    assert losses(tmp_path / "other") != losses(finished)
