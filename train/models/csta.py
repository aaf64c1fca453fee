"""CSTA (Son et al., CVPR 2024): a CNN over the map of frames × features is the attention.

The map is the frames' keys, once for each of GoogLeNet's three channels, behind a token that differs between the
channels. What GoogLeNet makes of it is stretched back to one row per frame.

Letters: B videos, T frames, F components of a feature, D width, C GoogLeNet's last channels, R rows of its last map.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import GoogLeNet_Weights, googlenet

from vsumdata.datasets.video import Batch
from vsumdata.pipeline.errors import UsageError
from vsumdata.stages.hub import check_address
from vsumdata.train.models.official import copy_weights
from vsumdata.train.models.summarizer import Scores

LEAST_FRAMES = 14  # fewer rows, token included, leave nothing for GoogLeNet's poolings
LEAST_WIDTH = 47  # with fewer columns its last map has one, and BatchNorm cannot train on a single value
CNN_WIDTH = 1024  # C
FRAMES_AT_ONCE = 5000  # of videos that share a forward: bounds the memory
NOT_CNN = ("fc.", "aux1.", "aux2.")  # GoogLeNet's classifiers
OFFICIAL_LAYERS = {
    "cnn": "googlenet",
    "token": "CLS",
    "key": "key_embedding",
    "value": "value_embedding",
    "map_norm": "layernorm1",
    "head": "linear1",
    "score": "linear2.0",
}
POSITIONS = "Positional_encoding_op.pe"
REMEDY = "give a file of torchvision's googlenet weights with --set model.weights=FILE, or train without: =none"


class CSTAOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(1024, ge=LEAST_WIDTH, description="D; features of another size are projected to it")
    weights: str = Field("imagenet", description="GoogLeNet's: imagenet, none, or a .safetensors or .pth file")
    dropout_attention: float = Field(0.6, ge=0, lt=1, description="of the attention over time and over width")
    dropout_head: float = Field(0.5, ge=0, lt=1, description="inside the head")


class CSTA(nn.Module):
    """CSTA with GoogLeNet, its official choices: TD softmax, fixed positions, CLS mixed at the end, KC skip, kv.

    Added: `project` where a feature's size is not `width`, and `narrow` (C → D) where `width` is not 1024. Videos of
    fewer than 14 frames are repeated to 14. Officially a batch is one video; here each keeps its own BatchNorm
    statistics in training, and the running ones follow video by video. Raises UsageError where the weights cannot
    be had.
    """

    Options: ClassVar[type[CSTAOptions]] = CSTAOptions
    nms_overlap: float | None = None

    def __init__(self, options: CSTAOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__()
        width = options.width
        self.options = options
        self.project = nn.Identity() if frame_dim == width else nn.Linear(frame_dim, width)
        self.token = nn.Parameter(torch.zeros(1, 3, 1, width))
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.cnn = cnn(options.weights)
        self.narrow = nn.Identity() if width == CNN_WIDTH else nn.Linear(CNN_WIDTH, width)
        self.map_norm = nn.BatchNorm2d(1)
        self.dropout = nn.Dropout(options.dropout_attention)
        first, self.score = nn.Linear(width, width), nn.Linear(width, 1)
        for layer in (first, self.score):
            nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(2))
            nn.init.constant_(layer.bias, 0.1)
        self.head = nn.Sequential(first, nn.ReLU(), nn.Dropout(options.dropout_head), nn.LayerNorm(width, eps=1e-6))

    @property
    def remark(self) -> str:
        """What belongs beside every number of this model."""
        return f"CSTA weights: {self.options.weights}"

    def forward(self, batch: Batch) -> Scores:
        """`video_token` is the token's row of the attended values, `frame_embedding` the frames' after the pooling."""
        frames, lengths = batch.frame_feature, batch.frame_mask.sum(1).cpu()
        logit = frames.new_zeros(frames.shape[:2])
        embedding = frames.new_zeros(*logit.shape, self.options.width)
        token = frames.new_zeros(len(frames), self.options.width)
        for videos in self._groups(lengths):
            length = int(lengths[videos[0]])
            mixed = self.mixed(frames[videos, :length])
            pooled = (mixed[:, :-1] + mixed[:, 1:]) / 2  # officially an adaptive pooling of 1+T rows to T
            logit[videos, :length] = self.score(self.head(pooled))[:, :length, 0].to(logit)
            embedding[videos, :length] = pooled[:, :length].to(embedding)
            token[videos] = mixed[:, 0].to(token)
        return Scores(frame_logit=logit, frame_embedding=embedding, video_token=token)

    def _groups(self, lengths: Tensor) -> Iterator[Tensor]:
        """The videos that share a forward: as many as have one length, in training each alone."""
        if self.training:
            yield from torch.arange(len(lengths)).split(1)
            return
        for length in lengths.unique():
            yield from (lengths == length).nonzero().flatten().split(max(1, FRAMES_AT_ONCE // int(length)))

    def mixed(self, frames: Tensor) -> Tensor:
        """Values under both attentions, the token's row first: [B,1+max(T,14),D] of frames [B,T,F]."""
        length = frames.shape[1]
        frames = self.project(frames[:, torch.arange(max(length, LEAST_FRAMES)) % length])
        attention = self.attention_map(frames)
        value = self.value(torch.cat([self.token[:, 0].expand(len(frames), -1, -1), frames], 1))
        return value * self.dropout(attention.softmax(1)) + value * self.dropout(attention.softmax(2))

    def attention_map(self, frames: Tensor) -> Tensor:
        """What both softmaxes see, [B,1+T,D]."""
        tokens = self.key(self.token).expand(len(frames), -1, -1, -1)
        keys = torch.cat([tokens, self.key(frames)[:, None].expand(-1, 3, -1, -1)], 2)
        keys = keys.contiguous(memory_format=torch.channels_last)  # in which convolutions are faster
        rows = self.narrow(stretched(self.cnn(keys).mean(3).transpose(1, 2), keys.shape[2]))
        skipped = self.map_norm((rows + keys[:, 0])[:, None])[:, 0]
        return skipped + sinusoids(*skipped.shape[1:]).to(skipped)

    def load_official(self, state_dict: Mapping[str, Tensor]) -> None:
        """From `models.GoogleNet.CSTA_GoogleNet`, by `OFFICIAL_LAYERS`; it has width 1024.

        `googlenet.fc` is never used there and passed over. The table of positions is fixed and computed here; one
        that differs raises ValueError.
        """
        table = state_dict.get(POSITIONS)
        if table is not None and not torch.allclose(table.float().cpu(), sinusoids(len(table), CNN_WIDTH), atol=1e-3):
            raise ValueError(f"{POSITIONS} is not CSTA's table of sinusoids")
        unused = [name for name in state_dict if name.startswith((POSITIONS, "googlenet.fc."))]
        copy_weights(self, {name: official_name(name) for name in self.state_dict()}, state_dict, unused)


def official_name(ours: str) -> str:
    layer, dot, entry = ours.partition(".")
    return OFFICIAL_LAYERS.get(layer, layer) + dot + entry


def stretched(rows: Tensor, length: int) -> Tensor:
    """[B,R,C] → [B,length,C] as an adaptive average pooling does: of each row the mean of those it falls on.

    As a product, for the gradient of PyTorch's pooling is not deterministic on CUDA.
    """
    num_rows = rows.shape[1]
    at = torch.arange(length, device=rows.device)[:, None]
    start, stop = at * num_rows // length, ((at + 1) * num_rows + length - 1) // length
    row = torch.arange(num_rows, device=rows.device)
    share = ((row >= start) & (row < stop)).to(rows) / (stop - start)
    return share @ rows


def sinusoids(length: int, width: int) -> Tensor:
    """The fixed table of positions, float32 [length,width]: sines in even columns, cosines in odd ones."""
    angle = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width]


def cnn(weights: str) -> nn.Sequential:
    """GoogLeNet up to its last map, [B,3,1+T,D] → [B,C,R,columns], its layers under torchvision's names."""
    network = googlenet(weights=None, aux_logits=False, init_weights=False)
    unused = ("avgpool", "dropout", "fc")
    layers = nn.Sequential(OrderedDict((n, layer) for n, layer in network.named_children() if n not in unused))
    if weights != "none":
        # Files of before PyTorch 0.4.1 lack these counters, which nothing here uses.
        known = layers.state_dict()
        counters = {name: count for name, count in known.items() if name.endswith("num_batches_tracked")}
        given = {**counters, **cnn_weights(weights)}
        try:
            copy_weights(layers, {name: name for name in known}, given, [n for n in given if n.startswith(NOT_CNN)])
        except ValueError as error:
            raise UsageError(f"model.weights={weights} is no state dict of torchvision's googlenet: {error}") from error
    return layers


def cnn_weights(weights: str) -> Mapping[str, Tensor]:
    """torchvision's state dict of GoogLeNet, downloaded once or from a file; no code in a .pth file is run."""
    if weights == "imagenet":
        known = GoogLeNet_Weights.IMAGENET1K_V1
        name = known.url.rpartition("/")[2]
        cached = Path(torch.hub.get_dir()) / "checkpoints" / name
        check_address(known.url, cached, REMEDY, sha256=name.rpartition("-")[2].removesuffix(".pth"))
        with contextlib.redirect_stdout(sys.stderr):  # it says that it downloads; stdout is for JSON
            return known.get_state_dict(progress=False, check_hash=True, weights_only=True)
    path = Path(weights)
    if not path.is_file():
        raise UsageError(f"model.weights={weights} is no file; it is imagenet, none or a .safetensors or .pth file")
    try:
        is_safe = path.suffix == ".safetensors"
        found = load_file(path) if is_safe else torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(found, dict) or not all(isinstance(entry, Tensor) for entry in found.values()):
            raise RuntimeError("it holds no tensors by name")
        return found
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, SafetensorError) as error:
        said = str(error).partition("\n")[0]
        raise UsageError(f"model.weights={weights} cannot be read as weights ({said}): {REMEDY}") from error
