"""CSUM on real summarizers: its loss against its definition, its gradients, and its errors."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

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
)

from vsumdata.datasets.synthetic import FRAME_DIM
from vsumdata.datasets.video import Batch
from vsumdata.manifests.errors import UsageError
from vsumdata.train.objectives.csum import CSUM, CSUMOptions
from vsumdata.train.settings import settings_of

CHOICES = ["successive-halving", "sinkhorn", "perturbed"]


def objective(**options: Any) -> CSUM:
    return CSUM(CSUMOptions(**options))


@pytest.fixture
def batch() -> Batch:
    return batch_of(4, frames=40)


def step(csum: CSUM, model: torch.nn.Module, batch: Batch, seed: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return csum(model, batch, 0)


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("draw", ["windows", "subsets"])
@pytest.mark.parametrize("compared", ["embeddings", "features"])
def test_the_loss_is_its_definition(compared: str, draw: str, literal: bool) -> None:
    """The loss from the k best clips and all draws of n clips, one by one."""
    rng = np.random.default_rng(0)
    batch = of_features([rng.standard_normal((8, FRAME_DIM)) for _ in range(3)])
    options = {"clips": 2, "share": 0.5, "alpha": 1e9, "temperature": 0.5}
    csum = objective(**options, draw=draw, compared=compared, literal_denominator=literal)
    model = attached(csum, "vasnet", batch).eval()
    found = step(csum, model, batch)
    scores = model(batch)
    clips = csum.project(scores.frame_embedding if compared == "embeddings" else batch.frame_feature).detach()
    best = [sorted(row.argsort(descending=True)[:4].tolist()) for row in scores.frame_logit]
    items = [*clips, *(row[at] for row, at in zip(clips, best, strict=True))]
    likeness = np.array([[dist(x, y, draw) / 2 for y in items] for x in items]) / 0.5
    losses = []
    for i in range(6):
        half = (i + 3) % 6
        below = [j for j in range(6) if j != i and not (literal and j == half)]
        losses.append(math.log(sum(math.exp(likeness[i, j]) for j in below)) - likeness[i, half])
    assert found["loss"].item() == pytest.approx(np.mean(losses), abs=1e-4)


def dist(x: torch.Tensor, y: torch.Tensor, draw: str) -> float:
    values = [float((x[a] * y[b]).sum()) for a in draws(len(x), draw) for b in draws(len(y), draw)]
    return float(np.mean(values))


def draws(length: int, draw: str) -> list[list[int]]:
    if draw == "windows":
        return [[at, at + 1] for at in range(length - 1)]
    return [list(pair) for pair in combinations(range(length), 2)]


@pytest.mark.parametrize("compared", ["embeddings", "features"])
@pytest.mark.parametrize("name", SMALL)
def test_every_summarizer_can_be_trained(name: str, compared: str, batch: Batch) -> None:
    csum = objective(draw="subsets", alpha=10.0, compared=compared)
    model = attached(csum, name, batch)
    step(csum, model, batch)["loss"].backward()
    for module in (model, csum.projector):
        assert all(gradient.isfinite().all() for gradient in gradients(module))
        assert any(gradient.any() for gradient in gradients(module))


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("draw", ["windows", "subsets"])
def test_the_choice_passes_gradients_to_the_scores(choice: str, draw: str, batch: Batch) -> None:
    csum = objective(choice=choice, draw=draw, share=0.3, alpha=20.0)
    model = attached(csum, "vasnet", batch)
    step(csum, model, batch)["loss"].backward()
    gradient = model.get_parameter("logit.weight").grad
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 1e-9


def test_the_noise_of_perturbed_follows_from_the_step_alone(batch: Batch) -> None:
    csum = objective(choice="perturbed", samples=5)
    model = attached(csum, "vasnet", batch).eval()
    one, again, other = (step(csum, model, batch, seed)["loss"].item() for seed in (1, 1, 2))
    assert one == again != other


def test_perturbed_does_not_depend_on_padding(batch: Batch) -> None:
    csum = objective(choice="perturbed", samples=5)
    model = attached(csum, "vasnet", batch).eval()
    mask = torch.nn.functional.pad(batch.frame_mask, (0, 9))
    time_s = torch.nn.functional.pad(batch.frame_time_s, (0, 9))
    feature = torch.nn.functional.pad(batch.frame_feature, (0, 0, 0, 9))
    longer = replace(batch, frame_feature=feature, frame_time_s=time_s, frame_mask=mask)
    plain, padded = (step(csum, model, each)["loss"].item() for each in (batch, longer))
    assert padded == pytest.approx(plain, abs=1e-5)


def test_nothing_is_learnt_from_a_choice_of_all() -> None:
    csum = objective(choice="perturbed", clips=10)
    batch = of_features([np.random.default_rng(at).standard_normal((8, FRAME_DIM)) for at in range(4)])
    model = attached(csum, "vasnet", batch)
    step(csum, model, batch)["loss"].backward()
    assert not model.get_parameter("logit.weight").grad.any()


@pytest.mark.parametrize("choice", CHOICES)
def test_videos_shorter_than_a_summary_are_whole(choice: str) -> None:
    """k = max(n, 15 %) clips: videos of 3 frames and of 1 frame keep all of them."""
    rng = np.random.default_rng(1)
    batch = of_features([rng.standard_normal((length, FRAME_DIM)) for length in (1, 3, 12, 30)])
    csum = objective(choice=choice, clips=10)
    model = attached(csum, "vasnet", batch)
    scores = model.eval()(batch)
    chosen = csum.choose(scores.frame_embedding, scores.frame_logit.sigmoid(), batch.frame_mask)
    assert chosen.mask.sum(1).tolist() == [1, 3, 10, 10]
    torch.testing.assert_close(chosen.feature[1, :3], scores.frame_embedding[1, :3])
    loss = step(csum, model, batch)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(model))


@pytest.mark.parametrize("choice", CHOICES)
def test_features_that_are_all_equal_give_numbers(choice: str) -> None:
    batch = all_equal(4)
    csum = objective(choice=choice)
    model = attached(csum, "mlp", batch)
    found = step(csum, model, batch)
    found["loss"].backward()
    assert found["loss"].item() == pytest.approx(math.log(7), abs=1e-3)  # one of 7 others, all alike
    assert all(gradient.isfinite().all() for gradient in gradients(model))


def test_a_batch_of_one_video_is_refused(batch: Batch) -> None:
    with pytest.raises(UsageError, match="--set batch_size: 1 is too small: .* at least 2"):
        settings_of("csum+mlp", "default", ["batch_size=1"])
    csum = objective()
    model = attached(csum, "mlp", batch)
    with pytest.raises(ValueError, match="at least 2 videos"):
        csum(model, batch_of(1), 0)


@pytest.mark.parametrize(("missing", "said"), [("gradient", "no gradient flows"), ("embedding", "no frame_embedding")])
def test_a_summarizer_that_cannot_be_trained(missing: str, said: str, batch: Batch) -> None:
    with pytest.raises(UsageError, match=f"Without cannot be pre-trained: .*{said}"):
        objective().attach(Without(summarizer("mlp"), missing), lambda: summarizer("mlp"), batch)


def test_options_are_checked() -> None:
    for wrong in ({"clips": 0}, {"share": 0}, {"share": 1.1}, {"temperature": 0}, {"choice": "sort"}, {"needs": 1}):
        with pytest.raises(ValidationError):
            CSUMOptions(**wrong)
