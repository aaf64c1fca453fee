"""TransNet V2 (Souček and Lokoč, arXiv 2008.04838): how likely a shot ends at each picture of a video.

Facts: soCzech/TransNetV2@05546d7 inference-pytorch/transnetv2_pytorch.py and @570be2b inference/transnetv2.py. The
modules have the official names, so the official state dict loads as it is.

Letters: N windows, T pictures of a window, H and W their height and width, C channels, L the look-up window.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vsumdata.manifests.errors import UsageError
from vsumdata.stages.encoders.clip import batched
from vsumdata.stages.encoders.googlenet import read_tensors
from vsumdata.stages.encoders.hub import local_path

log = logging.getLogger(__name__)

SEED = re.compile(r"seed:(\d+)")
SETTING = "features.shots"
REMEDY = f"give TransNetV2's PyTorch weights (transnetv2-pytorch-weights.pth) with --set {SETTING}=FILE"
WIDTH, HEIGHT = 48, 27
# Of a window's pictures those in the middle count; the others show the network what surrounds them.
WINDOW, OWN, BESIDE = 100, 50, 25
DILATIONS = (1, 2, 4, 8)
CHANNELS = (3, 64, 128, 256)  # before, between and after the three blocks
LOOK_UP = 101
BINS_BITS = 3  # of each colour: 512 bins
BATCH = {"cpu": 1, "cuda": 16}


class ShotEnds:
    """TransNet V2 with the weights at `location`: a state dict's file (.pth, .safetensors), or `seed:N` (random).

    It computes in float32 on every device. Raises UsageError if the weights cannot be loaded or do not fit.
    """

    def __init__(self, weights: str, device: str = "cpu", threads: int = 1, location: str | None = None) -> None:
        torch.set_num_threads(max(1, threads))
        self.device = device
        self.batch = BATCH["cuda" if device.startswith("cuda") else "cpu"]
        self._network = _network(weights, location or weights).to(device)

    def probabilities(self, pictures: Iterable[np.ndarray], came_on: Callable[[], None] = lambda: None) -> np.ndarray:
        """How likely a shot ends at each of the pictures (uint8 [27, 48, 3], all of a video): float32 [P].

        At most a batch of windows is in memory. If the GPU is full, it halves the batch.
        """
        found: list[np.ndarray] = [np.zeros(0, np.float32)]
        for windows, num in _batches(_windows(pictures), self.batch):
            middle, self.batch = batched(self._forward, windows, self.batch)
            found.append(middle.reshape(-1)[:num])
            came_on()
        return np.concatenate(found)

    def _forward(self, windows: np.ndarray) -> np.ndarray:
        """The probabilities of the middle of each window: uint8 [N,T,H,W,3] to float32 [N,OWN]."""
        with torch.inference_mode():
            one, _ = self._network(torch.from_numpy(windows).to(self.device))
            return one[:, BESIDE : BESIDE + OWN].sigmoid().cpu().numpy()


class TransNetV2(nn.Module):
    """Map pictures uint8 [N,T,27,48,3] to two logits [N,T]: of a shot's last picture, and of any picture of a change.

    Three blocks, whose pictures shrink to 3 x 6, beside the similarities of the blocks' features and of the colours.
    Only the first logit decides; the second was a help in training, and its weights are part of the official file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.SDDCNN = nn.ModuleList(Block(given, made // len(DILATIONS)) for given, made in pairwise(CHANNELS))
        self.frame_sim_layer = FrameSimilarity(sum(CHANNELS[1:]))
        self.color_hist_layer = ColourSimilarity()
        num_pixels = (HEIGHT >> 3) * (WIDTH >> 3)
        self.fc1 = nn.Linear(128 + 128 + CHANNELS[-1] * num_pixels, 1024)
        self.cls_layer1 = nn.Linear(1024, 1)
        self.cls_layer2 = nn.Linear(1024, 1)

    def forward(self, pictures_NTHWC: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803
        x = pictures_NTHWC.movedim(-1, 1).float() / 255  # [N,C,T,H,W]
        features = []
        for block in self.SDDCNN:
            x = block(x)
            features.append(x)
        seen = x.permute(0, 2, 3, 4, 1).flatten(2)
        joined = [self.color_hist_layer(pictures_NTHWC), self.frame_sim_layer(features), seen]
        hidden = self.fc1(torch.cat(joined, 2)).relu()
        return self.cls_layer1(hidden)[..., 0], self.cls_layer2(hidden)[..., 0]


class Block(nn.Module):
    """Two DDCNN cells with a shortcut from the first, then half the height and width: [N,C,T,H,W]."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.DDCNN = nn.ModuleList([Cell(channels, filters), Cell(filters * len(DILATIONS), filters)])

    def forward(self, x: Tensor) -> Tensor:
        first = self.DDCNN[0](x).relu()
        return functional.avg_pool3d(self.DDCNN[1](first).relu() + first, (1, 2, 2))


class Cell(nn.Module):
    """A DDCNN V2 cell: four convolutions side by side that look 1, 2, 4 and 8 pictures away, normalised together.

    Each is split in two: 3 x 3 in the picture, then 3 in time.
    """

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        for far in DILATIONS:
            in_picture = nn.Conv3d(channels, 2 * filters, (1, 3, 3), padding=(0, 1, 1), bias=False)
            in_time = nn.Conv3d(2 * filters, filters, (3, 1, 1), dilation=(far, 1, 1), padding=(far, 0, 0), bias=False)
            self.add_module(f"Conv3D_{far}", nn.ModuleDict({"layers": nn.Sequential(in_picture, in_time)}))
        self.bn = nn.BatchNorm3d(filters * len(DILATIONS), eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        made = [self.get_submodule(f"Conv3D_{far}.layers")(x) for far in DILATIONS]
        normalised: Tensor = self.bn(torch.cat(made, 1))
        return normalised


class FrameSimilarity(nn.Module):
    """How like a picture's features are to those of the 50 pictures before and after it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, 128)
        self.fc = nn.Linear(LOOK_UP, 128)

    def forward(self, features: list[Tensor]) -> Tensor:
        mean = torch.cat([x.mean((3, 4)) for x in features], 1).transpose(1, 2)
        found: Tensor = self.fc(similarities(self.projection(mean))).relu()
        return found


class ColourSimilarity(nn.Module):
    """The same of colour histograms."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(LOOK_UP, 128)

    def forward(self, pictures_NTHWC: Tensor) -> Tensor:  # noqa: N803
        found: Tensor = self.fc(similarities(histograms(pictures_NTHWC))).relu()
        return found


def histograms(pictures_NTHWC: Tensor) -> Tensor:  # noqa: N803
    """How many pixels of each picture have each of 512 colours: uint8 [N,T,H,W,3] to float32 [N,T,512]."""
    level = (pictures_NTHWC.long() >> (8 - BINS_BITS)).flatten(2, 3)
    colour = (level[..., 0] << 2 * BINS_BITS) + (level[..., 1] << BINS_BITS) + level[..., 2]
    counts = torch.zeros(*colour.shape[:2], 1 << 3 * BINS_BITS, device=colour.device)
    return counts.scatter_add_(2, colour, torch.ones_like(colour, dtype=counts.dtype))


def similarities(features_NTC: Tensor) -> Tensor:  # noqa: N803
    """Cosines of each picture with those up to 50 before and after it, 0 beyond the window: [N,T,C] to [N,T,L]."""
    unit = functional.normalize(features_NTC, dim=2)
    num = unit.shape[1]
    cosine = functional.pad(unit @ unit.transpose(1, 2), (LOOK_UP // 2, LOOK_UP // 2))
    # Row t begins 50 before t, which the padding moved to column t.
    at = torch.arange(num, device=unit.device)[:, None] + torch.arange(LOOK_UP, device=unit.device)
    return cosine.gather(2, at.expand(len(unit), num, LOOK_UP))


def _windows(pictures: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    """Yield uint8 [T,H,W,3] every 50 pictures, and how many of its middle are a picture's own.

    The first and the last picture stand in for those before and after the video.
    """
    held: list[np.ndarray] = []
    num_left = 0  # pictures that no window has had in its middle
    for picture in pictures:
        held = held or [picture] * BESIDE
        held.append(picture)
        num_left += 1
        if len(held) == WINDOW:
            yield np.stack(held), OWN
            held, num_left = held[OWN:], num_left - OWN
    while num_left > 0:
        yield np.stack([*held, *[held[-1]] * (WINDOW - len(held))]), min(OWN, num_left)
        held, num_left = held[OWN:], num_left - OWN


def _batches(windows: Iterable[tuple[np.ndarray, int]], size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield uint8 [N,T,H,W,3], and how many pictures are theirs. Only the video's last window has fewer than 50."""
    waiting: list[np.ndarray] = []
    num = 0
    for window, own in windows:
        waiting.append(window)
        num += own
        if len(waiting) == size:
            yield np.stack(waiting), num
            waiting, num = [], 0
    if waiting:
        yield np.stack(waiting), num


def _network(weights: str, location: str) -> TransNetV2:
    """The network in eval mode. Raises UsageError."""
    seed = SEED.fullmatch(weights)
    if seed is not None:
        log.warning("TransNetV2 with the random weights of %s: such shots mean nothing", weights)
    # `fork_rng`, because loading must not change the random numbers of the rest of the program.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed[1]) if seed else 0)
        network = TransNetV2()
    if seed is None:
        given = read_tensors(local_path(location), f"{SETTING}={weights}", REMEDY)
        # Nothing uses these counters in eval mode, and files that other programs wrote lack them.
        counters: dict[str, Any] = {
            name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")
        }
        try:
            network.load_state_dict({**counters, **given})
        except RuntimeError as error:
            first = " ".join(str(error).split())[:200]
            raise UsageError(f"{SETTING}={weights} is not a state dict of TransNetV2 ({first}): {REMEDY}") from error
        if bad := [name for name, value in network.state_dict().items() if not value.isfinite().all()]:
            raise UsageError(f"{SETTING}={weights}: {bad[0]} holds values that are not finite: {REMEDY}")
    return network.eval().requires_grad_(False)
