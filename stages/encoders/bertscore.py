"""BERTScore (Zhang et al., 2020): how alike two texts are, by the embeddings of their tokens.

As the official package counts without idf and without rescaling: each token of a text is matched with the most alike
token of the other one; only the first text's [CLS] and [SEP] are left out, they may be what the other's are matched
with. Letters: L tokens, D components of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vsumdata.stages.encoders.hub import local_path
from vsumdata.stages.encoders.text import NOT_OURS, PICKLED

BATCH = 32


class Tokens(NamedTuple):
    """The tokens of a text: unit-norm float32 [L, D], and which are its own, bool [L]."""

    embedding: np.ndarray
    is_own: np.ndarray


class Score(NamedTuple):
    precision: float
    recall: float
    f1: float


class BertScore:
    """The encoder at `location`, as `models.resolve_transformer` gives it, up to `layer` (None: its last)."""

    def __init__(self, location: str, layer: int | None = None, device: str = "cpu", threads: int = 1) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(threads)
        path = local_path(location, but=(*NOT_OURS, *([PICKLED] if "safetensors" in location else [])))
        folder = str(path.parent if path.is_file() else path)
        # BERTScore's own: byte-level tokenizers take the first word as they take any other.
        self.tokenizer = AutoTokenizer.from_pretrained(folder, add_prefix_space=True, local_files_only=True)
        self.model = AutoModel.from_pretrained(folder, local_files_only=True).to(device).eval()
        self.layer = layer if layer is not None else self.model.config.num_hidden_layers
        if self.layer > self.model.config.num_hidden_layers:
            raise ValueError(f"{location} has {self.model.config.num_hidden_layers} layers, not {self.layer}")

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Embed the tokens of each text. A text longer than the model's window is cut."""
        import torch

        special = [self.tokenizer.cls_token_id, self.tokenizer.sep_token_id]
        found: list[Tokens] = []
        for first in range(0, len(texts), BATCH):
            some = [text.strip() for text in texts[first : first + BATCH]]
            encoded = self.tokenizer(some, padding=True, truncation=True, return_tensors="pt").to(self.model.device)
            with torch.inference_mode():
                hidden = self.model(**encoded, output_hidden_states=True).hidden_states[self.layer]
            unit = torch.nn.functional.normalize(hidden.float(), dim=-1).cpu().numpy()
            ids, real = encoded["input_ids"].cpu().numpy(), encoded["attention_mask"].cpu().numpy() > 0
            for one, its_ids, its_real in zip(unit, ids, real, strict=True):
                found.append(Tokens(one[its_real], ~np.isin(its_ids[its_real], special)))
        return found


def score(candidate: Tokens, reference: Tokens) -> Score:
    """Compare a candidate with its reference. A text without tokens of its own is like no other: 0."""
    if not (candidate.is_own.any() and reference.is_own.any()):
        return Score(0.0, 0.0, 0.0)
    cosine = candidate.embedding @ reference.embedding.T
    precision = float(cosine.max(1)[candidate.is_own].mean())
    recall = float(cosine.max(0)[reference.is_own].mean())
    total = precision + recall
    return Score(precision, recall, 2 * precision * recall / total if total > 0 else 0.0)


def distinct(tokens: Sequence[Tokens], max_similarity: float) -> list[int]:
    """Which texts remain, in order, if one whose F1 with an earlier kept one is above `max_similarity` falls."""
    kept: list[int] = []
    for at, one in enumerate(tokens):
        if all(score(one, tokens[earlier]).f1 <= max_similarity for earlier in kept):
            kept.append(at)
    return kept
