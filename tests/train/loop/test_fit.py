"""The loop: what it learns from, what it selects on, what it begins with, and how it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.datasets.benchmarks.benchmark_files import write_bliss
from tests.train.training_kit import fitted, losses, same_weights, small, videos

from vsumdata.datasets.benchmarks import bliss
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video, collate
from vsumdata.manifests.errors import UsageError
from vsumdata.train.data import targets
from vsumdata.train.loop import runs
from vsumdata.train.loop.fit import is_bfloat16, make_optimizer, rate_at
from vsumdata.train.loop.predict import predict
from vsumdata.train.loop.validation import Validation
from vsumdata.train.settings import Optimizer, Settings, settings_of


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def without_text(video: Video) -> Video:
    return replace(video, sentence=(), sentence_feature=None, step=(), step_feature=None, global_feature=None)


def test_it_learns(tmp_path: Path) -> None:
    found = videos(40, frames=60)
    fitted(tmp_path / "run", small("mlp", "epochs=30", "batch_size=8", "optimizer.lr=0.01"), found[:30], found[30:])
    values = [loss for _, loss in losses(tmp_path / "run")]
    assert np.mean(values[-4:]) < 0.8 * np.mean(values[:4])
    trained = runs.load(tmp_path / "run")
    assert trained.position.metric == "tau"
    assert trained.position.best is not None
    assert trained.position.best > 0.15  # chance is 0


def test_the_epoch_is_chosen_on_the_validation_videos(tmp_path: Path) -> None:
    found = videos(12)
    settings = small("mlp", "epochs=6", "optimizer.lr=0.1")
    trained = fitted(tmp_path / "run", settings, found[:8], found[8:])
    by_epoch = {r["epoch"]: r["tau"] for r in records(tmp_path / "run") if "tau" in r}
    best = max(by_epoch, key=lambda epoch: (by_epoch[epoch], -epoch))
    assert list(by_epoch) == [1, 2, 3, 4, 5, 6]
    assert (trained.position.best_epoch, trained.position.epoch) == (best, best)
    assert Validation(found[8:], protocol("synthetic"))(trained)["tau"] == pytest.approx(by_epoch[best])
    assert trained.info.val == tuple(video.video_id for video in found[8:])


def test_a_metric_of_errors_chooses_no_epoch() -> None:
    users = np.eye(2, 24, dtype=bool)
    found = [replace(each, user_summary=users, picks=None, n_frames=None, user_score=None) for each in videos(2)]
    assert Validation(found, protocol("vsumm"), "cus_a").metric == "cus_a"
    with pytest.raises(UsageError, match="select_on: less cus_e is better"):
        Validation(found, protocol("vsumm"), "cus_e")


def test_of_equal_epochs_the_first_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Validation, "__call__", lambda self, trained: {"tau": 0.5, "rho": 0.5, "f1": 0.5})
    found = videos(6)
    trained = fitted(tmp_path / "run", small("mlp", "epochs=3"), found[:4], found[4:])
    assert (trained.position.best, trained.position.best_epoch) == (0.5, 1)


def test_test_videos_are_never_trained_on(tmp_path: Path) -> None:
    found = videos(6)
    origin = runs.Origin(data_set="synthetic", test=(found[0].video_id,))
    with pytest.raises(UsageError, match="is to be trained on and held out as well"):
        fitted(tmp_path / "run", small(), found[:4], found[4:], origin=origin)
    with pytest.raises(UsageError, match="is to be trained on and held out as well"):
        fitted(tmp_path / "run", small(), found[:4], found[3:])


def test_without_validation_the_last_epoch_counts(tmp_path: Path) -> None:
    fitted(tmp_path / "run", small(), videos(4))
    last, best = (tmp_path / "run" / f"{name}.safetensors" for name in ("last", "best"))
    tensors, position = runs.checkpoints.read(best, runs.read_info(tmp_path / "run").digest)
    assert (position.epoch, position.best) == (2, None)
    latest, _ = runs.checkpoints.read(last, runs.read_info(tmp_path / "run").digest)
    assert all(latest[name].equal(tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("metric", ["rho", "f1"])
def test_another_metric_may_choose(tmp_path: Path, metric: str) -> None:
    found = videos(6)
    trained = fitted(tmp_path / "run", small("mlp", f"select_on={metric}", "validate_every=2"), found[:4], found[4:])
    assert trained.position.metric == metric
    assert trained.position.best is not None
    assert [r["epoch"] for r in records(tmp_path / "run") if metric in r] == [2]
    with pytest.raises(UsageError, match="validation has no `f2`; it has tau, rho, f1"):
        fitted(tmp_path / "other", small("mlp", "select_on=f2"), found[:4], found[4:])


def test_the_rate_is_a_pure_function_of_the_step() -> None:
    settings = settings_of("hiersum", "mrhisum", [])
    rates = [rate_at(step, 10, settings) for step in range(3000)]
    assert rates[0] == pytest.approx(1 / 550)
    assert rates[549] == rates[550] == pytest.approx(1)
    assert np.all(np.diff(rates[:550]) > 0)
    assert np.all(np.diff(rates[551:]) < 0)
    assert 0 < rates[-1] < 1e-5
    cut = settings.model_copy(update={"epochs": 4})  # a warm-up of 55 epochs would never end
    assert max(rate_at(step, 10, cut) for step in range(40)) == pytest.approx(1)
    falling = settings_of("vasnet", "mrhisum")
    assert [rate_at(step, 10, falling) for step in (0, 9, 10, 25)] == pytest.approx([1, 1, 0.99, 0.99**2])
    flat = settings_of("mlp")
    assert {rate_at(step, 10, flat) for step in range(100)} == {1.0}
    steps = small("mlp", "schedule.name=exponential", "schedule.decay=0.1", "schedule.every=100")
    assert [rate_at(step, 10, steps) for step in (0, 999, 1000, 1999, 2000)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_a_warm_up_that_is_cut_is_told(tmp_path: Path) -> None:
    found = videos(4)
    short = fitted(tmp_path / "short", small("mlp", "epochs=2", "schedule.warmup_epochs=5"), found)
    assert "warm-up of 0.5 epochs, a quarter of 2, instead of 5" in short.info.notes
    whole = fitted(tmp_path / "whole", small("mlp", "epochs=4", "schedule.warmup_epochs=1"), found)
    assert not any("warm-up" in note for note in whole.info.notes)


def test_one_hidden_layer_is_set_like_that_of_other_models() -> None:
    assert settings_of("mlp", sets=["model.hidden=64"]) == settings_of("mlp", sets=["model.hidden=[64]"])


def test_optimizers_do_what_their_names_say() -> None:
    learner = torch.nn.Linear(3, 1)
    made = {name: make_optimizer(learner, Optimizer(name=name, weight_decay=0.1)) for name in ("adam", "adamw", "sgd")}  # type: ignore[arg-type]
    assert {name: type(optimizer).__name__ for name, optimizer in made.items()} == {
        "adam": "Adam", "adamw": "AdamW", "sgd": "SGD",
    }  # fmt: skip
    assert all(optimizer.defaults["weight_decay"] == 0.1 for optimizer in made.values())


def test_gradients_are_clipped(tmp_path: Path) -> None:
    sets = ("optimizer.name=sgd", "optimizer.lr=1", "epochs=1", "batch_size=4")
    fitted(tmp_path / "run", small("mlp", *sets, "clip_norm=0.001"), videos(4))
    begun = runs.build(torch_seeded(small(), runs.read_info(tmp_path / "run")))
    moved = [
        (after - before).norm()
        for after, before in zip(runs.load(tmp_path / "run").model.parameters(), begun.parameters(), strict=True)
    ]
    assert torch.stack(moved).norm().item() == pytest.approx(0.001, rel=1e-2)


def torch_seeded(settings: Settings, info: runs.Info) -> runs.Info:
    torch.manual_seed(settings.seed)
    return info


def test_bfloat16_only_where_a_gpu_has_it(tmp_path: Path) -> None:
    assert not is_bfloat16(small(), torch.device("cpu"))
    assert not is_bfloat16(small("mlp", "precision=float32"), torch.device("cuda"))
    found = videos(6)
    for name in ("float32", "bfloat16"):
        fitted(tmp_path / name, small("hiersum", f"precision={name}"), found[:4], found[4:])
    exact, rough = (np.array(losses(tmp_path / name))[:, 1] for name in ("float32", "bfloat16"))
    assert (exact != rough).all()
    np.testing.assert_allclose(exact, rough, rtol=0.05)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    found = videos(4)
    with pytest.raises(UsageError, match=r"step \d+: the loss is (nan|inf) for synthetic-0-000.*lower optimizer.lr"):
        fitted(tmp_path / "run", small("hiersum", "optimizer.name=sgd", "optimizer.lr=1e30", "epochs=20"), found)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_name_the_video(tmp_path: Path, value: float) -> None:
    found = videos(5)
    found[3].frame_feature[2, 1] = value
    with pytest.raises(UsageError, match=r"synthetic-0-0003: frame_feature has values that are not finite"):
        fitted(tmp_path / "run", small(), found)
    with pytest.raises(UsageError, match=r"synthetic-0-0003: frame_feature has values that are not finite"):
        fitted(tmp_path / "other", small(), found[:3], found[3:])


def test_no_video_with_a_target(tmp_path: Path) -> None:
    bare = [replace(v, gt_score=None, gt_summary=None, replay_score=None) for v in videos(3)]
    with pytest.raises(UsageError, match="none of the 3 training videos has a target of the kind labels=given"):
        fitted(tmp_path / "run", small("mlp", "labels=given"), bare)
    mixed = [*bare, *videos(5)[3:]]
    trained = fitted(tmp_path / "run", small("mlp", "labels=given"), mixed)
    assert trained.info.train == tuple(v.video_id for v in mixed[3:])
    assert any("3 videos without a target are left out" in note for note in trained.info.notes)


def test_no_positive_frame_is_said(tmp_path: Path) -> None:
    flat = [replace(v, gt_summary=np.zeros(len(v.frame_time_s), np.int8)) for v in videos(3)]
    trained = fitted(tmp_path / "run", small("hiersum", "labels=given"), flat)
    assert any("no frame of the training videos is labelled" in note for note in trained.info.notes)
    assert all(np.isfinite(loss) for _, loss in losses(tmp_path / "run"))


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    found = videos(4)
    one = replace(
        without_text(found[0]), video_id="one", frame_time_s=np.zeros(1, np.float32),
        frame_feature=found[0].frame_feature[:1], replay_score=None, replay_bins=None, shot_start=None, shot_stop=None,
        change_points=None, picks=None, n_frames=None, user_score=None, user_summary=None,
        gt_score=np.ones(1, np.float32), gt_summary=np.ones(1, np.int8),
    )  # fmt: skip
    trained = fitted(tmp_path / "run", small("hiersum"), [one, *found])
    (answer,) = predict(trained, [one])
    assert answer.frame_score.shape == (1,)
    assert 0 <= answer.frame_score[0] <= 1


def test_without_any_text_frames_alone_are_trained_on_and_that_is_said(tmp_path: Path) -> None:
    bare = [without_text(video) for video in videos(5)]
    trained = fitted(tmp_path / "run", small("hiersum"), bare[:3], bare[3:])
    assert trained.info.text_dim is None
    assert any("no text: trained without" in note for note in trained.info.notes)
    with_text = {p.video_id: p.frame_score for p in predict(trained, videos(5))}
    for answer in predict(trained, bare):  # text that it was not trained with changes nothing
        np.testing.assert_allclose(answer.frame_score, with_text[answer.video_id], rtol=0, atol=1e-6)
    some = [bare[0], *videos(5)[1:]]
    assert fitted(tmp_path / "some", small("hiersum"), some).info.text_dim == 24


def of_size(video: Video, frame_dim: int) -> Video:
    return replace(video, frame_feature=np.resize(video.frame_feature, (len(video.frame_time_s), frame_dim)))


def test_init_begins_with_the_weights_of_another_run(tmp_path: Path) -> None:
    found = videos(8)
    fitted(tmp_path / "first", small("hiersum"), found[:4])
    more = small("hiersum", "optimizer.lr=1e-12", "labels=replay")
    trained = fitted(tmp_path / "second", more, found[4:], init=str(tmp_path / "first"))
    for name, tensor in runs.load(tmp_path / "first").model.state_dict().items():
        torch.testing.assert_close(trained.model.state_dict()[name], tensor, atol=1e-6, rtol=0)
    assert trained.info.notes[0] == f"begins with the weights of {tmp_path / 'first'}"


def test_init_with_features_of_another_size_starts_the_projection_afresh(tmp_path: Path) -> None:
    found = videos(8)
    first = fitted(tmp_path / "first", small("hiersum"), found[:4])
    wide = [of_size(video, 48) for video in found]
    sets = small("hiersum", "optimizer.lr=1e-12")
    trained = fitted(tmp_path / "second", sets, wide[4:], init=str(tmp_path / "first"))
    assert trained.info.notes[1].startswith(
        "begins afresh, for the features' sizes are 32 (text 24) there, 48 (text 24) here: video.project"
    )
    theirs = first.model.state_dict()
    for name, tensor in trained.model.state_dict().items():
        if name.startswith("video.project"):
            assert tensor.shape != theirs[name].shape or not torch.allclose(tensor, theirs[name]) or not tensor.any()
        else:
            torch.testing.assert_close(tensor, theirs[name], atol=1e-6, rtol=0)
    with pytest.raises(UsageError, match="has frame features of size 48, the model takes 32"):
        list(predict(first, wide))  # zero-shot


def test_init_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    found = videos(4)
    fitted(tmp_path / "first", small("hiersum"), found)
    for settings, said in (
        (small("hiersum", "model.hidden=32"), "is another model: model.hidden is 16 there, 32 now"),
        (small("mlp"), "is a run of hiersum, not of mlp"),
    ):
        with pytest.raises(UsageError, match=said):
            fitted(tmp_path / "second", settings, found, init=str(tmp_path / "first"))
    assert not (tmp_path / "second").exists()
    with pytest.raises(UsageError, match="is no training run"):
        fitted(tmp_path / "second", small(), found, init=str(tmp_path / "nowhere"))


def test_text_may_come_with_the_fine_tuning(tmp_path: Path) -> None:
    found = videos(6)
    fitted(tmp_path / "first", small("hiersum"), [without_text(video) for video in found])
    trained = fitted(tmp_path / "second", small("hiersum"), found, init=str(tmp_path / "first"))
    assert "32 (text none) there, 32 (text 24) here" in trained.info.notes[1]
    assert not same_weights(tmp_path / "first" / "best.safetensors", tmp_path / "second" / "best.safetensors")


def test_settings_that_are_wrong_are_named_with_what_is_near() -> None:
    for sets, said in (
        (["model.hiden=3"], r"--set model.hiden: no such setting; did you mean `hidden`\?"),
        (["learning-rate=3"], r"--set learning-rate: no such setting; known are: "),
        (["model.num-layers=3"], r"--set model.num-layers: no such setting; "),
        (["method=vasnet", "preset=x"], r"--set method: give it as the argument METHOD; --set preset: .* --preset"),
        ([f"seed={2**63}"], r"--set seed: Input should be less than"),
        (["optimiser.lr=3"], r"--set optimiser: no such setting; did you mean `optimizer`\?"),
        (["optimizer.lr=-1"], r"--set optimizer.lr: Input should be greater than 0"),
        (["epochs=0", "model.layers=x"], r"--set model.layers: .*; --set epochs: "),
        (["epochs"], r"write it as section.key=value"),
    ):
        with pytest.raises(UsageError, match=said):
            settings_of("hiersum", "default", sets)
    with pytest.raises(UsageError, match=r"no preset of hiersum `tvsun`; did you mean `tvsum`\?"):
        settings_of("hiersum", "tvsun")


def test_presets_hold_the_papers_table() -> None:
    """HierSum's table of hyper-parameters."""
    table = {
        "tvsum": (2, 100, 1e-3, "cosine", 5, 2, 0.1, 1, 0),
        "bliss": (64, 50, 1e-3, "none", 0, 2, 0.01, 0.001, 0),
        "mrhisum": (32, 300, 1e-4, "cosine", 55, 5, 1, 1, 1),
        "wikihow": (32, 300, 1e-3, "cosine", 25, 2, 1, 1, 1),
    }
    for preset, row in table.items():
        s = settings_of("hiersum", preset)
        o: Any = s.objective
        found = (s.batch_size, s.epochs, s.optimizer.lr, s.schedule.name, s.schedule.warmup_epochs)
        assert (*found, o.global_step, o.w_inter, o.w_intra, o.w_mse) == row, preset
    tvsum = settings_of("a2summ", "tvsum")
    assert tvsum.model.model_dump()["head"] == "boxes"
    assert tvsum.objective.model_dump()["global_step"] == 0
    assert (tvsum.optimizer.weight_decay, tvsum.batch_size, tvsum.epochs) == (1e-5, 4, 300)


def test_a_run_of_before_goes_on_in_its_own_order_or_not_at_all(tmp_path: Path) -> None:
    """Its run.json has no `order`, and its batches were of similar length."""
    settings = small("mlp", "epochs=1")
    fitted(tmp_path / "run", settings, videos(6))
    path = tmp_path / "run" / "run.json"
    told = json.loads(path.read_text())
    assert told.pop("order") == "shuffled"
    path.write_text(json.dumps(told))
    with pytest.raises(UsageError, match='order is "by-length" there, "shuffled" now'):
        fitted(tmp_path / "run", settings, videos(6))


def without_global_text(found: list[Video]) -> list[Video]:
    return [replace(video, global_feature=None, step=(), step_feature=None) for video in found]


def test_parent_steps_without_global_text_are_said_before_they_begin(tmp_path: Path) -> None:
    all_have, none_has = videos(6), without_global_text(videos(6))
    step, alone = "objective.global_step=2", "objective.parent_text=global"
    said = fitted(tmp_path / "none", small("hiersum", step, alone), none_has).info.notes
    assert any(f"{step}: 6 of 6 training videos have no global text, so parent steps show frames" in n for n in said)
    said = fitted(tmp_path / "some", small("hiersum", step, alone), [*all_have[:4], *none_has[4:]]).info.notes
    assert any(f"{step}: 2 of 6 training videos have no global text: parent" in n for n in said)
    both = [step, "objective.parent_text=both"]
    said = fitted(tmp_path / "both", small("hiersum", *both), none_has).info.notes
    assert any("6 of 6 training videos have no global text: they show their subtitles alone" in n for n in said)
    for name, found, g in (("all", all_have, 2), ("children", none_has, 0)):
        notes = fitted(tmp_path / name, small("hiersum", f"objective.global_step={g}"), found).info.notes
        assert not any("global text" in note for note in notes)


def test_hiersums_parent_steps_on_bliss_show_the_key_sentences(tmp_path: Path) -> None:
    """And no text loss in these steps; held-out clips show none of them."""
    clips = bliss.load(write_bliss(tmp_path / "BLiSS"))
    sets = ["model.global_tokens=steps", "objective.global_step=1", "epochs=1", "labels=given"]
    trained = fitted(tmp_path / "run", small("hiersum", *sets), clips[:1])
    assert not any("global text" in note for note in trained.info.notes)
    entry = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    assert entry["parent"] == 1
    assert "cls_text" not in entry
    assert "intra" not in entry
    batch = collate([targets.with_targets(clips[0], "given")])
    with torch.no_grad():
        parent, blind = (trained.model(batch, text=text).text_token for text in ("global", "none"))
    assert parent is not None
    assert blind is None or not torch.equal(parent, blind)
    assert clips[1].global_feature is None
    assert clips[1].step_feature is None
