"""The real positions of a padded batch, without its padding.

A batch of videos of 60 to 600 frames is nearly half padding, and its attention weights [B,T,T] are nearly two thirds.
On a CPU, which computes in turn what a GPU computes at once, that is lost time; and one video's weights stay in the
cache, those of a batch do not.

Letters: B videos, T positions, N real positions of all videos.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


class Rows:
    """How the layers of a model take a batch: on a CPU as rows [N,…] without padding, elsewhere padded, [B,T,…].

    `mask` is bool [B,T] and false for padding. Layers that look at one position at a time work on either.
    """

    def __init__(self, mask: Tensor, *, padded: bool = False) -> None:
        # A single whole video has nothing to leave out.
        self.mask, self.padded = mask, padded or mask.device.type != "cpu" or (len(mask) == 1 and bool(mask.all()))
        if not self.padded:
            self.index = mask.flatten().nonzero().flatten()
            self.lengths: list[int] = mask.sum(1).tolist()

    def take(self, x: Tensor) -> Tensor:
        """The rows of `x` [B,T,…]."""
        return x if self.padded else x.flatten(0, 1).index_select(0, self.index)

    def clear(self, rows: Tensor) -> Tensor:
        """Set what is padding to 0."""
        return rows.masked_fill(~self.mask[..., None], 0) if self.padded else rows

    def give(self, rows: Tensor) -> Tensor:
        """Put `rows` back into their places: [B,T,…], 0 for padding (undefined where the layers took it padded)."""
        if self.padded:
            return rows
        whole = rows.new_zeros(self.mask.numel(), *rows.shape[1:]).index_copy(0, self.index, rows)
        return whole.view(*self.mask.shape, *rows.shape[1:])

    def videos(self, *rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """What can attend to each other: for each video its mask and its part of each of `rows`, [1,t] and [1,t,…].

        Where the layers take it padded, that is the whole batch at once.
        """
        if self.padded:
            yield (self.mask, *rows)
            return
        parts = [x.split(self.lengths) for x in rows]
        for i, length in enumerate(self.lengths):
            yield (self.mask.new_ones(1, length), *(part[i][None] for part in parts))

    def join(self, videos: Iterable[Tensor]) -> Tensor:
        """The rows of all that `videos` yielded, in its order."""
        if self.padded:
            return next(iter(videos))
        return torch.cat([video[0] for video in videos])
