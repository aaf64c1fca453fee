"""Re-uploads of the sample's films, as they come: mirrored, cropped, faster, slower, at other moments, and cuts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from vsumdata.stages.pictures.decode import Wanted, read_frames

FILMS = Path(__file__).parents[3] / "datasets/sample/assets/media"
# A file that no decoder reads, and the corpus's own re-upload of another one of the films.
LEFT_OUT = {"badhinge_11", "growbean_13"}
RATE = 10  # pictures a second that are decoded; one a second is kept


def films(size: int, resize: str, interpolation: str) -> Iterator[tuple[str, np.ndarray]]:
    """Name and pictures uint8 [n, size, size, 3] of each film, RATE a second."""
    for path in sorted(FILMS.glob("*.mp4")):
        if path.stem not in LEFT_OUT:
            wanted = Wanted(size=size, fps=RATE, resize=resize, interpolation=interpolation)
            with read_frames(path, wanted) as frames:
                yield path.stem, np.stack([picture for _, picture in frames])


def versions(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """The pictures of each second of the film and of its re-uploads."""
    second = np.arange(0, len(pictures), RATE)
    side, edge = pictures.shape[1], pictures.shape[1] // 20

    def cropped(picture: np.ndarray) -> np.ndarray:
        inner = Image.fromarray(picture[edge : side - edge, edge : side - edge])
        return np.asarray(inner.resize((side, side), Image.Resampling.BILINEAR))

    return {
        "": pictures[second],
        ".mirrored": pictures[second, :, ::-1],
        ".cropped": np.stack([cropped(picture) for picture in pictures[second]]),
        ".faster": pictures[np.arange(0, len(pictures), 1.1 * RATE).astype(int)],
        ".slower": pictures[np.arange(0, len(pictures), RATE / 1.1).astype(int)],
        ".later": pictures[np.minimum(second + RATE // 2 - 1, len(pictures) - 1)],
        ".cut": pictures[second[5:-5]],
    }
