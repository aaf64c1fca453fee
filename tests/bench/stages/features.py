"""Frames a second of decoding alone, of the model alone and of the frames stage, in turn on the same files and cores.

    python tests/bench/stages/features.py [--repeat N] [--clip MODEL] [FILE …] [--codecs] [--json]

`ratio` compares the stage with the slower of the two. `cpu_bound` is the rate at which decoding and the model can share
the cores if nothing is lost: 1 / (1/decode + 1/encode). `whole` decodes every picture, where `decode` leaves out those
on which no frame depends; `stage_whole` is the stage with it. `peer` goes clip-video-encode's way: all frames of a
video are decoded, then encoded. Without files the recordings are used, else made-up clips.

`--codecs` measures decoding alone by codec and height: frames a second, and the CPU time of all processes, which other
load on the machine changes less. `faster` and `less_cpu` are medians of the ratios of neighbouring runs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
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
# As YouTube serves them: B-frames or hidden frames, and a key frame every five seconds.
CODECS = {
    "h264": ("mp4", "libx264", "-crf", "23"),
    "vp9": ("webm", "libvpx-vp9", "-b:v", "0", "-crf", "36", "-cpu-used", "5", "-row-mt", "1"),
    "av1": ("mp4", "libsvtav1", "-crf", "38", "-preset", "9"),
}
HEIGHTS = (360, 720)


def clips(folder: Path) -> list[Path]:
    """Make clips of a minute, 360 lines high as YouTube serves them: the recordings in a loop, or a test picture."""
    found = sorted((RECORDINGS / "media").glob("*.mp4"))
    sources = [["-stream_loop", "-1", "-i", str(path)] for path in found] or [["-f", "lavfi", "-i", "testsrc2=r=30"]]
    for number, source in enumerate(sources):
        target = ["-map", "0:v:0", "-vf", "scale=-2:360", "-c:v", "libx264", "-crf", "26", "-t", str(LENGTH_S)]
        command = [ffmpeg_program(), "-v", "error", *source, *target, str(folder / f"{number}.mp4")]
        subprocess.run(command, check=True)
    return sorted(folder.glob("*.mp4"))


def coded(folder: Path, heights: tuple[int, ...] = HEIGHTS) -> dict[str, Path]:
    """Make clips of a minute at 30 frames a second for each codec and height: the recordings one after another."""
    recordings = sorted((RECORDINGS / "media").glob("*.mp4"))
    inputs = [word for path in recordings for word in ("-t", str(LENGTH_S / len(recordings)), "-i", str(path))]
    even = "fps=30,scale=1280:720,setsar=1,format=yuv420p"
    parts = "".join(f"[{number}:v:0]{even}[{number}p];" for number in range(len(recordings)))
    joined = "".join(f"[{number}p]" for number in range(len(recordings)))
    source = folder / "source.mp4"
    graph = ["-filter_complex", f"{parts}{joined}concat=n={len(recordings)}[v]", "-map", "[v]"]
    subprocess.run(
        [ffmpeg_program(), "-v", "error", *inputs, *graph, "-preset", "ultrafast", "-crf", "16", str(source)],
        check=True,
    )
    made = {}
    for height in heights:
        for codec, (suffix, *encoder) in CODECS.items():
            path = made[f"{codec} {height}p"] = folder / f"{codec}_{height}.{suffix}"
            target = ["-vf", f"scale=-2:{height}", "-g", "150", "-c:v", *encoder, str(path)]
            # SVT-AV1 writes of itself whatever the level.
            subprocess.run(
                [ffmpeg_program(), "-v", "error", "-i", str(source), *target], check=True, stderr=subprocess.DEVNULL
            )
    return made


def cpu_s() -> float:
    """CPU time of this process and of its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def measure_decoding(path: Path, wanted: Wanted, repeat: int) -> dict[str, float]:
    """Frames a second and CPU seconds with and without leaving pictures out, in turn; medians."""
    found: dict[str, list[float]] = {}
    for _ in range(repeat):
        for name, how in (("whole", replace(wanted, skip=False)), ("decode", wanted)):
            begun_cpu_s, begun = cpu_s(), time.perf_counter()
            count = sum(1 for _ in read_frames(path, how))
            found.setdefault(f"{name}_per_s", []).append(count / (time.perf_counter() - begun))
            found.setdefault(f"{name}_cpu_s", []).append(cpu_s() - begun_cpu_s)
    figures = {name: statistics.median(values) for name, values in found.items()}

    def ratio(above: str, below: str) -> float:
        return statistics.median(a / b for a, b in zip(found[above], found[below], strict=True))

    return figures | {
        "faster": ratio("decode_per_s", "whole_per_s"),
        "less_cpu": ratio("whole_cpu_s", "decode_cpu_s"),
    }


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
    whole = replace(wanted, skip=False)

    def peer(path: Path) -> int:
        found = np.stack([frame for _, frame in read_frames(path, whole)])
        return sum(len(encoder.encode(found[at : at + encoder.batch])) for at in range(0, len(found), encoder.batch))

    ways: dict[str, Callable[[], int]] = {
        "decode_per_s": lambda: sum(1 for path in files for _ in read_frames(path, wanted)),
        "encode_per_s": lambda: len(encoder.encode(pictures)),
        "stage_per_s": lambda: sum(len(stage({"media": str(path)})["frame_time_s"]) for path in files),
        "whole_per_s": lambda: sum(1 for path in files for _ in read_frames(path, whole)),
        "stage_whole_per_s": lambda: sum(
            len(frames.encode_frames(read_frames(path, whole), encoder)[0]) for path in files
        ),
        "peer_per_s": lambda: sum(peer(path) for path in files),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    # In turn, so that other load on the machine slows all of them alike.
    for _ in range(repeat):
        for name, way in ways.items():
            found[name].append(per_second(way))
    figures = {name: statistics.median(values) for name, values in found.items()}
    decode, encode, staged = (figures[f"{name}_per_s"] for name in ("decode", "encode", "stage"))
    shared = 1 / (1 / decode + 1 / encode)
    figures |= {"ratio": staged / min(decode, encode), "cpu_bound": shared, "of_cpu_bound": staged / shared}
    return figures | {f"of_{name}": staged / figures[f"{name}_per_s"] for name in ("stage_whole", "peer")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    parser.add_argument("--clip", default="ViT-B-32", metavar="MODEL")
    parser.add_argument("--codecs", action="store_true", help="decoding alone by codec and height")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.codecs:
            wanted = Wanted(size=224, threads=len(os.sched_getaffinity(0)))
            figures = {
                f"{clip} {name}": value
                for clip, path in coded(Path(folder)).items()
                for name, value in measure_decoding(path, wanted, arguments.repeat).items()
            }
        else:
            figures = measure(arguments.files or clips(Path(folder)), arguments.clip, arguments.repeat)
    if arguments.json:
        print(json.dumps(report("features", figures), indent=1))
    else:
        print(*(f"{name:24} {value:8.2f}" for name, value in figures.items()), sep="\n")


if __name__ == "__main__":
    main()
