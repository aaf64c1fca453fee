"""Pool5 of networks trained on ImageNet, by torchvision's weights.

GoogLeNet (Szegedy et al., CVPR 2015) gives the features of TVSum's and SumMe's files; how near it comes to them:
`recipes.PICTURES`. ResNet-50 (He et al., CVPR 2016) compares pictures as TL;DW does (`step_frames`).
"""

from __future__ import annotations

import contextlib
import pickle
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsumdata.manifests.errors import UsageError
from vsumdata.stages.encoders.clip import BATCH, batched
from vsumdata.stages.encoders.hub import check_address, local_folder, local_path
from vsumdata.stages.encoders.recipes import GOOGLENET, IMAGENET, PICTURES

if TYPE_CHECKING:
    from torch import Tensor

SEED = re.compile(r"seed:(\d+)")
RESNET = "resnet50"
CLASSIFIERS = ("fc.", "aux1.", "aux2.")
# As torchvision's transforms of these weights: the shorter side to 256, the centre 224.
RESIZED, CUT = 256, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Network:
    """A network of torchvision. `setting` is where a person names its weights."""

    name: str
    dim: int
    setting: str

    @property
    def remedy(self) -> str:
        return f"give a file of torchvision's {self.name} weights with --set {self.setting}=FILE"

    def make(self) -> Any:
        """The network with random weights."""
        from torchvision.models import googlenet, resnet50

        if self.name == RESNET:
            return resnet50(weights=None)
        # `transform_input` takes ImageNet's normalisation back to the [-1, 1] that the weights were trained with.
        return googlenet(weights=None, aux_logits=False, init_weights=False, transform_input=True)

    def imagenet(self) -> Any:
        """torchvision's entry of the weights `imagenet`."""
        from torchvision.models import GoogLeNet_Weights, ResNet50_Weights

        # Of ResNet-50 the first ones, which every paper up to 2021 means.
        return ResNet50_Weights.IMAGENET1K_V1 if self.name == RESNET else GoogLeNet_Weights.IMAGENET1K_V1


NETWORK = Network("googlenet", int(PICTURES[GOOGLENET].dim or 0), "features.clip.weights")
RESNET50 = Network(RESNET, 2048, "labels.step_frames.weights")


class Pool5Encoder:
    """A network up to pool5. `weights`: `imagenet`, a state dict's file (.pth, .safetensors), or `seed:N` (random).

    `location` is what `resolve` found. It computes in float32 on every device. Attributes as in `clip.ClipEncoder`;
    pictures are 256 px, of which it takes the centre. Raises UsageError if the weights cannot be loaded or do not fit.
    """

    network = NETWORK
    size, resize, interpolation = RESIZED, "shortest", "bilinear"

    def __init__(self, weights: str, device: str = "cpu", threads: int = 1, location: str | None = None) -> None:
        import torch

        torch.set_num_threads(max(1, threads))
        self.device = device
        self.batch = BATCH["cuda" if device.startswith("cuda") else "cpu"]
        self._network = _load(self.network, weights, location or weights).to(device)
        mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))
        self._scale, self._shift = 1 / (255 * std), -mean / std
        self.dim = self.network.dim

    @property
    def made_on(self) -> str:
        """The device and the libraries, as the table records them."""
        import torch
        import torchvision

        name = f" {torch.cuda.get_device_name(self.device)}" if self.device.startswith("cuda") else ""
        return f"{self.device}{name} fp32, torch {torch.__version__}, torchvision {torchvision.__version__}"

    @property
    def preprocessing(self) -> str:
        """How a frame becomes the network's input, as the table records it."""
        mean, std = (" ".join(map(str, values)) for values in (MEAN, STD))
        return f"{RESIZED} px {self.resize} {self.interpolation}, centre {CUT} px, mean {mean}, std {std}"

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Encode uint8 [n, 256, 256, 3] as unit-norm float16 [n, dim]. If the GPU is full, it halves the batch."""
        feature, self.batch = batched(self._forward, frames, self.batch)
        return feature

    def _forward(self, frames: np.ndarray) -> np.ndarray:
        import torch

        edge = (RESIZED - CUT) // 2
        with torch.inference_mode():
            cut = np.ascontiguousarray(frames[:, edge : edge + CUT, edge : edge + CUT])
            x_BHWC = torch.from_numpy(cut).to(self.device)  # noqa: N806
            feature = self._network(x_BHWC.permute(0, 3, 1, 2).float() * self._scale + self._shift)
            return torch.nn.functional.normalize(feature, dim=-1).half().cpu().numpy()


class GoogLeNetEncoder(Pool5Encoder):
    """GoogLeNet up to pool5."""


class ResNetEncoder(Pool5Encoder):
    """ResNet-50 up to its pooling, 2,048 numbers."""

    network = RESNET50


def _load(network: Network, weights: str, location: str) -> Any:
    """torchvision's network without its classifiers, in eval mode. Raises UsageError."""
    import torch

    seed = SEED.fullmatch(weights)
    # `fork_rng`, because loading must not change the random numbers of the rest of the program.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed[1]) if seed else 0)
        made = network.make()
    made.fc = torch.nn.Identity()
    if seed is None:
        found = read_weights(location, network.setting, network.remedy, network)
        given = {name: value for name, value in found.items() if not name.startswith(CLASSIFIERS)}
        # Files from before PyTorch 0.4.1 lack these counters, which nothing uses in eval mode.
        counters = {name: n for name, n in made.state_dict().items() if name.endswith("num_batches_tracked")}
        try:
            made.load_state_dict({**counters, **given})
        except RuntimeError as error:
            first = " ".join(str(error).split())[:200]
            raise UsageError(
                f"{weights} is not a state dict of torchvision's {network.name} ({first}): {network.remedy}"
            ) from error
    return made.eval().requires_grad_(False)


def resolve(weights: str, folder: str | Path, network: Network = NETWORK) -> tuple[str, str]:
    """The location and the identity of weights. Relative paths start at `folder`. Raises UsageError."""
    if SEED.fullmatch(weights):
        return weights, f"{network.name} {weights}"
    if weights == IMAGENET:
        file = _have_imagenet(network, network.remedy)
        return IMAGENET, f"torchvision {network.name} {file.rpartition('-')[2]}"
    found = local_folder(weights, folder)
    if found is None or not found.has_file():
        wanted = GOOGLENET if network is NETWORK else network.name
        raise UsageError(f"{wanted} has no weights {weights}; give {IMAGENET} or seed:0, or {network.remedy[5:]}")
    return found.location, f"{network.name} {found.identity}"


def is_here() -> bool:
    """Whether torchvision's weights of GoogLeNet are in its cache. Nothing is asked or fetched."""
    return _cached(NETWORK)[1].is_file()


def _cached(network: Network) -> tuple[str, Path]:
    """The address of torchvision's weights, and where its hub keeps them."""
    import torch

    url = network.imagenet().url
    return url, Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def _have_imagenet(network: Network, remedy: str) -> str:
    """The name of torchvision's file, which is cached or can be fetched. Raises UsageError with the remedy."""
    url, cached = _cached(network)
    # Asks before torchvision downloads, whose error would be a traceback without a remedy.
    check_address(url, cached, remedy, sha256=cached.stem.rpartition("-")[2])
    return cached.stem


def read_weights(weights: str, setting: str, remedy: str, network: Network = NETWORK) -> Mapping[str, Tensor]:
    """Load torchvision's state dict of a network: from a file, or downloaded once. Code in a .pth file is not run.

    `setting` names the setting for a person. Raises UsageError if the file or the download is missing or cannot be
    read.
    """
    if weights == IMAGENET:
        _have_imagenet(network, remedy)
        # torch.hub prints "Downloading" on stdout, which is reserved for JSON.
        with contextlib.redirect_stdout(sys.stderr):
            return network.imagenet().get_state_dict(progress=False, check_hash=True, weights_only=True)
    path = local_path(weights) if weights.startswith("package:") else Path(weights)
    if not path.is_file():
        raise UsageError(
            f"{setting}={weights}: there is no such file; give imagenet, none, or a .safetensors or .pth file"
        )
    return read_tensors(path, f"{setting}={weights}", remedy)


def read_tensors(path: Path, named: str, remedy: str) -> dict[str, Tensor]:
    """Load tensors by name from a .safetensors or .pth file. Code in a .pth file is not run.

    `named` is the setting with its value, for a person. Raises UsageError if the file cannot be read.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        # weights_only: a .pth file is a pickle, which could run any code.
        is_safe = path.suffix == ".safetensors"
        found = load_file(path) if is_safe else torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(found, dict) or not all(isinstance(entry, torch.Tensor) for entry in found.values()):
            raise RuntimeError("it does not hold tensors by name")
        return found
    # A truncated, foreign or forbidden file raises any of these, depending on where reading it fails.
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, SafetensorError) as error:
        said = str(error).partition("\n")[0]
        raise UsageError(f"{named} cannot be read as weights ({said}): {remedy}") from error
