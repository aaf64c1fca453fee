"""Frames a second of decoding alone, of the model alone and of the frames stage, in turn on the same files and cores.

    python tests/bench/stages/features.py [--repeat N] [--clip MODEL] [FILE …] [--json]

`ratio` compares the stage with the slower of the two. `cpu_bound` is the rate at which decoding and the model can share
the cores if nothing is lost: 1 / (1/decode + 1/encode). Without files the recordings are used, else made-up clips.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[3]))
from machine import report
from tests.recordings import RECORDINGS

from vsumdata.stages import frames
from vsumdata.stages.encoders.clip import ClipEncoder
from vsumdata.stages.pictures.decode import Wanted, read_frames
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program
from vsumdata.stages.stage import Context

LENGTH_S = 60


def clips(folder: Path) -> list[Path]:
    """Make clips of a minute, 360 lines high as YouTube serves them: the recordings in a loop, or a test picture."""
    found = sorted((RECORDINGS / "media").glob("*.mp4"))
    sources = [["-stream_loop", "-1", "-i", str(path)] for path in found] or [["-f", "lavfi", "-i", "testsrc2=r=30"]]
    for number, source in enumerate(sources):
        target = ["-map", "0:v:0", "-vf", "scale=-2:360", "-c:v", "libx264", "-crf", "26", "-t", str(LENGTH_S)]
        command = [ffmpeg_program(), "-v", "error", *source, *target, str(folder / f"{number}.mp4")]
        subprocess.run(command, check=True)
    return sorted(folder.glob("*.mp4"))


def per_second(work: Callable[[], int]) -> float:
    begun = time.perf_counter()
    count = work()
    return count / (time.perf_counter() - begun)


def measure(files: list[Path], model: str, repeat: int) -> dict[str, float]:
    threads = len(os.sched_getaffinity(0))
    encoder = ClipEncoder(model, "seed:0", threads=threads)
    options = {"clip_model": model, "clip_weights": "seed:0", "precision": "auto", "frame_dim": encoder.dim}
    options |= {"fps": 1.0, "sampling": "exact", "hwaccel": "none"}
    stage = frames.load(options, Context(root=".", scratch=".", threads=threads))
    wanted = Wanted(size=encoder.size, threads=threads, resize=encoder.resize, interpolation=encoder.interpolation)
    pictures = np.random.default_rng(0).integers(0, 256, (64, encoder.size, encoder.size, 3), np.uint8)
    ways: dict[str, Callable[[], int]] = {
        "decode_per_s": lambda: sum(1 for path in files for _ in read_frames(path, wanted)),
        "encode_per_s": lambda: len(encoder.encode(pictures)),
        "stage_per_s": lambda: sum(len(stage({"media": str(path)})["frame_time_s"]) for path in files),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    # In turn, so that other load on the machine slows all of them alike.
    for _ in range(repeat):
        for name, way in ways.items():
            found[name].append(per_second(way))
    figures = {name: statistics.median(values) for name, values in found.items()}
    decode, encode, whole = figures.values()
    shared = 1 / (1 / decode + 1 / encode)
    return figures | {"ratio": whole / min(decode, encode), "cpu_bound": shared, "of_cpu_bound": whole / shared}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    parser.add_argument("--clip", default="ViT-B-32", metavar="MODEL")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments.files or clips(Path(folder)), arguments.clip, arguments.repeat)
    if arguments.json:
        print(json.dumps(report("features", figures), indent=1))
    else:
        print(*(f"{name:14} {value:8.2f}" for name, value in figures.items()), sep="\n")


if __name__ == "__main__":
    main()
