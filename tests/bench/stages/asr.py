"""Speech: seconds of sound per second of work, and word error rates, of our stage and of the plain engines.

    python tests/bench/stages/asr.py [--repeat N] [--json]

Needs the recordings and the packaged tiny.en weights; for openai-whisper they are converted. There are two files:
jfk.flac (11 s, one window) against its words, and manifesto.mp4 four times in a row (six minutes) against YouTube's
automatic captions, which have errors themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[3]))
from machine import report
from tests.recordings import RECORDINGS
from tests.stages.speech.speech_kit import JFK, read_audio, weights, word_error_rate, write_openai_checkpoint

from vsumdata.stages import transcripts
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program
from vsumdata.stages.speech.captions import parse_captions
from vsumdata.stages.stage import Context

THREADS = len(os.sched_getaffinity(0))
Listener = Callable[[Path], str]


def words(text: str) -> list[str]:
    # Captions name sounds in brackets, such as [Music], which nobody says.
    return re.findall(r"[a-z0-9']+", re.sub(r"\[[^]]*\]", " ", text.lower()))


def our_stage(engine: str, location: Path) -> Listener:
    options = {"languages": ["en"], "engine": engine, "model": "tiny.en", "location": str(location)}
    stage = transcripts.load(options, Context(root=".", scratch=".", threads=THREADS))

    def listen(path: Path) -> str:
        row = stage({"videos": {"caption": None}, "media": str(path)})
        return " ".join(sentence["text"] for sentence in row["sentence"])

    return listen


def plain_faster_whisper(location: Path) -> Listener:
    from faster_whisper import WhisperModel

    # The precision, beam and word times of our stage, so that only the way of running differs.
    model = WhisperModel(str(location), device="cpu", compute_type="int8", cpu_threads=THREADS)

    def listen(path: Path) -> str:
        segments, _ = model.transcribe(read_audio(path), language="en", beam_size=5, word_timestamps=True)
        return " ".join(segment.text for segment in segments)

    return listen


def plain_openai_whisper(checkpoint: Path) -> Listener:
    import torch
    import whisper

    torch.set_num_threads(THREADS)
    model = whisper.load_model(str(checkpoint), device="cpu")

    def listen(path: Path) -> str:
        return str(
            model.transcribe(read_audio(path), language="en", beam_size=5, fp16=False, word_timestamps=True)["text"]
        )

    return listen


def make_talk(folder: Path) -> Path:
    """Write the sound of manifesto.mp4 four times in a row."""
    talk, source = folder / "talk.flac", RECORDINGS / "media" / "manifesto.mp4"
    loop = ["-stream_loop", "3", "-i", str(source), "-map", "0:a:0", "-ac", "1", "-ar", "16000"]
    subprocess.run([ffmpeg_program(), "-v", "error", *loop, str(talk)], check=True)
    return talk


def measure(folder: Path, repeat: int) -> dict[str, dict[str, float]]:
    checkpoint = folder / "tiny.en.pt"
    write_openai_checkpoint(weights(), checkpoint)
    captions = parse_captions((RECORDINGS / "captions" / "manifesto.vtt").read_text(encoding="utf-8"), "vtt")
    files = {"jfk": RECORDINGS / "media" / "jfk.flac", "talk": make_talk(folder)}
    said = {"jfk": words(JFK), "talk": 4 * words(" ".join(sentence.text for sentence in captions))}
    length_s = {name: len(read_audio(path)) / 16_000 for name, path in files.items()}
    listeners = {
        "our stage": our_stage("faster-whisper", weights()),
        "faster-whisper, sequential": plain_faster_whisper(weights()),
        "our stage, openai-whisper": our_stage("openai-whisper", checkpoint),
        "openai-whisper, sequential": plain_openai_whisper(checkpoint),
    }
    rates: dict[tuple[str, str], list[float]] = {}
    figures: dict[str, dict[str, float]] = {name: {} for name in listeners}
    # The engines take turns, so that other load on the machine slows all of them alike.
    for _ in range(repeat):
        for name, listen in listeners.items():
            for file, path in files.items():
                begun = time.perf_counter()
                heard = words(listen(path))
                rates.setdefault((name, file), []).append(length_s[file] / (time.perf_counter() - begun))
                figures[name][f"{file}_word_errors"] = word_error_rate(said[file], heard)
    for (name, file), values in rates.items():
        figures[name][f"{file}_seconds_per_s"] = statistics.median(values)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if not RECORDINGS.is_dir():
        sys.exit(f"the recordings ({RECORDINGS}) are not here")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), arguments.repeat)
    if arguments.json:
        print(json.dumps(report("asr", figures), indent=1))
        return
    for name, values in figures.items():
        print(f"{name:28}", *(f"{key} {value:.3f}" for key, value in values.items()))


if __name__ == "__main__":
    main()
