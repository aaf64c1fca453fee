"""Sentence embeddings (S-BERT). Letters: N texts, S components of an embedding."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)
BATCH = {"cpu": 32, "cuda": 256}


class TextEncoder:
    """A sentence-transformers model; `location` is a hub name or a local folder.

    A folder that is no such model, or a name that cannot be had, raises OSError or ValueError.
    """

    def __init__(self, location: str, device: str = "cpu", threads: int = 1) -> None:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # else each worker draws "Loading weights" over the run's own bars
        torch.set_num_threads(threads)
        local = Path(location).exists()
        self.model = SentenceTransformer(location, device=device, local_files_only=local)
        self.batch = BATCH[device]
        dim = self.model.get_embedding_dimension()
        if dim is None:
            raise ValueError(f"{location} does not say the size of its embeddings")
        self.dim = dim

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed each text: float16 [N,S], unit norm.

        A text longer than the model's window is embedded in pieces: the mean of their embeddings,
        weighted by their length, at unit norm. A text that is blank raises ValueError.
        """
        if blank := [i for i, text in enumerate(texts) if not text.strip()]:
            raise ValueError(f"texts {blank} are blank: they have no embedding")
        if not texts:
            return np.zeros((0, self.dim), np.float16)
        pieces = [(i, piece, size) for i, text in enumerate(texts) for piece, size in self._pieces(text)]
        owner = np.array([i for i, _, _ in pieces])
        weight = np.array([size for _, _, size in pieces], np.float32)
        embedding = self._embed([piece for _, piece, _ in pieces])
        pooled = np.zeros((len(texts), self.dim), np.float32)
        np.add.at(pooled, owner, embedding.astype(np.float32) * weight[:, None])
        norm = np.linalg.norm(pooled, axis=1, keepdims=True)
        if not (np.isfinite(norm).all() and norm.all()):
            raise FloatingPointError("the text model gave an embedding without a direction")
        return (pooled / norm).astype(np.float16)

    def _embed(self, pieces: list[str]) -> np.ndarray:
        """Unit-norm embeddings; a full GPU halves the batch and goes on."""
        import torch

        while True:
            try:
                # The library sorts by length itself, so that a batch wastes little on padding.
                return self.model.encode(
                    pieces, batch_size=self.batch, show_progress_bar=False, normalize_embeddings=True
                )
            except torch.cuda.OutOfMemoryError:
                if self.batch == 1:
                    raise
            self.batch //= 2  # not in the `except` block: there the traceback keeps the tensors that are in the way
            torch.cuda.empty_cache()
            log.warning("the GPU's memory is full: going on with %d texts at a time", self.batch)

    def _pieces(self, text: str) -> Iterator[tuple[str, int]]:
        """The text cut at word boundaries into what fits the model's window, and each piece's tokens."""
        tokenizer, window = self.model.tokenizer, self.model.max_seq_length
        if window is None or window == float("inf"):  # static embeddings take any length
            yield text, 1
            return
        prompt = self.model.prompts.get(self.model.default_prompt_name or "", "")  # the library puts it before each
        room = max(1, window - len(tokenizer(prompt)["input_ids"]))
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans = encoded["offset_mapping"]
        first = 0
        while len(spans) - first > room:
            stop = first + room
            words = [i for i in range(first + 1, stop + 1) if spans[i][0] > spans[i - 1][1]]
            stop = words[-1] if words else stop  # one endless word is cut where the window ends
            yield text[spans[first][0] : spans[stop - 1][1]], stop - first
            first = stop
        yield (text[spans[first][0] :] if spans else text), max(1, len(spans) - first)
