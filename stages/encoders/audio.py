"""Features of sound, one vector a second, by an encoder of transformers: AST, or one that reads the waveform.

AST (arXiv 2104.01778) sees 10.24 s at once, cut into patches; the others (wav2vec 2.0 and its kin) give some 50 vectors
a second. The sound is cut into windows, and a second's feature is the mean of the vectors that begin in it. So a second
is heard with what surrounds it in its window, and no window is computed twice.

Letters: W windows, P positions in time of a window, A components of a feature.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from vsumdata.manifests.errors import UsageError
from vsumdata.stages.encoders.hub import local_path

RATE_HZ = 16_000
AST = "audio-spectrogram-transformer"
# Encoders that map a waveform [W,samples] to [W,P,A], by transformers' `model_type`.
WAVEFORM = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "data2vec-audio", "sew")
KINDS = (AST, *WAVEFORM)
SEED = re.compile(r"seed:(\d+)")
# Of random weights, for trials: AST's layout in a size that a CPU computes in no time.
SEEDED_DIM = 192
SEEDED: dict[str, Any] = {
    "hidden_size": SEEDED_DIM,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 384,
}
WAVEFORM_WINDOW_S = 20
# AST's spectrogram has a column every 10 ms.
COLUMNS_PER_S = 100
BATCH = {"cpu": 4, "cuda": 64}


class AudioEncoder:
    """An encoder of sound; `location` is a folder's path, what `models.resolve_audio` gives, or `seed:N`.

    `dim` is the length of a feature. Raises UsageError for a model of another kind, or if it cannot be had.
    """

    def __init__(self, location: str, device: str = "cpu", threads: int = 1) -> None:
        import torch
        from transformers.utils import logging

        # Else each worker draws a bar "Loading weights" over the run's own bars.
        logging.disable_progress_bar()
        torch.set_num_threads(max(1, threads))
        self.device = device
        with warnings.catch_warnings():
            # Of AST's own spectrogram, whose lowest filters hold no bin.
            warnings.filterwarnings("ignore", "At least one mel filter has all zero values")
            self.kind, self.model, self.extractor = _opened(location)
        if self.extractor.sampling_rate != RATE_HZ:
            raise UsageError(f"{location} reads sound of {self.extractor.sampling_rate} Hz, not {RATE_HZ}")
        self.model.to(device).eval()
        self.dim = int(self.model.config.hidden_size)
        self.batch = BATCH["cuda" if device.startswith("cuda") else "cpu"]

    @property
    def made_on(self) -> str:
        """The device and the libraries, as the table records them."""
        import torch
        import transformers

        name = f" {torch.cuda.get_device_name(self.device)}" if self.device.startswith("cuda") else ""
        return f"{self.device}{name} fp32, torch {torch.__version__}, transformers {transformers.__version__}"

    @property
    def window_s(self) -> float:
        """What the encoder sees at once, in s."""
        return self.extractor.max_length / COLUMNS_PER_S if self.kind == AST else WAVEFORM_WINDOW_S

    def encode(self, sound: Iterable[np.ndarray], came_on: Callable[[], None] = lambda: None) -> np.ndarray:
        """The features of a sound in pieces, float32 mono at 16 kHz: float16 [seconds, A], the last second rounded up.

        Raises FloatingPointError if the model gives NaN.
        """
        found: list[np.ndarray] = []
        waiting: list[np.ndarray] = []
        num_samples = 0
        for window, fresh in _windows(sound, round(self.window_s * RATE_HZ), int(self.window_s) * RATE_HZ):
            num_samples += fresh
            # A waveform that is padded with zeros sounds like silence, so a shorter window is a batch of its own.
            if waiting and len(window) != len(waiting[0]) and self.kind != AST:
                found += self._seconds(waiting)
                waiting = []
            waiting.append(window)
            if len(waiting) == self.batch:
                found += self._seconds(waiting)
                waiting = []
                came_on()
        if waiting:
            found += self._seconds(waiting)
        if not found:
            return np.zeros((0, self.dim), np.float16)
        feature = np.concatenate(found)[: -(-num_samples // RATE_HZ)]
        # Stored, NaN would go into a training run.
        if not np.isfinite(feature).all():
            raise FloatingPointError("the encoder of sound gave values that are not finite")
        return feature.astype(np.float16)

    def _seconds(self, windows: list[np.ndarray]) -> list[np.ndarray]:
        """The features of each window's own seconds [seconds, A]."""
        import torch

        with torch.inference_mode():
            # To whole seconds: a waveform's last second may be shorter than what one vector is made of.
            size = round(self.window_s * RATE_HZ)
            whole = [window if len(window) >= size else _whole_seconds(window) for window in windows]
            given = self.extractor(whole, sampling_rate=RATE_HZ, return_tensors="pt")
            # Masks play no part: windows of one batch are of one length.
            hidden = self.model(given["input_values"].to(self.device)).last_hidden_state.float()
            positions, at_s = self._in_time(hidden, max(map(len, whole)) / RATE_HZ)
        own_s = int(self.window_s)
        second = np.minimum(at_s.astype(np.int64), own_s)  # the rest of a window is the next one's
        last = min(own_s, int(second.max()) + 1)
        values = positions.cpu().numpy()
        rows = [np.flatnonzero(second == at) for at in range(last)]
        return [np.stack([values[w][its].mean(0) for its in rows]) for w in range(len(windows))]

    def _in_time(self, hidden: Any, length_s: float) -> tuple[Any, np.ndarray]:
        """The vectors [W,P,A], and when each begins in its window, in s [P]."""
        if self.kind != AST:
            num = hidden.shape[1]
            return hidden, np.arange(num) * (length_s / num)
        config = self.model.config
        num = (config.max_length - config.patch_size) // config.time_stride + 1
        # Two class tokens, then the patches: all moments of the lowest frequencies first.
        patches = hidden[:, 2:].unflatten(1, (-1, num)).mean(1)
        return patches, np.arange(num) * (config.time_stride / COLUMNS_PER_S)


def _opened(location: str) -> tuple[str, Any, Any]:
    """The kind of the encoder at `location`, the encoder, and its feature extractor. Raises UsageError."""
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

    if seed := SEED.fullmatch(location):
        return AST, *_seeded(int(seed[1]))
    path = local_path(location)
    folder = str(path.parent if path.is_file() else path)
    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if kind not in KINDS:
            raise UsageError(f"{location} is a model of the kind {kind}; known are {', '.join(KINDS)}")
        extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
        return kind, AutoModel.from_pretrained(folder, local_files_only=True), extractor
    # What transformers raises for a folder that is no such model.
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{location} is no encoder of sound: {str(error).splitlines()[0]}") from error


def _seeded(seed: int) -> tuple[Any, Any]:
    """AST with random weights that are the same in each process, and its feature extractor."""
    import torch
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ASTModel(ASTConfig(**SEEDED)), ASTFeatureExtractor()


def _whole_seconds(window: np.ndarray) -> np.ndarray:
    """The window with silence to the end of its last second."""
    return np.pad(window, (0, -len(window) % RATE_HZ))


def _windows(sound: Iterable[np.ndarray], size: int, step: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield windows of `size` samples, one every `step`, and how many samples of each no other one begins with.

    The last window holds what is left and may be shorter.
    """
    held = np.zeros(0, np.float32)
    for piece in sound:
        held = np.concatenate([held, piece])
        while len(held) >= size:
            yield held[:size], step
            held = held[step:]
    # A sound shorter than the part that two windows share has been heard.
    while len(held):
        yield held[:size], min(step, len(held))
        held = held[step:]
