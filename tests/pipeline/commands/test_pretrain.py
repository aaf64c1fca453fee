"""`vsumdata train visp` and `csum`: what they train on, what is said of it, and the fine-tuning afterwards."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.train.pretraining_kit import SETS, videos
from tests.train.training_kit import fitted, losses, same_weights, write_root

from vsumdata.datasets.video import Video, collate
from vsumdata.manifests.errors import UsageError
from vsumdata.pipeline.commands import main as cli
from vsumdata.train.benchmark.evaluation import Request, evaluate_run
from vsumdata.train.data.batches import Batches
from vsumdata.train.loop import checkpoints, runs
from vsumdata.train.loop.predict import predict
from vsumdata.train.methods import method_of
from vsumdata.train.settings import settings_of

SYNTHETIC = ("--data", "synthetic:videos=20,frames=16,users=2")  # its first fold trains on 12 videos


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    def command(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["vsumdata", "train", *words])
        return cli.guarded(cli.app)

    return command


def sets(backbone: str, *more: str) -> list[str]:
    return [word for each in (*SETS[backbone], *more) for word in ("--set", each)]


SHORT = ("epochs=2", "batch_size=8")


# CSTA runs all of GoogLeNet for each video, seconds a step, so it gets half as many videos.
@pytest.mark.parametrize(
    ("method", "backbone", "num_trained", "more"),
    [
        ("visp", "csta", 6, ["objective.least_batch=2"]),
        ("visp", "vasnet", 12, []),
        ("csum", "vasnet", 12, []),
    ],
)
def test_pretraining_and_then_fine_tuning(call, tmp_path, capsys, method, backbone, num_trained, more) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    data = SYNTHETIC if num_trained == 12 else ("--data", "synthetic:videos=10,frames=16,users=2")
    assert call(method, "--backbone", backbone, *data, "--out", first, *sets(backbone, *SHORT, *more)) == 0
    said = capsys.readouterr().out
    assert f"fold-clean: pre-trained without labels on {num_trained} training videos of the fold alone" in said
    assert "without labels, so the last epoch counts" in said
    assert f"{first}: weights of epoch 2, pool fold" in said
    info = runs.read_info(tmp_path / "first")
    assert info.settings.method == f"{method}+{backbone}"
    assert (len(info.train), info.val) == (num_trained, ())
    assert not {*info.train} & {*info.origin.test}
    begun = load_file(tmp_path / "first" / "best.safetensors")
    assert {name.split(".")[0] for name in begun} == {"model"}  # what it was trained with is not handed on
    assert call(backbone, *data, "--init", first, "--out", second, *sets(backbone, "epochs=1")) == 0
    assert f"begins with the weights of {first}, a run of {method}+{backbone}" in capsys.readouterr().out
    tuned = runs.read_info(tmp_path / "second")
    assert tuned.train == info.train
    assert tuned.val


@pytest.mark.parametrize(("method", "backbone"), [("csum", "umt"), ("visp", "triplesumm")])
def test_a_summarizer_that_hears_is_pre_trained_and_tuned_with_sound(call, tmp_path, capsys, method, backbone) -> None:
    data = ("--data", f"{SYNTHETIC[1]},audio=0.5")
    first, second, third = (str(tmp_path / name) for name in ("first", "second", "third"))
    assert call(method, "--backbone", backbone, *data, "--out", first, *sets(backbone, *SHORT)) == 0
    # A rate of next to nothing leaves the weights where they began.
    still = sets(backbone, "epochs=1", "optimizer.lr=1e-12", "optimizer.weight_decay=0")
    assert call(backbone, *data, "--init", first, "--out", second, *still) == 0
    said = capsys.readouterr().out
    assert f"begins with the weights of {first}, a run of {method}+{backbone}" in said
    assert "begins afresh" not in said
    assert [runs.read_info(Path(run)).audio_dim for run in (first, second)] == [20, 20]
    begun, tuned = (load_file(Path(run) / "best.safetensors") for run in (first, second))
    assert begun.keys() == tuned.keys()
    assert all((begun[name] - tuned[name]).abs().max() < 1e-9 for name in begun)
    # The videos of another data set make no sound: what hears is left behind.
    assert call(backbone, *SYNTHETIC, "--init", first, "--out", third, *sets(backbone, "epochs=1")) == 0
    assert runs.read_info(Path(third)).audio_dim is None
    assert "the videos have no sound: trained without" in capsys.readouterr().out


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_two_workers_pre_train(ray_session, call, tmp_path, capsys) -> None:
    words = ["visp", "--backbone", "mlp", "--data", "synthetic:videos=30,frames=16,users=2"]
    words += sets("mlp", "epochs=2", "batch_size=16")
    assert call(*words, "--workers", "2", "--out", str(tmp_path / "two")) == 0, capsys.readouterr().err
    assert call(*words, "--out", str(tmp_path / "one")) == 0
    assert [step for step, _ in losses(tmp_path / "two")] == [step for step, _ in losses(tmp_path / "one")] == [0, 1]
    for name in ("best.safetensors", "last.safetensors"):  # the second network's weights are in the last
        two, one = (load_file(tmp_path / out / name) for out in ("two", "one"))
        assert {key: tensor.shape for key, tensor in two.items()} == {key: tensor.shape for key, tensor in one.items()}
        assert all(tensor.isfinite().all() for tensor in two.values())


def test_the_usual_backbones() -> None:
    assert [method_of(word, None) for word in ("visp", "csum", "mlp")] == ["visp+csta", "csum+vasnet", "mlp"]
    assert method_of("visp", "hiersum") == "visp+hiersum"


def test_a_transductive_run_says_so_and_so_does_what_begins_with_it(call, tmp_path, capsys) -> None:
    first, second, third = (str(tmp_path / name) for name in ("first", "second", "third"))
    words = ["visp", "--backbone", "mlp", *SYNTHETIC, "--pool", "transductive", *sets("mlp", *SHORT)]
    assert call(*words, "--out", first) == 0
    said = capsys.readouterr().out
    assert "transductive: pre-trained without labels on all 20 videos, test videos included" in said
    assert "pool transductive" in said
    info = runs.read_info(tmp_path / "first")
    assert set(info.origin.test) < set(info.train)
    measured = evaluate_run(Request(run=first, on="synthetic", data=SYNTHETIC[1].partition(":")[2]))
    assert {row.n for row in measured.rows if row.method == "visp+mlp"} == {len(info.origin.test)}
    assert any("transductive: pre-trained" in remark for remark in measured.remarks)
    assert call("mlp", *SYNTHETIC, "--init", first, "--out", second, *sets("mlp", "epochs=1")) == 0
    seen = (
        f"transductive: {len(info.origin.test)} of {len(info.origin.test)} test videos were seen, without their labels"
    )
    assert seen in capsys.readouterr().out
    assert call("mlp", *SYNTHETIC, "--init", second, "--out", third, *sets("mlp", "epochs=1")) == 0
    assert seen in capsys.readouterr().out
    assert call("visp", "--backbone", "mlp", *SYNTHETIC, *sets("mlp", *SHORT), "--out", first) == 2
    assert 'origin.pool is "transductive" there, "fold" now' in capsys.readouterr().err


def test_what_another_fold_had_seen_without_labels_is_said_and_measured(call, tmp_path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert call("visp", "--backbone", "mlp", *SYNTHETIC, "--out", str(first), *sets("mlp", *SHORT)) == 0
    more = ["--fold", "2", "--init", str(first), "--out", str(second)]
    assert call("mlp", *SYNTHETIC, *more, *sets("mlp", "epochs=1")) == 0
    info = runs.read_info(second)
    known = set(runs.read_info(first).train) & set(info.origin.test)
    assert known
    said = f"transductive: {len(known)} of {len(info.origin.test)} test videos were seen, without their labels"
    assert any(note.startswith(said) for note in info.notes)
    found = evaluate_run(Request(run=str(second), on="synthetic", data=SYNTHETIC[1].partition(":")[2]))
    assert {row.n for row in found.rows if row.method == "mlp"} == {len(info.origin.test)}


def test_a_root_gives_all_its_training_videos(call, tmp_path, capsys) -> None:
    """Those without a replay score as well, save video 12, whose task has a validation video."""
    found = videos(20, frames=16)
    bare = [replace(video, replay_score=None) if at % 4 == 0 else video for at, video in enumerate(found)]
    root = write_root(tmp_path / "root", bare, ["train", "train", "train", "val", "test"])
    for method, backbone in (("visp", "vasnet"), ("csum", "vslstm")):
        out = tmp_path / method
        words = [method, "--backbone", backbone, "--data", str(root), "--out", str(out)]
        assert call(*words, *sets(backbone, *SHORT)) == 0, capsys.readouterr().err
        assert "on 11 training videos" in capsys.readouterr().out
        info = runs.read_info(out)
        assert {int(each[-2:]) for each in info.train} == {0, 1, 2, 5, 6, 7, 10, 11, 15, 16, 17}
        assert (info.val, info.origin.data_set) == ((), "shards")
        everything = [*words[:-1], str(tmp_path / f"{method}-all"), "--pool", "transductive"]
        assert call(*everything, *sets(backbone, *SHORT)) == 0
        assert "on all 20 videos" in capsys.readouterr().out


def test_labels_choose_the_epoch_only_if_asked(call, tmp_path, capsys) -> None:
    words = ["csum", "--backbone", "mlp", *SYNTHETIC, *sets("mlp", *SHORT, "select_on=tau")]
    assert call(*words, "--out", str(tmp_path / "run")) == 0
    assert "the labels of the validation videos choose the epoch" in capsys.readouterr().out
    assert runs.load(tmp_path / "run").position.metric == "tau"


@pytest.mark.parametrize("method", ["visp+vasnet", "csum+vasnet"])
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(method: str, tmp_path, monkeypatch) -> None:
    """The second network's and the projector's, too."""
    found = videos(16, frames=16)
    chosen = settings_of(method, "default", [*SETS[method.split("+")[1]], "epochs=3", "batch_size=8"])
    fitted(tmp_path / "whole", chosen, found)
    write, written = checkpoints.save, 0

    def stop(*arguments: object) -> None:
        nonlocal written
        write(*arguments)  # type: ignore[arg-type]
        written += 1
        if written == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "run", chosen, found)
    monkeypatch.undo()
    fitted(tmp_path / "run", chosen, found)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    for name in ("last.safetensors", "best.safetensors"):
        assert same_weights(tmp_path / "run" / name, tmp_path / "whole" / name)
    kept = load_file(tmp_path / "run" / "last.safetensors")
    assert any(name.startswith(("objective.second.", "objective.projector.")) for name in kept)


def test_a_last_batch_that_is_too_small_is_left_out_by_turns(tmp_path: Path) -> None:
    found = videos(19, frames=16)
    chosen = settings_of("visp+mlp", "default", [*SETS["mlp"], "epochs=2", "batch_size=8"])
    trained = fitted(tmp_path / "run", chosen, found)
    assert "3 videos of each epoch are left out, other ones each time: too few to contrast" in trained.info.notes
    assert [step for step, _ in losses(tmp_path / "run")] == [0, 1, 2, 3]
    for window in (8, 1024):
        batches = Batches(found, batch_size=8, seed=0, least=8, window=window)
        epochs = [[batch.video_id for batch in batches.epoch(at)] for at in range(12)]
        assert {len(ids) for epoch in epochs for ids in epoch} == {8}
        assert len(batches) == 2 == len(epochs[0])
        left = [{v.video_id for v in found} - {v for ids in epoch for v in ids} for epoch in epochs]
        assert all(len(each) == 3 for each in left)
        assert len(set().union(*left)) >= 9  # not always the longest
        assert [ids.video_id for ids in batches.epoch(3, start=1)] == epochs[3][1:]


@pytest.mark.parametrize("method", ["visp+vasnet", "csum+vasnet"])
def test_frames_that_are_all_equal(method: str, tmp_path: Path) -> None:
    found = videos(16, frames=24)
    flat = [replace(video, frame_feature=0 * video.frame_feature + at) for at, video in enumerate(found)]
    chosen = settings_of(method, "default", [*SETS["vasnet"], "epochs=2", "batch_size=8"])
    with pytest.raises(UsageError, match="in none of 16 videos do two frames differ"):
        fitted(tmp_path / "flat", chosen, flat)
    trained = fitted(tmp_path / "some", chosen, [*flat[:8], *found[8:]])
    assert "in 8 of 16 videos all frames are equal" in trained.info.notes
    assert all(tensor.isfinite().all() for tensor in trained.model.state_dict().values())


def test_videos_no_longer_than_a_summary(tmp_path: Path) -> None:
    """What chooses nothing would train nothing, with a loss that falls."""
    short, longer = videos(8, frames=6), videos(8, frames=40, seed=1)
    chosen = settings_of("csum+vasnet", "default", [*SETS["vasnet"], "epochs=1"])
    with pytest.raises(UsageError, match=r"none of 8 videos is longer than a summary.*objective\.clips"):
        fitted(tmp_path / "short", chosen, short)
    trained = fitted(tmp_path / "some", chosen, [*short, *longer])
    assert any(note.startswith("8 of 16 videos are no longer than a summary") for note in trained.info.notes)
    fewer = settings_of("csum+vasnet", "default", [*SETS["vasnet"], "epochs=1", "objective.clips=1"])
    fitted(tmp_path / "fewer", fewer, short)


@pytest.mark.parametrize("backbone", ["dsnet", "a2summ"])
def test_scores_are_of_the_logits_that_were_trained(backbone: str, tmp_path: Path) -> None:
    """Boxes are proposed by heads that learn from labels alone."""
    head = ["model.head=boxes"] if backbone == "a2summ" else []
    sets = [*SETS[backbone], *head, "epochs=1", "batch_size=8", "objective.clips=3"]
    found = videos(8, frames=20)
    trained = fitted(tmp_path / "run", settings_of(f"csum+{backbone}", "default", sets), found)
    for answer in predict(trained, found):
        with torch.no_grad():
            logit = trained.model(collate([answer.video])).frame_logit[0]
        np.testing.assert_allclose(answer.frame_score, logit.double().sigmoid(), atol=1e-6)


def test_another_choice_of_weights_is_another_model(tmp_path: Path) -> None:
    found = videos(8, frames=14)
    fitted(tmp_path / "first", settings_of("visp+csta", "default", [*SETS["csta"], "epochs=1", "batch_size=8"]), found)
    weights = tmp_path / "cnn.safetensors"
    other = settings_of("csta", "default", ["model.width=48", f"model.weights={weights}", "epochs=1"])
    with pytest.raises(UsageError, match='model.weights is "none" there, '):
        fitted(tmp_path / "second", other, found, init=str(tmp_path / "first"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["visp", "--backbone", "nlp"], "no method `visp+nlp`; did you mean `visp+mlp`?"),
        (["mlp", "--backbone", "mlp"], "--backbone mlp: only visp and csum have one; mlp is a summarizer"),
        (["visp", "--backbone", "mlp", "--set", "batch_size=7"], "contrasts videos of a batch, at least 8"),
        (["csum", "--backbone", "mlp", "--set", "batch_size=1"], "contrasts videos of a batch, at least 2"),
        (["visp", "--backbone", "mlp", "--pool", "folds"], "--pool folds: it is fold or transductive"),
        (["mlp", "--pool", "transductive"], "which is for training without labels alone"),
        (["visp", "--backbone", "mlp", "--set", "objective.lamda=3"], "no such setting; "),
        (["visp", "--backbone", "mlp", "--workers", "5"], "--workers 5: each contrasts its own videos and needs 8"),
        (["csum", "--backbone", "mlp", "--search", "2"], "--search: csum+mlp has no published ranges"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(call, tmp_path, capsys, words, said) -> None:
    assert call(*words, *SYNTHETIC, "--out", str(tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_too_few_videos(tmp_path: Path) -> None:
    chosen = settings_of("visp+mlp", "default", [*SETS["mlp"], "epochs=1"])
    with pytest.raises(UsageError, match="7 training videos are too few: the objective contrasts at least 8"):
        fitted(tmp_path / "run", chosen, videos(7, frames=12))
    with pytest.raises(UsageError, match="1 training videos are too few: the objective contrasts at least 2"):
        fitted(tmp_path / "run", settings_of("csum+mlp", "default", SETS["mlp"]), videos(1, frames=12))
    fewer = settings_of("visp+mlp", "default", [*SETS["mlp"], "epochs=1", "objective.least_batch=4"])
    assert len(fitted(tmp_path / "run", fewer, videos(7, frames=12)).info.train) == 7


def test_no_label_is_seen(tmp_path: Path) -> None:
    """Videos with other labels train to the very same weights."""
    found = videos(8, frames=12)
    other = [turned_over(video) for video in found]
    for method in ("visp+hiersum", "csum+mlp"):
        chosen = settings_of(method, "default", [*SETS[method.split("+")[1]], "epochs=1", "batch_size=8"])
        one, two = (fitted(tmp_path / f"{method}{at}", chosen, each) for at, each in enumerate((found, other)))
        for ours, theirs in zip(one.model.parameters(), two.model.parameters(), strict=True):
            assert torch.equal(ours, theirs)


def turned_over(video: Video) -> Video:
    """The same pictures with the opposite labels."""
    labels = {name: getattr(video, name) for name in ("gt_score", "gt_summary", "replay_score")}
    return replace(video, **{name: 1 - label for name, label in labels.items()})
