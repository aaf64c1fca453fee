"""ViSP on real summarizers: its loss against its definition, its gradients, and its errors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.train.pretraining_kit import (
    SMALL,
    Without,
    all_equal,
    attached,
    batch_of,
    gradients,
    of_features,
    summarizer,
    videos,
)

from vsumdata.datasets.synthetic import FRAME_DIM
from vsumdata.datasets.video import Batch, collate
from vsumdata.manifests.errors import UsageError
from vsumdata.train.data.targets import with_targets
from vsumdata.train.losses import infonce
from vsumdata.train.objectives import sampling
from vsumdata.train.objectives.sampling import resampled
from vsumdata.train.objectives.unlabelled import generator, video_embedding
from vsumdata.train.objectives.visp import Variant, ViSP, ViSPOptions, form_of
from vsumdata.train.settings import settings_of

DRAWN = [variant for variant in get_args(Variant) if variant != "fixed"]
SAMPLED = [variant for variant in DRAWN if variant != "none"]


def objective(**options: Any) -> ViSP:
    return ViSP(ViSPOptions(**options))


@pytest.fixture
def batch() -> Batch:
    return batch_of(8, frames=24)


def step(visp: ViSP, model: torch.nn.Module, batch: Batch, seed: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return visp(model, batch, 0)


@pytest.mark.parametrize("variant", DRAWN)
def test_the_loss_is_its_definition(variant: Variant, batch: Batch) -> None:
    """With dropout off, from the second network's embeddings by hand."""
    visp = objective(variant=variant, temperature=0.7, w_size=0.3, w_binary=2.0, likeness="scaled")
    model = attached(visp, "vasnet", batch).eval()
    visp.eval()
    found = step(visp, model, batch)
    torch.manual_seed(3)
    noise, mask, video = generator(torch.device("cpu")), batch.frame_mask, batch.frame_feature
    weight = sampling.sample(model(batch).frame_logit.detach(), mask, form_of(variant), 0.7, noise)
    summary = video * weight[..., None]
    random = torch.zeros(0, 16)
    if variant == "marginal":
        other = sampling.another(len(video), noise)
        summary = summary + resampled(video[other], mask[other], mask) * (1 - weight)[..., None]
    if variant == "hard-negative":
        kept = sampling.random_summary(weight, mask, sampling.uniform_noise(mask, noise))
        random = embedded(visp, batch, video * kept[..., None])
    o, s = embedded(visp, batch, video), embedded(visp, batch, summary)
    expected = []
    for i in range(len(s)):
        likeness = [float(s[i] @ each) / math.sqrt(16) for each in (*o, *random)]
        expected.append(math.log(sum(math.exp(value) for value in likeness)) - likeness[i])
    assert found["contrast"].item() == pytest.approx(sum(expected) / len(expected), abs=1e-4)
    size = [float(weight[i, : int(mask[i].sum())].mean()) for i in range(len(weight))]
    assert found["size"].item() == pytest.approx(sum(size) / len(size), abs=1e-5)
    total = found["contrast"] + 0.3 * found["size"] + 2.0 * found["binary"]
    torch.testing.assert_close(found["loss"].detach(), total)


def embedded(visp: ViSP, batch: Batch, feature: torch.Tensor) -> torch.Tensor:
    """The mean of the second VASNet's frames, video by video, [B,16]."""
    lengths = batch.frame_mask.sum(1).tolist()
    frames = visp.second(replace(batch, frame_feature=feature)).frame_embedding
    return torch.stack([frames[i, :length].mean(0) for i, length in enumerate(lengths)]).detach()


@pytest.mark.parametrize("name", SMALL)
def test_every_summarizer_can_be_pretrained(name: str, batch: Batch) -> None:
    visp = objective()
    model = attached(visp, name, batch)
    step(visp, model, batch)["loss"].backward()
    for module in (model, visp.second):
        assert gradients(module)
        assert all(gradient.isfinite().all() for gradient in gradients(module))
        assert any(gradient.any() for gradient in gradients(module))


@pytest.mark.parametrize("variant", DRAWN)
def test_the_contrast_alone_reaches_the_logits(variant: Variant, batch: Batch) -> None:
    visp = objective(variant=variant, w_size=0, w_binary=0)
    model = attached(visp, "vasnet", batch)
    step(visp, model, batch)["loss"].backward()
    gradient = model.get_parameter("logit.weight").grad
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 1e-8


def test_noise_follows_from_the_step_alone(batch: Batch) -> None:
    for variant in DRAWN:
        visp = objective(variant=variant)
        model = attached(visp, "mlp", batch).eval()
        visp.eval()
        one, again, other = (step(visp, model, batch, seed)["loss"].item() for seed in (1, 1, 2))
        assert one == again
        assert (one != other) == (variant in SAMPLED)


def test_random_summaries_add_negatives(batch: Batch) -> None:
    losses = {}
    for variant in ("concrete", "hard-negative"):
        visp = objective(variant=variant, likeness="scaled")
        model = attached(visp, "vasnet", batch).eval()
        visp.eval()
        losses[variant] = step(visp, model, batch)["contrast"].item()
    assert losses["hard-negative"] > losses["concrete"] + 0.1


def test_fixed_pseudo_summaries_are_learnt_as_they_are() -> None:
    labelled = [with_targets(video, "keyshots") for video in videos(4)]
    batch = collate(labelled)
    visp = objective(variant="fixed")
    model = attached(visp, "mlp", batch).eval()
    found = step(visp, model, batch)
    logit = model(batch).frame_logit
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logit[batch.frame_mask], batch.gt_summary[batch.frame_mask]
    )
    torch.testing.assert_close(found["loss"], expected)
    assert not hasattr(visp, "second")
    assert settings_of("visp+mlp", "default", ["objective.variant=fixed", "batch_size=2"]).needs_targets


def test_checkpointing_changes_memory_only(batch: Batch) -> None:
    found = []
    for checkpoint in (False, True):
        visp = objective(checkpoint=checkpoint, variant="hard-negative")
        model = attached(visp, "vasnet", batch).eval()
        visp.eval()
        values = step(visp, model, batch)
        values["loss"].backward()
        found.append((values["loss"], gradients(model), gradients(visp.second)))
    (loss, ours, second), (loss_again, ours_again, second_again) = found
    torch.testing.assert_close(loss, loss_again)
    torch.testing.assert_close(ours, ours_again, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(second, second_again, rtol=1e-4, atol=1e-6)


def test_the_second_network_sees_no_text(batch: Batch) -> None:
    """The text alone would identify the video of a summary."""
    visp = objective()
    model = attached(visp, "hiersum", batch).eval()
    visp.eval()
    assert batch.sentence_feature is not None
    changed = replace(batch, sentence_feature=-3 * batch.sentence_feature)
    assert not torch.allclose(model(batch).frame_logit, model(changed).frame_logit)
    torch.testing.assert_close(visp.embed(batch, batch.frame_feature), visp.embed(changed, batch.frame_feature))


def test_csta_is_embedded_by_its_token(batch: Batch) -> None:
    visp = objective()
    attached(visp, "csta", batch)
    scores = visp.second.eval()(batch)
    torch.testing.assert_close(video_embedding(scores, batch.frame_mask), scores.video_token)


@pytest.mark.parametrize("variant", DRAWN)
def test_features_that_are_all_equal_give_numbers(variant: Variant) -> None:
    batch = all_equal()
    visp = objective(variant=variant, w_size=0, w_binary=0, temperature=5)
    model = attached(visp, "vasnet", batch)
    found = step(visp, model, batch)
    found["loss"].backward()
    assert found["loss"].isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(model))


def test_what_nothing_tells_apart_is_guessed() -> None:
    batch = of_features([np.ones((20, FRAME_DIM))] * 8)
    visp = objective(variant="none", w_size=0, w_binary=0).eval()
    model = attached(visp, "vasnet", batch).eval()
    assert step(visp.eval(), model, batch)["loss"].item() == pytest.approx(math.log(8), abs=1e-5)


def test_wide_features_stay_finite() -> None:
    """Raw inner products of 1024 components, as CSTA's default has them."""
    batch = batch_of(8, frames=16)
    wide = replace(batch, frame_feature=50 * batch.frame_feature.repeat(1, 1, 32))
    visp = objective()
    model = attached(visp, "mlp", wide)
    with torch.autocast("cpu", torch.bfloat16):
        loss = step(visp, model, wide)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(model))


def test_a_size_term_shortens_summaries(batch: Batch) -> None:
    sizes = {}
    for w_size in (0.0, 30.0):
        visp = objective(w_size=w_size, likeness="scaled")
        model = attached(visp, "mlp", batch)
        optimizer = torch.optim.Adam([*model.parameters(), *visp.parameters()], 0.01)
        for at in range(60):
            optimizer.zero_grad()
            found = step(visp, model, batch, at)
            found["loss"].backward()
            optimizer.step()
        sizes[w_size] = found["size"].item()
    assert sizes[30.0] < 0.15 < sizes[0.0]


@pytest.mark.parametrize(("missing", "said"), [("gradient", "no gradient flows"), ("embedding", "no frame_embedding")])
def test_a_summarizer_that_cannot_be_pretrained(missing: str, said: str, batch: Batch) -> None:
    with pytest.raises(UsageError, match=f"Without cannot be pre-trained: .*{said}"):
        objective().attach(Without(summarizer("mlp"), missing), lambda: summarizer("mlp"), batch)


def test_options_are_checked() -> None:
    for wrong in ({"temperature": 0}, {"w_size": -1}, {"variant": "concrette"}, {"least_batch": 1}, {"lambda": 1}):
        with pytest.raises(ValidationError):
            ViSPOptions(**wrong)
    with pytest.raises(UsageError, match="--set batch_size: 4 is too small: .* at least 8"):
        settings_of("visp+mlp", "default", ["batch_size=4"])
    assert infonce.visp(torch.eye(2), torch.eye(2)) < math.log(2)
