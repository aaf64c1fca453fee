"""CSTA: batch mates, lengths, BatchNorm, and the sources of GoogLeNet's weights."""

from __future__ import annotations

import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import save_file
from tests.train.training_kit import fitted, videos
from torch.nn import functional as F

from vsumdata.datasets.video import Batch, Video, collate
from vsumdata.manifests.errors import UsageError
from vsumdata.train.loop import runs
from vsumdata.train.models import csta
from vsumdata.train.models.csta import CSTA, LEAST_FRAMES, POSITIONS, CSTAOptions, official_name, sinusoids, stretched
from vsumdata.train.settings import settings_of

WIDTH = 48
NO_DROPOUT = {"dropout_attention": 0.0, "dropout_head": 0.0}


def build(frame_dim=WIDTH, width=WIDTH, seed=3, **changes) -> CSTA:
    """A small model in float64: the rounding of float32 depends on the videos that share a pass."""
    torch.manual_seed(seed)
    return CSTA(CSTAOptions(width=width, **{"weights": "none", **changes}), frame_dim).double().eval()


def batch_of(*features) -> Batch:
    videos = [
        Video(video_id=str(n), frame_time_s=np.arange(len(each), dtype=np.float32), frame_feature=np.asarray(each))
        for n, each in enumerate(features)
    ]
    batch = collate(videos)
    return replace(batch, frame_feature=batch.frame_feature.double())


def frames(num_frames, seed=0, dim=WIDTH):
    return np.random.default_rng([num_frames, seed]).normal(size=(num_frames, dim)).astype(np.float32)


def score(model, batch):
    with torch.no_grad():
        return model(batch).frame_logit


@pytest.fixture(scope="module")
def model() -> CSTA:
    return build()


@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.sampled_from([1, 2, 13, 14, 15, 46, 60]), min_size=1, max_size=5), more=st.integers(0, 9))
def test_a_video_is_scored_as_if_it_were_alone(model, lengths, more):
    videos = [frames(n, seed) for seed, n in enumerate(lengths)]
    batch = batch_of(*videos)
    longer = F.pad(batch.frame_feature, (0, 0, 0, more), value=7.0)  # padding may hold anything
    padded = replace(batch, frame_feature=longer, frame_mask=F.pad(batch.frame_mask, (0, more)))
    for row, video in zip(score(model, padded), videos, strict=True):
        torch.testing.assert_close(row[: len(video)], score(model, batch_of(video))[0], rtol=0, atol=1e-11)


@pytest.mark.parametrize("length", [1, 20])
def test_logits_are_those_of_the_embeddings(model, length):
    with torch.no_grad():
        scores = model(batch_of(frames(length), frames(17)))
        expected = model.score(model.head(scores.frame_embedding)).squeeze(-1)
    torch.testing.assert_close(scores.frame_logit[0, :length], expected[0, :length], rtol=0, atol=1e-12)
    torch.testing.assert_close(scores.frame_logit[1, :17], expected[1, :17], rtol=0, atol=1e-12)


def test_the_gradient_of_an_embedding_reaches_its_video_alone():
    model, batch = build(**NO_DROPOUT).train(), batch_of(frames(16), frames(9))
    batch.frame_feature.requires_grad_()
    model(batch).frame_embedding[0].square().sum().backward()
    assert (batch.frame_feature.grad[0].abs().amax(-1) > 0).all()
    assert not batch.frame_feature.grad[1].any()


def test_more_frames_than_share_a_forward(model, monkeypatch):
    batch = batch_of(*(frames(20, seed) for seed in range(5)))
    at_once = score(model, batch)
    monkeypatch.setattr(csta, "FRAMES_AT_ONCE", 45)
    torch.testing.assert_close(score(model, batch), at_once, rtol=0, atol=1e-11)


@pytest.mark.parametrize("length", [1, 5, 13])
def test_a_short_video_is_repeated_and_cut_back(model, length):
    video = frames(length)
    repeated = np.resize(video, (LEAST_FRAMES, WIDTH))
    expected = score(model, batch_of(repeated))[:, :length]
    torch.testing.assert_close(score(model, batch_of(video)), expected, rtol=0, atol=1e-11)


def test_training_takes_the_statistics_of_each_video():
    videos = [frames(20, 1), frames(20, 2), frames(31, 3)]
    together, one_by_one = (build(**NO_DROPOUT).train() for _ in range(2))
    logit = together(batch_of(*videos)).frame_logit
    for row, video in zip(logit, videos, strict=True):
        alone = one_by_one(batch_of(video)).frame_logit[0]
        torch.testing.assert_close(row[: len(video)], alone, rtol=0, atol=1e-11)
    for name, buffer in together.named_buffers():
        torch.testing.assert_close(buffer, one_by_one.get_buffer(name), rtol=0, atol=1e-11)


def test_every_weight_learns():
    model = build(frame_dim=20, width=100).train()
    model(batch_of(frames(120, dim=20), frames(130, dim=20))).frame_logit.pow(2).sum().backward()
    # The bias of the map's BatchNorm adds one constant to all energies, which both softmaxes cancel.
    assert {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()} <= {"map_norm.bias"}


def test_a_single_frame_can_be_trained_on():
    model = build().train()
    model(batch_of(frames(1))).frame_logit.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert model.token.grad.any()
    assert model.cnn.get_parameter("conv1.conv.weight").grad.any()


@pytest.mark.parametrize("training", [False, True])
def test_nothing_but_zeros_gives_numbers(training):
    model = build().train(training)
    assert model(batch_of(np.zeros((1, WIDTH)), np.zeros((30, WIDTH)))).frame_logit.isfinite().all()


def test_bfloat16():
    model = build().float().train()
    batch = batch_of(frames(20), frames(9))
    batch = replace(batch, frame_feature=batch.frame_feature.float())
    with torch.autocast("cpu", torch.bfloat16):
        logit = model(batch).frame_logit
    logit.sum().backward()
    assert logit.isfinite().all()
    assert model.token.grad.isfinite().all()


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
@pytest.mark.parametrize("length", [5, 7, 15, 48])
def test_stretched_is_the_adaptive_pooling(rows, length):
    few = torch.randn(2, rows, 3, dtype=torch.float64)
    pooled = F.adaptive_avg_pool2d(few, (length, 3))
    torch.testing.assert_close(stretched(few, length), pooled, rtol=0, atol=1e-14)


def test_positions():
    table = sinusoids(6, 5)
    assert table.shape == (6, 5)
    assert table[0].tolist() == [0, 1, 0, 1, 0]
    assert table[3, 0].item() == pytest.approx(np.sin(3))
    assert table[3, 3].item() == pytest.approx(np.cos(3 * 10000 ** (-2 / 5)))


def test_a_width_that_cannot_train_is_refused():
    build(frame_dim=9, width=csta.LEAST_WIDTH).train()(batch_of(frames(14, dim=9)))
    with pytest.raises(ValidationError, match="width"):
        CSTAOptions(width=csta.LEAST_WIDTH - 1)


@pytest.fixture(scope="module")
def official() -> dict[str, torch.Tensor]:
    """Weights under their official names, including those that the official code never uses."""
    weights = {official_name(name): tensor for name, tensor in build(frame_dim=1024, width=1024).state_dict().items()}
    return weights | {POSITIONS: sinusoids(5000, 1024), "googlenet.fc.weight": torch.ones(1000, 1024)}


def test_official_weights(official):
    model = build(frame_dim=1024, width=1024, seed=4)
    model.load_official(official)
    assert torch.equal(model.token, official["CLS"])
    assert torch.equal(
        model.cnn.inception5b.branch4[1].bn.running_var, official["googlenet.inception5b.branch4.1.bn.running_var"]
    )
    for change, said in {
        "missing": ({}, "linear2.0.bias"),
        "of another shape": ({"linear2.0.bias": torch.zeros(2)}, "linear2.0.bias"),
        "unexpected": ({"linear2.0.bias": torch.zeros(1), "linear9.bias": torch.zeros(1)}, "linear9.bias"),
        "another table": ({POSITIONS: official[POSITIONS].roll(1, 0)}, POSITIONS),
    }.values():
        weights = {name: tensor for name, tensor in official.items() if name != "linear2.0.bias"}
        with pytest.raises(ValueError, match=said):
            model.load_official(weights | change)
    with pytest.raises(ValueError, match=r"narrow\.weight"):
        build().load_official(official)


@pytest.fixture(scope="module")
def imagenet_like() -> dict[str, torch.Tensor]:
    """A state dict of torchvision's googlenet, with its classifiers."""
    from torchvision.models import googlenet  # takes two seconds, which every collection of the tests would pay

    torch.manual_seed(5)
    return googlenet(weights=None, aux_logits=True, init_weights=False).state_dict()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file(tmp_path, imagenet_like, suffix):
    old = {name: tensor for name, tensor in imagenet_like.items() if "num_batches" not in name}
    path = tmp_path / f"googlenet{suffix}"
    save_file(old, path) if suffix == ".safetensors" else torch.save(old, path)
    model = build(weights=str(path))
    assert model.remark == f"CSTA weights: {path}"
    for name, tensor in model.cnn.named_parameters():
        assert torch.equal(tensor, imagenet_like[name].double()), name
    assert build().remark == "CSTA weights: none"


class Trap:
    """An object that touches a file when a pickle of it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_unusable_weights_are_said(tmp_path, imagenet_like):
    trap = tmp_path / "touched"
    torch.save({"conv1.conv.weight": Trap(trap)}, tmp_path / "trap.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"conv1.conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"no header")
    (tmp_path / "empty.pth").write_bytes(b"")
    for name in ("trap.pth", "list.pth", "other.pth", "broken.safetensors", "empty.pth", "absent.pth"):
        with pytest.raises(UsageError, match=f"model.weights=.*{name}") as error:
            build(weights=str(tmp_path / name))
        assert "\n" not in str(error.value)
    assert not trap.exists()
    save_file({**imagenet_like, "conv9.weight": torch.zeros(1)}, tmp_path / "more.safetensors")
    with pytest.raises(UsageError, match=r"conv9\.weight"):
        build(weights=str(tmp_path / "more.safetensors"))


def test_a_run_is_opened_where_its_first_weights_are_not(tmp_path, imagenet_like):
    save_file(imagenet_like, tmp_path / "first.safetensors")
    sets = ["epochs=1", f"model.width={WIDTH}", f"model.weights={tmp_path / 'first.safetensors'}"]
    made = fitted(tmp_path / "run", settings_of("csta", sets=sets), videos(2))
    (tmp_path / "first.safetensors").unlink()
    again = runs.load(tmp_path / "run")
    assert all(a.equal(b) for a, b in zip(made.model.parameters(), again.model.parameters(), strict=True))
    assert again.settings.model == made.settings.model


def test_imagenet_weights_that_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setattr(urllib.request, "_opener", None)  # urllib keeps the proxies of its first call
    with pytest.raises(UsageError, match=r"googlenet.*cannot be had.*--set model\.weights"):
        build(weights="imagenet")
