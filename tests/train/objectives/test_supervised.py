"""The schedule of parent steps, and the losses of each objective on real models."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from vsumdata.datasets import synthetic
from vsumdata.datasets.video import Batch, Video, collate
from vsumdata.manifests.errors import UsageError
from vsumdata.train.data.targets import positive_rate, with_targets
from vsumdata.train.losses import supervised as losses
from vsumdata.train.models.a2summ import A2Summ, A2SummOptions
from vsumdata.train.models.dsnet import DSNet, DSNetOptions
from vsumdata.train.models.hiersum import HierSum as HierSumModel
from vsumdata.train.models.hiersum import HierSumOptions as HierSumModelOptions
from vsumdata.train.objectives.supervised import (
    HierSum,
    HierSumOptions,
    Proposals,
    ProposalsOptions,
    Regression,
    RegressionOptions,
    Saliency,
    SaliencyOptions,
    is_parent,
)

SMALL: dict[str, Any] = {"hidden": 16, "layers": 1, "heads": 2}
CHILD, PARENT = 1, 0  # steps of global_step 2


@pytest.mark.parametrize(
    ("global_step", "period", "parents"),
    [
        (0, "g", []),
        (1, "g", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (2, "g", [0, 2, 4, 6, 8, 10]),
        (5, "g", [0, 5, 10]),
        (10, "g", [0, 10]),
        (0, "g+1", []),
        (1, "g+1", [0, 2, 4, 6, 8, 10]),
        (5, "g+1", [0, 6]),
    ],
)
def test_schedule(global_step: int, period: Any, parents: list[int]) -> None:
    assert [step for step in range(12) if is_parent(step, global_step, period)] == parents


@pytest.fixture
def videos() -> list[Video]:
    return [with_targets(video, "given") for video in synthetic.load("videos=4,frames=60,seed=3")]


@pytest.fixture
def model() -> HierSumModel:
    torch.manual_seed(0)
    return HierSumModel(HierSumModelOptions(**SMALL), synthetic.FRAME_DIM, synthetic.TEXT_DIM).eval()


def objective(**options: Any) -> HierSum:
    return HierSum(HierSumOptions(**options))


def test_a_child_step_is_the_weighted_sum_of_its_parts(videos: list[Video], model: HierSumModel) -> None:
    found = objective(w_mse=0.5, w_inter=0.1, w_intra=2, ratio=4)(model, collate(videos), CHILD)
    expected = found["cls_video"] + found["cls_text"] + 0.5 * found["mse"]
    expected = expected + 0.1 * found["inter"] + 2 * found["intra"]
    torch.testing.assert_close(found["loss"].detach(), expected)
    assert all(found[name] > 0 for name in ("cls_video", "cls_text", "mse", "inter", "intra"))
    assert not found["mse"].requires_grad


def test_the_parts_are_of_the_subtitles(videos: list[Video], model: HierSumModel) -> None:
    batch = collate(videos)
    found = objective(w_intra=0)(model, batch, CHILD)
    scores = model(batch, text="subtitles")
    assert batch.gt_summary is not None
    assert batch.gt_score is not None
    torch.testing.assert_close(found["cls_video"], losses.focal(scores.frame_logit, batch.gt_summary, batch.frame_mask))
    torch.testing.assert_close(found["mse"], losses.mse(scores.frame_logit, batch.gt_score, batch.frame_mask))


def test_a_parent_step_sees_the_global_text_and_classifies_video_only(videos: list[Video], model: HierSumModel) -> None:
    found = objective()(model, collate(videos), PARENT)
    assert {"cls_video", "mse", "inter"} <= set(found)
    assert not {"cls_text", "intra"} & set(found)
    assert found["parent"] == 1
    without_subtitles = [replace(video, sentence=(), sentence_feature=None, sentence_label=None) for video in videos]
    torch.testing.assert_close(objective()(model, collate(without_subtitles), PARENT)["loss"], found["loss"])
    other_text = [replace(video, global_feature=video.step_feature[0]) for video in videos]
    assert not torch.isclose(objective()(model, collate(other_text), PARENT)["loss"], found["loss"])


def test_with_global_step_0_the_global_text_is_never_seen(videos: list[Video], model: HierSumModel) -> None:
    bare = [replace(video, global_feature=None, step=(), step_feature=None) for video in videos]
    for step in range(3):
        found = objective(global_step=0)(model, collate(videos), step)
        torch.testing.assert_close(found["loss"], objective(global_step=0)(model, collate(bare), step)["loss"])
        assert found["parent"] == 0


def test_a_child_step_shows_subtitles_whatever_videos_are_scored_with(videos: list[Video]) -> None:
    losses_ = []
    for text in ("subtitles", "both"):
        torch.manual_seed(0)
        options = HierSumModelOptions(**SMALL, text=text)
        model = HierSumModel(options, synthetic.FRAME_DIM, synthetic.TEXT_DIM).eval()
        losses_.append(objective(global_step=0)(model, collate(videos), 0)["loss"])
    torch.testing.assert_close(*losses_)


@pytest.mark.parametrize("step", [CHILD, PARENT])
def test_videos_without_a_text_are_classified_and_left_out_of_the_contrasts(
    videos: list[Video], model: HierSumModel, step: int
) -> None:
    silent = [
        replace(
            video,
            sentence=(),
            sentence_feature=None,
            sentence_label=None,
            global_feature=None,
            step=(),
            step_feature=None,
        )
        for video in videos
    ]
    found = objective(ratio=4)(model, collate(silent), step)
    assert set(found) == {"loss", "cls_video", "mse", "parent", "positive_rate"}
    mixed = objective(ratio=4)(model, collate([*videos[:2], *silent[2:]]), step)
    pair = objective(ratio=4)(model, collate(videos[:2]), step)
    torch.testing.assert_close(mixed["inter"], pair["inter"])
    if step == CHILD:
        torch.testing.assert_close(mixed["intra"], pair["intra"])
        torch.testing.assert_close(mixed["cls_text"], pair["cls_text"])
        assert mixed["left_out"] == pair["left_out"] + 2


@pytest.mark.parametrize("step", [CHILD, PARENT])
def test_padding_changes_nothing(videos: list[Video], model: HierSumModel, step: int) -> None:
    batch = collate(videos)
    longer = collate([*videos, synthetic.load("videos=1,frames=200,seed=9")[0]])
    wide = Batch(**{name: first(value, len(videos)) for name, value in vars(longer).items()})
    assert wide.frame_mask.shape[1] > batch.frame_mask.shape[1]
    plain, padded = (objective(ratio=4)(model, each, step) for each in (batch, wide))
    for name, value in plain.items():
        torch.testing.assert_close(padded[name], value, rtol=1e-5, atol=1e-6)


def first(value: Any, num: int) -> Any:
    return value if value is None else value[:num]


@pytest.mark.parametrize("step", [CHILD, PARENT])
def test_gradients_reach_what_a_step_trains(videos: list[Video], model: HierSumModel, step: int) -> None:
    criterion = objective(ratio=4)
    criterion(model, collate(videos), step)["loss"].backward()
    trained = {name for name, p in criterion.named_parameters() if p.grad is not None and p.grad.abs() > 0}
    assert trained == ({"inter_scale", "video_scale", "text_scale"} if step == CHILD else {"inter_scale"})
    of_frames = [p.grad for p in model.video.parameters()]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in of_frames)
    of_text = [p.grad for p in model.text.project.parameters()]
    assert all(
        grad is not None and grad.abs().sum() > 0 for grad in of_text
    )  # by the contrasts, in a parent step by the attention as well


@pytest.mark.parametrize("step", [CHILD, PARENT])
def test_a_batch_without_targets_has_a_loss_of_zero(videos: list[Video], model: HierSumModel, step: int) -> None:
    bare = [replace(video, gt_score=None, gt_summary=None, sentence_label=None) for video in videos]
    found = objective(w_inter=0)(model, collate(bare), step)
    found["loss"].backward()
    assert found["loss"] == 0
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all((grad == 0).all() for grad in gradients)


def test_a_video_without_targets_gives_nothing(videos: list[Video], model: HierSumModel) -> None:
    longest = max(videos, key=lambda video: len(video.frame_time_s))
    others = [video for video in videos if video is not longest]
    bare = replace(longest, gt_score=None, gt_summary=None, sentence_label=None)
    options: dict[str, Any] = {"w_inter": 0, "ratio": 4}
    found = objective(**options)(model, collate([bare, *others]), CHILD)
    expected = objective(**options)(model, collate(others), CHILD)
    torch.testing.assert_close(found["loss"], expected["loss"])


def test_labels_of_sentences_without_features_are_ignored(videos: list[Video], model: HierSumModel) -> None:
    mute = max(videos, key=lambda video: len(video.sentence))
    others = [video for video in videos if video is not mute]
    results = [
        objective(ratio=4)(model, collate([replace(mute, sentence_feature=None, sentence_label=label), *others]), CHILD)
        for label in (mute.sentence_label, None)
    ]
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name])


def test_a_model_without_text_trains_on_frames(videos: list[Video]) -> None:
    model = HierSumModel(HierSumModelOptions(**SMALL), synthetic.FRAME_DIM).eval()
    for step in (CHILD, PARENT):
        assert set(objective()(model, collate(videos), step)) == {"loss", "cls_video", "mse", "parent", "positive_rate"}


def test_a_parent_step_of_another_model_says_what_to_do(videos: list[Video]) -> None:
    model = A2Summ(A2SummOptions(**SMALL), synthetic.FRAME_DIM, synthetic.TEXT_DIM).eval()
    with pytest.raises(UsageError, match="global_step=0"):
        objective()(model, collate(videos), PARENT)
    assert objective(global_step=0)(model, collate(videos), PARENT)["parent"] == 0


def test_a2summ_with_boxes_adds_ends_and_centerness_of_both_modalities(videos: list[Video]) -> None:
    torch.manual_seed(0)
    model = A2Summ(A2SummOptions(**SMALL, head="boxes"), synthetic.FRAME_DIM, synthetic.TEXT_DIM).eval()
    criterion = objective(global_step=0, w_mse=0, w_inter=0.1, w_intra=3, ratio=4, focal="a2summ", contrast="a2summ")
    found = criterion(model, collate(videos), 0)
    names = [f"{part}_{modality}" for part in ("cls", "loc", "ctr") for modality in ("video", "text")]
    expected = sum((found[name] for name in names), torch.zeros(())) + 0.1 * found["inter"] + 3 * found["intra"]
    torch.testing.assert_close(found["loss"].detach(), expected)
    assert found["positive_rate"] == pytest.approx(positive_rate(videos))


def test_the_scale_of_intra_is_exponentiated_except_officially(model: HierSumModel) -> None:
    batch = collate([with_targets(video, "given") for video in synthetic.load("videos=2,frames=600")])
    ours, official = (objective(contrast=name, ratio=4) for name in ("ours", "a2summ"))
    with torch.no_grad():
        for scale in (official.video_scale, official.text_scale):
            scale.copy_(scale.exp())
    assert ours(model, batch, CHILD)["left_out"] == 0  # else the official code counts a 0
    torch.testing.assert_close(ours(model, batch, CHILD)["intra"], official(model, batch, CHILD)["intra"])
    assert ours.video_scale.item() == pytest.approx(math.log(1 / 0.07))


@pytest.mark.parametrize("step", [CHILD, PARENT])
def test_under_autocast_every_part_is_float32(videos: list[Video], model: HierSumModel, step: int) -> None:
    # torch's fused attention raises in bfloat16 where ATEN_CPU_CAPABILITY is less than the CPU's own (seen with 2.15).
    with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16):
        found = objective(ratio=4)(model, collate(videos), step)
    assert {value.dtype for name, value in found.items() if name != "left_out"} == {torch.float32}
    assert torch.isfinite(found["loss"])


def test_regression_is_the_mean_over_videos_of_their_errors(videos: list[Video], model: HierSumModel) -> None:
    criterion = Regression(RegressionOptions())
    found = criterion(model, collate(videos), 0)
    each = [float(criterion(model, collate([video]), 0)["mse"]) for video in videos]
    assert float(found["mse"]) == pytest.approx(np.mean(each), rel=1e-5)


def test_the_reductions_of_other_codes(videos: list[Video], model: HierSumModel) -> None:
    """MR.HiSum averages over the frames of a batch; PGL-SUM adds up the gradients of its videos."""
    batch = collate(videos)
    mean, frames, summed = (
        Regression(RegressionOptions(reduction=how))(model, batch, 0)["mse"] for how in ("videos", "frames", "sum")
    )
    assert batch.gt_score is not None
    assert batch.score_mask is not None
    wide = batch.frame_mask.shape[1] - batch.gt_score.shape[1]
    target, mask = (torch.nn.functional.pad(each, (0, wide)) for each in (batch.gt_score, batch.score_mask))
    error = ((model(batch).frame_logit.detach().sigmoid() - target) ** 2)[mask]
    assert float(frames) == pytest.approx(float(error.mean()), rel=1e-5)
    assert float(summed) == pytest.approx(len(videos) * float(mean), rel=1e-6)


def test_min_max_targets_are_each_videos_own(videos: list[Video], model: HierSumModel) -> None:
    constant = replace(videos[0], gt_score=np.full(len(videos[0].frame_time_s), 0.4, np.float32))
    batch = collate([constant, *videos[1:]])
    found = Regression(RegressionOptions(target="min-max"))(model, batch, 0)
    scores = model(batch).frame_logit.sigmoid()
    expected = []
    for i, video in enumerate(videos[1:], 1):
        assert video.gt_score is not None
        target = torch.from_numpy((video.gt_score - video.gt_score.min()) / np.ptp(video.gt_score))
        expected.append(float(((scores[i, : len(target)] - target) ** 2).mean().detach()))
    assert float(found["mse"]) == pytest.approx(np.mean(expected), rel=1e-5)
    assert found["left_out"] == 1
    found["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_saliency_is_of_the_scores_or_of_the_summary(videos: list[Video], model: HierSumModel) -> None:
    unlabelled = replace(videos[0], gt_score=None, gt_summary=None)
    batch = collate([unlabelled, *videos[1:]])
    logit, wide = model(batch).frame_logit, batch.frame_mask.shape[1]
    for name, its in (("score", batch.gt_score), ("summary", batch.gt_summary)):
        known = batch.score_mask
        assert its is not None
        assert known is not None
        target, mask = (torch.nn.functional.pad(each, (0, wide - known.shape[1])) for each in (its, known))
        found = Saliency(SaliencyOptions(target=name))(model, batch, 0)
        assert found["left_out"] == 1
        torch.testing.assert_close(found["loss"], losses.cross_entropy(logit, target, mask))
        official = Saliency(SaliencyOptions(target=name, over="umt"))(model, batch, 0)["loss"]
        torch.testing.assert_close(official, found["loss"] * mask.sum() / mask.numel())


def dsnet() -> DSNet:
    torch.manual_seed(0)
    return DSNet(DSNetOptions(hidden=16, heads=4), synthetic.FRAME_DIM).eval()


def test_proposals_leave_out_videos_without_positives(videos: list[Video]) -> None:
    nothing = replace(videos[0], gt_summary=np.zeros(len(videos[0].frame_time_s), np.uint8))
    criterion = Proposals(ProposalsOptions(w_loc=2, w_ctr=3))
    found = criterion(dsnet(), collate([nothing, *videos[1:]]), 0)
    expected = criterion(dsnet(), collate(videos[1:]), 0)
    assert found["left_out"] == 1
    for name in ("loss", "cls", "loc", "ctr"):
        torch.testing.assert_close(found[name], expected[name])
    parts: Tensor = found["cls"] + 2 * found["loc"] + 3 * found["ctr"]
    torch.testing.assert_close(found["loss"].detach(), parts)


def test_the_ends_may_be_huber(videos: list[Video]) -> None:
    batch = collate(videos)
    found = [Proposals(ProposalsOptions(loc=loc))(dsnet(), batch, 0)["loc"] for loc in ("soft-iou", "smooth-l1")]
    assert not torch.isclose(*found)


@pytest.mark.parametrize("options", [{"global_step": -1}, {"ratio": 0}, {"w_mse": -1}, {"alpha": 1}, {"w_inte": 1}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        HierSumOptions(**options)
