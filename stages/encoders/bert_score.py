"""BERTScore of sentences: how well each word of one finds its like in the other, by a language model's vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vsumdata.stages.encoders.hub import local_path
from vsumdata.stages.encoders.text import NOT_OURS, PICKLED


class BertScore:
    """A model (Hugging Face) whose `layer`-th hidden state gives the vectors; None is the last.

    Without idf and without rescaling. The usual threshold .93 is meant for roberta-large, layer 17: other models score
    the same pairs otherwise. `location` is a folder or what `models.resolve_text` gives.
    """

    def __init__(self, location: str, layer: int | None = None, device: str = "cpu") -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        path = local_path(location, but=(*NOT_OURS, *([PICKLED] if "safetensors" in location else [])))
        folder = path.parent if path.is_file() else path
        self._torch, self.device = torch, device
        # As the official package: a byte-level tokenizer (RoBERTa's) has other tokens for a first word without a blank.
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, add_prefix_space=True, local_files_only=True)
        model: Any = AutoModel.from_pretrained(folder, local_files_only=True)
        self._layer = model.config.num_hidden_layers if layer is None else layer
        if not 0 <= self._layer <= model.config.num_hidden_layers:
            raise ValueError(f"{location} has {model.config.num_hidden_layers} layers, no layer {layer}")
        self._model = model.to(device).eval()

    def vectors(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Unit-norm vectors of the text's tokens [n,D], and which of them are words and not special, bool [n]."""
        found = self._tokenizer(text.strip(), truncation=True, return_special_tokens_mask=True, return_tensors="pt")
        special = found.pop("special_tokens_mask")[0].numpy().astype(bool)
        # One at a time: in the official package, scores of weak pairs depend on the padding of their batch.
        with self._torch.inference_mode():
            hidden = self._model(**found.to(self.device), output_hidden_states=True).hidden_states[self._layer][0]
        rows = hidden.float().cpu().numpy().astype(np.float64)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True), ~special

    def score(self, candidate: str, reference: str) -> tuple[float, float, float]:
        """Precision, recall and F1 of one pair."""
        return matched(self.vectors(candidate), self.vectors(reference))

    def distinct(self, texts: Sequence[str], max_similarity: float) -> list[int]:
        """Places of the texts that are kept: in order, one falls whose F1 with a kept one exceeds `max_similarity`."""
        seen: list[tuple[int, tuple[np.ndarray, np.ndarray]]] = []
        for place, text in enumerate(texts):
            its = self.vectors(text)
            if all(matched(its, other)[2] <= max_similarity for _, other in seen):
                seen.append((place, its))
        return [place for place, _ in seen]


def matched(
    candidate: tuple[np.ndarray, np.ndarray], reference: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float, float]:
    """Precision, recall and F1 of two texts' vectors: the mean over words of the best cosine in the other text."""
    cosine = candidate[0] @ reference[0].T
    # Words are matched with special tokens as well: only those that look for a match leave them out.
    best = cosine.max(1)[candidate[1]], cosine.max(0)[reference[1]]
    if not len(best[0]) or not len(best[1]):
        return 0.0, 0.0, 0.0
    precision, recall = (float(np.mean(values)) for values in best)
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total > 0 else 0.0
