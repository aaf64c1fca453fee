"""Made-up weights of S3D in the official layout, the same everywhere, and a dictionary for them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsumdata.stages.encoders.s3d import DICTIONARY, WEIGHTS
from vsumdata.stages.encoders.s3d_network import S3D

WORDS = (
    *("add", "the", "flour", "and", "a", "pinch", "of", "salt", "don't", "stir", "it", "pan", "cup", "egg", "heat"),
    *("until", "brown", "serve", "with"),
)


def made_up(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values by the names alone, in sizes that keep the scale of what goes through the layers."""
    found = {}
    for name, value in state.items():
        # `RandomState`, whose numbers no version of numpy changes.
        random, shape, last = np.random.RandomState(zlib.crc32(name.encode())), value.shape, name.rpartition(".")[2]
        if last == "num_batches_tracked":
            found[name] = value.clone()
            continue
        if last == "running_var" or (last == "weight" and len(shape) == 1):
            values = random.uniform(0.7, 1.3, shape)
        elif "word_embd" in name:
            values = random.standard_normal(shape)
        else:
            size = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.2
            values = random.standard_normal(shape) * size
            # Gates that are half open would shrink ten times what goes through them.
            values = values + 2 if "gating" in name and last == "bias" else values
        found[name] = torch.from_numpy(values.astype(np.float32))
    return found


def write_weights(folder: Path) -> Path:
    """Write weights and dictionary under their official names; return the folder."""
    torch.save(made_up(S3D(len(WORDS) + 1).state_dict()), folder / WEIGHTS)
    np.save(folder / DICTIONARY, np.array(WORDS))
    return folder


def clips() -> np.ndarray:
    """Two clips, uint8 [2,8,72,56,3]: noise that changes, and stripes that move."""
    noise = np.random.RandomState(7).randint(0, 256, (8, 72, 56, 3))
    at, row, column, colour = np.ogrid[:8, :72, :56, :3]
    return np.stack([noise, (9 * at + 5 * row * (colour + 1) + 3 * column) % 256]).astype(np.uint8)


SENTENCES = (
    "Add the flour, and a pinch of salt!",
    f"Don't stir it {'until brown ' * 9}serve with egg",  # more than 16 words
    "zzz",
)
