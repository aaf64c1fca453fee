"""Copy weights of the authors' published code into our models, entry by entry."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

# Our entry -> the official entry with the same value, or the official matrices to stack, in that order.
Sources = Mapping[str, str | Sequence[str]]


def copy_weights(
    model: nn.Module, sources: Sources, official: Mapping[str, Tensor], unused: Collection[str] = ()
) -> None:
    """Fill every entry of `model` from `official`. Every official entry must be used, except those of `unused`.

    Raises ValueError with all entries that are missing, unexpected or of another shape; the model is unchanged then.
    """
    ours = model.state_dict()
    shapes: dict[str, torch.Size] = {}
    for name, source in sources.items():
        shape = ours[name].shape
        # A stack has a leading axis per head or segment; each official part is one matrix of it.
        shapes |= {source: shape} if isinstance(source, str) else dict.fromkeys(source, shape[-2:])
    faults = [f"our {name} has no counterpart" for name in ours if name not in sources]
    faults += [f"missing {name}" for name in shapes if name not in official]
    faults += [f"unexpected {name}" for name in official if name not in shapes and name not in unused]
    faults += [
        f"{name} is {list(official[name].shape)}, expected {list(shape)}"
        for name, shape in shapes.items()
        if name in official and official[name].shape != shape
    ]
    # All faults at once and before any copy: a wrong checkpoint usually has many, and must not leave a mixed model.
    if faults:
        raise ValueError(f"these weights do not fit this {type(model).__name__}: {'; '.join(faults)}")
    for name, source in sources.items():
        value = official[source] if isinstance(source, str) else torch.stack([official[each] for each in source])
        ours[name].copy_(value.reshape(ours[name].shape))
