"""Frames and speech on a CUDA machine, with seeded weights: the stages' inner functions, without Ray.

    python tests/bench/gpu.py [--workers N] [--seconds S] [--only frames|speech] [--json]

frames: end to end (ffmpeg on the CPU, CLIP on the GPU) with N processes that share the GPU, and the model alone; the
GPU's busy share and peak memory come from nvidia-smi. speech: openai-whisper in the shapes of large-v3 with random
weights, 24 windows of 30 s in one batch, 100 tokens each. Without a GPU the script says so and ends. `--cpu` runs a
small model on the CPU, which only shows that the script works.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from machine import report

LARGE_V3 = {"n_mels": 128, "n_audio_ctx": 1500, "n_audio_state": 1280, "n_audio_head": 20, "n_audio_layer": 32}
LARGE_V3 |= {"n_vocab": 51866, "n_text_ctx": 448, "n_text_state": 1280, "n_text_head": 20, "n_text_layer": 32}
TINY = LARGE_V3 | {"n_audio_state": 64, "n_audio_head": 1, "n_audio_layer": 1}
TINY |= {"n_text_state": 64, "n_text_head": 1, "n_text_layer": 1}
# Random weights hardly ever end a sentence by themselves, so the number of tokens is set.
WINDOWS, TOKENS = 24, 100


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Measure the GPU's busy share in [0, 1] and its peak memory while the block runs; empty without nvidia-smi."""
    found: dict[str, float] = {}
    busy: list[float] = []
    used_mb: list[float] = []
    ended = threading.Event()

    def look() -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-i", "0"]
        while not ended.wait(0.2):
            try:
                answer = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split(",")
            except (OSError, subprocess.CalledProcessError):
                return
            busy.append(float(answer[0]) / 100)
            used_mb.append(float(answer[1]))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
        if busy:
            found |= {"gpu_busy": sum(busy) / len(busy), "peak_mb": max(used_mb)}


def make_clips(folder: Path, number: int, seconds: int) -> list[Path]:
    from vsumdata.stages.pictures.ffmpeg import ffmpeg_program

    source = folder / "source.mp4"
    # Noise makes the clip hard to decode.
    picture = ["-f", "lavfi", "-i", f"testsrc2=r=30:s=640x360:d={seconds},noise=alls=12:allf=t"]
    subprocess.run(
        [ffmpeg_program(), "-v", "error", *picture, "-c:v", "libx264", "-crf", "26", str(source)], check=True
    )
    return [source] * number


def work(model: str, device: str, files: list[Path], ready: Any, go: Any, counts: Any) -> None:
    """Be one worker process: run the frames stage over its files."""
    from vsumdata.stages import frames
    from vsumdata.stages.encoders.clip import ClipEncoder
    from vsumdata.stages.stage import Context

    dim = ClipEncoder(model, "seed:0", device).dim
    options = {"clip_model": model, "clip_weights": "seed:0", "precision": "auto", "frame_dim": dim}
    options |= {"fps": 1.0, "sampling": "exact", "hwaccel": "none"}
    stage = frames.load(options, Context(root=".", scratch=".", device=device, threads=2))
    ready.put(True)
    go.wait()
    counts.put(sum(len(stage({"media": str(path)})["frame_time_s"]) for path in files))


def frames_figures(model: str, device: str, workers: int, seconds: int) -> dict[str, float]:
    # A forked process cannot use CUDA once its parent has.
    spawn = multiprocessing.get_context("spawn")
    ready, go, counts = spawn.Queue(), spawn.Event(), spawn.Queue()
    with tempfile.TemporaryDirectory() as folder:
        files = make_clips(Path(folder), 2, seconds)
        processes = [spawn.Process(target=work, args=(model, device, files, ready, go, counts)) for _ in range(workers)]
        for process in processes:
            process.start()
        # The clock starts once every process has loaded its model.
        for _ in processes:
            ready.get()
        with watched() as gpu:
            begun = time.perf_counter()
            go.set()
            num_frames = sum(counts.get() for _ in processes)
            took_s = time.perf_counter() - begun
        for process in processes:
            process.join()
    return {"frames_per_s": num_frames / took_s, **gpu} | encoder_figures(model, device)


def encoder_figures(model: str, device: str) -> dict[str, float]:
    from vsumdata.stages.encoders.clip import ClipEncoder

    encoder = ClipEncoder(model, "seed:0", device)
    rounds = 20 if device == "cuda" else 1
    pictures = np.zeros((encoder.batch, encoder.size, encoder.size, 3), np.uint8)
    # The first batch pays for CUDA's start.
    encoder.encode(pictures)
    begun = time.perf_counter()
    for _ in range(rounds):
        encoder.encode(pictures)
    return {"model_alone_per_s": rounds * len(pictures) / (time.perf_counter() - begun)}


def speech_figures(device: str) -> dict[str, float]:
    import torch
    import whisper
    from whisper.model import ModelDimensions, Whisper

    from vsumdata.stages.speech.whisper import grouped_task

    torch.manual_seed(0)
    is_gpu = device == "cuda"
    model = Whisper(ModelDimensions(**(LARGE_V3 if is_gpu else TINY))).to(device).eval()
    model = model.half() if is_gpu else model
    mels = torch.randn(WINDOWS, LARGE_V3["n_mels"], 3000, device=device, dtype=torch.half if is_gpu else torch.float)
    options = whisper.DecodingOptions(
        language="en", without_timestamps=True, beam_size=5, sample_len=TOKENS, fp16=is_gpu
    )
    # The first run pays for CUDA's start.
    grouped_task()(model, options).run(mels[:1])
    with watched() as gpu:
        begun = time.perf_counter()
        grouped_task()(model, options).run(mels)
        took_s = time.perf_counter() - begun
    return {"seconds_of_sound_per_s": WINDOWS * 30 / took_s, **gpu}


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=4, metavar="N")
    parser.add_argument("--seconds", type=int, default=300, metavar="S", help="length of the clips")
    parser.add_argument("--only", choices=["frames", "speech"])
    parser.add_argument("--cpu", action="store_true", help="try the script on a CPU")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if not (torch.cuda.is_available() or arguments.cpu):
        print("no GPU that torch can use: nothing measured")
        return
    device = "cpu" if arguments.cpu else "cuda"
    figures: dict[str, Any] = {"gpu": device if arguments.cpu else torch.cuda.get_device_name()}
    if arguments.only != "speech":
        for model in ("ViT-S-32-alt",) if arguments.cpu else ("ViT-B-32", "ViT-L-14"):
            figures[model] = frames_figures(model, device, arguments.workers, arguments.seconds)
    if arguments.only != "frames":
        figures["whisper large-v3"] = speech_figures(device)
    print(json.dumps(report("gpu", figures), indent=1) if arguments.json else figures)


if __name__ == "__main__":
    main()
