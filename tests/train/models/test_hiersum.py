"""HierSum: child steps see timed subtitles, parent steps see global text everywhere; both use the same weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from vsumdata.datasets.video import Video, collate
from vsumdata.train.models.a2summ import A2Summ, A2SummOptions
from vsumdata.train.models.hiersum import HierSum, HierSumOptions
from vsumdata.train.objectives.supervised import HierSum as Objective
from vsumdata.train.objectives.supervised import HierSumOptions as Weights

F, S = 6, 5
SMALL = {"hidden": 16, "heads": 2, "position_rows": 40, "segment_rows": 30}


def build(**options) -> HierSum:
    """A model with large weights, in float64."""
    torch.manual_seed(7)
    model = HierSum(HierSumOptions(**{**SMALL, **options}), F, S).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def video(num_frames=9, num_sentences=3, num_steps=2, has_global=True, seed=0) -> Video:
    rng = np.random.default_rng([seed, num_frames])
    sentences, steps = (rng.normal(size=(n, S)).astype(np.float32) for n in (num_sentences, num_steps))
    return Video(
        video_id=f"v{seed}",
        frame_time_s=np.arange(num_frames, dtype=np.float32),
        frame_feature=rng.normal(size=(num_frames, F)).astype(np.float32),
        sentence=[{"start_s": 3.0 * j, "end_s": 3.0 * j + 2, "text": ""} for j in range(num_sentences)],
        sentence_feature=sentences if num_sentences else None,
        step=[{"section": 0, "headline": "", "text": ""}] * num_steps,
        step_feature=steps if num_steps else None,
        global_feature=rng.normal(size=S).astype(np.float32) if has_global else None,
    )


def depends_on(model, batch, text=None, **part):
    """Which frames, and whether the video's CLS, change with one part of the batch by more than float64 rounding."""
    (name,) = part
    changed = replace(batch, **{name: getattr(batch, name) + 1})
    with torch.no_grad():
        before, after = model(batch, text), model(changed, text)
    frames = ((before.frame_embedding - after.frame_embedding).abs() > 1e-12)[0].any(-1)
    return bool(frames.any()), bool(frames.all()), bool(((before.video_token - after.video_token).abs() > 1e-12).any())


NO, SOME, ALL = (False, False, False), (True, False, False), (True, True, False)


@pytest.mark.parametrize(
    ("text", "sentence", "whole"),
    [("subtitles", SOME, NO), ("global", NO, ALL), ("both", SOME, ALL), ("none", NO, NO), (None, SOME, NO)],
)
def test_each_pass_sees_its_own_text(text, sentence, whole):
    model, batch = build(layers=1), collate([video()])
    assert depends_on(model, batch, text, sentence_feature=1) == sentence
    assert depends_on(model, batch, text, global_feature=1) == whole


@pytest.mark.parametrize("text", ["subtitles", "global", "both", "none"])
def test_the_options_choose_the_text_of_inference(text):
    batch = collate([video()])
    with torch.no_grad():
        expected = build()(batch, text).frame_logit
        torch.testing.assert_close(build(text=text)(batch).frame_logit, expected, rtol=0, atol=1e-12)


def test_steps_take_the_place_of_the_global_text():
    model, batch = build(global_tokens="steps"), collate([video()])
    assert depends_on(model, batch, "global", step_feature=1)[0]
    assert not depends_on(model, batch, "global", global_feature=1)[0]
    assert model(batch, "global").sentence_logit.shape == (1, 2)
    assert not depends_on(build(), batch, "global", step_feature=1)[0]


def test_timed_steps_are_read_at_their_time():
    """A step of the first three seconds changes these frames alone; without the setting it changes all."""
    span = np.array([[0, 3], [3, 9]], np.float32)
    batch = collate([replace(video(), step_span=span)])
    feature = batch.step_feature.clone()
    feature[0, 0] += 1
    for timed, expected in ((True, [0, 1, 2]), (False, list(range(9)))):
        model = build(global_tokens="steps", timed_steps=timed, layers=1)
        with torch.no_grad():
            before, after = model(batch, "global"), model(replace(batch, step_feature=feature), "global")
        changed = (before.frame_embedding - after.frame_embedding).abs().amax(-1)[0] > 1e-12
        assert changed.nonzero()[:, 0].tolist() == expected


def test_the_child_is_a2summ():
    model, batch = build(), collate([video(), video(5, 1, seed=1)])
    other = A2Summ(A2SummOptions(**SMALL), F, S).double().eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(other(batch).frame_logit, model(batch).frame_logit, rtol=0, atol=1e-12)


def test_global_text_takes_no_segment_row():
    model, batch = build(), collate([video()])
    with torch.no_grad():
        parent, child = model(batch, "global").frame_logit, model(batch).frame_logit
        # One component only: LayerNorm would cancel a shift of all.
        model.segment[..., 0].add_(1)
        torch.testing.assert_close(model(batch, "global").frame_logit, parent, rtol=0, atol=1e-12)
        assert (model(batch).frame_logit - child).abs().max() > 1e-6


@pytest.mark.parametrize("text", ["subtitles", "global", "both", "none"])
@pytest.mark.parametrize("tokens", ["description", "steps"])
def test_a_videos_scores_are_its_own(text, tokens):
    model = build(text=text, global_tokens=tokens, layers=3)
    videos = [
        video(),
        video(12, 4, 3, seed=1),
        video(7, 0, 1, seed=2),
        video(1, 1, 0, seed=3),
        video(5, 2, 0, has_global=False, seed=4),
        video(6, 0, 0, has_global=False, seed=5),
    ]
    with torch.no_grad():
        together = model(collate(videos)).frame_logit
        reverse = model(collate(videos[::-1])).frame_logit
        for i, one in enumerate(videos):
            alone = model(collate([one])).frame_logit[0]
            torch.testing.assert_close(alone, together[i, : len(alone)], rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(alone, reverse[-1 - i, : len(alone)], rtol=1e-10, atol=1e-10)


def test_a_batch_without_the_text_says_nothing_of_sentences():
    model, silent = build(), collate([video(6, 0, 0, has_global=False)])
    for text in ("subtitles", "global", "both"):
        scores = model(silent, text)
        assert scores.sentence_logit is scores.sentence_embedding is scores.text_token is None
        torch.testing.assert_close(scores.frame_logit, model(silent, "none").frame_logit, rtol=0, atol=1e-12)


def test_both_passes_train_the_same_trunk():
    for text in ("subtitles", "global"):
        model = build().train()
        model(collate([video(), video(5, 1, seed=1)]), text).frame_logit.sum().backward()
        assert model.get_parameter("layers.0.attention.qkv.weight").grad.any()
        assert model.get_parameter("text.project.0.weight").grad.any()
        assert model.get_parameter("video.project.0.weight").grad.any()
        assert model.segment.grad.any() == (text == "subtitles")


def test_the_head_is_linear():
    with pytest.raises(ValidationError):
        HierSumOptions(head="boxes")
    assert build().nms_overlap is None


def test_a_parent_step_may_show_the_subtitles_as_well():
    model, batch = build(), collate([replace(video(), gt_score=np.zeros(9, np.float32), gt_summary=np.eye(9)[3])])
    found = {}
    for parent_text in ("global", "both"):
        parts = Objective(Weights(global_step=1, parent_text=parent_text))(model, batch, 0)
        assert parts["parent"] == 1
        assert "cls_text" not in parts
        found[parent_text] = parts["mse"]
        expected = model(batch, parent_text).frame_logit.sigmoid().square().mean().detach()
        torch.testing.assert_close(parts["mse"], expected)
    assert found["global"] != found["both"]


def test_first_weights_may_be_those_of_xavier():
    torch.manual_seed(0)
    models = {how: HierSum(HierSumOptions(**SMALL, initial=how), F, S) for how in ("a2summ", "xavier")}
    deviation = {how: model.get_parameter("video.project.0.weight").std().item() for how, model in models.items()}
    assert deviation["a2summ"] == pytest.approx(0.02, rel=0.2)
    assert deviation["xavier"] == pytest.approx((2 / (F + SMALL["hidden"])) ** 0.5, rel=0.2)
    assert not any(model.get_parameter("layers.0.attention.qkv.bias").any() for model in models.values())
