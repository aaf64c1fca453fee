"""CLIP's two towers (open_clip): frame features by the image tower, sentences by the text tower."""

from __future__ import annotations

import logging
import pickle
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from vsumdata.manifests.errors import UsageError
from vsumdata.stages.encoders.hub import local_path
from vsumdata.stages.encoders.recipes import has_text_tower

log = logging.getLogger(__name__)
SEED = re.compile(r"seed:(\d+)")
BATCH = {"cpu": 32, "cuda": 256}
TEXTS_AT_ONCE = 256
INT8 = "int8"
# With float32. Below it the ranks of what is trained on the features may change.
LEAST_COSINE = 0.999
# int8 needs one of these: without them oneDNN adds products in 16 bits, where they saturate.
INT8_INSTRUCTIONS = ("amx_int8", "avx512_vnni", "avx_vnni")
# With random weights a small text tower saves memory. open_clip makes the image tower first, so the random numbers of
# its weights stay the same.
NO_TEXT = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1}


class ClipEncoder:
    """The image tower of `model` (open_clip's name), ready to encode frames.

    `weights`: a pretrained tag of open_clip, a checkpoint's path, or `seed:N` for random weights that are the same in
    each process. `location` says where the weights lie, as `models.resolve_clip` found them; without it open_clip looks
    for a tag's weights itself. A checkpoint's file names neither its activation nor its preprocessing, so both are
    those of the architecture (OpenAI's weights need the `-quickgelu` name). `precision`: `fp32`, `bf16`, `fp16`, `int8`
    (`encoders.int8`: vision transformers on CPUs, and what is not in int8 as in `auto`) or `auto`, which is fp16 on a
    GPU, bf16 on a CPU with instructions for it (AVX512-BF16, AMX), else fp32.

    Attributes: `size` is the side of its pictures in pixels, `resize` and `interpolation` say how to make them
    (`decode.Wanted`), `dim` is the length of a feature, and `batch` pictures at a time keep the device busy.

    Raises UsageError if the weights cannot be loaded or do not fit, or the precision is not for this machine or model.
    """

    def __init__(
        self,
        model: str,
        weights: str,
        device: str = "cpu",
        threads: int = 1,
        precision: str = "auto",
        location: str | None = None,
    ) -> None:
        import torch

        torch.set_num_threads(max(1, threads))
        self.device = device
        self.precision = choose_precision(device) if precision == "auto" else precision
        if self.precision == INT8:
            check_int8(device)
        # int8 is made of float32.
        kept = "fp32" if self.precision == INT8 else self.precision
        tower, config = _load_tower(model, weights, location or weights, kept)
        self.size, self.resize, self.interpolation = _picture(model, config)
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        self.batch = BATCH["cuda" if device.startswith("cuda") else "cpu"]
        self._dtype = _dtype(self.precision)
        self._tower = tower.to(device)
        # (x/255 - mean)/std as one product and one sum: one pass less over each picture.
        mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (self.mean, self.std))
        self._scale, self._shift = 1 / (255 * std), -mean / std
        if self.precision == INT8:
            self._quantize(f"{model} {weights}")
        # By a trial, because architectures state the length of a feature in different places.
        self.dim = self.encode(np.zeros((1, self.size, self.size, 3), np.uint8)).shape[1]

    @property
    def made_on(self) -> str:
        """The device, the precision and the libraries, as the table records them."""
        import torch

        name = f" {torch.cuda.get_device_name(self.device)}" if self.device.startswith("cuda") else ""
        versions = f"torch {torch.__version__}, open_clip {metadata.version('open_clip_torch')}"
        rest = f" with {choose_precision(self.device)}" if self.precision == INT8 else ""
        return f"{self.device}{name} {self.precision}{rest}, {versions}"

    @property
    def preprocessing(self) -> str:
        """How a frame becomes the tower's input, as the table records it. Mean and deviation are of values in [0,1]."""
        mean, std = (" ".join(map(str, values)) for values in (self.mean, self.std))
        return f"{self.size} px {self.resize} {self.interpolation}, mean {mean}, std {std}"

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Encode uint8 [n, size, size, 3] as unit-norm float16 [n, dim]. If the GPU is full, it halves the batch."""
        feature, self.batch = batched(self._forward, frames, self.batch)
        return feature

    def _quantize(self, name: str) -> None:
        """Turn the float32 tower into int8. A warning says where its features come out too different."""
        from vsumdata.stages.encoders import int8

        pictures = int8.pictures(self.size, self.resize, self.interpolation)
        known, held_out = pictures[::2], pictures[1::2]
        full = self.encode(held_out)
        self._dtype = _dtype(choose_precision(self.device))
        self._tower = int8.quantize(self._tower, self._normal(known), self._dtype)
        cosine = (full.astype(np.float32) * self.encode(held_out).astype(np.float32)).sum(1)
        level = logging.INFO if cosine.min() >= LEAST_COSINE else logging.WARNING
        text = "%s in int8: cosine with float32 on %d pictures of the sample: least %.5f, mean %.5f"
        if level == logging.WARNING:
            text += f"; below {LEAST_COSINE} the features are not the same: set another features.precision"
        log.log(level, text, name, len(held_out), cosine.min(), cosine.mean())

    def _normal(self, frames: np.ndarray) -> Any:
        import torch

        x_BHWC = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device)  # noqa: N806
        return x_BHWC.permute(0, 3, 1, 2).float() * self._scale + self._shift

    def _forward(self, frames: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            feature = self._tower(self._normal(frames).to(self._dtype))
            # CoCa's tower returns its tokens as well.
            feature = feature[0] if isinstance(feature, tuple) else feature
            # In float32: the norm of a float16 vector can overflow.
            feature = torch.nn.functional.normalize(feature.float(), dim=-1)
            return feature.half().cpu().numpy()


def batched(forward: Callable[[np.ndarray], np.ndarray], frames: np.ndarray, batch: int) -> tuple[np.ndarray, int]:
    """`forward` of all frames, at most `batch` at a time, and the batch to go on with: halved where the GPU is full."""
    import torch

    done: list[np.ndarray] = []
    start = 0
    while start < len(frames):
        try:
            done.append(forward(frames[start : start + batch]))
            start += batch
            continue
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
        # Not in the `except` block: there the traceback still refers to the tensors that fill the memory.
        batch //= 2
        torch.cuda.empty_cache()
        log.warning("the GPU's memory is full: going on with %d frames at a time", batch)
    return np.concatenate(done), batch


def _dtype(precision: str) -> Any:
    """What floating-point arithmetic a precision has; float32 where it names none."""
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)


def choose_precision(device: str) -> str:
    """What `auto` means on this machine."""
    # By the instructions, not by a timed trial: the workers of one run must agree, and timings vary tenfold with load.
    import torch

    if device.startswith("cuda"):
        return "fp16"
    able = torch.cpu.get_capabilities()
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


def check_int8(device: str) -> None:
    """Raise UsageError if int8 cannot be computed here."""
    import torch

    if device.startswith("cuda"):
        raise UsageError(
            "features.precision=int8 is for CPUs: set resources.frames.gpus=0 (with `summarize` --device cpu), or "
            "another features.precision"
        )
    able = torch.cpu.get_capabilities()
    if not any(able.get(name) for name in INT8_INSTRUCTIONS):
        raise UsageError("features.precision=int8 needs a CPU with VNNI or AMX: set another features.precision")


def _load_tower(model: str, weights: str, location: str, precision: str) -> tuple[Any, dict[str, Any]]:
    """Load the image tower; return it with its preprocessing. Raises UsageError."""
    import open_clip
    import torch

    seed = SEED.fullmatch(weights)
    options: dict[str, Any] = {"precision": precision, "device": "cpu"}
    if seed is not None:
        log.warning("%s with the random weights of %s: such features mean nothing", model, weights)
        options["text_cfg"] = NO_TEXT
    else:
        options |= _pretrained(model, weights, location)
    # `fork_rng`, because loading must not change the random numbers of the rest of the program.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed[1]) if seed else 0)
        whole = _create(model, weights, options)
    config = open_clip.get_model_preprocess_cfg(whole)
    return whole.visual.eval().requires_grad_(False), config


def _pretrained(model: str, weights: str, location: str) -> dict[str, Any]:
    """Options of open_clip's `create_model` that load the weights at `location`. Raises UsageError."""
    import open_clip

    # open_clip reads ViT-B/32 as ViT-B-32, but its table knows the second name only.
    config = open_clip.get_pretrained_cfg(model.replace("/", "-"), weights)
    # open_clip#771: weights trained with QuickGELU give other features with GELU, and open_clip only warns.
    options: dict[str, Any] = {"force_quick_gelu": bool(config.get("quick_gelu"))}
    # A tag whose weights have a URL: open_clip fetches them and checks their hash.
    if location == weights and config:
        return options | {"pretrained": weights}
    # By the file: a tag would be looked up on the hub, where it may mean another revision by now. The file does not
    # tell the tag's preprocessing. The pictures' size is the architecture's.
    known = {name: value for name, value in config.items() if name != "size"}
    preprocessing = {"force_preprocess_cfg": known} if config else {}
    return options | preprocessing | {"pretrained": str(local_path(location, only=[location.rpartition("/")[2]]))}


def _create(model: str, weights: str, options: dict[str, Any]) -> Any:
    """Make the whole model. Raises UsageError if the weights cannot be loaded or do not fit."""
    import open_clip

    # The list of errors is what open_clip, torch and the unpickler raise for a file that is missing, cut or of another
    # model.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return open_clip.create_model(model, **options)
    except (RuntimeError, OSError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(f"the weights {weights} of {model} cannot be loaded: {first}") from error


def _picture(model: str, config: dict[str, Any]) -> tuple[int, str, str]:
    size, resize = config["size"], config.get("resize_mode") or "shortest"
    # As in open_clip: `random` means bicubic outside training.
    interpolation = "bilinear" if config.get("interpolation") == "bilinear" else "bicubic"
    height, width = (size, size) if isinstance(size, int) else size
    if height != width or resize not in ("shortest", "squash"):
        raise UsageError(f"{model} needs {width}x{height} pictures, made by `{resize}`: choose another model")
    return int(height), resize, interpolation


def lacks_text(model: str, weights: str) -> str:
    """Why texts cannot be compared with these pictures' features; "" where they can."""
    if not has_text_tower(model):
        return f"{model} has no text tower, so its pictures cannot be compared with texts; CLIP's can"
    if SEED.fullmatch(weights):
        return f"CLIP's weights are random ({weights}), so pictures and texts have nothing in common"
    return ""


def text_tower(options: Mapping[str, Any]) -> tuple[Callable[[Sequence[str]], np.ndarray] | None, str]:
    """What embeds texts beside the frames of a root, by a stage's `clip_…` options; or None, and why not.

    Raises UsageError if the weights cannot be loaded.
    """
    model, weights = options["clip_model"], options["clip_weights"]
    if why := lacks_text(model, weights):
        return None, why
    return ClipText(model, weights, options["clip_location"]).encode, ""


class ClipText:
    """CLIP's text tower: embeds sentences in the space of `ClipEncoder`'s features. Arguments as there.

    Raises UsageError if the weights cannot be loaded, and for `seed:N`, because random towers share no space.
    """

    def __init__(self, model: str, weights: str, location: str | None = None) -> None:
        import open_clip

        if why := lacks_text(model, weights):
            raise UsageError(why)
        self._model = _create(model, weights, _pretrained(model, weights, location or weights)).eval()
        self._tokenize = open_clip.get_tokenizer(model)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts as float32 [M, D] of unit norm. A text is cut after CLIP's 77 tokens."""
        import torch

        with torch.inference_mode():
            parts = [texts[first : first + TEXTS_AT_ONCE] for first in range(0, len(texts), TEXTS_AT_ONCE)]
            found = [self._model.encode_text(self._tokenize(list(part)), normalize=True) for part in parts]
        return torch.cat(found).float().numpy()
