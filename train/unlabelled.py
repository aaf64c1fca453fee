"""What the objectives without labels, ViSP and CSUM, have in common."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vsumdata.datasets.video import Batch
from vsumdata.pipeline.errors import UsageError
from vsumdata.train.models.summarizer import Scores
from vsumdata.train.objectives import Parts


class Unlabelled(nn.Module):
    """An objective with networks of its own, which depend on the summarizer.

    The loop calls `attach` once, before the optimizer is made, with the summarizer, a function that makes another one
    of its kind with new weights, and a batch to look at. What is made then is saved with a run, but not used after it.
    """

    def attach(self, model: nn.Module, build: Callable[[], nn.Module], batch: Batch) -> None:
        raise NotImplementedError

    def forward(self, model: nn.Module, batch: Batch, step: int) -> Parts:
        raise NotImplementedError


def looked_at(model: nn.Module, batch: Batch) -> Scores:
    """What the summarizer makes of a batch; UsageError where it cannot be trained without labels."""
    was_training = model.training
    scores: Scores = model.eval()(batch)
    model.train(was_training)
    name = type(model).__name__
    if not scores.frame_logit.requires_grad:
        raise UsageError(f"{name} cannot be pre-trained: no gradient goes from its frame logits to its weights")
    if scores.frame_embedding is None:
        raise UsageError(f"{name} cannot be pre-trained: it gives no frame_embedding, by which summaries are compared")
    return scores


def generator(device: torch.device) -> torch.Generator:
    """Noise for one step: seeded by torch's global generator, which the loop seeds at every step."""
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))


def video_embedding(scores: Scores, mask: Tensor) -> Tensor:
    """One vector a video [B,D]: the model's token for it, as CSTA has it, else the mean over its frames."""
    if scores.video_token is not None:
        return scores.video_token
    assert scores.frame_embedding is not None, "`looked_at` was asked first"
    frames = scores.frame_embedding.masked_fill(~mask[..., None], 0)
    return frames.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
