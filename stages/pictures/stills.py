"""Read a still picture as an encoder wants it: resized and cut as `decode` does it with the frames of videos."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import TYPE_CHECKING

import numpy as np

from vsumdata.manifests.errors import FailVideo

if TYPE_CHECKING:
    from PIL import Image

# What articles show. Pillow reads some fifty formats more, and most of its faults were found in those
# (CVE-2026-40192: a small FITS file that fills the memory).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
# A file of some kB may ask for gigabytes of pixels.
MAX_PIXELS = 50_000_000
# Of the sides. A line of 2 by 20,000,000 pixels would be enlarged with its shorter side.
MAX_RATIO = 20


def read_still(body: bytes, size: int, resize: str, interpolation: str) -> np.ndarray:
    """Return the picture as uint8 [size, size, 3]; `resize` and `interpolation` as in `decode.Wanted`.

    Transparent parts are white, as on a page; of a moving picture the first counts. Raises FailVideo (unreadable,
    too_big).
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Complaints about metadata, and the size, which has a limit of its own here.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(body), formats=FORMATS) as image:
                longer, shorter = max(image.size), min(image.size)
                if longer * shorter > MAX_PIXELS or longer > MAX_RATIO * shorter:
                    raise FailVideo("too_big", f"{image.width}x{image.height} pixels")
                return np.asarray(_made(image, size, resize, interpolation))
    except Image.DecompressionBombError as error:
        raise FailVideo("too_big", str(error)) from error
    # What Pillow raises for files that are cut or damaged, depending on where.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, TypeError) as error:
        raise FailVideo("unreadable", f"no picture: {error}") from error


def _made(image: Image.Image, size: int, resize: str, interpolation: str) -> Image.Image:
    from PIL import Image, ImageOps

    # Cameras store how they were held, and browsers turn the picture.
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole)
    image = image.convert("RGB")
    method = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[interpolation]
    if resize == "squash":
        return image.resize((size, size), method)
    # As torchvision: the longer side is truncated, the margin rounded half to even.
    shorter = min(image.size)
    width, height = (size * side // shorter for side in image.size)
    left, top = (round((side - size) / 2) for side in (width, height))
    return image.resize((width, height), method).crop((left, top, left + size, top + size))
