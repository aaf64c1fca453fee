"""A CLIP with both towers, made once for the tests of labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.stages.labels.label_kit import CLIP


@pytest.fixture(scope="session")
def clip_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small CLIP. They are random, but they are a file's, as trained ones would be."""
    import open_clip
    import torch

    path = tmp_path_factory.mktemp("clip") / "clip.pt"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        torch.save(open_clip.create_model(CLIP).state_dict(), path)
    return path
