"""Still pictures of articles: transparent, turned, moving, damaged, and larger than any picture of a step."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vsumdata.manifests.errors import FailVideo
from vsumdata.stages.pictures.stills import MAX_PIXELS, read_still

RED, BLUE = (200, 0, 0), (0, 0, 200)


def saved(image, kind="PNG", **more):
    body = io.BytesIO()
    image.save(body, kind, **more)
    return body.getvalue()


def read(body):
    return read_still(body, 8, "shortest", "bicubic")


def png_of(width, height):
    """A PNG that says so of its size, and holds next to nothing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_transparent_parts_are_white():
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, *RED])
    assert (read(saved(palette, transparency=1)) == 255).all()
    assert (read(saved(Image.new("RGBA", (8, 8), (0, 0, 0, 0)))) == 255).all()
    assert (read(saved(Image.new("LA", (8, 8), (0, 255)))) == 0).all()


def test_a_picture_is_turned_as_its_camera_was_held():
    image = Image.new("RGB", (8, 8), RED)
    image.paste(BLUE, (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right
    found = read(saved(image, exif=exif))
    assert (found[:, 0] == RED).all()
    assert (found[:, 7] == BLUE).all()


def test_of_a_moving_picture_the_first_counts():
    moving = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    for kind in ("GIF", "WEBP"):
        body = saved(moving[0], kind, save_all=True, append_images=moving[1:])
        assert np.abs(read(body).astype(int) - RED).max() < 12


@pytest.mark.parametrize(
    ("width", "height"), [(MAX_PIXELS // 1000 + 1, 1000), (60_000, 60_000), (4000, 100), (1, 2**31 - 1)]
)
def test_a_small_file_does_not_become_a_huge_picture(width, height):
    with pytest.raises(FailVideo, match="too_big"):
        read(png_of(width, height))


@pytest.mark.parametrize("body", [b"", b"<!DOCTYPE html><p>Not here.", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_what_is_no_picture(body):
    with pytest.raises(FailVideo, match="unreadable"):
        read(body)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_cut_and_damaged_files_raise_nothing_else(kind):
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    body, dice = saved(Image.fromarray(noise), kind), random.Random(kind)
    with pytest.raises(FailVideo, match="unreadable"):
        read(body[: len(body) // 2])
    num_refused = 0
    for _ in range(400):
        damaged = bytearray(body)
        for _ in range(dice.choice([1, 3, 30])):
            damaged[dice.randrange(dice.choice([30, len(body)]))] = dice.randrange(256)
        try:
            assert read(bytes(damaged)).shape == (8, 8, 3)
        except FailVideo:
            num_refused += 1
    assert num_refused > 20
