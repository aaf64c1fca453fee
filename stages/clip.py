"""Frame features from CLIP's image tower (open_clip)."""

from __future__ import annotations

import logging
import pickle
import re
import warnings
from importlib import metadata
from typing import Any

import numpy as np

from vsumdata.pipeline.errors import UsageError

log = logging.getLogger(__name__)
SEED = re.compile(r"seed:(\d+)")
BATCH = {"cpu": 32, "cuda": 256}
# Random weights need no text tower; the image tower is made first, so its weights do not change by this.
NO_TEXT = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1}


class ClipEncoder:
    """The image tower of `model` (open_clip's name), ready to encode frames.

    `weights`: a pretrained tag of open_clip, a checkpoint's path, or `seed:N` for random weights, the same in
    each process. A checkpoint's file tells neither its activation nor its preprocessing: both are then those of
    the architecture (OpenAI's weights want its `-quickgelu` name). `precision`: `fp32`, `bf16`, `fp16` or `auto`:
    fp16 on a GPU; on a CPU bf16 where it has instructions for it (AVX512-BF16, AMX), else fp32. `size` is the side
    of its pictures in pixels, `resize` and `interpolation` say how they are made (`decode.Wanted`), `dim` is the
    length of a feature. `batch` pictures at a time keep the device busy.

    Raises UsageError where the weights cannot be had or do not fit.
    """

    def __init__(
        self, model: str, weights: str, device: str = "cpu", threads: int = 1, precision: str = "auto"
    ) -> None:
        import torch

        torch.set_num_threads(max(1, threads))
        self.device = device
        self.precision = choose_precision(device) if precision == "auto" else precision
        tower, config = _load_tower(model, weights, self.precision)
        self.size, self.resize, self.interpolation = _picture(model, config)
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        self.batch = BATCH["cuda" if device.startswith("cuda") else "cpu"]
        self._dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision, torch.float32)
        self._tower = tower.to(device)
        # (x/255 - mean)/std as one product and one sum.
        mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (self.mean, self.std))
        self._scale, self._shift = 1 / (255 * std), -mean / std
        self.dim = self.encode(np.zeros((1, self.size, self.size, 3), np.uint8)).shape[1]

    @property
    def made_on(self) -> str:
        """For the table: the device, the precision and the libraries."""
        import torch

        name = f" {torch.cuda.get_device_name(self.device)}" if self.device.startswith("cuda") else ""
        versions = f"torch {torch.__version__}, open_clip {metadata.version('open_clip_torch')}"
        return f"{self.device}{name} {self.precision}, {versions}"

    @property
    def preprocessing(self) -> str:
        """For the table: how a whole frame becomes what the tower gets; mean and deviation are of values in [0,1]."""
        mean, std = (" ".join(map(str, values)) for values in (self.mean, self.std))
        return f"{self.size} px {self.resize} {self.interpolation}, mean {mean}, std {std}"

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """uint8 [n, size, size, 3] -> unit-norm float16 [n, dim]; a full GPU halves the batch and goes on."""
        import torch

        done: list[np.ndarray] = []
        start = 0
        while start < len(frames):
            try:
                done.append(self._forward(frames[start : start + self.batch]))
                start += self.batch
                continue
            except torch.cuda.OutOfMemoryError:
                if self.batch == 1:
                    raise
            # Not in the `except` block: there the traceback keeps the tensors that are in the way.
            self.batch //= 2
            torch.cuda.empty_cache()
            log.warning("the GPU's memory is full: going on with %d frames at a time", self.batch)
        return np.concatenate(done)

    def _forward(self, frames: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            x_BHWC = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device)  # noqa: N806
            x = x_BHWC.permute(0, 3, 1, 2).float() * self._scale + self._shift
            feature = self._tower(x.to(self._dtype))
            feature = feature[0] if isinstance(feature, tuple) else feature  # CoCa adds the tokens
            feature = torch.nn.functional.normalize(feature.float(), dim=-1)
            return feature.half().cpu().numpy()


def choose_precision(device: str) -> str:
    """What `auto` means on this machine; the same for each of its workers."""
    import torch

    if device.startswith("cuda"):
        return "fp16"
    able = torch.cpu.get_capabilities()
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


def _load_tower(model: str, weights: str, precision: str) -> tuple[Any, dict[str, Any]]:
    """The image tower alone, and its preprocessing."""
    import open_clip
    import torch

    seed = SEED.fullmatch(weights)
    options: dict[str, Any] = {"precision": precision, "device": "cpu"}
    if seed is not None:
        log.warning("%s with the random weights of %s: such features mean nothing", model, weights)
        options["text_cfg"] = NO_TEXT
    else:
        options["pretrained"] = weights
        # Tags that were trained with QuickGELU need it; open_clip only warns.
        options["force_quick_gelu"] = bool(open_clip.get_pretrained_cfg(model, weights).get("quick_gelu"))
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(int(seed[1]) if seed else 0)
            whole = open_clip.create_model(model, **options)
    except (RuntimeError, OSError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"the weights {weights} of {model} cannot be loaded: {first}") from error
    config = open_clip.get_model_preprocess_cfg(whole)
    return whole.visual.eval().requires_grad_(False), config


def _picture(model: str, config: dict[str, Any]) -> tuple[int, str, str]:
    size, resize = config["size"], config.get("resize_mode") or "shortest"
    # As open_clip has it: `random` is bicubic outside training.
    interpolation = "bilinear" if config.get("interpolation") == "bilinear" else "bicubic"
    height, width = (size, size) if isinstance(size, int) else size
    if height != width or resize not in ("shortest", "squash"):
        raise UsageError(f"{model} wants {width}x{height} pictures, made by `{resize}`: choose another model")
    return int(height), resize, interpolation
