"""Sentence embeddings (S-BERT). Letters: N texts, S components of an embedding."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np

from vsumdata.stages.encoders.hub import local_path

log = logging.getLogger(__name__)
# On a CPU fewer texts at a time have less padding. Texts of several videos in one batch would have less still, but then
# a row would depend, in its last digit, on the rows beside it.
BATCH = {"cpu": 16, "cuda": 256}
# The same weights for other libraries, gigabytes in some repositories.
NOT_OURS = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.ot", "*.msgpack", "*.gguf")
# In the repository's own folder only: a module's weights in a sub-folder may have no other form.
PICKLED = "pytorch_model*.bin*"


class TextEncoder:
    """A sentence-transformers model; `location` is a folder's path or what `models.resolve_text` gives.

    Raises OSError or ValueError for a folder that is no such model, UsageError for a model that cannot be had.
    """

    def __init__(self, location: str, device: str = "cpu", threads: int = 1) -> None:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        # Else each worker draws a bar "Loading weights" over the run's own bars.
        logging.disable_progress_bar()
        torch.set_num_threads(threads)
        path = local_path(location, but=(*NOT_OURS, *([PICKLED] if "safetensors" in location else [])))
        folder = path.parent if path.is_file() else path
        # By its folder: a name would be looked up on the hub, where it may mean another revision by now.
        self.model = SentenceTransformer(str(folder), device=device, local_files_only=True)
        self.batch = BATCH[device]
        dim = self.model.get_embedding_dimension()
        if dim is None:
            raise ValueError(f"{location} does not say the size of its embeddings")
        self.dim = dim

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts as float16 [N, S] of unit norm.

        A text longer than the model's window is embedded in pieces: the mean of their embeddings, weighted by length,
        at unit norm. Raises ValueError for a blank text, FloatingPointError if the model gives zeros or NaN.
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
        # Divided by such a norm, NaN would go into the table and from there into a training run.
        if not (np.isfinite(norm).all() and norm.all()):
            raise FloatingPointError("the text model gave an embedding of zeros or NaN")
        return (pooled / norm).astype(np.float16)

    def _embed(self, pieces: list[str]) -> np.ndarray:
        """Unit-norm embeddings of the pieces. If the GPU is full, it halves the batch and continues."""
        import torch

        while True:
            try:
                # All pieces in one call: the library sorts them by length, so that a batch has little padding.
                return self.model.encode(
                    pieces, batch_size=self.batch, show_progress_bar=False, normalize_embeddings=True
                )
            except torch.cuda.OutOfMemoryError:
                if self.batch == 1:
                    raise
            # Not in the `except` block: there the traceback still refers to the tensors that fill the memory.
            self.batch //= 2
            torch.cuda.empty_cache()
            log.warning("the GPU's memory is full: going on with %d texts at a time", self.batch)

    def _pieces(self, text: str) -> Iterator[tuple[str, int]]:
        """Cut a text at word boundaries to fit the model's window; yield each piece and its number of tokens."""
        # The library would cut off the rest of a long text without a word.
        tokenizer, window = self.model.tokenizer, self.model.max_seq_length
        # Static embeddings have no window.
        if window is None or window == float("inf"):
            yield text, 1
            return
        # The library puts the model's prompt before each piece, so its tokens count in the window.
        prompt = self.model.prompts.get(self.model.default_prompt_name or "", "")
        room = max(1, window - len(tokenizer(prompt)["input_ids"]))
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans = encoded["offset_mapping"]
        first = 0
        while len(spans) - first > room:
            stop = first + room
            words = [i for i in range(first + 1, stop + 1) if spans[i][0] > spans[i - 1][1]]
            # One endless word is cut where the window ends.
            stop = words[-1] if words else stop
            yield text[spans[first][0] : spans[stop - 1][1]], stop - first
            first = stop
        yield (text[spans[first][0] :] if spans else text), max(1, len(spans) - first)
