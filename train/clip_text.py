"""CLIP's text tower (open_clip): sentences in the space of the frames that its image tower encoded."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence

import numpy as np

from vsumdata.pipeline.errors import UsageError
from vsumdata.stages.clip import SEED

BATCH = 256


class ClipText:
    """`model` and `weights` as in stages.clip.ClipEncoder.

    Raises UsageError where the weights cannot be had, and for `seed:N`: random towers share no space.
    """

    def __init__(self, model: str, weights: str) -> None:
        import open_clip

        if SEED.fullmatch(weights):
            raise UsageError(f"CLIP's weights are random ({weights}), so pictures and texts have nothing in common")
        quick = bool(open_clip.get_pretrained_cfg(model, weights).get("quick_gelu"))  # else open_clip only warns
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._model = open_clip.create_model(model, pretrained=weights, force_quick_gelu=quick).eval()
        except (RuntimeError, OSError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UsageError(f"the weights {weights} of {model} cannot be loaded: {first}") from error
        self._tokenize = open_clip.get_tokenizer(model)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [M,D] of unit norm; what is longer than CLIP's 77 tokens is cut."""
        import torch

        with torch.inference_mode():
            parts = [texts[first : first + BATCH] for first in range(0, len(texts), BATCH)]
            found = [self._model.encode_text(self._tokenize(list(part)), normalize=True) for part in parts]
        return torch.cat(found).float().numpy()
