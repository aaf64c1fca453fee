"""Training V2Xum-LLM: stages, checkpoints, micro-batches and resuming."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.train.language.language_kit import TINY, fitted, model, planted, save_llm, tiny
from tests.train.training_kit import losses, same_weights, stopped_at_save

from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video, collate
from vsumdata.manifests.errors import Diverged, UsageError
from vsumdata.train.data.origin import Origin
from vsumdata.train.data.training import Data
from vsumdata.train.language import decode
from vsumdata.train.language.model import V2Xum
from vsumdata.train.loop import job, runs
from vsumdata.train.loop.fit import Fit, Team
from vsumdata.train.loop.job import Job, learner_of, prepared
from vsumdata.train.loop.predict import predict
from vsumdata.train.loop.runs import Trained
from vsumdata.train.settings import settings_of

LORA = ("model.tuning=lora", "model.lora_rank=2", "model.lora_alpha=4", "model.lora_dropout=0.1")


def test_a_checkpoint_holds_the_adapter_and_lora_alone(tmp_path: Path) -> None:
    trained = fitted(tmp_path / "run", tiny(*LORA), planted(8, words=True))
    held = load_file(tmp_path / "run" / "best.safetensors")
    names = {name.removeprefix("model.") for name in held}
    assert {"adapter.weight", "adapter.bias", "mean", "scale"} < names
    assert all(".lora_" in name for name in names - {"adapter.weight", "adapter.bias", "mean", "scale"})
    moved = [t.abs().max() for name, t in held.items() if "lora_B" in name]  # zero before the first step
    assert moved
    assert min(moved) > 0
    again = runs.load(tmp_path / "run")
    video = planted(2, seed=9)
    for one, other in zip(predict(trained, video), predict(again, video), strict=True):
        assert (one.frame_score == other.frame_score).all()


def writer(trained: Trained) -> V2Xum:
    assert isinstance(trained.model, V2Xum)
    return trained.model


def test_merged_lora_writes_the_same_tokens(tmp_path: Path) -> None:
    folder = save_llm(tmp_path / "llm", "qwen2", chat=True)
    settings = tiny(f"model.llm={folder}", "model.template=auto", *LORA, "optimizer.lr=0.05")
    its = writer(fitted(tmp_path / "run", settings, planted(8, words=True)))
    batch = collate(planted(3, seed=5))
    before = decode.write(its.lm, its.prompt(batch, "b"), its.grammar("b"), [[None]] * 3)
    merged = its.lm.merge_and_unload()
    after = decode.write(merged, its.prompt(batch, "b"), its.grammar("b"), [[None]] * 3)
    assert [each[0].ids for each in before] == [each[0].ids for each in after]


@pytest.mark.parametrize("at", [0, 2, 3])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, videos = tiny(*LORA, "micro_batch=3", "save_every_s=1e-9", "epochs=2"), planted(8, words=True)
    fitted(tmp_path / "whole", settings, videos)
    with stopped_at_save(at, monkeypatch):
        fitted(tmp_path / "run", settings, videos)
    fitted(tmp_path / "run", settings, videos)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    for name in ("best.safetensors", "last.safetensors"):
        assert same_weights(tmp_path / "run" / name, tmp_path / "whole" / name)


def test_micro_batches_add_up_to_their_batch(tmp_path: Path) -> None:
    videos, found = planted(7, words=True), []
    for name, size in (("whole", "null"), ("parts", "2")):
        settings = tiny("batch_size=7", f"micro_batch={size}", "optimizer.name=sgd", "epochs=3")
        fitted(tmp_path / name, settings, videos)
        found.append((losses(tmp_path / name), load_file(tmp_path / name / "best.safetensors")))
    (ones, its), (others, theirs) = found
    assert [loss for _, loss in ones] == pytest.approx([loss for _, loss in others], rel=1e-5)
    assert all(tensor.allclose(theirs[name], atol=1e-5) for name, tensor in its.items())
    assert len({round(loss, 3) for _, loss in ones}) == 3


def test_micro_batches_are_refused_where_a_loss_looks_at_the_whole_batch() -> None:
    with pytest.raises(UsageError, match="micro_batch: the objective looks at a whole batch"):
        settings_of("hiersum", "default", ["micro_batch=2"])


def test_stage_one_trains_the_adapter_and_stage_two_begins_with_it(tmp_path: Path) -> None:
    videos = planted(8, words=True)
    align = settings_of("v2xum", "align", ["model.llm=seed:0", "model.template=plain", *TINY, "batch_size=4"])
    first = fitted(tmp_path / "one", align, videos)
    assert {name.removeprefix("model.") for name in load_file(tmp_path / "one" / "best.safetensors")} == {
        "adapter.weight", "adapter.bias", "mean", "scale",
    }  # fmt: skip
    released = tiny(*LORA, "model.train_adapter=false")
    with pytest.raises(UsageError, match="give --init with a run of the preset align"):
        fitted(tmp_path / "alone", released, videos)
    second = fitted(tmp_path / "two", released, videos, init=str(tmp_path / "one"))
    for name in ("adapter.weight", "adapter.bias", "mean", "scale"):
        assert second.model.state_dict()[name].equal(first.model.state_dict()[name])
    assert any("tensors that" in note and "did not" in note for note in second.info.notes)


def test_a_run_of_another_language_model_is_refused(tmp_path: Path) -> None:
    videos = planted(8)
    folder = save_llm(tmp_path / "llm", "llama")
    usual = (f"model.llm={folder}", "model.template=vicuna", "model.tuning=adapter")
    fitted(tmp_path / "run", tiny(*usual), videos)
    other = tiny("model.llm=seed:0", "model.tuning=adapter", "model.template=vicuna")
    with pytest.raises(UsageError, match="builds on another model"):
        fitted(tmp_path / "other", other, videos, init=str(tmp_path / "run"))
    save_llm(folder, "qwen2")
    with pytest.raises(UsageError, match="builds on another model than is here: models.llm is"):
        runs.load(tmp_path / "run")


def test_videos_without_a_text_are_asked_for_frames_and_counted(tmp_path: Path) -> None:
    mixed = [*planted(4, words=True), *planted(4, seed=1)]
    trained = fitted(tmp_path / "run", tiny("objective.video_steps=0"), mixed)
    assert any(
        "of 8 training videos have no text (auto): asked for frames alone" in note for note in trained.info.notes
    )
    assert all(loss > 0 for _, loss in losses(tmp_path / "run"))
    with pytest.raises(UsageError, match="none of 4 training videos has texts"):
        fitted(tmp_path / "align", tiny("objective.stage=align"), planted(4, seed=1))
    with pytest.raises(UsageError, match="all 0: nothing would be asked for"):
        tiny("objective.video_steps=0", "objective.text_steps=0", "objective.both_steps=0")


def test_the_random_model_says_so(tmp_path: Path) -> None:
    trained = fitted(tmp_path / "run", tiny("model.tuning=adapter"), planted(4))
    assert "model.llm=seed:0: random weights, so its texts mean nothing" in trained.info.notes
    assert trained.info.models == {"llm": "seed:0"}
    torch.testing.assert_close(writer(trained).lm.state_dict(), model().lm.state_dict())


def data_of(train: list[Video], **origin: Any) -> Data:
    rules = protocol("scores-vs-mean")
    return Data(train=train, val=(), protocol=rules, origin=Origin(**origin), checked=True)


def wide(videos: list[Video]) -> list[Video]:
    """The videos with features of twice the size."""
    return [replace(each, frame_feature=np.repeat(each.frame_feature, 2, 1) + 3) for each in videos]


def test_a_batch_that_teaches_nothing_is_passed_over(tmp_path: Path) -> None:
    mixed = [*planted(2, words=True), *planted(2, seed=1)]
    fitted(tmp_path / "run", tiny("objective.stage=align", "batch_size=1"), mixed)
    assert sorted(loss > 0 for _, loss in losses(tmp_path / "run")) == [False, False, True, True]


def stepped(its: Job, team: Team) -> dict[str, torch.Tensor]:
    """The weights after an epoch of one worker."""
    fit = Fit(its.out, its.info, learner_of(its), its.train, None, team)
    fit.learner.train()
    for batch in its.train.epoch(0, 0, team.rank, team.world):
        fit.step(batch)
        fit.position.step += 1
    return fit.learner.model.state_dict()


@pytest.mark.parametrize("num", [14, 8])
def test_workers_reach_the_weights_of_one_process(tmp_path: Path, num: int) -> None:
    # Of a batch of 7, one worker has 4 videos in two parts, the other 3 in one; without words answers are shorter. The
    # last batch may be of one video.
    videos = [*planted(5, words=True), *planted(9, seed=1)][:num]
    settings = tiny("batch_size=7", "micro_batch=3", "optimizer.name=sgd", "optimizer.lr=0.1")
    jobs = [prepared(settings, data_of(videos), tmp_path, None, workers) for workers in (1, 2, 2)]
    assert [len(job.train) for job in jobs] == [2] * 3
    alone = stepped(jobs[0], Team(device=torch.device("cpu")))
    barrier, given = threading.Barrier(2, timeout=60), {}

    def team(rank: int) -> Team:
        def add(tensors: Any) -> None:
            given[rank] = [each.clone() for each in tensors]
            barrier.wait()
            for at, each in enumerate(tensors):
                each.copy_(given[0][at] + given[1][at])
            barrier.wait()

        return Team(rank=rank, world=2, device=torch.device("cpu"), add=add)

    with ThreadPoolExecutor(2) as pool:
        ours, theirs = pool.map(stepped, jobs[1:], [team(0), team(1)])
    for name, tensor in alone.items():
        assert ours[name].equal(theirs[name])
        assert tensor.allclose(ours[name], atol=1e-5)


def test_features_of_another_size_are_measured_anew(tmp_path: Path) -> None:
    videos = planted(4, words=True)
    fitted(tmp_path / "one", tiny(*LORA), videos)
    other = prepared(tiny(*LORA), data_of(wide(videos)), tmp_path / "two", str(tmp_path / "one"))
    rows = np.concatenate([each.frame_feature for each in wide(videos)])
    assert other.model.state_dict()["mean"].numpy() == pytest.approx(rows.mean(0), abs=1e-5)
    assert other.model.state_dict()["scale"].numpy() == pytest.approx(rows.std(0), abs=1e-5)
    assert any("begins afresh, for the features' sizes are 8" in note for note in other.info.notes)
    assert not any("did not" in note for note in other.info.notes)
    frozen = tiny(*LORA, "model.train_adapter=false")
    with pytest.raises(UsageError, match="an adapter of random weights would stay"):
        prepared(frozen, data_of(wide(videos)), tmp_path / "two", str(tmp_path / "one"))


def test_stage_two_tells_of_features_made_in_another_way(tmp_path: Path) -> None:
    videos = planted(4, words=True)
    fitted(tmp_path / "one", tiny("model.tuning=adapter"), videos)
    data = data_of(videos, features={"features": {"clip": {"model": "ViT-B-32", "weights": "openai"}}})
    notes = prepared(tiny(*LORA), data, tmp_path / "two", str(tmp_path / "one")).info.notes
    assert any("were made in another way than these" in note for note in notes)


def test_weights_that_overflowed_end_the_run_with_one_line(tmp_path: Path) -> None:
    its = model()
    with torch.no_grad():
        for each in its.adapter.parameters():
            each.fill_(float("nan"))
    with pytest.raises(Diverged, match="lower optimizer.lr"):
        its(collate(planted(2)))


def test_weights_that_do_not_fit_are_an_error_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No GPU is needed to be told that it is too small.
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=1_000_000))
    whole, adapter = (
        prepared(tiny(f"model.tuning={each}"), data_of(planted(4)), tmp_path, None).model
        for each in ("full", "adapter")
    )
    job.check_room(adapter, torch.device("cuda"))
    with pytest.raises(UsageError, match=r"model\.tuning=lora"):
        job.check_room(whole, torch.device("cuda"))


def test_a_video_without_a_target_still_has_its_words(tmp_path: Path) -> None:
    videos = planted(4, words=True)
    for sets, expected in (("objective.stage=align",), True), (("objective.answers=none",), False):
        prepare = prepared(tiny(*sets), data_of(videos), tmp_path, None).train.prepare
        summary = ({"text": "Its own.", "time_s": []},)
        lacking = prepare(replace(videos[0], gt_score=None, gt_summary=None, summary=summary))
        said = [each["text"] for each in lacking.summary or ()]
        assert said == ([each["text"] for each in videos[0].sentence] if expected else [])


@pytest.mark.parametrize("sets", ["objective.answers=steps", "objective.pairs=steps"])
def test_steps_are_what_a_video_is_said_to_show(tmp_path: Path, sets: str) -> None:
    videos = []
    for each in planted(2, words=True):
        num = len(each.sentence)
        feature = np.eye(num, 2, dtype=np.float32)
        step = [{"section": "", "headline": text, "text": ""} for text in ("Cut it.", "Eat it.")]
        videos.append(replace(each, sentence_feature=feature, step=step, step_feature=np.eye(2, dtype=np.float32)))
    stage = "align" if "pairs" in sets else "instruct"
    its = prepared(tiny(sets, f"objective.stage={stage}"), data_of(videos), tmp_path, None)
    found = [its.train.prepare(each) for each in videos]
    assert all([text["text"] for text in each.summary or ()] == ["Cut it.", "Eat it."] for each in found)
    assert not any("have no text" in note for note in its.info.notes)
    assert all(each.sentence_feature is None for each in found), "the model is still shown no text"


DISHES = ("Cut.", "Mix.", "Fry.", "Eat.")


def cooking(num: int, seed: int, frames: int = 10) -> list[Video]:
    """Videos of two steps out of four, one behind the other; each is said, and shown in a component of its own."""
    rng, found = np.random.default_rng(seed), []
    for at in range(num):
        steps, cut = rng.choice(len(DISHES), 2, replace=False), int(rng.integers(3, frames - 2))
        shown = np.repeat(steps, [cut, frames - cut])
        feature = rng.normal(size=(frames, 8)) * 0.1
        feature[np.arange(frames), shown] += 1
        its = planted(1, frames, seed=at)[0]
        summary = tuple({"text": DISHES[k], "time_s": np.flatnonzero(shown == k).astype(float).tolist()} for k in steps)
        found.append(replace(its, video_id=f"c{seed}-{at}", frame_feature=feature.astype(np.float32), summary=summary))
    return found


@pytest.mark.slow
def test_it_learns_to_say_which_steps_occur_and_where(tmp_path: Path) -> None:
    """Beside a control that is taught the same texts with the frames of other videos: what texts alone tell.

    Of six pairs of steps one is right and four are half right: 0.39 is chance.
    """
    train, test, found = cooking(320, 0), cooking(48, 1), {}
    others = [replace(its, frame_feature=train[at - 1].frame_feature) for at, its in enumerate(train)]
    sets = ("model.form=lead", "model.text_tokens=12", "model.sentence_tokens=6", "model.importance=emitted")
    asked = ("objective.video_steps=0", "objective.text_steps=0", "objective.answers=given", "batch_size=16")
    for name, videos in (("frames", train), ("texts alone", others)):
        run = fitted(tmp_path / name, tiny(*sets, *asked, "epochs=14"), videos)
        overlap, right = [], []
        for answer in predict(run, test, words="b"):
            true, said = answer.video.summary or (), answer.summary or ()
            ours, theirs = ({each["text"] for each in its} for its in (said, true))
            overlap.append(len(ours & theirs) / len(ours | theirs))
            time_s = {each["text"]: set(each["time_s"]) for each in true}
            right += [bool(time_s.get(each["text"], set()) & set(each["time_s"])) for each in said]
        found[name] = (float(np.mean(overlap)), float(np.mean(right)))
    assert found["frames"][0] > 0.7, found
    assert found["frames"][1] > 0.6, found
    assert found["texts alone"][0] < 0.5, found
    assert found["texts alone"][1] < 0.5, found
