"""The network S3D-G of MIL-NCE, with the official names, so that the official state dict loads as it is.

Facts: antoine77340/S3D_HowTo100M@b8cd0bb s3dg.py; `tests/stages/encoders/test_s3d.py` holds values of that code.

Letters: N segments, T pictures of a segment, H and W their height and width, C channels, M sentences, K words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

DIM, WORD_DIM, HIDDEN = 512, 300, 2048
TABLE_OF_WORDS = "text_module.word_embd.weight"
# Channels of the blocks: what comes in, then of the four branches (1x1 | 1x1, 3x3 | 1x1, 3x3 | pooled, 1x1).
BLOCKS = {
    "mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}
# Kernel and stride of the pooling before a block.
POOLED = {"mixed_3b": ((1, 3, 3), (1, 2, 2)), "mixed_4b": ((3, 3, 3), (2, 2, 2)), "mixed_5b": ((2, 2, 2), (2, 2, 2))}


class S3D(nn.Module):
    """Map pictures in 0 … 1, [N,3,T,H,W] with even T, H and W, to [N, 512].

    `num_words`: rows of the table of words, the one of no word included.
    """

    def __init__(self, num_words: int) -> None:
        super().__init__()
        self.conv1 = Convolution(24, 64, (2, 4, 4), padding=(1, 2, 2))
        self.conv_2b = Convolution(64, 64)
        self.conv_2c = Convolution(64, 192, (3, 3, 3), padding=(1, 1, 1))
        self.gating = Gating(192)
        for name, channels in BLOCKS.items():
            self.add_module(name, Block(*channels))
        self.fc = nn.Linear(1024, DIM)
        self.text_module = TextModule(num_words)

    def forward(self, pictures_NCTHW: Tensor) -> Tensor:  # noqa: N803
        # Kernels of even size: the official padding is on both sides, and what comes first is cut.
        x = self.conv1(space_to_depth(pictures_NCTHW))[:, :, 1:, 1:, 1:]
        x = pool(x, (1, 3, 3), (1, 2, 2))
        x = self.gating(self.conv_2c(self.conv_2b(x)))
        for name in BLOCKS:
            x = self.get_submodule(name)(pool(x, *POOLED[name]) if name in POOLED else x)
        found: Tensor = self.fc(x.mean((2, 3, 4)))
        return found


class Convolution(nn.Module):
    """A convolution with normalisation and ReLU; one of 3 pictures is split in two: in the picture, then in time."""

    def __init__(
        self,
        given: int,
        made: int,
        kernel: tuple[int, int, int] = (1, 1, 1),
        padding: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        super().__init__()
        (far, high, wide), (in_time, above, beside) = kernel, padding
        self.is_split = far == 3
        first, pad = ((1, high, wide), (0, above, beside)) if self.is_split else (kernel, padding)
        self.conv1 = nn.Conv3d(given, made, first, padding=pad, bias=False)
        self.bn1 = nn.BatchNorm3d(made)
        if self.is_split:
            self.conv2 = nn.Conv3d(made, made, (far, 1, 1), padding=(in_time, 0, 0), bias=False)
            self.bn2 = nn.BatchNorm3d(made)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu_()
        return self.bn2(self.conv2(x)).relu_() if self.is_split else x


class Gating(nn.Module):
    """Weigh each channel by what all channels show on average."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.fc(x.mean((2, 3, 4))).sigmoid()
        return x * weight[:, :, None, None, None]


class Block(nn.Module):
    """Four branches side by side, each weighed by a gating of its own. `BLOCKS` names the channels."""

    def __init__(self, given: int, b0: int, b1_a: int, b1: int, b2_a: int, b2: int, b3: int) -> None:
        super().__init__()
        three, around = (3, 3, 3), (1, 1, 1)
        self.conv_b0 = Convolution(given, b0)
        self.conv_b1_a = Convolution(given, b1_a)
        self.conv_b1_b = Convolution(b1_a, b1, three, around)
        self.conv_b2_a = Convolution(given, b2_a)
        self.conv_b2_b = Convolution(b2_a, b2, three, around)
        self.conv_b3_b = Convolution(given, b3)
        for branch, channels in enumerate((b0, b1, b2, b3)):
            self.add_module(f"gating_b{branch}", Gating(channels))

    def forward(self, x: Tensor) -> Tensor:
        near = functional.max_pool3d(x, 3, stride=1, padding=1)
        branches = (
            self.conv_b0(x),
            self.conv_b1_b(self.conv_b1_a(x)),
            self.conv_b2_b(self.conv_b2_a(x)),
            self.conv_b3_b(near),
        )
        return torch.cat([self.get_submodule(f"gating_b{i}")(branch) for i, branch in enumerate(branches)], 1)


class TextModule(nn.Module):
    """Map the words of sentences, int64 [M,K], to [M, 512]: word2vec, a layer, the largest of all words, a layer.

    Places without a word count as a word of their own, as in the public code.
    """

    def __init__(self, num_words: int) -> None:
        super().__init__()
        self.word_embd = nn.Embedding(num_words, WORD_DIM)
        self.fc1 = nn.Linear(WORD_DIM, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, DIM)

    def forward(self, words_MK: Tensor) -> Tensor:  # noqa: N803
        found: Tensor = self.fc2(self.fc1(self.word_embd(words_MK)).relu().amax(1))
        return found


def space_to_depth(x_NCTHW: Tensor) -> Tensor:  # noqa: N803
    """Turn each cube of 2 x 2 x 2 pixels into channels: [N,C,T,H,W] to [N,8C,T/2,H/2,W/2]."""
    cubes = x_NCTHW.unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # [N,C,T,2,H,2,W,2]
    return cubes.permute(0, 3, 5, 7, 1, 2, 4, 6).flatten(1, 4)


def pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """The largest value, with TensorFlow's padding `SAME`. No value is negative, so 0 pads."""
    behind = [max(size - step, 0) for size, step in zip(kernel, stride, strict=True)]
    padded = functional.pad(x, [edge for size in reversed(behind) for edge in (size // 2, size - size // 2)])
    return functional.max_pool3d(padded, kernel, stride, ceil_mode=True)


def loaded(given: Mapping[str, Tensor]) -> S3D:
    """The network in eval mode with the weights of a state dict. Raises RuntimeError where it is not S3D's."""
    table = given.get(TABLE_OF_WORDS)
    # The number of words is the file's own; `load_state_dict` says what else is wrong.
    with torch.random.fork_rng(devices=[]):
        network = S3D(len(table) if table is not None and table.ndim == 2 else 1)
    # Nothing uses these counters in eval mode, and files that other programs wrote lack them.
    counters: dict[str, Any] = {
        name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")
    }
    network.load_state_dict({**counters, **given})
    return network.eval().requires_grad_(False)


def seeded(seed: int) -> S3D:
    """Random weights that are the same in each process, and keep the scale of what goes through them."""
    # `fork_rng`, because loading must not change the random numbers of the rest of the program.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = S3D(1)
        for module in network.modules():
            # By PyTorch's own choice values shrink with each layer, until the last one's bias is all that is seen.
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
    return network.eval().requires_grad_(False)
