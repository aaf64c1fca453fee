"""Small clips whose frames carry their own number as eight bands, light or dark."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vsumdata.stages.pictures.decode import FrameReader, Wanted, read_frames
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program

SIDE = 64
Time = Callable[[int], float]


def ffmpeg(*args: object, feed: bytes | None = None) -> None:
    command = [ffmpeg_program(), "-v", "error", "-y", *map(str, args)]
    subprocess.run(command, input=feed, check=True, stdin=subprocess.DEVNULL if feed is None else None)


def numbered(num_frames: int) -> bytes:
    """Raw grey pictures that carry their number, the lowest bit at the top."""
    bits = (np.arange(num_frames)[:, None] >> np.arange(8)) & 1
    bands = np.repeat(bits * 200 + 28, SIDE // 8, axis=1).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(bands[:, :, None], SIDE, axis=2)).tobytes()


def number_of(frame: np.ndarray) -> int:
    step = frame.shape[0] // 8
    light = frame[step // 2 :: step].mean((1, 2)) > 128
    return int((light * 2 ** np.arange(8)).sum())


def render(path: Path, num_frames: int, setpts: str, *args: object) -> Path:
    """A clip whose frame N is shown at `setpts` (seconds, ffmpeg's expression of N)."""
    source = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{SIDE}x{SIDE}", "-r", 25, "-i", "-"]
    timing = [
        "-vf",
        f"settb=1/90000,setpts='round(({setpts})/TB)'",
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1/90000",
    ]
    ffmpeg(*source, *timing, "-pix_fmt", "yuv420p", *args, path, feed=numbered(num_frames))
    return path


def read(path: Path, **wanted: object) -> tuple[list[float], list[int], FrameReader]:
    with read_frames(path, Wanted(size=SIDE, **wanted)) as reader:  # type: ignore[arg-type]
        frames = list(reader)
    return [time_s for time_s, _ in frames], [number_of(frame) for _, frame in frames], reader


def read_by_pyav(path: Path, index: int) -> Iterator[tuple[Fraction, bool, np.ndarray]]:
    """Read a file with another program: each frame's time from the container's start, whether it is a key, its RGB."""
    with av.open(str(path)) as container:
        start = Fraction(container.start_time or 0, av.time_base)
        for frame in container.decode(container.streams[index]):
            assert isinstance(frame, av.VideoFrame)
            assert frame.pts is not None
            time_s = frame.pts * Fraction(frame.time_base or 0) - start
            yield time_s, bool(frame.key_frame), frame.to_ndarray(format="rgb24")


X264 = ("-c:v", "libx264", "-preset", "veryfast")


def with_sound(tmp_path: Path, *, seconds: int = 8, suffix: str = "mp4") -> Path:
    path = tmp_path / f"whole.{suffix}"
    pictures, sound = f"testsrc=s=160x120:r=25:d={seconds}", f"sine=d={seconds}:r=16000"
    ffmpeg("-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", sound, *X264, "-movflags", "+faststart", path)
    return path
