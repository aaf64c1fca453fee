"""The parts that the objectives without labels share: ViSP and CSUM."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vsumdata.datasets.video import Batch
from vsumdata.manifests.errors import UsageError
from vsumdata.train.models.summarizer import Scores
from vsumdata.train.objectives.supervised import Parts


class Unlabelled(nn.Module):
    """An objective with networks of its own, whose sizes depend on the summarizer.

    Their weights are saved with the run so that it can resume; nothing uses them after training.
    """

    def attach(self, model: nn.Module, build: Callable[[], nn.Module], batch: Batch) -> None:
        """Make the objective's networks. The loop calls this once, before it makes the optimizer.

        `build` makes another summarizer like `model` with new weights; `batch` is one to read sizes from. Raises
        UsageError if `model` cannot be trained without labels.
        """
        raise NotImplementedError

    def forward(self, model: nn.Module, batch: Batch, step: int) -> Parts:
        """The loss of one step and its parts, as for the objectives with labels."""
        raise NotImplementedError


def looked_at(model: nn.Module, batch: Batch) -> Scores:
    """The summarizer's output for a batch. Raises UsageError if the summarizer cannot be trained without labels."""
    # Evaluation mode: a look in training mode would move the running statistics of CSTA's BatchNorm.
    was_training = model.training
    scores: Scores = model.eval()(batch)
    model.train(was_training)
    name = type(model).__name__
    if not scores.frame_logit.requires_grad:
        raise UsageError(f"{name} cannot be pre-trained: no gradient flows from its frame logits to its weights")
    if scores.frame_embedding is None:
        raise UsageError(f"{name} cannot be pre-trained: it has no frame_embedding to compare summaries by")
    return scores


def generator(device: torch.device) -> torch.Generator:
    """A generator for the noise of one step, on `device`."""
    # Its seed comes from torch's global generator, which the loop seeds at every step: so a resumed run draws the same
    # noise. A generator of one device cannot draw on another.
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))


def video_embedding(scores: Scores, mask: Tensor) -> Tensor:
    """One vector per video [B,D]: the model's video token if it has one (CSTA), else the mean over the frames."""
    if scores.video_token is not None:
        return scores.video_token
    assert scores.frame_embedding is not None, "`looked_at` refuses such a model"
    frames = scores.frame_embedding.masked_fill(~mask[..., None], 0)
    return frames.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
