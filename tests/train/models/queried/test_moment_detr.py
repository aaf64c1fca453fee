"""Moment-DETR: batch mates and lengths, spans, what a query decides, official names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.train.models.queried.planted_queries import DIM, misled, planted
from tests.train.training_kit import fitted
from torch.nn import functional as F

from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.datasets.video import Batch, Video, collate
from vsumdata.manifests.errors import UsageError
from vsumdata.train.loop.predict import predict, ranked, trial_of
from vsumdata.train.models.queried.moment_detr import (
    UNUSED,
    MomentDETR,
    MomentDETROptions,
    endpoints,
    official_name,
    positions,
)
from vsumdata.train.models.queried.spans import grid, grids, to_seconds, to_shares, to_spans
from vsumdata.train.models.summarizer import Scores
from vsumdata.train.scoring.measure import evaluate_one
from vsumdata.train.settings import settings_of

SMALL = {"hidden": 16, "heads": 2, "feedforward": 24, "slots": 4}
RULES = PROTOCOLS["qvhighlights"]


def build(seed: int = 0, query_dim: int | None = DIM, **changes: int) -> MomentDETR:
    """A small model in float64: the rounding of float32 depends on the padded size."""
    torch.manual_seed(seed)
    return MomentDETR(MomentDETROptions(**{**SMALL, **changes}), DIM, query_dim=query_dim).double().eval()


def doubled(batch: Batch) -> Batch:
    query = None if batch.query_feature is None else batch.query_feature.double()
    return replace(batch, frame_feature=batch.frame_feature.double(), query_feature=query)


def videos_of(lengths: list[tuple[int, int]]) -> list[Video]:
    """Videos of so many clips and words each, at 2 s a clip; the later ones begin later."""
    rng = np.random.default_rng(lengths[0])
    return [
        Video(
            video_id=str(at),
            frame_time_s=(np.arange(clips) * 2.0 + at).astype(np.float32),
            frame_feature=rng.normal(size=(clips, DIM)).astype(np.float32),
            query_feature=rng.normal(size=(words, DIM)).astype(np.float32) if words else None,
        )
        for at, (clips, words) in enumerate(lengths)
    ]


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 14), st.integers(0, 5)), min_size=1, max_size=4), more=st.integers(0, 5)
)
def test_a_video_is_scored_as_if_it_were_alone(lengths: list[tuple[int, int]], more: int) -> None:
    model, videos = build(), videos_of(lengths)
    batch = doubled(collate(videos))
    room = (0, 0, 0, more)
    # Padding may hold anything.
    padded = replace(
        batch,
        frame_feature=F.pad(batch.frame_feature, room, value=7.0),
        frame_time_s=F.pad(batch.frame_time_s, (0, more), value=-3.0),
        frame_mask=F.pad(batch.frame_mask, (0, more)),
    )
    if batch.query_feature is not None and batch.query_mask is not None:
        padded = replace(
            padded,
            query_feature=F.pad(batch.query_feature, room, value=5.0),
            query_mask=F.pad(batch.query_mask, (0, more)),
        )
    with torch.no_grad():
        together = model(padded)
        for row, video in enumerate(videos):
            alone = model(doubled(collate([video])))
            num = len(video.frame_time_s)
            torch.testing.assert_close(together.frame_logit[row, :num], alone.frame_logit[0], rtol=0, atol=1e-11)
            torch.testing.assert_close(together.moments[row], alone.moments[0], rtol=0, atol=1e-10)


def test_moments_lie_around_their_centres_in_seconds() -> None:
    time_s = torch.tensor([[10.0, 12.0, 14.0, 16.0], [5.0, 6.0, 0.0, 0.0]])
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    start_s, lasts_s = grids(time_s, mask)
    assert (start_s.tolist(), lasts_s.tolist()) == ([[10], [5]], [[8], [2]])
    span = torch.tensor([[[0.5, 1.0], [0.25, 0.5]], [[0.5, 0.5], [1.0, 0.0]]])
    moments = to_seconds(span, start_s, lasts_s)
    assert moments.tolist() == [[[10, 18], [10, 14]], [[5.5, 6.5], [7, 7]]]
    torch.testing.assert_close(to_spans(to_shares(moments, start_s, lasts_s)), span)
    assert grid(np.array([10.0, 12.0, 14.0, 16.0])) == (2, 10, 8)
    assert grid(np.array([3.0])) == (1, 3, 1)
    assert grids(torch.tensor([[3.0]]), torch.tensor([[True]]))[1].tolist() == [[1]]


def test_predicted_moments_are_whole_clips_within_the_video_the_best_first() -> None:
    moments = np.array([[9.0, 13.1, -1.0], [10.9, 30.0, 2.0], [2.0, 11.1, 0.0]])
    found = ranked(moments, np.array([10.0, 12.0, 14.0, 16.0]))
    np.testing.assert_allclose(found[:, :2], [[10, 18], [10, 12], [10, 14]])
    np.testing.assert_allclose(found[:, 2], 1 / (1 + np.exp([-2.0, 0.0, 1.0])))


def test_places_are_shares_of_each_videos_own_length() -> None:
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    assert endpoints(mask)[0].tolist() == [[0, 0.25], [0.25, 0.5], [0.5, 0.75], [0.75, 1]]
    assert endpoints(mask)[1, :2].tolist() == [[0, 0.5], [0.5, 1]]
    found = positions(mask, 4)
    angle = 2 * np.pi * np.array([0.5, 1.0])
    expected = np.stack([np.sin(angle), np.cos(angle), np.sin(angle / 100), np.cos(angle / 100)], 1)
    np.testing.assert_allclose(found[1, :2].numpy(), expected, atol=1e-5)


def outputs(scores: Scores) -> list[torch.Tensor]:
    assert scores.moments is not None
    assert scores.earlier_moments is not None
    return [scores.frame_logit, scores.moments, scores.earlier_moments]


def test_every_weight_learns_and_the_query_counts() -> None:
    model, batch = build().train(), doubled(collate(videos_of([(5, 3), (9, 2)])))
    sum((each**2).sum() for each in outputs(model(batch))).backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    # Slots begin as zeros, as in the official code: in the first layer there is nothing to mix among them.
    assert {name.rpartition(".among.")[0] for name in idle} == {"decoder.0"}
    assert batch.query_feature is not None
    other = replace(batch, query_feature=batch.query_feature.flip(2))
    model.eval()
    with torch.no_grad():
        assert (model(other).frame_logit - model(batch).frame_logit).abs().max() > 1e-3
    # Without queries the model is of clips alone.
    blind = build(query_dim=None)
    torch.testing.assert_close(blind(other).frame_logit, blind(batch).frame_logit)


def test_bfloat16_and_zeros_give_numbers() -> None:
    model, batch = build().float().train(), collate(videos_of([(1, 1), (20, 4)]))
    with torch.autocast("cpu", torch.bfloat16):
        assert all(each.isfinite().all() for each in outputs(model(batch)))
        moments = model(batch).moments
    assert moments.dtype == torch.float32, "seconds need more digits"
    nothing = replace(batch, frame_feature=0 * batch.frame_feature, query_feature=None, query_mask=None)
    assert all(each.isfinite().all() for each in outputs(model(nothing)))


def test_heads_that_do_not_divide_the_size_are_said() -> None:
    with pytest.raises(UsageError, match=r"moment-detr: 3 heads do not divide 16 components; set model\.heads"):
        build(heads=3)


def test_official_weights() -> None:
    weights = {official_name(name): tensor for name, tensor in build().state_dict().items()}
    # Names of jayleicn/moment_detr@b7e553a.
    named = {
        "input_vid_proj.0.LayerNorm.weight": (DIM + 2,),
        "input_txt_proj.1.net.1.weight": (16, 16),
        "transformer.encoder.layers.1.self_attn.in_proj_weight": (48, 16),
        "transformer.encoder.layers.0.norm2.bias": (16,),
        "transformer.decoder.layers.0.self_attn.out_proj.weight": (16, 16),
        "transformer.decoder.layers.1.multihead_attn.in_proj_bias": (48,),
        "transformer.decoder.layers.1.norm3.weight": (16,),
        "transformer.decoder.layers.0.linear1.weight": (24, 16),
        "transformer.decoder.norm.weight": (16,),
        "query_embed.weight": (4, 16),
        "span_embed.layers.2.weight": (2, 16),
        "class_embed.weight": (2, 16),
        "saliency_proj.bias": (1,),
    }
    assert {name: tuple(weights[name].shape) for name in named} == named
    model, batch = build(seed=4), doubled(collate(videos_of([(6, 3)])))
    model.load_official(weights | {name: torch.zeros(3) for name in UNUSED})
    for ours, theirs in zip(outputs(model(batch)), outputs(build()(batch)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    del weights["query_embed.weight"]
    with pytest.raises(ValueError, match=r"missing query_embed\.weight"):
        model.load_official(weights)


LEARNT = (
    "model.hidden=64", "model.heads=4", "model.feedforward=128", "model.slots=4", "model.dropout=0",
    "model.dropout_input=0", "optimizer.lr=1e-3", "clip_norm=1", "epochs=20",
    "batch_size=16",
)  # fmt: skip


@pytest.mark.slow
def test_the_query_tells_which_part_is_relevant(tmp_path: Path) -> None:
    """Trained and tested with the query of another video, the same model finds no more than the parts' places tell."""
    train, test = planted(300, parts=3), planted(60, seed=1, parts=3)
    found = {}
    for name, change in (("right", list), ("misled", misled)):
        trained = fitted(tmp_path / name, settings_of("moment-detr", "default", LEARNT), change(train))
        values = [evaluate_one(trial_of(answer, RULES), RULES).values for answer in predict(trained, change(test))]
        found[name] = {metric: np.mean([each[metric] for each in values]) for metric in RULES.metrics}
    assert found["right"]["hl_map_fair"] > found["misled"]["hl_map_fair"] + 0.2, found
    assert found["right"]["hl_hit1_fair"] > found["misled"]["hl_hit1_fair"] + 0.3, found
    assert found["right"]["mr_map"] > found["misled"]["mr_map"] + 0.05, found
