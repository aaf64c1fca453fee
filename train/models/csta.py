"""CSTA (Son et al., CVPR 2024): a CNN over the map of frames × features computes the attention.

The map holds a token and the keys of the frames, repeated for GoogLeNet's three channels. The token differs between the
channels. GoogLeNet's output is stretched back to one row per frame.

Letters: B videos, T frames, F components of a feature, D width, C GoogLeNet's last channels, R rows of its last map.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torchvision.models import googlenet

from vsumdata.datasets.video import Batch
from vsumdata.manifests.errors import UsageError
from vsumdata.stages.encoders.googlenet import CLASSIFIERS, read_weights
from vsumdata.train.models.parts.dropout import Dropout
from vsumdata.train.models.parts.official import copy_weights
from vsumdata.train.models.summarizer import Scores

# With fewer frames, one of GoogLeNet's poolings has no output.
LEAST_FRAMES = 14
# With fewer columns the last map has a single value per channel, and BatchNorm cannot train on one value.
LEAST_WIDTH = 47
CNN_WIDTH = 1024  # C
# Frames of all videos in one forward pass. The limit bounds the memory.
FRAMES_AT_ONCE = 5000
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

    width: int = Field(
        1024,
        ge=LEAST_WIDTH,
        description="size of a frame inside the model (D), in components. Other features are projected to it",
    )
    weights: str = Field(
        "imagenet",
        description="first weights of GoogLeNet: `imagenet` (torchvision's, downloaded once), `none` (random), or the "
        "path of a .safetensors or .pth file",
    )
    dropout_attention: float = Field(
        0.6,
        ge=0,
        lt=1,
        description="share of attention weights, over time and over width, that training drops, 0 to 1",
    )
    dropout_head: float = Field(
        0.5, ge=0, lt=1, description="share of hidden values that training drops inside the output head, 0 to 1"
    )


class CSTA(nn.Module):
    """CSTA with GoogLeNet and its official choices: TD softmax, fixed positions, CLS mixed at the end, KC skip, kv.

    Deviations: `project` maps features of another size to `width`; `narrow` maps C to D where `width` is not 1024.
    Videos of fewer than 14 frames are repeated up to 14. Raises UsageError if the weights cannot be loaded.
    """

    Options: ClassVar[type[CSTAOptions]] = CSTAOptions
    nms_overlap: float | None = None

    def __init__(self, options: CSTAOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__()
        width = options.width
        self.options = options
        self.project = nn.Identity() if frame_dim == width else nn.Linear(frame_dim, width)
        # Zeros, as in the official code.
        self.token = nn.Parameter(torch.zeros(1, 3, 1, width))
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.cnn = cnn(options.weights)
        self.narrow = nn.Identity() if width == CNN_WIDTH else nn.Linear(CNN_WIDTH, width)
        self.map_norm = nn.BatchNorm2d(1)
        self.dropout = Dropout(options.dropout_attention)
        first, self.score = nn.Linear(width, width), nn.Linear(width, 1)
        for layer in (first, self.score):
            nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(2))
            nn.init.constant_(layer.bias, 0.1)
        self.head = nn.Sequential(first, nn.ReLU(), Dropout(options.dropout_head), nn.LayerNorm(width, eps=1e-6))

    @property
    def remark(self) -> str:
        """The remark to print beside every result of this model: where its weights began."""
        return f"CSTA weights: {self.options.weights}"

    def forward(self, batch: Batch) -> Scores:
        """Score each video. `video_token` is the token's row before the pooling, `frame_embedding` the pooled rows."""
        frames, lengths = batch.frame_feature, batch.frame_mask.sum(1).cpu()
        logit = frames.new_zeros(frames.shape[:2])
        embedding = frames.new_zeros(*logit.shape, self.options.width)
        token = frames.new_zeros(len(frames), self.options.width)
        for videos in self._groups(lengths):
            length = int(lengths[videos[0]])
            mixed = self.mixed(frames[videos, :length])
            # The official adaptive pooling of 1+T rows to T averages neighbours.
            pooled = (mixed[:, :-1] + mixed[:, 1:]) / 2
            # Autocast returns bfloat16, which does not assign into float32 rows by index.
            logit[videos, :length] = self.score(self.head(pooled))[:, :length, 0].to(logit)
            embedding[videos, :length] = pooled[:, :length].to(embedding)
            token[videos] = mixed[:, 0].to(token)
        return Scores(frame_logit=logit, frame_embedding=embedding, video_token=token)

    def _groups(self, lengths: Tensor) -> Iterator[Tensor]:
        """The indexes of the videos that share a forward pass: videos of one length; in training, one video."""
        # Padding would enter GoogLeNet's convolutions, so only videos of equal length can share a pass. In training,
        # BatchNorm computes its statistics over a pass: officially a batch is one video, so each goes alone.
        if self.training:
            yield from torch.arange(len(lengths)).split(1)
            return
        for length in lengths.unique():
            yield from (lengths == length).nonzero().flatten().split(max(1, FRAMES_AT_ONCE // int(length)))

    def mixed(self, frames: Tensor) -> Tensor:
        """Apply both attentions to frames [B,T,F]: [B,1+max(T,14),D], the token's row first."""
        length = frames.shape[1]
        frames = self.project(frames[:, torch.arange(max(length, LEAST_FRAMES)) % length])
        attention = self.attention_map(frames)
        value = self.value(torch.cat([self.token[:, 0].expand(len(frames), -1, -1), frames], 1))
        return value * self.dropout(attention.softmax(1)) + value * self.dropout(attention.softmax(2))

    def attention_map(self, frames: Tensor) -> Tensor:
        """The energies that both softmaxes take, [B,1+T,D]."""
        tokens = self.key(self.token).expand(len(frames), -1, -1, -1)
        keys = torch.cat([tokens, self.key(frames)[:, None].expand(-1, 3, -1, -1)], 2)
        # Convolutions run faster in this memory layout.
        keys = keys.contiguous(memory_format=torch.channels_last)
        rows = self.narrow(stretched(self.cnn(keys).mean(3).transpose(1, 2), keys.shape[2]))
        skipped = self.map_norm((rows + keys[:, 0])[:, None])[:, 0]
        return skipped + sinusoids(*skipped.shape[1:]).to(skipped)

    def load_official(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copy the weights of `models.GoogleNet.CSTA_GoogleNet` (width 1024), by `OFFICIAL_LAYERS`.

        Skips `googlenet.fc`, which the official model never uses. Raises ValueError if the position table differs from
        ours, which is fixed and not loaded, or if entries do not match.
        """
        # float32 angles of thousands of radians are exact to about 5e-4 only, hence the tolerance.
        table = state_dict.get(POSITIONS)
        if table is not None and not torch.allclose(table.float().cpu(), sinusoids(len(table), CNN_WIDTH), atol=1e-3):
            raise ValueError(f"{POSITIONS} is not CSTA's table of sinusoids")
        unused = [name for name in state_dict if name.startswith((POSITIONS, "googlenet.fc."))]
        copy_weights(self, {name: official_name(name) for name in self.state_dict()}, state_dict, unused)


def official_name(ours: str) -> str:
    layer, dot, entry = ours.partition(".")
    return OFFICIAL_LAYERS.get(layer, layer) + dot + entry


def stretched(rows: Tensor, length: int) -> Tensor:
    """Stretch [B,R,C] to [B,length,C] by adaptive average pooling: each row is the mean of those that it overlaps."""
    # A matrix product instead of F.adaptive_avg_pool2d, whose gradient on CUDA is not deterministic
    # (pytorch/pytorch#50198).
    num_rows = rows.shape[1]
    at = torch.arange(length, device=rows.device)[:, None]
    start, stop = at * num_rows // length, ((at + 1) * num_rows + length - 1) // length
    row = torch.arange(num_rows, device=rows.device)
    share = ((row >= start) & (row < stop)).to(rows) / (stop - start)
    return share @ rows


def sinusoids(length: int, width: int) -> Tensor:
    """The fixed position table, float32 [length,width]: sines in even columns, cosines in odd ones."""
    angle = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width]


def cnn(weights: str) -> nn.Sequential:
    """GoogLeNet up to its last map, [B,3,1+T,D] → [B,C,R,columns]; its layers keep torchvision's names."""
    # torchvision warns if `init_weights` is left open, and says that its own initialisation takes long
    # (scipy/scipy#11299).
    network = googlenet(weights=None, aux_logits=False, init_weights=False)
    unused = ("avgpool", "dropout", "fc")
    layers = nn.Sequential(OrderedDict((n, layer) for n, layer in network.named_children() if n not in unused))
    if weights != "none":
        # Files from before PyTorch 0.4.1 lack these counters. Nothing here uses them.
        known = layers.state_dict()
        counters = {name: count for name, count in known.items() if name.endswith("num_batches_tracked")}
        given = {**counters, **read_weights(weights, "model.weights", REMEDY)}
        try:
            copy_weights(layers, {name: name for name in known}, given, [n for n in given if n.startswith(CLASSIFIERS)])
        except ValueError as error:
            raise UsageError(
                f"model.weights={weights} is not a state dict of torchvision's googlenet: {error}"
            ) from error
    return layers
