"""Colour histograms of a picture's quarters: features without any weights. They find shots, and no meaning."""

from __future__ import annotations

import numpy as np

from vsumdata.stages.encoders.recipes import COLOURS, PICTURES

SIZE, PARTS, LEVELS = 64, 2, 16


class ColourEncoder:
    """For each quarter of a picture and each of red, green and blue: the shares of 16 levels, as square roots.

    The cosine of two features is their Bhattacharyya coefficient. Attributes as in `clip.ClipEncoder`.
    """

    size, resize, interpolation, batch = SIZE, "squash", "bilinear", 256
    dim = PARTS * PARTS * 3 * LEVELS

    @property
    def made_on(self) -> str:
        return "cpu"

    @property
    def preprocessing(self) -> str:
        return PICTURES[COLOURS].preprocessing

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Encode uint8 [n, 64, 64, 3] as unit-norm float16 [n, 192]."""
        num, side = len(frames), SIZE // PARTS
        level = (frames // (256 // LEVELS)).astype(np.int64)
        # [n, quarters, pixels, 3]
        parts = level.reshape(num, PARTS, side, PARTS, side, 3).transpose(0, 1, 3, 2, 4, 5).reshape(num, -1, side**2, 3)
        histogram = np.arange(num * PARTS**2 * 3).reshape(num, PARTS**2, 1, 3) * LEVELS
        count = np.bincount((parts + histogram).ravel(), minlength=num * self.dim).reshape(num, self.dim)
        return np.sqrt(count / count.sum(axis=1, keepdims=True)).astype(np.float16)
