"""DSNet: batch mates, lengths, proposed segments, and official weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from vsumdata.datasets.video import Batch, Video, collate
from vsumdata.manifests.errors import UsageError
from vsumdata.train.losses.boxes import boxes_of, frame_scores
from vsumdata.train.models.dsnet import DSNet, DSNetOptions, official_name
from vsumdata.train.models.summarizer import Scores

DIM = 24


def build(seed=3, **changes) -> DSNet:
    """A small model in float64: the rounding of float32 depends on the padded size."""
    torch.manual_seed(seed)
    return DSNet(DSNetOptions(**{"hidden": 16, "heads": 4, **changes}), DIM).double().eval()


def batch_of(*features) -> Batch:
    videos = [
        Video(video_id=str(n), frame_time_s=np.arange(len(each), dtype=np.float32), frame_feature=np.asarray(each))
        for n, each in enumerate(features)
    ]
    batch = collate(videos)
    return replace(batch, frame_feature=batch.frame_feature.double())


def frames(num_frames, seed=0):
    return np.random.default_rng([num_frames, seed]).normal(size=(num_frames, DIM)).astype(np.float32)


def outputs(scores: Scores) -> list[torch.Tensor]:
    return [scores.frame_logit, scores.frame_boxes.reach, scores.frame_boxes.centerness]


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 23), min_size=1, max_size=5), more=st.integers(0, 9))
def test_a_video_is_scored_as_if_it_were_alone(lengths, more):
    model, videos = build(), [frames(n, seed) for seed, n in enumerate(lengths)]
    batch = batch_of(*videos)
    longer = F.pad(batch.frame_feature, (0, 0, 0, more), value=7.0)  # padding may hold anything
    padded = replace(batch, frame_feature=longer, frame_mask=F.pad(batch.frame_mask, (0, more)))
    with torch.no_grad():
        together = model(padded)
        worth = frame_scores(together, padded.frame_mask, model.nms_overlap)
        for row, video in enumerate(videos):
            own = batch_of(video)
            alone = model(own)
            for ours, theirs in zip(outputs(together), outputs(alone), strict=True):
                torch.testing.assert_close(ours[row, : len(video)], theirs[0], rtol=0, atol=1e-11)
            best = frame_scores(alone, own.frame_mask, model.nms_overlap)[0]
            torch.testing.assert_close(worth[row, : len(video)], best, rtol=0, atol=1e-9)


def test_each_frame_proposes_a_segment_around_itself():
    batch = batch_of(frames(1), frames(18))
    scores = build()(batch)
    start, stop = boxes_of(scores.frame_boxes.reach).unbind(-1)
    at = torch.arange(18)
    assert (start <= at).all()
    assert (stop >= at + 1).all()
    worth = frame_scores(scores, batch.frame_mask, 0.5)
    assert ((worth >= 0) & (worth <= 1)).all()
    assert (worth.amax(1) > 0.99).all()  # of the video's maximum


def test_every_weight_learns():
    model = build().train()
    sum(output.sum() for output in outputs(model(batch_of(frames(2), frames(12))))).backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize("training", [False, True])
def test_nothing_but_zeros_gives_numbers(training):
    scores = build().train(training)(batch_of(np.zeros((1, DIM)), np.zeros((7, DIM))))
    assert all(output.isfinite().all() for output in outputs(scores))


def test_bfloat16():
    model, batch = build().float().train(), batch_of(frames(20), frames(9))
    with torch.autocast("cpu", torch.bfloat16):
        scores = model(replace(batch, frame_feature=batch.frame_feature.float()))
    assert all(output.isfinite().all() for output in outputs(scores))


def test_heads_that_do_not_divide_the_feature_are_said():
    with pytest.raises(UsageError, match=r"7 heads .* features of 24.*model\.heads"):
        DSNet(DSNetOptions(heads=7), DIM)


def test_official_weights():
    weights = {official_name(name): tensor for name, tensor in build().state_dict().items()}
    model, batch = build(seed=4), batch_of(frames(11))
    model.load_official(weights)
    for ours, theirs in zip(outputs(model(batch)), outputs(build()(batch)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    for change, said in [
        ({"fc_ctr.bias": torch.zeros(2)}, r"fc_ctr\.bias is \[2\]"),
        ({"fc_ctr.scale": torch.zeros(1)}, r"unexpected fc_ctr\.scale"),
    ]:
        with pytest.raises(ValueError, match=said):
            model.load_official(weights | change)
    del weights["base_model.Q.weight"]
    with pytest.raises(ValueError, match=r"missing base_model\.Q\.weight"):
        model.load_official(weights)
