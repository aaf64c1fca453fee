"""A2Summ: the attention mask, independence of padding and batch mates, and official weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from vsumdata.datasets.video import Video, collate
from vsumdata.manifests.errors import UsageError
from vsumdata.train.models.a2summ import A2Summ, A2SummOptions
from vsumdata.train.models.parts.multiway import Attention, is_open
from vsumdata.train.models.text import text_of

F, S = 6, 5
SMALL: dict[str, Any] = {"hidden": 16, "heads": 2, "position_rows": 40, "segment_rows": 30}
VARIANTS: dict[str, dict[str, Any]] = {
    "bliss": SMALL,
    "videosumm": {**SMALL, "head": "boxes"},
    "msmo": {**SMALL, "segment_rows": 0, "time_mask": False},
    "own layers": {**SMALL, "layers": 3, "share_layers": False},
    "compat": {**SMALL, "compat": "a2summ"},
}


def build(text_dim: int | None = S, **options) -> A2Summ:
    """A model with large weights, in float64: the rounding of float32 depends on the padded size."""
    torch.manual_seed(7)
    model = A2Summ(A2SummOptions(**{**SMALL, **options}), F, text_dim).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def video(num_frames, num_sentences=None, seed=0) -> Video:
    """Sentence j is spoken over frames 3j and 3j+1; every third frame is in silence."""
    rng, count = np.random.default_rng([seed, num_frames]), num_sentences or 0
    return Video(
        video_id=f"v{num_frames}-{count}-{seed}",
        frame_time_s=np.arange(num_frames, dtype=np.float32),
        frame_feature=rng.normal(size=(num_frames, F)).astype(np.float32),
        sentence=[{"start_s": 3.0 * j, "end_s": 3.0 * j + 2, "text": ""} for j in range(count)],
        sentence_feature=None if num_sentences is None else rng.normal(size=(count, S)).astype(np.float32),
    )


def scored(model, *videos):
    with torch.no_grad():
        return model(collate(videos))


def tensors(scores, i, t, m):
    """All outputs for video i, which has t frames and m sentences."""
    found = [scores.frame_logit[i, :t], scores.frame_embedding[i, :t], scores.video_token[i]]
    if scores.frame_boxes:
        found += [scores.frame_boxes.reach[i, :t], scores.frame_boxes.centerness[i, :t]]
    if scores.sentence_logit is not None and m:
        found += [scores.sentence_logit[i, :m], scores.sentence_embedding[i, :m], scores.text_token[i]]
    return found


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(1, 20), st.none() | st.integers(0, 7)), min_size=1, max_size=4))
def test_a_videos_scores_are_its_own(variant, sizes):
    model, videos = build(**VARIANTS[variant]), [video(t, m, i) for i, (t, m) in enumerate(sizes)]
    together = scored(model, *videos)
    for i, (one, (t, m)) in enumerate(zip(videos, sizes, strict=True)):
        alone = scored(model, one)
        for ours, theirs in zip(tensors(alone, 0, t, m), tensors(together, i, t, m), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_holds_nothing_that_counts(variant):
    model, batch = build(**VARIANTS[variant]), collate([video(9, 2), video(12, 4)])
    with torch.no_grad():
        before = model(batch)
        batch.frame_feature[0, 9:], batch.sentence_feature[0, 2:] = 100.0, -100.0
        after = model(batch)
    for ours, theirs in zip(tensors(before, 0, 9, 2), tensors(after, 0, 9, 2), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_but_zeros_gives_numbers_and_gradients(variant):
    model, batch = build(**VARIANTS[variant]).float().train(), collate([video(1, 1), video(5, 0), video(4)])
    batch = replace(batch, frame_feature=torch.zeros(3, 5, F), sentence_feature=torch.zeros(3, 1, S))
    scores = model(batch)
    (scores.frame_logit.sum() + scores.sentence_logit.sum() + scores.text_token.sum()).backward()
    assert scores.frame_logit.isfinite().all()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


def moved(model, frame=None, sentence=None):
    """Which outputs (frames, sentences, CLS tokens) of a video of 9 frames and 3 sentences change with one input.

    A change is more than what float64 rounds.
    """
    batch = collate([video(9, 3)])
    with torch.no_grad():
        before = model(batch)
        if sentence is not None:
            batch.sentence_feature[0, sentence] += 1
        if frame is not None:
            batch.frame_feature[0, frame] += 1
        after = model(batch)

    def changed(name):
        return (getattr(before, name) - getattr(after, name)).abs()[0] > 1e-12

    frames, sentences = (changed(f"{side}_embedding").any(-1).nonzero().flatten() for side in ("frame", "sentence"))
    tokens = tuple(bool(changed(f"{side}_token").any()) for side in ("video", "text"))
    return frames.tolist(), sentences.tolist(), tokens


def test_one_layer_takes_a_sentence_to_its_own_frames_alone():
    assert moved(build(layers=1), sentence=1) == ([3, 4], [0, 1, 2], (False, True))
    assert moved(build(layers=1), frame=4) == (list(range(9)), [1], (True, False))
    assert moved(build(layers=1), frame=5) == (list(range(9)), [], (True, False))  # in silence


def test_more_layers_take_it_on_through_them():
    assert moved(build(layers=2), sentence=1) == (list(range(9)), [0, 1, 2], (True, True))


def test_without_time_mask_everything_sees_everything():
    assert moved(build(layers=1, **VARIANTS["msmo"]), sentence=1) == (list(range(9)), [0, 1, 2], (True, True))


def test_a_sentence_over_no_frame_never_reaches_the_video():
    model, batch = build(layers=3), collate([video(3, 4)])  # sentences 1, 2 and 3 come after the last frame
    batch.sentence_feature.requires_grad_()
    model(batch).frame_logit.sum().backward()
    assert batch.sentence_feature.grad[0, 0].any()
    # Its neighbour does: sentence 1 reaches sentence 0, which reaches its frames.
    assert batch.sentence_feature.grad[0, 1].any()
    alone = replace(batch, sentence_span=batch.sentence_span.add(50), sentence_feature=batch.sentence_feature.detach())
    changed = replace(alone, sentence_feature=alone.sentence_feature.add(1))
    with torch.no_grad():
        torch.testing.assert_close(model(alone).frame_logit, model(changed).frame_logit, rtol=0, atol=1e-12)


def test_gradients_flow_along_the_mask():
    model, batch = build(layers=1, head="boxes"), collate([video(9, 3)])
    batch.sentence_feature.requires_grad_()
    model(batch).frame_logit[0, 3].backward()
    assert [bool(row.any()) for row in batch.sentence_feature.grad[0]] == [False, True, False]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_weight_is_trained(variant):
    model = build(**VARIANTS[variant]).train()
    scores = model(collate([video(9, 3), video(6, 2)]))
    parts = [scores.frame_logit, scores.sentence_logit, scores.video_token, scores.text_token]
    for boxes in (scores.frame_boxes, scores.sentence_boxes):
        parts += [boxes.reach, boxes.centerness] if boxes else []
    sum(part.square().sum() for part in parts).backward()
    assert all(parameter.grad.any() for parameter in model.parameters())


def into_first_layer(model, batch):
    taken = []
    handle = model.layers[0].register_forward_pre_hook(lambda _, given: taken.append(given[0]))
    with torch.no_grad():
        model(batch)
    handle.remove()
    return taken[0][0]


@pytest.mark.parametrize(("compat", "sentence"), [("none", 1), ("a2summ", 0)])
def test_a_segment_row_marks_a_sentence_and_its_frames(compat, sentence):
    model, batch = build(compat=compat), collate([video(9, 3)])
    before = into_first_layer(model, batch)
    with torch.no_grad():
        model.segment[0, 1] += 1
    change = into_first_layer(model, batch) - before
    expected = torch.zeros_like(change)
    expected[[1 + 3, 1 + 4, 1 + 9 + 1 + sentence]] = 1  # CLS, 9 frames, CLS, 3 sentences
    torch.testing.assert_close(change, expected)


def test_the_mask_is_one_of_booleans_for_all_heads_and_layers():
    model, seen = build(layers=3, share_layers=False), []
    for layer in model.layers:
        layer.attention.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    scored(model, video(9, 3), video(7, 2))
    assert seen[0].shape == (2, 1, 14, 14)
    assert seen[0].dtype == torch.bool
    assert all(mask is seen[0] for mask in seen)


def test_no_query_is_without_a_key():
    batch = collate([video(9, 3), video(1), video(4, 0)])
    text = text_of(batch, "subtitles")
    assert text is not None
    assert is_open(batch.frame_mask, text, time_mask=True).any(-1).all()


def test_without_text_dim_only_the_frames_count():
    model = build(text_dim=None)
    scores = scored(model, video(9, 3))
    assert scores.sentence_logit is scores.text_token is None
    bare = scored(model, replace(video(9, 3), sentence=(), sentence_feature=None))
    torch.testing.assert_close(scores.frame_logit, bare.frame_logit, rtol=0, atol=1e-12)


def test_too_long_for_the_tables_is_a_clear_error():
    rows = build(position_rows=11, segment_rows=3)
    assert scored(rows, video(10, 3)).frame_logit.shape == (1, 10)
    with pytest.raises(UsageError, match=r"v11-0-0: 11 frames .* --set model\.position_rows=12$"):
        scored(rows, video(4), video(11))
    with pytest.raises(UsageError, match=r"v9-4-0: 4 sentences .* --set model\.segment_rows=4$"):
        scored(rows, video(9, 4))
    with pytest.raises(UsageError, match=r"model\.segment_rows=4$"):
        scored(build(segment_rows=3, compat="a2summ"), video(9, 3))
    with pytest.raises(UsageError, match=r"model\.position_rows=12$"):
        scored(build(position_rows=11), video(9, 11))


@pytest.mark.parametrize("wrong", [{"heads": 3}, {"hidden": 0}, {"dropout_fc": 1.0}, {"ratio": 4}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        A2SummOptions(**{**SMALL, **wrong})


@pytest.mark.parametrize("variant", VARIANTS)
def test_official_weights_go_round(variant):
    source, model = build(**VARIANTS[variant]), build(**VARIANTS[variant])
    official = {name: view.clone() for name, view in source.official_views().items()}
    nn.init.zeros_(model.get_parameter("layers.0.attention.qkv.weight"))
    model.load_official(official)
    for name, value in source.state_dict().items():
        assert value.equal(model.state_dict()[name])
    layers = {name.split(".")[1] for name in official if name.startswith("multiway_list")}
    assert layers == {str(i) for i in range(model.options.layers)}


def test_foreign_weights_are_refused_by_name_and_change_nothing():
    model = build()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    official = {name: view + 1 for name, view in model.official_views().items()}
    official["fc_video_cls.weight"] = official.pop("fc_text.3.bias")
    official["pos_embed_segment"] = official["pos_embed_segment"][:, :5]
    with pytest.raises(ValueError) as error:
        model.load_official(official)
    assert "missing fc_text.3.bias" in str(error.value)
    assert "unexpected fc_video_cls.weight" in str(error.value)
    assert "pos_embed_segment is [1, 5, 16], expected [1, 30, 16]" in str(error.value)
    assert all(value.equal(model.state_dict()[name]) for name, value in kept.items())


def test_layers_that_differ_are_not_taken_for_one():
    several = build(share_layers=False).official_views()
    with pytest.raises(ValueError, match=r"multiway_list\.1\.norm1_fused\.weight differs"):
        build().load_official(several)


def test_a_checkpoint_holds_every_weight_once():
    state = build(layers=4).state_dict()
    assert len({value.data_ptr() for value in state.values()}) == len(state)


def test_bfloat16_scores_like_float32():
    model, batch = build().float(), collate([video(20, 6), video(9, 3)])
    with torch.no_grad():
        exact = model(batch).frame_logit
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(batch).frame_logit
    assert rounded.dtype == torch.bfloat16
    assert (exact - rounded)[batch.frame_mask].abs().max() < 0.1 * exact.std()


@pytest.mark.parametrize("drop_weights", [True, False])
def test_attention_weights_are_dropped_only_when_asked_for(drop_weights):
    attention = build(drop_weights=drop_weights, dropout_attn=0.4).train().get_submodule("layers.0.attention")
    assert isinstance(attention, Attention)
    attention.drop.p = 0.0  # only the dropout of the weights is left
    tokens, mask = torch.ones(1, 3, 16).double(), torch.ones(1, 1, 3, 3, dtype=torch.bool)
    outputs = {tuple(attention(tokens, mask).flatten().tolist()) for _ in range(8)}
    assert (len(outputs) > 1) == drop_weights
