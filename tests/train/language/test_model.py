"""V2Xum-LLM as a model: its answers are valid, depend on one video alone, and any causal language model serves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.train.language.language_kit import DIM, model, planted, save_llm

from vsumdata.datasets.video import Video, collate
from vsumdata.manifests.errors import UsageError
from vsumdata.train.language import decode
from vsumdata.train.language.answers import Sentence, read
from vsumdata.train.language.prompts import Task

ANSWERS = ((Sentence("A man cuts.", (1, 2, 5)), Sentence("He eats", (7,))), (Sentence("Yes!", (3,)),))


def of_lengths(*lengths: int) -> list[Video]:
    return [planted(1, length, seed=length)[0] for length in lengths]


@pytest.mark.parametrize("importance", ["samples", "emitted", "grid"])
def test_scores_depend_on_one_video_alone_and_are_those_of_a_summary(importance: str) -> None:
    its, videos = model(importance=importance), of_lengths(10, 33, 4, 1)
    together = its(collate(videos))
    for row, video in enumerate(videos):
        num, alone = len(video.frame_time_s), its(collate([video]))
        assert together.frame_logit[row, :num].allclose(alone.frame_logit[0], atol=1e-4)
        assert together.frame_summary[row, :num].equal(alone.frame_summary[0])
        assert alone.frame_summary.any()
    assert together.frame_logit.isfinite().all()


def test_samples_differ_from_each_other_and_not_from_run_to_run() -> None:
    its, batch = model(importance="samples", samples=6), collate(of_lengths(20))
    score = its(batch).frame_logit.sigmoid()
    assert len(score.unique()) > 2
    assert its(batch).frame_logit.sigmoid().equal(score)


def test_the_paper_s_importance_is_the_product_of_the_digits_chances() -> None:
    its, batch = model(importance="grid", frames=10), collate(of_lengths(10))
    [[found]] = decode.write(its.lm, its.prompt(batch, "v"), its.grammar("v"), [[None]])
    chance = torch.from_numpy(found.digit_logit).softmax(-1)
    assert len(chance) == len(found.indexes)
    expected = torch.stack([each[0, 0] * each[1] for each in chance]).mean(0)
    np.testing.assert_allclose(its(batch).frame_logit[0].sigmoid(), expected, rtol=1e-4)


@pytest.mark.parametrize("task", ["v", "t", "b"])
@pytest.mark.parametrize("form", ["list", "lead"])
def test_every_answer_of_a_random_model_parses_increases_and_ends(task: Task, form: str) -> None:
    its, videos = model(form=form), planted(20, seed=4)
    noise = [[None, *(np.random.default_rng([row, at]) for at in range(4))] for row in range(len(videos))]
    found = [
        one for row in decode.write(its.lm, its.prompt(collate(videos), task), its.grammar(task), noise) for one in row
    ]
    assert len(found) == 100
    for one in found:
        parsed = read(one.ids, its.codec, its.decode)
        flat = [index for each in parsed.lists for index in each]
        assert flat == sorted(set(flat)) == one.indexes
        assert all(0 <= index < 10 for index in flat)
        assert bool(flat) == (task != "t")
        assert bool(parsed.text) == (task != "v")


@pytest.mark.parametrize("task", ["v", "t", "b"])
def test_the_loss_of_a_batch_is_the_sum_of_its_videos(task: Task) -> None:
    its, videos = model(), of_lengths(10, 25)
    ids = [its.ids_of(answer, task) for answer in ANSWERS]
    loss, num = its.nll(its.prompt(collate(videos), task), ids)
    alone = [its.nll(its.prompt(collate([v]), task), [one]) for v, one in zip(videos, ids, strict=True)]
    assert num == sum(n for _, n in alone)
    assert float(loss.detach()) == pytest.approx(float(sum(each.detach() for each, _ in alone)), rel=1e-5)


def test_each_frame_stands_behind_its_index() -> None:
    its, layout = model(), model().prompts["b"].layout
    at = np.flatnonzero(layout.frame >= 0)
    assert layout.frame[at].tolist() == list(range(10))
    for index, place in enumerate(at):
        assert its.decode(layout.token[place - 4 : place].tolist()) == f"[{index:02}]"
    video = of_lengths(10)[0]
    prompt = its.prompt(collate([video]), "b")[0]
    assert prompt[at].allclose(its.adapter(torch.from_numpy(video.frame_feature)), atol=1e-6)


def test_features_are_standardised_by_training_videos() -> None:
    its, videos = model(), planted(20)
    videos = [Video(**{**vars(v), "frame_feature": v.frame_feature * 3 + 5}) for v in videos]
    its.observe(videos)
    rows = (torch.from_numpy(np.concatenate([v.frame_feature for v in videos])) - its.mean) / its.scale
    assert rows.mean(0).abs().max() < 1e-4
    assert (rows.std(0) - 1).abs().max() < 1e-2
    constant = [Video(**{**vars(v), "frame_feature": np.full_like(v.frame_feature, 2)}) for v in videos]
    its.observe(constant)
    assert its(collate(constant)).frame_logit.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "tokens", "chat"),
    [
        ("llama", "three-digits", True),
        ("llama", "metaspace", False),
        ("qwen2", "per-digit", True),
        ("smollm3", "gpt2", True),
    ],
)
def test_any_published_layout_serves_by_the_name_of_its_folder(
    tmp_path: Path, kind: str, tokens: str, chat: bool
) -> None:
    folder = save_llm(tmp_path / "llm", kind, tokens, chat)
    its, videos = model(llm=str(folder), template="auto"), of_lengths(10, 30)
    assert its.models(its.options)["llm"].startswith("content ")
    assert its(collate(videos)).frame_summary.any(1).all()
    for summary in its.write(collate(videos), "b"):
        assert summary
        assert all(each["text"] and each["time_s"] == sorted(set(each["time_s"])) for each in summary)
    ids = its.ids_of(ANSWERS[0], "b")
    assert its.decode(ids[:-1]).split() == "A man cuts [01, 02, 05]. He eats [07].".split()
    loss, _ = its.nll(its.prompt(collate(videos[:1]), "b"), [ids])
    loss.backward()
    assert next(its.adapter.parameters()).grad.abs().max() > 0


def test_the_arithmetic_may_be_bfloat16() -> None:
    its = model(tuning="adapter")
    with torch.autocast("cpu", torch.bfloat16):
        loss, num = its.nll(its.prompt(collate(of_lengths(10)), "v"), [its.ids_of(ANSWERS[0], "v")])
    loss.backward()
    assert 0 < float(loss.detach()) / num < 20
    assert its(collate(of_lengths(10))).frame_summary.any()


def test_a_pretrained_folder_in_bfloat16(tmp_path: Path) -> None:
    its = model(llm=str(save_llm(tmp_path / "llm", "qwen2")), tuning="lora", lora_rank=2, dtype="bfloat16")
    assert its.lm.get_input_embeddings().weight.dtype == torch.bfloat16
    loss, _ = its.nll(its.prompt(collate(of_lengths(10)), "b"), [its.ids_of(ANSWERS[0], "b")])
    loss.backward()
    assert its(collate(of_lengths(10))).frame_summary.any()


def test_gradient_checkpointing_gives_the_same_gradient() -> None:
    gradients = []
    for checkpoint in (False, True):
        torch.manual_seed(1)
        its = model(tuning="lora", lora_rank=2, lora_dropout=0, checkpoint=checkpoint).train()
        its.nll(its.prompt(collate(of_lengths(12)), "v"), [its.ids_of(ANSWERS[0], "v")])[0].backward()
        gradients.append(next(its.adapter.parameters()).grad)
    torch.testing.assert_close(*gradients)


def test_what_is_wrong_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"take up to \d+ positions, seed:0 has 8192; lower model.frames"):
        model(frames=1000, text_tokens=4000)
    with pytest.raises(UsageError, match="does not exist"):
        model(llm="./nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="is it a model's folder"):
        model(llm=str(tmp_path / "empty"))
    folder = save_llm(tmp_path / "llm", "llama", chat=True)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    twice = "<video>{{ messages[0]['content'] }}"
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": twice}))
    with pytest.raises(UsageError, match="shows <video> 2 times"):
        model(llm=str(folder), template="chat")
    (folder / "config.json").write_text('{"model_type": "clip_vision_model"}')
    with pytest.raises(UsageError, match="cannot be loaded as a causal language model"):
        model(llm=str(folder), template="vicuna")
    assert DIM == 8
